"""A whole hub for the end-to-end tests: every service, one gateway, on the shared NATS and Redis."""

from collections.abc import Iterator

import pytest

from tests.support.processes import Backend, GatewayProcess, ServiceProcess


@pytest.fixture(scope="session")
def hub(backend: Backend, orchestrator: ServiceProcess) -> Iterator[GatewayProcess]:
    """An open gateway in front of all services. Agents of all tests meet here: give them names of their own."""
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": "orchestrator,router,statehub"})
    gateway.start().wait()
    yield gateway
    assert gateway.stop() == 0, gateway.process.output()[-4000:]
