"""A state hub whose Redis is found by Sentinel, through fail-overs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aicp_common.bus import Bus
from aicp_common.errors import Unavailable
from aicp_common.store import Script, Store, connect_redis, key
from tests.statehub.agent import Agent, eventually, stored_events
from tests.support.processes import Backend, ServiceProcess, wait_until_listening
from tests.support.redis_servers import SentinelGroup, redis_server, until

pytestmark = pytest.mark.chaos

COUNT = Script([], "return redis.call('INCR', prefix .. ':count')")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    """A Redis of this test alone. After a fail-over Sentinel takes longer to be ready for the next than to start."""
    running = SentinelGroup(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """NATS of this file."""
    running = Backend(tmp_path_factory.mktemp("nats"))
    running.nats.start()
    wait_until_listening(running.nats, running.nats_port)
    yield running
    running.nats.stop()


@pytest.fixture
def worker(backend: Backend, group: SentinelGroup) -> Iterator[ServiceProcess]:
    """A worker of the state hub."""
    service = ServiceProcess("statehub", backend, {"REDIS_URL": group.url}).start().wait()
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.process.output()


@pytest.fixture
async def agent(backend: Backend, worker: ServiceProcess, tenant: str) -> AsyncIterator[Agent]:
    """An agent of this test's tenant."""
    bus = Bus(backend.nats_url, "tests")
    await bus.connect()
    yield Agent(bus, tenant)
    await bus.close()


@pytest.fixture
async def store(group: SentinelGroup) -> AsyncIterator[Store]:
    """A client like those of the services."""
    redis = connect_redis(group.url)
    yield redis
    await redis.aclose()


@contextlib.asynccontextmanager
async def written_all_the_time(agent: Agent, keys: int) -> AsyncIterator[dict[str, int]]:
    """Writers of that many keys meanwhile; the last version of each that was acknowledged."""
    acknowledged: dict[str, int] = {}

    async def write(name: str) -> None:
        while True:
            version = (await agent.share_surely(name, name))["version"]
            assert version > acknowledged.get(name, 0)
            acknowledged[name] = version

    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(write(f"k{number}")) for number in range(keys)]
        await eventually(lambda: _all_written(acknowledged, keys))
        yield acknowledged
        for writer in writers:
            writer.cancel()


@dataclass
class Count:
    """What became of many calls."""

    done: int = 0
    failed: int = 0


@contextlib.asynccontextmanager
async def counted_all_the_time(store: Store, tenant: str) -> AsyncIterator[Count]:
    """Ten who count meanwhile, and do not try again what failed."""
    count = Count()
    stop = asyncio.Event()

    async def go_on() -> None:
        while not stop.is_set():
            try:
                await COUNT(store, tenant)
                count.done += 1
            except Unavailable:
                count.failed += 1
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(go_on())
        yield count
        stop.set()


async def _all_written(acknowledged: dict[str, int], keys: int) -> bool:
    return len(acknowledged) == keys


async def test_writes_go_on_after_the_master_was_killed(
    group: SentinelGroup, backend: Backend, agent: Agent, worker: ServiceProcess
) -> None:
    for value in range(5):
        await agent.share("k", value)
    await asyncio.to_thread(until, group.copied)
    before = group.master_port
    group.servers[before].kill()
    writing = asyncio.create_task(agent.share_surely("k", "after"))
    await asyncio.to_thread(until, lambda: group.master_port != before)
    promoted_at = time.monotonic()
    assert (await writing)["version"] == 6
    assert time.monotonic() - promoted_at < 3
    assert (await agent.get("k"))["value"] == "after"
    # What came before and after is in the log, once.
    stored = await stored_events(backend.nats_url, agent.tenant, 6)
    assert [event["data"]["version"] for event in stored] == [1, 2, 3, 4, 5, 6]
    assert "Redis has another master" in worker.process.output()


