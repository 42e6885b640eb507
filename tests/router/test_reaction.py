"""A task whose agent does not take it in time is passed on to another one that fits."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from aicp_common.bus import Bus
from aicp_common.store import connect_redis, key
from aicp_router.agents import outcomes
from tests.router.conftest import Network
from tests.support.processes import Backend, ServiceProcess

QUICK = {"REACT_S": "0.3", "SWEEP_INTERVAL_S": "0.05"}


@pytest.fixture(scope="module")
def hasty_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """With a router that does not wait for long."""
    backend = Backend(tmp_path_factory.mktemp("hasty"))
    backend.start()
    router = ServiceProcess("router", backend, QUICK).start().wait()
    yield backend
    assert router.stop() == 0, router.process.output()[-4000:]
    backend.stop()


@pytest.fixture
async def hasty(hasty_backend: Backend, tenant: str) -> AsyncIterator[Network]:
    bus = Bus(hasty_backend.nats_url, "tests")
    await bus.connect()
    yield Network(bus, tenant)
    await bus.close()


@pytest.fixture
async def redis(hasty_backend: Backend) -> AsyncIterator[Redis]:
    client = connect_redis(hasty_backend.redis_url)
    yield client
    await client.aclose()


async def offered(net: Network, **profile: Any) -> tuple[str, str, str]:
    """A task, the agent that it waits for, and another that could do it."""
    await net.register("bob", "analysis", **profile)
    await net.register("carol", "analysis", **profile)
    routed = await net.route("alice", target_capabilities=["analysis"])
    return routed["task_id"], routed["agent"], "carol" if routed["agent"] == "bob" else "bob"


async def test_it_goes_to_the_next_who_fits_and_stays_there(hasty: Network, redis: Redis) -> None:
    task_id, first, second = await offered(hasty)
    seen = await hasty.until("alice", task_id, lambda task: task["agent"] == second)
    assert ([step["what"] for step in seen["history"]], seen["attempt"]) == (["created", "passed_on"], 0)
    task = await hasty.claim(second)
    assert (task["task_id"], task["attempt"]) == (task_id, 1)
    assert (await hasty.tool(first, "receive_tasks"))["tasks"] == []
    [(_, ignored)] = await outcomes.read(redis, hasty.tenant, after="0-0", count=9)
    assert (ignored.agent, ignored.reward) == (first, outcomes.REWARDS["ignored"])
    assert await redis.zcard(key(hasty.tenant, "reacts")) == 0


async def test_with_nobody_else_there_it_waits_on(hasty: Network, redis: Redis) -> None:
    await hasty.register("bob", "analysis")
    routed = await hasty.route("alice", target_capabilities=["analysis"])
    reacts = key(hasty.tenant, "reacts")
    before = await redis.zscore(reacts, routed["task_id"])
    while await redis.zscore(reacts, routed["task_id"]) == before:
        pass
    assert (await hasty.claim("bob"))["task_id"] == routed["task_id"]


async def test_an_agent_may_say_how_long_it_takes(hasty: Network, redis: Redis) -> None:
    task_id, _, _ = await offered(hasty, react_s=300)
    lapses_ms = await redis.zscore(key(hasty.tenant, "reacts"), task_id)
    assert lapses_ms is not None
    assert 290 < lapses_ms / 1000 - time.time() < 310
    named = await hasty.route("alice", agent="bob")
    assert await redis.zscore(key(hasty.tenant, "reacts"), named["task_id"]) is None
