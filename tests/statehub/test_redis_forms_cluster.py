"""Keys are laid out for Redis Cluster: whatever Redis is asked to do in one step names keys of one slot."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from aicp_common.bus import Bus
from aicp_common.errors import Unavailable
from aicp_common.store import Script, connect_redis, key, redis_errors
from aicp_statehub.relay.leases import shard_of
from tests.statehub.agent import Agent, eventually, stored_events, watching
from tests.support.ordinary_life import ordinary_life, session, whole_hub
from tests.support.processes import Backend, GatewayProcess
from tests.support.redis_servers import cluster_node, join
from tests.support.slots import across_slots, monitored


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Backend, int]]:
    """A NATS, and a Redis Cluster of one node with its port."""
    folder = tmp_path_factory.mktemp("cluster")
    with cluster_node(folder / "node") as port:
        backend = Backend(folder, redis_port=port)
        backend.nats.start()
        yield backend, port
        backend.stop()


@pytest.fixture(scope="module")
def backend(ground: tuple[Backend, int]) -> Backend:
    """NATS, and the node as its Redis."""
    return ground[0]


@pytest.fixture(scope="module")
def hub(backend: Backend) -> Iterator[GatewayProcess]:
    """All services of a hub."""
    with whole_hub(backend) as (gateway, said):
        yield gateway
    assert "CROSSSLOT" not in said()
    assert "Traceback" not in said()


@pytest.fixture
async def bus(backend: Backend, hub: GatewayProcess) -> AsyncIterator[Bus]:
    """A connection to its NATS."""
    connection = Bus(backend.nats_url, "tests")
    await connection.connect()
    yield connection
    await connection.close()


def neighbours(tenant: str, count: int) -> list[str]:
    """Tenants of one shard of the relay, in slots of their own."""
    found = [tenant]
    number = 0
    while len(found) < count:
        name = f"{tenant}-{number}"
        number += 1
        if shard_of(name) == shard_of(tenant) and key_slot(key(name).encode()) != key_slot(key(tenant).encode()):
            found.append(name)
    return found


async def test_tenants_of_one_shard_are_relayed_from_different_slots(backend: Backend, bus: Bus, tenant: str) -> None:
    tenants = neighbours(tenant, 4)
    async with watching(bus, "aicp.v1.event.>", tenants) as watcher:
        for value in range(5):
            # One after the other: each is waited for while the others are silent.
            for count, name in enumerate(tenants, start=1):
                await Agent(bus, name).share("k", value)
                await watcher.until(value * len(tenants) + count)
        await asyncio.gather(*(Agent(bus, name).share(f"many/{n}", n) for name in tenants for n in range(200)))
        await watcher.until(len(tenants) * 205)
    for name in tenants:
        stored = await stored_events(backend.nats_url, name, 205)
        assert len({event["event_id"] for event in stored}) == 205
        assert [event["data"]["version"] for event in stored[:5]] == [1, 2, 3, 4, 5]
    redis = connect_redis(backend.redis_url)

    async def relayed() -> bool:
        return not any([await redis.xlen(key(name, "outbox")) for name in tenants])

    await eventually(relayed)
    await redis.aclose()


async def test_what_redis_does_in_one_step_names_keys_of_one_slot(
    ground: tuple[Backend, int], hub: GatewayProcess, bus: Bus, tenant: str
) -> None:
    _, port = ground
    tenants = neighbours(tenant, 3)
    with monitored(port) as steps:
        await asyncio.gather(*(ordinary_life(bus, name) for name in tenants))
        await session(hub, bus)
    assert [str(step) for step in across_slots(port, steps)] == []
    seen = {command[0].upper() for step in steps for command in step.commands}
    assert {"EVALSHA", "XADD", "XREAD", "XDEL", "HSET", "ZADD", "EXEC"} <= seen


async def test_one_of_several_nodes_is_refused_in_plain_words(tmp_path: Path, tenant: str) -> None:
    with cluster_node(tmp_path / "a", range(8192)) as one, cluster_node(tmp_path / "b", range(8192, 16384)) as two:
        join(one, two)
        store = connect_redis(f"redis://127.0.0.1:{one}")
        elsewhere = next(name for name in neighbours(tenant, 20) if key_slot(key(name).encode()) >= 8192)
        with pytest.raises(Unavailable, match="one of several nodes of a Redis Cluster"):
            await Script([], "return 1")(store, elsewhere)
        with pytest.raises(Unavailable, match="one of several nodes of a Redis Cluster"):
            async with redis_errors():
                await store.get(key(elsewhere))
        await store.aclose()
