"""The relay brings every event to the event log, once, in order, whoever gets killed."""

import asyncio
import contextlib
import signal
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.ids import digest
from aicp_common.store import TENANTS, connect_redis, key
from aicp_statehub.contexts import scripts
from aicp_statehub.contexts.scripts import Bounds
from aicp_statehub.relay.event import UnusableEntry, event_of
from aicp_statehub.relay.leases import LEASE_MS, RENEW_INTERVAL_S
from tests.statehub.agent import Agent, Json, ToolFailed, eventually, stored_events, watching
from tests.support.processes import Backend, ServiceProcess, wait_until_listening

BOUNDS = Bounds(max_keys=100_000, tombstone_ms=60_000)


@pytest.fixture(scope="module")
def own_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """NATS and Redis of this file alone, whose tests kill them and start them again; each has a tenant of its own."""
    running = Backend(tmp_path_factory.mktemp("relay"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def store(own_backend: Backend) -> AsyncIterator[Redis]:
    """The Redis of this file."""
    redis = connect_redis(own_backend.redis_url)
    yield redis
    await redis.aclose()


@pytest.fixture
async def own_bus(own_backend: Backend) -> AsyncIterator[Bus]:
    """A connection to the NATS of this file."""
    bus = Bus(own_backend.nats_url, "tests")
    await bus.connect()
    yield bus
    await bus.close()


@pytest.fixture(scope="module")
def usual_worker(own_backend: Backend) -> Iterator[ServiceProcess]:
    """The worker that most tests need; it runs when one of them has started it."""
    worker = ServiceProcess("statehub", own_backend)
    yield worker
    assert worker.stop() == 0


@pytest.fixture
def worker(usual_worker: ServiceProcess) -> ServiceProcess:
    """The one state hub worker, which runs; the test may kill or stop it."""
    if not usual_worker.process.running:
        usual_worker.start()
    return usual_worker.wait()


@pytest.fixture
def no_worker(usual_worker: ServiceProcess) -> None:
    """For tests whose workers are set up otherwise: none but theirs runs."""
    usual_worker.stop()


@pytest.fixture
def said(worker: ServiceProcess) -> Callable[[], str]:
    """What the worker has printed since the test began."""
    before = len(worker.process.output())
    return lambda: worker.process.output()[before:]


@contextlib.contextmanager
def another_worker(backend: Backend, **env: str) -> Iterator[ServiceProcess]:
    """A worker for a part of a test; it must end well."""
    running = ServiceProcess("statehub", backend, env).start()
    try:
        yield running.wait()
    finally:
        status = running.stop()
    assert status == 0


async def change(redis: Redis, tenant: str, name: str, value: int) -> int:
    """A change as any service makes it: in Redis, whether or not there is a bus."""
    await redis.sadd(TENANTS, tenant)
    stored, now = await scripts.write(redis, tenant, name, b"%d" % value, author="alice", bounds=BOUNDS, traceparent="")
    assert stored
    return now.version


async def change_often(agent: Agent, name: str, times: int) -> int:
    """Write `times` times, again where an answer was lost; the last version that was acknowledged."""
    version = 0
    for value in range(times):
        acknowledged = (await agent.share_surely(name, value))["version"]
        assert acknowledged > version
        version = acknowledged
    return version


def versions_by_key(events: list[Json]) -> dict[str, list[int]]:
    versions = defaultdict(list)
    for event in events:
        versions[event["data"]["key"]].append(event["data"]["version"])
    return versions


async def assert_complete(nats_url: str, redis: Redis, tenant: str, acknowledged: dict[str, int]) -> None:
    """Nothing acknowledged is missing, every version is in the log, once and in order, and no outbox holds any."""
    final = {name: (await scripts.read(redis, tenant, name, reader="")).version for name in acknowledged}
    assert all(final[name] >= version for name, version in acknowledged.items())
    events = await stored_events(nats_url, tenant, sum(final.values()))
    assert versions_by_key(events) == {name: list(range(1, version + 1)) for name, version in final.items()}
    assert len({event["event_id"] for event in events}) == len(events)
    entry_ids = [tuple(map(int, event["event_id"].rpartition(":")[2].split("-"))) for event in events]
    assert entry_ids == sorted(entry_ids)

    await eventually(lambda: nothing_waits(redis, tenant))


async def nothing_waits(redis: Redis, tenant: str) -> bool:
    """Whether the tenant's outbox is empty."""
    return int(await redis.xlen(key(tenant, "outbox"))) == 0


async def under_fire(agent: Agent, disaster: Any) -> dict[str, int]:
    """2,000 changes of 20 keys, with `disaster` in the middle; the last acknowledged version of each."""
    names = [f"k{n}" for n in range(20)]
    writing = asyncio.gather(*(change_often(agent, name, 100) for name in names))
    async with watching(agent.bus, f"aicp.v1.event.{agent.tenant}.>") as watcher:
        await watcher.until(500)
        await disaster()
        return dict(zip(names, await writing, strict=True))


@pytest.mark.chaos
async def test_a_killed_state_hub_loses_nothing(
    own_backend: Backend, own_bus: Bus, store: Redis, worker: ServiceProcess, tenant: str
) -> None:
    async def disaster() -> None:
        worker.kill()
        worker.start()

    acknowledged = await under_fire(Agent(own_bus, tenant), disaster)
    await assert_complete(own_backend.nats_url, store, tenant, acknowledged)


@pytest.mark.chaos
async def test_a_killed_nats_server_loses_nothing(
    own_backend: Backend, own_bus: Bus, store: Redis, worker: ServiceProcess, tenant: str, said: Callable[[], str]
) -> None:
    outage_changes: dict[str, int] = {}

    async def noticed() -> bool:
        return "waits for the event log: " in said()

    async def disaster() -> None:
        own_backend.nats.kill()
        for value in range(300):
            outage_changes["during"] = await change(store, tenant, "during", value)
        await eventually(noticed)
        own_backend.nats.start()
        wait_until_listening(own_backend.nats, own_backend.nats_port)

    acknowledged = await under_fire(Agent(own_bus, tenant), disaster)
    await assert_complete(own_backend.nats_url, store, tenant, acknowledged | outage_changes)
    assert said().count("waits for the event log: ") == 1
    assert said().count("over: the relay of events waits for the event log") == 1


@pytest.mark.chaos
async def test_a_killed_redis_server_loses_nothing(
    own_backend: Backend, own_bus: Bus, store: Redis, worker: ServiceProcess, tenant: str, said: Callable[[], str]
) -> None:
    agent = Agent(own_bus, tenant)

    async def noticed() -> bool:
        return "waits for Redis: " in said()

    async def disaster() -> None:
        own_backend.redis.kill()
        for call in (agent.share("x", 1), agent.get("x"), agent.delete("x")):
            with pytest.raises(ToolFailed, match="Redis") as failed:
                await call
            assert failed.value.code == "unavailable"
        await eventually(noticed)
        own_backend.redis.start()
        wait_until_listening(own_backend.redis, own_backend.redis_port)

    acknowledged = await under_fire(agent, disaster)
    await assert_complete(own_backend.nats_url, store, tenant, acknowledged)
    assert said().count("waits for Redis: ") == 1


@pytest.mark.chaos
async def test_two_workers_share_the_relay_and_one_takes_over_when_the_other_is_killed(
    own_backend: Backend, own_bus: Bus, store: Redis, worker: ServiceProcess, tenant: str
) -> None:
    with another_worker(own_backend):
        await eventually(lambda: shares(store, [8, 8]))
        tenants = [f"{tenant}-{n}" for n in range(40)]
        async with watching(own_bus, subjects.EVENTS, tenants) as watcher:
            await asyncio.gather(*(change(store, tenant, "k", 0) for tenant in tenants))
            await watcher.until(40)
            worker.kill()
            killed_at = time.monotonic()
            for value in range(1, 4):
                await asyncio.gather(*(change(store, tenant, "k", value) for tenant in tenants))
            events = await watcher.until(160)
            assert time.monotonic() - killed_at < 2 * LEASE_MS / 1000
        stored = await asyncio.gather(*(stored_events(own_backend.nats_url, name, 4) for name in tenants))
        for name, kept in zip(tenants, stored, strict=True):
            versions = [event["data"]["version"] for event in events if event["tenant"] == name]
            assert sorted(set(versions)) == [1, 2, 3, 4]
            assert [event["data"]["version"] for event in kept] == [1, 2, 3, 4]


async def test_a_worker_that_stops_hands_over_at_once(
    own_backend: Backend, own_bus: Bus, store: Redis, worker: ServiceProcess
) -> None:
    with another_worker(own_backend):
        await eventually(lambda: shares(store, [8, 8]))
    stopped_at = time.monotonic()
    await eventually(lambda: shares(store, [16]))
    # Sooner than the leases of the other one would have lapsed.
    assert time.monotonic() - stopped_at < LEASE_MS / 1000 - RENEW_INTERVAL_S


async def shares(redis: Redis, wanted: list[int]) -> bool:
    """Whether the workers hold so many shards."""
    held: dict[str, int] = defaultdict(int)
    leases: dict[str, str] = dict(await redis.hgetall("aicp:relay:leases"))  # type: ignore[arg-type]
    for name, owner in leases.items():
        if name.startswith("shard:"):
            held[owner] += 1
    return sorted(held.values()) == wanted


async def test_a_worker_that_stood_still_does_not_relay_what_another_one_took_over(
    own_backend: Backend, own_bus: Bus, store: Redis, worker: ServiceProcess, tenant: str
) -> None:
    assert worker.process.popen is not None
    await change(store, tenant, "k", 0)
    await eventually(lambda: nothing_waits(store, tenant))
    worker.process.popen.send_signal(signal.SIGSTOP)
    try:
        with another_worker(own_backend):
            async with watching(own_bus, subjects.EVENTS, [tenant]) as watcher:
                for value in range(1, 6):
                    await change(store, tenant, "k", value)
                await watcher.until(5)
                worker.process.popen.send_signal(signal.SIGCONT)
                await eventually(lambda: shares(store, [8, 8]))
                await change(store, tenant, "k", 6)
                events = await watcher.until(6)
        assert [event["data"]["version"] for event in events] == [2, 3, 4, 5, 6, 7]
    finally:
        worker.process.popen.send_signal(signal.SIGCONT)


async def test_entries_that_can_be_no_event_are_put_aside_and_the_others_go_on(
    own_backend: Backend, own_bus: Bus, store: Redis, worker: ServiceProcess, tenant: str
) -> None:
    good = {"entity": "task", "id": "t-1", "what": "changed", "data": "{}", "traceparent": ""}
    bad: list[dict[Any, Any]] = [
        good | {"id": "a.b"},
        good | {"id": "*"},
        good | {"entity": "two words"},
        good | {"what": ""},
        good | {"data": "[]"},
        good | {"data": "{"},
        good | {"data": b"\xff\xfe"},
        good | {b"\xff": b"\xff", "id": ">"},
        {"x": "y"},
        good | {"data": '{"x":"' + "x" * 5_000_000 + '"}'},
    ]
    async with watching(own_bus, subjects.EVENTS, [tenant]) as watcher:
        await store.sadd(TENANTS, tenant, "not a tenant", "A")
        for fields in bad:
            await store.xadd(key(tenant, "outbox"), fields)
            await store.xadd(key(tenant, "outbox"), good)  # type: ignore[arg-type]
        await watcher.until(len(bad))
        assert {event["id"] for event in watcher.events} == {"t-1"}

    async def put_aside() -> bool:
        waiting, dead = await store.xlen(key(tenant, "outbox")), await store.xlen(key(tenant, "outbox-dead-letters"))
        return (waiting, dead) == (0, len(bad))

    await eventually(put_aside)
    first: Any = await store.xrange(key(tenant, "outbox-dead-letters"), count=1)
    assert first[0][1]["id"] == "a.b"
    assert "a.b" in first[0][1]["why"]
    await store.srem(TENANTS, "not a tenant", "A")


async def test_a_new_tenant_is_noticed_within_a_second(
    own_backend: Backend, own_bus: Bus, store: Redis, worker: ServiceProcess, tenant: str
) -> None:
    tenants = [f"{tenant}-{number}" for number in range(5)]
    delays_ms: list[float] = []
    async with watching(own_bus, subjects.EVENTS, tenants) as watcher:
        for number, name in enumerate(tenants):
            await change(store, name, "k", 0)
            (*_, event) = await watcher.until(number + 1)
            delays_ms.append(time.time() * 1000 - event["at_ms"])
    # On a busy machine a single one may take longer.
    assert statistics.median(delays_ms) < 1000, delays_ms


async def test_a_stream_that_was_removed_is_made_again(
    own_backend: Backend, own_bus: Bus, store: Redis, worker: ServiceProcess, tenant: str
) -> None:
    await change(store, tenant, "k", 0)
    await stored_events(own_backend.nats_url, tenant, 1)
    await own_bus.client.jetstream().delete_stream(subjects.EVENT_STREAM)
    for value in range(1, 4):
        await change(store, tenant, "k", value)
    events = await stored_events(own_backend.nats_url, tenant, 3)
    assert [event["data"]["version"] for event in events] == [2, 3, 4]


async def test_digests_of_keys_are_the_ids_of_events(
    own_backend: Backend, own_bus: Bus, store: Redis, worker: ServiceProcess, tenant: str
) -> None:
    await change(store, tenant, "Some/Key", 0)
    (event,) = await stored_events(own_backend.nats_url, tenant, 1)
    assert event["id"] == digest("Some/Key")


async def test_the_stream_is_there_with_its_limits(own_backend: Backend, own_bus: Bus, worker: ServiceProcess) -> None:
    jetstream = own_bus.client.jetstream()

    async def kept_for(age_s: int) -> bool:
        return (await jetstream.stream_info(subjects.EVENT_STREAM)).config.max_age == age_s

    await eventually(lambda: kept_for(7 * 86_400))
    config = (await jetstream.stream_info(subjects.EVENT_STREAM)).config
    assert (config.subjects, config.max_bytes) == ([subjects.EVENTS], 1024**3)
    assert (config.storage, config.discard, config.duplicate_window) == ("file", "old", 120)
    worker.stop()
    with another_worker(own_backend, EVENTS_MAX_AGE_S="3600"):
        await eventually(lambda: kept_for(3600))


async def test_caps_are_told_and_leave_everything_as_it_was(
    own_backend: Backend, own_bus: Bus, store: Redis, tenant: str, no_worker: None
) -> None:
    with another_worker(own_backend, CONTEXT_MAX_KEYS="3"):
        agent = Agent(own_bus, tenant)
        for name in ("a", "b", "c"):
            await agent.share(name, 1)
        with pytest.raises(ToolFailed, match=r"context_key: 'd' .* 3 contexts") as failed:
            await agent.share("d", 1)
        assert failed.value.code == "busy"
        assert (await agent.share("c", 2))["version"] == 2
        await agent.delete("a")
        assert (await agent.share("d", 1))["version"] == 1
        # Tombstones are capped too: making and deleting keys for ever takes no more space.
        for number in range(10):
            await agent.delete("d")
            await agent.share("d", number)
            await agent.delete("d")
            await agent.share(f"n{number}", 1)
            await agent.delete(f"n{number}")
            await agent.share("d", number)
        assert len(await store.keys(key(tenant, "context:*"))) <= 6


async def test_deleted_contexts_are_forgotten_after_their_time(
    own_backend: Backend, own_bus: Bus, store: Redis, tenant: str, no_worker: None
) -> None:
    with another_worker(own_backend, CONTEXT_TOMBSTONE_S="1"):
        agent = Agent(own_bus, tenant)
        await agent.share("k", 1, ttl_s=0.01)
        await agent.get("k", newer_than=1, wait_s=5)

        async def forgotten() -> bool:
            return not await store.exists(key(tenant, "context:k"))

        await eventually(forgotten)


def test_an_event_tells_everything_about_its_change() -> None:
    fields = {b"entity": b"task", b"id": b"t-1", b"what": b"done", b"data": b'{"n":1.0}', b"traceparent": b"00-x"}
    event = event_of("acme", "1700000000123-4", fields)
    assert event.subject == "aicp.v1.event.acme.task.t-1.done"
    assert event.body == (
        b'{"event_id":"acme:1700000000123-4","tenant":"acme","entity":"task","id":"t-1","what":"done",'
        b'"at_ms":1700000000123,"traceparent":"00-x","data":{"n":1.0}}'
    )
    with pytest.raises(UnusableEntry, match="no field data"):
        event_of("acme", "1-1", {name: value for name, value in fields.items() if name != b"data"})
