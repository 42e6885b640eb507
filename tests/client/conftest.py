"""Fixtures of the client's tests."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.client.between import Between
from tests.client.bridge_process import HubServer
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

SECRET = "a secret of the tests that is long enough"


@pytest.fixture
def both() -> Between:
    """A client and a hub, not yet connected."""
    return Between()


@pytest.fixture
def shaken(both: Between) -> Between:
    """Both after the handshake."""
    both.initialize()
    return both


@pytest.fixture
async def own_hub() -> AsyncIterator[HubServer]:
    """A WebSocket server that does what the test says."""
    server = HubServer()
    await server.rise()
    yield server
    await server.fall()


@pytest.fixture(scope="session")
def hub(backend: Backend, orchestrator: ServiceProcess) -> Iterator[GatewayProcess]:
    """An open gateway in front of all services. Agents of all tests meet here: give them names of their own."""
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": "orchestrator,router,statehub"})
    gateway.start().wait()
    yield gateway
    assert gateway.stop() == 0, gateway.process.output()[-4000:]


@pytest.fixture(scope="session")
def locked_hub(backend: Backend, router: ServiceProcess) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens, of this audience and issuer."""
    env = {"JWT_REQUIRED": "true", "JWT_SECRET": SECRET, "JWT_AUDIENCE": "the-hub", "JWT_ISSUER": "the-office"}
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": "router,statehub", **env})
    gateway.start().wait()
    yield gateway
    assert gateway.stop() == 0, gateway.process.output()[-4000:]
