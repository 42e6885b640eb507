"""`aicp token`: tokens that a hub takes, and what it refuses to make."""

import os
import subprocess
from pathlib import Path

import jwt
import pytest

from aicp.token import TokenError, TokenOptions, lifetime_s, make_token
from tests.client.bridge_process import Bridge
from tests.client.conftest import SECRET
from tests.support.processes import GatewayProcess, binary

HUB = {"JWT_SECRET": SECRET, "JWT_AUDIENCE": "the-hub", "JWT_ISSUER": "the-office"}


def run(*arguments: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run `aicp token` with these variables and none of the test's that it reads."""
    read = ("JWT_SECRET", "JWT_SECRET_FILE", "JWT_AUDIENCE", "JWT_ISSUER")
    inherited = {name: value for name, value in os.environ.items() if name not in read}
    argv = [binary("aicp"), "token", *arguments]
    return subprocess.run(
        argv, env={**inherited, **(env or {})}, capture_output=True, text=True, timeout=30, check=False
    )


async def test_a_hub_takes_the_token_and_knows_who_it_is(locked_hub: GatewayProcess) -> None:
    made = run("--sub", "alice@example.com", "--tenant", "acme", "--agent", "alice", env=HUB)
    assert made.returncode == 0, made.stderr
    token = made.stdout.removesuffix("\n")
    assert token.count(".") == 2
    async with Bridge.start("--url", locked_hub.ws_url, env={"AICP_TOKEN": token}) as bridge:
        assert "'alice'" in (await bridge.initialize())["instructions"]


async def test_a_hub_holds_the_token_to_its_scope(locked_hub: GatewayProcess) -> None:
    token = run("--sub", "bob", "--scope", "agents:read  tasks:read", env=HUB).stdout.strip()
    async with Bridge.start("--url", locked_hub.ws_url, "--token", token) as bridge:
        await bridge.initialize()
        names = {tool["name"] for tool in (await bridge.ask("tools/list"))["result"]["tools"]}
        # Other tests may have plug-ins there, whose tools need no scope; the hub's own all need one.
        own = {"register_agent", "leave_network", "route_to_agent", "receive_tasks", "submit_result", "share_context"}
        assert names >= {"list_agents", "get_task"}
        assert not names & own


@pytest.mark.parametrize("wrong", [{"JWT_AUDIENCE": "other"}, {"JWT_ISSUER": ""}, {"JWT_SECRET": SECRET[::-1]}])
async def test_a_hub_refuses_a_token_that_is_not_for_it(locked_hub: GatewayProcess, wrong: dict[str, str]) -> None:
    token = run("--sub", "alice", env={**HUB, **wrong}).stdout.strip()
    async with Bridge.start("--url", locked_hub.ws_url, "--token", token) as bridge:
        assert await bridge.status() == 3
        await bridge.said("refuses the token: .*the token is not valid")


def test_the_claims_are_those_that_were_asked_for() -> None:
    now = 2_000_000_000
    token = make_token(TokenOptions("kim", "acme", "kim-2", "b a", "90m"), HUB, now)
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience="the-hub", options={"verify_iat": False})
    assert claims == {
        "sub": "kim",
        "tenant": "acme",
        "agent": "kim-2",
        "scope": "b a",
        "aud": "the-hub",
        "iss": "the-office",
        "iat": now,
        "exp": now + 5400,
    }
    token = make_token(TokenOptions("kim"), {"JWT_SECRET": SECRET}, now)
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_iat": False})
    assert claims == {"sub": "kim", "iat": now, "exp": now + 30 * 86400}
    token = make_token(TokenOptions("kim", scope=""), {"JWT_SECRET": SECRET}, now)
    assert jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_iat": False})["scope"] == ""


def test_the_secret_comes_from_a_file_as_for_the_hub(tmp_path: Path) -> None:
    file, other = tmp_path / "secret", tmp_path / "other"
    file.write_text(SECRET + "\n")
    other.write_text("x" * 32)
    for arguments, env in (
        (("--secret-file", str(file)), {"JWT_SECRET": "y" * 32, "JWT_SECRET_FILE": str(other)}),
        ((), {"JWT_SECRET_FILE": str(file)}),
        ((), {"JWT_SECRET": SECRET, "JWT_SECRET_FILE": str(other)}),
    ):
        made = run("--sub", "kim", *arguments, env=env)
        assert jwt.decode(made.stdout.strip(), SECRET, algorithms=["HS256"])["sub"] == "kim"


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("90m", 5400), ("12h", 43200), ("30d", 2592000), ("2w", 1209600)]
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    assert lifetime_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0d", "30", "d", "-1d", "1.5d", "1 d", "1y", "9999999999w", "11d4h", "１d"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(TokenError, match="--expires-in"):
        lifetime_s(text)


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (("--sub", "kim"), {}, "no secret"),
        (("--sub", "kim"), {"JWT_SECRET": "x" * 31}, "has 31 characters; at least 32"),
        (("--sub", "kim", "--secret-file", "/does/not/exist"), HUB, "cannot be read"),
        (("--sub", " "), HUB, "--sub is empty"),
        (("--sub", "kim", "--tenant", "Acme"), HUB, "--tenant 'Acme' is not a valid name"),
        (("--sub", "kim", "--agent", "kim@example.com"), HUB, "--agent 'kim@example.com' is not a valid name"),
        (("--sub", "kim", "--agent", "router"), HUB, "the hub's own"),
        (("--sub", "gateway"), HUB, "the hub's own"),
        (("--sub", "kim", "--scope", "täsks:work"), HUB, "is no scope"),
        (("--sub", "kim", "--expires-in", "soon"), HUB, "is no length of time"),
    ],
)
def test_what_a_hub_would_not_take_is_not_made(arguments: tuple[str, ...], env: dict[str, str], said: str) -> None:
    made = run(*arguments, env=env)
    assert made.returncode == 1
    assert made.stdout == ""
    assert made.stderr.startswith("aicp token: ")
    assert said in made.stderr
    assert made.stderr.count("\n") == 1
