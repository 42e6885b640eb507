"""The archive under fire: `make archive-campaign` brings 100,000 events through it, the usual tests fewer."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import pytest
from redis.asyncio import Redis

from aicp_common.bus import Bus
from aicp_common.store import connect_redis, key
from tests.statehub.agent import Agent
from tests.statehub.archived import archiving, connected, emit, numbers, until_archived
from tests.support.postgres import Postgres
from tests.support.processes import Backend

EVENTS = int(os.environ.get("ARCHIVE_EVENTS", "5000"))
TENANTS = 4
CHUNK = 125
OUTBOX = 5000
"""What may wait in one outbox: the relay is not what is tested."""


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """PostgreSQL of this test."""
    running = Postgres().start()
    yield running
    running.remove()


class Calls:
    """Somebody who writes contexts all the while, and how long each write took."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.took_ms: list[float] = []
        self.enough = False
        """Set it, and `run` ends when the write that is under way has been answered."""

    async def run(self) -> None:
        while not self.enough:
            began = time.perf_counter()
            await self.agent.share_surely("k", len(self.took_ms))
            self.took_ms.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.01)

    def summary(self, since: int = 0) -> str:
        if len(self.took_ms) - since < 2:
            return f"{len(self.took_ms) - since} writes, too few for a distribution"
        took = quantiles(self.took_ms[since:], n=100)
        return f"{len(self.took_ms) - since} writes, p50 {took[49]:.1f} ms, p99 {took[98]:.1f} ms"


async def feed(redis: Redis, tenants: list[str], first: int, last: int) -> None:
    """Leave the events with these numbers in the outboxes of all tenants."""
    for number in range(first, last + 1, CHUNK):
        for tenant in tenants:
            while int(await redis.xlen(key(tenant, "outbox"))) > OUTBOX:
                await asyncio.sleep(0.02)
            await emit(redis, tenant, number, min(CHUNK, last + 1 - number))


async def archived(url: str, tenants: list[str]) -> int:
    async with connected(url) as connection:
        found: int = await connection.fetchval("SELECT count(*) FROM aicp_events WHERE tenant = ANY ($1)", tenants)
        return found


@pytest.mark.chaos
async def test_every_event_arrives_once_whatever_is_stopped_and_killed(
    tmp_path: Path, postgres: Postgres, tenant: str
) -> None:
    backend = Backend(tmp_path)
    backend.start()
    redis = connect_redis(backend.redis_url)
    bus = Bus(backend.nats_url, "tests")
    tenants = [f"{tenant}-{number}" for number in range(TENANTS)]
    each = EVENTS // TENANTS
    quarter = each // 4
    try:
        await bus.connect()
        with archiving(backend, postgres.url), archiving(backend, postgres.url) as victim:
            calls = Calls(Agent(bus, f"{tenant}-calls"))
            calling = asyncio.create_task(calls.run())
            began = time.monotonic()
            await feed(redis, tenants, 1, quarter)
            print(f"\n{EVENTS} events; while they are archived: {calls.summary()}")

            postgres.stop()
            stopped, calls_before = time.monotonic(), len(calls.took_ms)
            before = 0
            await feed(redis, tenants, quarter + 1, 2 * quarter)
            victim.kill()
            victim.start().wait()
            await feed(redis, tenants, 2 * quarter + 1, 3 * quarter)
            print(f"PostgreSQL away for {time.monotonic() - stopped:.1f} s: {calls.summary(calls_before)}")

            postgres.start()
            calls_before = len(calls.took_ms)
            before = await archived(postgres.url, tenants)
            # Killed once more, while it catches up.
            async with asyncio.timeout(60):
                while await archived(postgres.url, tenants) < before + EVENTS // 20:
                    await asyncio.sleep(0.02)
            victim.kill()
            victim.start()
            await feed(redis, tenants, 3 * quarter + 1, each)
            for name in tenants:
                await until_archived(postgres.url, name, each, 300)
            print(f"all archived after {time.monotonic() - began:.1f} s: {calls.summary(calls_before)}")

            for name in tenants:
                assert await numbers(postgres.url, name) == list(range(1, each + 1))
            calls.enough = True
            await calling
            # A write whose answer was lost with its worker was made again, and is another version.
            written = (await calls.agent.get("k"))["version"]
            assert written >= len(calls.took_ms)
            await until_archived(postgres.url, f"{tenant}-calls", written)
    finally:
        await redis.aclose()
        await bus.close()
        backend.stop()
