"""Agents on the shared state hub."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from aicp_common.bus import Bus
from aicp_common.store import connect_redis
from tests.statehub.agent import Agent
from tests.support.processes import Backend, ServiceProcess


@pytest.fixture
def alice(bus: Bus, tenant: str, statehub: ServiceProcess) -> Agent:
    """An agent of this test's tenant."""
    return Agent(bus, tenant, "alice")


@pytest.fixture
def bob(bus: Bus, tenant: str, statehub: ServiceProcess) -> Agent:
    """Another agent of the same tenant."""
    return Agent(bus, tenant, "bob")


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[Redis]:
    """The shared Redis."""
    redis = connect_redis(backend.redis_url)
    yield redis
    await redis.aclose()
