"""Fixtures: a gateway with the fixture plug-in that nobody else uses, and a whole hub."""

from collections.abc import Iterator

import pytest

from tests.gateway.conftest import plugin_and_gateway
from tests.load.stage import Stage
from tests.support.processes import Backend, GatewayProcess, ServiceProcess


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """On NATS and Redis of its own, so that no other test's calls are in its metrics."""
    backend = Backend(tmp_path_factory.mktemp("load"))
    backend.start()
    try:
        with plugin_and_gateway(backend) as (plugin, gateway):
            yield Stage(plugin, gateway)
    finally:
        backend.stop()


@pytest.fixture
def gateway(stage: Stage) -> GatewayProcess:
    """The stage's gateway."""
    return stage.gateway


@pytest.fixture(scope="session")
def hub(backend: Backend, router: ServiceProcess) -> Iterator[GatewayProcess]:
    """An open gateway in front of router and state hub."""
    service = GatewayProcess(backend, {"REQUIRED_SERVICES": "router,statehub"})
    service.start().wait()
    yield service
    assert service.stop() == 0, service.process.output()[-4000:]
