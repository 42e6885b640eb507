"""The options: what is wrong is said, with exit status 2, before anything is sent."""

from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

from tests.load import mix
from tests.load.command import app
from tests.load.options import check_two_agents


def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"AICP_TOKEN": "", "COLUMNS": "200", **(env or {})})
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--no-such-option"], "No such option"),
        (["--url", "ftp://127.0.0.1/mcp"], "is no URL of a hub"),
        (["--url", "ws://"], "is no URL of a hub"),
        (["--url", "ws://127.0.0.1:0/mcp"], "is no URL of a hub"),
        (["--url", "ws://127.0.0.1:99999/mcp"], "--url"),
        (["--url", "http://alice:secret@127.0.0.1/mcp"], "--token-file"),
        (["--url", "http://127.0.0.1/mcp\r\nX: 1"], "%XX"),
        (["--url", "http://127.0.0.1/가"], "%XX"),
        (["--era", "golden"], "'handshake', 'stateless'"),
        (["--connections", "0"], "--connections"),
        (["--in-flight", "0"], "--in-flight"),
        (["--rate", "0"], "--rate"),
        (["--rate", "nan"], "--rate"),
        (["--duration", "0"], "--duration"),
        (["--duration", "3601"], "--duration"),
        (["--duration", "inf"], "--duration"),
        (["--duration", "nan"], "--duration"),
        (["--warm-up", "-1"], "--warm-up"),
        (["--timeout", "0"], "--timeout"),
        (["--payload-bytes", "1"], "--payload-bytes"),
        (["--mix", "dance"], "there is no call 'dance'; there are list_agents"),
        (["--mix", "ping=0"], "the weight of ping is '0'"),
        (["--mix", "ping="], "the weight of ping is ''"),
        (["--mix", "ping=1.5"], "the weight of ping is '1.5'"),
        (["--mix", "ping,ping"], "ping is there twice"),
        (["--mix", ""], "there is no call ''"),
        (["--mix", "ping", "--era", "stateless"], "only in the handshake era"),
        (["--mix", "discover"], "only in the stateless era"),
        (["--mix", "tool"], "--tool names"),
        (["--mix", "ping", "--tool", "echo"], "--tool names"),
        (["--mix", "route", "--token", "t"], "--worker-token-file"),
        (["--arguments", "{}"], "--tool names it"),
        (["--tool", "echo", "--arguments", "[]"], "not a JSON object"),
        (["--tool", "echo", "--arguments", "{"], "not a JSON object"),
        (["--token", "a b"], "no token has"),
        (["--token", ""], "no token has"),
        (["--token", "t", "--token-file", "/dev/null"], "one is enough"),
        (["--token-file", "/no/such/file"], "cannot be read"),
        (["--json", "/no/such/folder/report.json"], "cannot be written"),
        (["--json", "/"], "cannot be written"),
    ],
)
def test_wrong_options_are_explained(arguments: list[str], said: str) -> None:
    status, output = run(*arguments)
    assert status == 2, output
    assert said in output


def token(**claims: str) -> str:
    return jwt.encode(claims, "a secret of the tests that is long enough", algorithm="HS256")


@pytest.mark.parametrize("mix", [(), ("--mix", "ping,route")])
@pytest.mark.parametrize(
    ("mine", "theirs", "said"),
    [
        ("the-same", "the-same", "'route' needs two agents, and both tokens are of the same one"),
        (token(sub="alice", jti="1"), token(sub="alice", jti="2"), "both tokens are of the same one ('alice')"),
        (token(sub="a@x", agent="alice"), token(sub="b@x", agent="alice", tenant="default"), "same one ('alice')"),
        (token(sub="alice"), token(sub="bob", tenant="acme"), "one tenant, and the tokens are of 'default' and 'acme'"),
    ],
)
def test_route_needs_two_agents_of_one_tenant(
    tmp_path: Path, mix: tuple[str, ...], mine: str, theirs: str, said: str
) -> None:
    (tmp_path / "worker").write_text(theirs)
    status, output = run("--token", mine, "--worker-token-file", str(tmp_path / "worker"), *mix)
    assert (status, said in output.replace("│ │ ", "")) == (2, True), output
    assert "--worker-token-file" in output


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [("one", "another"), (token(sub="alice"), "opaque"), (token(sub="alice"), token(sub="bob"))],
)
def test_two_agents_that_may_be_of_one_tenant_will_do(mine: str, theirs: str) -> None:
    check_two_agents(mine, theirs)


def test_a_token_that_is_none_is_also_found_in_the_environment(tmp_path: Path) -> None:
    status, output = run(env={"AICP_TOKEN": "a b"})
    assert (status, "AICP_TOKEN" in output) == (2, True)
    (tmp_path / "token").write_text("\n")
    status, output = run("--token-file", str(tmp_path / "token"))
    assert (status, "no token has" in output) == (2, True)


def test_the_help_names_every_call_and_every_exit_status() -> None:
    status, output = run("--help")
    assert status == 0
    for said in ("list_agents", "discover", "Exit status: 0", "--worker-token-file"):
        assert said in output


def test_a_deck_has_each_call_as_often_as_its_weight_says() -> None:
    weights = mix.parse("ping=3, list_tools ,echo = 2")
    assert weights == {"ping": 3, "list_tools": 1, "echo": 2}
    deck = mix.deck(weights)
    assert {name: deck.count(name) for name in weights} == weights
    assert deck == mix.deck(weights)
