"""Fixtures of the gateway's tests: the plug-in and gateways on the shared backend."""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import jwt
import pytest

from tests.gateway.client import RawClient
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

SECRET = "a secret of the tests that is long enough"


def plugin_process(backend: Backend, env: dict[str, str] | None = None) -> ServiceProcess:
    return ServiceProcess("fixture", backend, env or {}, module="tests.gateway.plugin")


@contextlib.contextmanager
def plugin_and_gateway(
    backend: Backend, env: dict[str, str] | None = None
) -> Iterator[tuple[ServiceProcess, GatewayProcess]]:
    """A plug-in and a gateway of a test's own, ready."""
    plugin = plugin_process(backend, env).start()
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture", **(env or {})})
    gateway.start()
    try:
        plugin.wait()
        gateway.wait()
        yield plugin, gateway
    finally:
        gateway.stop()
        plugin.stop()


@pytest.fixture(scope="session")
def plugin(backend: Backend) -> Iterator[ServiceProcess]:
    service = plugin_process(backend).start().wait()
    yield service
    assert service.stop() == 0, service.process.output()[-4000:]


@pytest.fixture(scope="session")
def gateway(backend: Backend, plugin: ServiceProcess) -> Iterator[GatewayProcess]:
    """An open gateway: whoever comes gives itself a name."""
    service = GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture"})
    service.start().wait()
    yield service
    assert service.stop() == 0, service.process.output()[-4000:]


@pytest.fixture(scope="session")
def other_gateway(backend: Backend, plugin: ServiceProcess) -> Iterator[GatewayProcess]:
    """A second open gateway of the same hub; sessions that it is asked for live for a minute only."""
    service = GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture", "SESSION_TTL_S": "60"})
    service.start().wait()
    yield service
    assert service.stop() == 0, service.process.output()[-4000:]


@pytest.fixture(scope="session")
def locked_gateway(backend: Backend, plugin: ServiceProcess) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens."""
    service = GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture", "JWT_REQUIRED": "true", "JWT_SECRET": SECRET})
    service.start().wait()
    yield service
    assert service.stop() == 0, service.process.output()[-4000:]


@pytest.fixture
async def alice(gateway: GatewayProcess) -> AsyncIterator[RawClient]:
    """A client over WebSocket that has said initialize."""
    async with RawClient.connect(gateway.ws_url, f"alice-{secrets.token_hex(3)}") as client:
        await client.initialize()
        yield client


def token(**claims: Any) -> str:
    """A token that the locked gateway takes, unless the claims say otherwise."""
    return jwt.encode({"sub": "alice", "exp": int(time.time()) + 60, **claims}, SECRET, algorithm="HS256")
