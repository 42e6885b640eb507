"""What waits behind other work of its agent goes to whoever is free first."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from aicp_common.store import connect_redis, key
from tests.router.conftest import Network
from tests.support.processes import Backend

WANTED = {"target_capabilities": ["analysis"]}


@pytest.fixture
async def redis(backend: Backend) -> AsyncIterator[Redis]:
    client = connect_redis(backend.redis_url)
    yield client
    await client.aclose()


async def busy(net: Network, *agents: str, slots: int = 1, **more: Any) -> dict[str, dict[str, Any]]:
    """These agents, each at work on one task; the tasks by agent."""
    for agent in agents:
        await net.register(agent, "analysis", max_concurrency=slots, **more)
    for _ in agents:
        await net.route("alice", **WANTED)
    return {agent: await net.claim(agent) for agent in agents}


def steps(task: dict[str, Any]) -> list[tuple[str, str]]:
    """What happened to a task, and to whom."""
    return [(step["what"], step["agent"]) for step in task["history"]]


async def test_an_idle_agent_is_chosen_before_a_busy_one(net: Network) -> None:
    await busy(net, "bob")
    await net.register("carol", "analysis", max_concurrency=1)
    assert (await net.route("alice", **WANTED))["agent"] == "carol"


async def test_what_waits_goes_to_the_agent_that_is_free_first(net: Network) -> None:
    held = await busy(net, "bob", "carol")
    waits = await net.route("alice", **WANTED)
    first = waits["agent"]
    other = "carol" if first == "bob" else "bob"
    await net.submit(other, held[other])
    task = await net.claim(other, wait_s=0)
    assert (task["task_id"], task["attempt"]) == (waits["task_id"], 1)
    assert steps(await net.get("alice", waits["task_id"])) == [
        ("created", first),
        ("passed_on", other),
        ("claimed", other),
    ]
    await net.submit(first, held[first])
    assert (await net.tool(first, "receive_tasks"))["tasks"] == []


async def test_the_order_of_priorities_and_deadlines_holds_for_what_waits_elsewhere(net: Network) -> None:
    held = await busy(net, "bob", "carol")
    ids = {}
    orders: dict[str, dict[str, Any]] = {
        "batch": {"priority": "batch"},
        "normal": {},
        "soon": {"deadline_s": 300},
        "interactive": {"priority": "interactive"},
    }
    for name, more in orders.items():
        ids[(await net.route("alice", **WANTED, **more))["task_id"]] = name
    task, got = held["carol"], []
    for _ in ids:
        await net.submit("carol", task)
        task = await net.claim("carol", wait_s=0)
        got.append(ids[task["task_id"]])
    assert got == ["interactive", "soon", "normal", "batch"]


async def test_an_agent_that_declined_a_task_is_not_offered_it(net: Network) -> None:
    held = await busy(net, "bob", "carol")
    waits = await net.route("alice", **WANTED)
    await net.submit("bob", held["bob"])
    await net.submit("bob", await net.claim("bob", wait_s=0), "not for me", "declined")
    assert (await net.get("alice", waits["task_id"]))["agent"] == "carol"
    # Long enough for every way by which it could be offered.
    assert (await net.tool("bob", "receive_tasks", wait_s=2.5))["tasks"] == []
    await net.submit("carol", held["carol"])
    assert (await net.claim("carol", wait_s=0))["task_id"] == waits["task_id"]


async def test_an_agent_gets_nothing_from_those_whose_work_it_has_stopped_taking(net: Network) -> None:
    held = await busy(net, "bob", "carol")
    waits = await net.route("alice", **WANTED)
    other = "carol" if waits["agent"] == "bob" else "bob"
    await net.register(other, "analysis", max_concurrency=1, accept_from=["zoe"])
    await net.submit(other, held[other])
    assert (await net.tool(other, "receive_tasks", wait_s=2.5))["tasks"] == []


async def test_a_task_for_a_named_agent_is_offered_to_nobody(net: Network, redis: Redis) -> None:
    await busy(net, "bob", "carol")
    await net.route("alice", agent="bob")
    assert await redis.exists(key(net.tenant, "offers", "carol")) == 0


async def test_what_waits_is_offered_to_who_comes_later(net: Network) -> None:
    await busy(net, "bob")
    waits = await net.route("alice", **WANTED)
    assert waits["agent"] == "bob"
    await net.register("dave", "analysis")
    assert (await net.claim("dave"))["task_id"] == waits["task_id"]


async def test_an_agent_that_waits_gets_what_a_busy_one_with_room_lets_lie(net: Network) -> None:
    await busy(net, "carol", slots=4)
    await net.register("bob", "data analysis", max_concurrency=4)
    waiting = asyncio.create_task(net.tool("bob", "receive_tasks", wait_s=20))
    routed = await net.route("alice", **WANTED)
    assert routed["agent"] == "carol"
    [task] = (await waiting)["tasks"]
    assert task["task_id"] == routed["task_id"]


async def test_where_nobody_is_busy_nothing_is_offered(net: Network, redis: Redis) -> None:
    await net.register("bob", "analysis")
    await net.register("carol", "analysis")
    await net.route("alice", **WANTED)
    assert [name async for name in redis.scan_iter(key(net.tenant, "offers", "*"))] == []


async def test_a_task_that_ends_is_offered_no_more(net: Network, redis: Redis) -> None:
    await busy(net, "bob", "carol")
    waits = await net.route("alice", **WANTED)
    other = key(net.tenant, "offers", "carol" if waits["agent"] == "bob" else "bob")
    assert await redis.zrange(other, 0, -1) == [waits["task_id"]]
    await net.tool("alice", "cancel_task", task_id=waits["task_id"])
    assert await redis.exists(other) == 0
