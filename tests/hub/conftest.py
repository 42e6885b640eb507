"""Fixtures for tests of `aicp hub`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub.harness import Hub, install_standins


@pytest.fixture(scope="session")
def standins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with stand-ins for the four services."""
    return install_standins(tmp_path_factory.mktemp("standins"))


@pytest.fixture
def start_hub(tmp_path: Path, standins: Path) -> Iterator[Callable[..., Hub]]:
    """Start a hub of stand-ins; arguments as of `Hub`, the data directory being `data` unless named."""
    hubs: list[Hub] = []

    def start(
        *arguments: str, data_dir: Path = tmp_path / "data", env: dict[str, str] | None = None, python: str = ""
    ) -> Hub:
        hub = Hub(data_dir, *arguments, env={"PYTHONPATH": str(standins)} | (env or {}), python=python)
        hubs.append(hub)
        return hub

    yield start
    for hub in hubs:
        hub.kill()
    for hub in hubs:
        hub.end()


@pytest.fixture(scope="session")
def shared(standins: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with two gateways and two routers, for tests that leave it as ready as they found it."""
    hub = Hub(
        tmp_path_factory.mktemp("shared") / "data",
        *("--gateways", "2", "--routers", "2"),
        env={"PYTHONPATH": str(standins), "LOG_LEVEL": "info", "OTEL_SERVICE_NAME": "inherited"},
    )
    yield hub.wait_until_ready()
    hub.kill()
    hub.end()
