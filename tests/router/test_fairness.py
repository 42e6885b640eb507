"""Nobody takes all of an agent's time, and nobody all of the work."""

import asyncio

import pytest

from aicp_common.bus import Bus
from aicp_router.tasks.record import QUEUE_OFFSET_MS
from aicp_router.tasks.turns import SPREAD_MS
from tests.router.conftest import Network
from tests.support.processes import Backend, ServiceProcess


async def flood(net: Network, requester: str, count: int, **more: str) -> list[str]:
    """So many tasks of one requester for bob; their messages."""
    messages = [f"{requester} {number}" for number in range(count)]
    for message in messages:
        await net.route(requester, message, agent="bob", **more)
    return messages


async def received(net: Network) -> list[str]:
    """What bob gets, in order."""
    found: list[str] = []
    while tasks := (await net.tool("bob", "receive_tasks", max=10))["tasks"]:
        found += [task["message"] for task in tasks]
    return found


async def test_one_who_asks_for_much_does_not_keep_others_waiting(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=100)
    many = await flood(net, "alice", 50)
    await flood(net, "carol", 1)
    order = await received(net)
    assert order.index("carol 0") <= 2
    assert [message for message in order if message != "carol 0"] == many


async def test_two_who_ask_for_much_take_turns(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=100)
    await flood(net, "alice", 10)
    await flood(net, "carol", 10)
    order = await received(net)
    # The first task came to an empty desk, so the second one does not stand behind it.
    assert [message.split()[0] for message in order[2:12]] == ["carol", "alice"] * 5


async def test_one_who_is_alone_is_served_in_its_order_whatever_it_asks_for(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=100)
    assert await flood(net, "alice", 90) == await received(net)
    # Nothing of the past counts against it.
    await flood(net, "carol", 1)
    await flood(net, "alice", 1)
    assert await received(net) == ["carol 0", "alice 0"]


async def test_priorities_hold_between_requesters(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=100)
    await flood(net, "carol", 2, priority="batch")
    much = await flood(net, "alice", 60)
    await flood(net, "dora", 1, priority="interactive")
    order = await received(net)
    assert order[0] == "dora 0"
    assert order[1:] == [*much, "carol 0", "carol 1"]


def test_what_is_spread_stays_within_its_priority() -> None:
    assert QUEUE_OFFSET_MS["interactive"] + SPREAD_MS["interactive"] < QUEUE_OFFSET_MS["normal"]
    assert QUEUE_OFFSET_MS["normal"] + SPREAD_MS["normal"] < QUEUE_OFFSET_MS["batch"]


async def test_equally_good_agents_share_the_work(own_backend: Backend, tenant: str) -> None:
    # Which of two agents of a test answers a millisecond sooner is chance.
    router = ServiceProcess("router", own_backend, {"ROUTING_WEIGHTS": "speed=0", "EMBEDDER": "off"}).start().wait()
    bus = Bus(own_backend.nats_url, "tests")
    await bus.connect()
    try:
        net = Network(bus, tenant)
        for name in ("bob", "ben"):
            await net.register(name, "analysis", description="does analyses")
        got = await asyncio.wait_for(four_tasks(net), 60)
        assert got[0] != got[1]
        assert sorted(got) == ["ben", "ben", "bob", "bob"]
    finally:
        await bus.close()
        assert router.stop() == 0


async def four_tasks(net: Network) -> list[str]:
    """Who gets them, one after the other."""
    got: list[str] = []
    for _ in range(4):
        # Words that are in any request: nothing is learned of them, so the two stay equally good.
        routed = await net.route("alice", "please do this", target_capabilities=["analysis"])
        got.append(routed["agent"])
        await net.submit(routed["agent"], await net.claim(routed["agent"]))
        most = max(got.count("bob"), got.count("ben"))
        expected = {name: pytest.approx(1 - got.count(name) / most, abs=0.02) for name in ("bob", "ben")}
        # What came of it reaches the index with a picture, and each of these calls takes one.
        while await fairness(net) != expected:
            pass
    return got


async def fairness(net: Network) -> dict[str, float]:
    """That part of the score of each agent."""
    listed = await net.tool("alice", "list_agents", query="analysis")
    return {one["agent"]: one["match"]["parts"]["fairness"] for one in listed["agents"]}


async def test_neither_a_task_taken_back_nor_a_short_deadline_gets_round_the_turns(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=100)
    await flood(net, "mallory", 1)
    for number in range(20):
        await net.route("mallory", f"mallory again {number}", agent="bob", deadline_s=300)
        dummy = await net.route("mallory", "nothing", agent="bob", deadline_s=300)
        await net.tool("mallory", "cancel_task", task_id=dummy["task_id"])
    await flood(net, "alice", 1)
    # The first tasks came before there was anything to wait behind.
    assert (await received(net)).index("alice 0") <= 5
