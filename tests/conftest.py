"""Fixtures: one real NATS and one real Redis for the whole run, and one worker of each service on them."""

import itertools
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aicp_common.bus import Bus
from aicp_common.envelope import Envelope, Principal
from tests.support.processes import VIOLATIONS, Backend, ServiceProcess, wait_until_listening

_numbers = itertools.count(1)

# A hub started by a test would load the model that comes with the tests' packages in each of its routers.
os.environ.setdefault("EMBEDDER", "off")


@pytest.fixture(autouse=True)
def no_violations() -> Iterator[None]:
    """No gateway has sent anything that the schema of its revision does not allow, whatever became of it since."""
    yield
    if VIOLATIONS.exists():
        found = VIOLATIONS.read_text(encoding="utf-8")
        VIOLATIONS.unlink()
        pytest.fail(found, pytrace=False)


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """NATS and Redis that all tests share; each test keeps to a tenant of its own."""
    running = Backend(tmp_path_factory.mktemp("backend"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def own_backend(tmp_path: Path) -> Iterator[Backend]:
    """NATS and Redis of this test alone, for tests that kill them."""
    running = Backend(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis of this test alone, which may empty it again and again."""
    alone = Backend(tmp_path)
    alone.redis.start()
    wait_until_listening(alone.redis, alone.redis_port)
    yield alone.redis_url
    alone.redis.stop()


@pytest.fixture(scope="session")
def statehub(backend: Backend) -> Iterator[ServiceProcess]:
    """The shared state hub."""
    yield from running("statehub", backend)


@pytest.fixture(scope="session")
def router(backend: Backend, statehub: ServiceProcess) -> Iterator[ServiceProcess]:
    """The shared router; it asks the state hub for contexts."""
    yield from running("router", backend)


@pytest.fixture(scope="session")
def orchestrator(backend: Backend, router: ServiceProcess) -> Iterator[ServiceProcess]:
    """The shared orchestrator; it asks the router for tasks."""
    yield from running("orchestrator", backend)


def running(name: str, backend: Backend) -> Iterator[ServiceProcess]:
    """For a fixture: one worker of a service, stopped in an orderly way at the end."""
    service = ServiceProcess(name, backend).start().wait()
    yield service
    assert service.stop() == 0, service.process.output()[-4000:]


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test uses."""
    return f"t{next(_numbers)}-{secrets.token_hex(4)}"


@pytest.fixture
async def bus(backend: Backend) -> AsyncIterator[Bus]:
    """A connection to the shared NATS."""
    connection = Bus(backend.nats_url, "tests")
    await connection.connect()
    yield connection
    await connection.close()


def envelope(tenant: str, agent: str, deadline_s: float = 30.0, scopes: tuple[str, ...] = ("*",)) -> Envelope:
    """An envelope as a gateway would write it."""
    trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
    principal = Principal(tenant=tenant, agent=agent, user=agent, scopes=scopes)
    return Envelope(principal, int((time.time() + deadline_s) * 1000), trace, f"q-{secrets.token_hex(4)}")