async def test_a_planned_failover_of_a_paused_master_loses_no_acknowledged_write(
    group: SentinelGroup, backend: Backend, agent: Agent, store: Store
) -> None:
    before = group.master_port
    async with written_all_the_time(agent, 20) as acknowledged, counted_all_the_time(store, agent.tenant) as count:
        await asyncio.to_thread(_fail_over, group)
        at_failover = dict(acknowledged)
        async with asyncio.timeout(10):
            while not all(acknowledged[name] > version for name, version in at_failover.items()):
                await asyncio.sleep(0.02)
    assert group.master_port != before
    final = {name: (await agent.get(name))["version"] for name in acknowledged}
    assert all(final[name] >= version for name, version in acknowledged.items())
    stored = await stored_events(backend.nats_url, agent.tenant, sum(final.values()))
    assert len({(event["data"]["key"], event["data"]["version"]) for event in stored}) == sum(final.values())
    # Nothing that was acknowledged is missing, and nothing was done twice.
    assert count.failed > 0
    assert count.done <= int(await store.get(key(agent.tenant, "count")) or 0) <= count.done + count.failed


def _fail_over(group: SentinelGroup) -> None:
    """As docs/configuration.md says it: hold the changes, wait for the replica, change the master."""
    before = group.master_port
    with group.server(before) as redis:
        redis.execute_command("CLIENT", "PAUSE", 15_000, "WRITE")  # type: ignore[no-untyped-call]
    until(group.copied)
    group.order_failover()
    until(lambda: group.master_port != before)


async def test_a_former_master_is_left_at_once_though_it_still_takes_changes(
    group: SentinelGroup, store: Store, tenant: str
) -> None:
    await COUNT(store, tenant)
    assert store.masters is not None
    before = store.masters.address
    await asyncio.to_thread(group.order_failover)
    await asyncio.to_thread(until, lambda: group.master_port != group.ports[0])
    async with asyncio.timeout(2):
        while store.masters.address == before:
            await asyncio.sleep(0.01)
    await COUNT(store, tenant)
    with group.server(group.ports[0]) as former, group.server(group.ports[1]) as master:
        # Sentinel makes a replica of it only after eight seconds.
        assert former.info("replication")["role"] == "master"
        master.select(2)
        former.select(2)
        assert master.get(key(tenant, "count")) == "2"
        assert former.get(key(tenant, "count")) == "1"


async def test_why_no_master_is_found_is_said(group: SentinelGroup, backend: Backend, tenant: str) -> None:
    wrong = {
        group.url.replace("/hub/", "/other/"): "they know no master 'other'",
        group.url.replace("sentinel_password=", "sentinel_password=not-"): "invalid username-password pair",
    }
    for url, says in wrong.items():
        redis = connect_redis(url)
        with pytest.raises(Unavailable, match="Redis"):
            await COUNT(redis, tenant)
        await redis.aclose()
        service = ServiceProcess("statehub", backend, {"REDIS_URL": url}).start()
        await asyncio.to_thread(_until_said, service, says)
        assert "no sentinel says where the master is" in service.process.output()
        assert service.stop() == 0


def _until_said(service: ServiceProcess, words: str) -> None:
    until(lambda: words in service.process.output())


async def test_a_server_that_says_readonly_is_left(tmp_path_factory: pytest.TempPathFactory, tenant: str) -> None:
    folder = tmp_path_factory.mktemp("readonly")
    with redis_server(folder / "a") as port, redis_server(folder / "b") as other:
        redis = connect_redis(f"redis://127.0.0.1:{port}/0")
        try:
            await COUNT(redis, tenant)
            # By hand, so that nobody closes the connections.
            await redis.execute_command("REPLICAOF", "127.0.0.1", other)  # type: ignore[no-untyped-call]
            with pytest.raises(Unavailable, match="READONLY"):
                await COUNT(redis, tenant)
            await eventually(lambda: _left(redis))
            await redis.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]
            assert await COUNT(redis, tenant) == 2
        finally:
            await redis.aclose()


async def _left(store: Store) -> bool:
    return not store.line.stands
