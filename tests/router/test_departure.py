"""Agents that leave: guests, whose names nobody comes back under, and agents that say so."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.envelope import encode_json
from aicp_common.store import connect_redis, key
from aicp_router.agents.picture import Members, Picture
from aicp_router.agents.profile import Profile
from aicp_router.matching.index import AgentIndex, Wish
from aicp_router.tasks import request_scripts
from aicp_router.tasks.choice import nearest
from aicp_router.tasks.request_scripts import NewTask, candidate
from tests.router.conftest import Network, refused
from tests.support.processes import Backend, ServiceProcess

QUICK = {"LEAVE_GRACE_S": "0.1", "SWEEP_INTERVAL_S": "0.1"}
GUEST = "guest-0a1b2c3d"


@pytest.fixture(scope="module")
def quick_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """NATS and Redis without a state hub, so that the outbox keeps what is written."""
    backend = Backend(tmp_path_factory.mktemp("quick"))
    backend.start()
    router = ServiceProcess("router", backend, QUICK).start().wait()
    yield backend
    assert router.stop() == 0, router.process.output()[-4000:]
    assert "Traceback" not in router.process.output(), router.process.output()[-4000:]
    backend.stop()


@pytest.fixture
async def quick(quick_backend: Backend, tenant: str) -> AsyncIterator[Network]:
    """A tenant on a router that soon notices who has gone."""
    bus = Bus(quick_backend.nats_url, "tests")
    await bus.connect()
    yield Network(bus, tenant)
    await bus.close()


@pytest.fixture
async def redis(quick_backend: Backend) -> AsyncIterator[Redis]:
    """The router's Redis."""
    connection = connect_redis(quick_backend.redis_url)
    yield connection
    await connection.aclose()


async def told(redis: Redis, tenant: str, agent: str) -> list[str]:
    """What the outbox tells of an agent."""
    entries: Any = await redis.xrange(key(tenant, "outbox"))
    return [fields["what"] for _, fields in entries if (fields["entity"], fields["id"]) == ("agent", agent)]


async def listed(net: Network, **more: Any) -> dict[str, bool]:
    """The registered agents in the order of list_agents, and who of them is online."""
    agents = (await net.tool("watcher", "list_agents", limit=200, **more))["agents"]
    return {one["agent"]: one["online"] for one in agents}


async def go(net: Network, *agents: str) -> None:
    """Let the last connections of these close, and wait until the router counts them as away."""
    left = [[net.tenant, agent] for agent in agents]
    await net.bus.publish(subjects.PRESENCE, encode_json({"gateway": "g", "agents": [], "left": left}))
    until = time.monotonic() + 5
    while not {name for name, online in (await listed(net)).items() if online}.isdisjoint(agents):
        assert time.monotonic() < until, f"one of {agents} is still there"
        await asyncio.sleep(0.02)


async def test_a_guest_that_has_gone_is_forgotten(quick: Network, redis: Redis) -> None:
    await quick.register(GUEST, "analysis")
    await quick.register("bob", "cooking")
    await go(quick, GUEST, "bob")
    async with asyncio.timeout(5):
        while list(await listed(quick)) != ["bob"]:
            await asyncio.sleep(0.02)
    assert await told(redis, quick.tenant, GUEST) == ["registered", "left"]
    assert (await refused(quick.route("alice", agent=GUEST))).code == "not_found"
    assert (await quick.route("alice", target_capabilities=["analysis"]))["status"] == "unroutable"
    async with asyncio.timeout(5):
        while await redis.zscore(key(quick.tenant, "presence"), GUEST) is not None:
            await asyncio.sleep(0.02)
    await quick.register(GUEST, "analysis")
    assert (await quick.route("alice", target_capabilities=["analysis"]))["agent"] == GUEST


async def test_what_waited_for_a_guest_that_has_gone_goes_to_somebody_else(quick: Network) -> None:
    await quick.register(GUEST, "analysis")
    routed = [await quick.route("alice", f"number {n}", target_capabilities=["analysis"]) for n in range(230)]
    await quick.register("bob", "analysis", max_concurrency=100)
    await go(quick, GUEST)
    for one in (routed[0], routed[-1]):
        seen = await quick.until("alice", one["task_id"], lambda seen: seen.get("agent") == "bob")
        assert [step["what"] for step in seen["history"]] == ["created", "agent_left", "assigned"]
    assert (await quick.read("bob", "aicp://inbox"))["waiting"] == 230
    assert (await quick.claim("bob"))["message"] == "number 0"
    assert list(await listed(quick)) == ["bob"]


async def test_what_was_for_nobody_but_a_guest_fails_when_it_has_gone(quick: Network) -> None:
    await quick.register(GUEST, "analysis")
    named = await quick.route("alice", agent=GUEST)
    only = await quick.route("alice", target_capabilities=["analysis"])
    await quick.register("bob", "cooking")
    await go(quick, GUEST)
    for task, why in ((named, "it was asked for by name"), (only, "nobody else fits")):
        seen = await quick.get("alice", task["task_id"], wait_s=10)
        assert seen["state"] == "failed"
        assert seen["error"] == {"code": "unroutable", "message": f"{GUEST} left before it took the task; and {why}"}


async def test_a_guest_that_never_registered_leaves_nothing_waiting_either(quick: Network, redis: Redis) -> None:
    await quick.tool(GUEST, "receive_tasks")
    named = await quick.route("alice", agent=GUEST)
    await go(quick, GUEST)
    assert (await quick.get("alice", named["task_id"], wait_s=10))["error"]["code"] == "unroutable"
    assert await told(redis, quick.tenant, GUEST) == []


async def test_a_task_that_comes_when_its_guest_has_just_gone_does_not_wait_for_ever(
    quick: Network, redis: Redis
) -> None:
    await quick.register("bob", "analysis")
    new = NewTask(
        task_id="t-late",
        kind="task",
        requester="alice",
        user="alice",
        scopes="[]",
        message="x",
        priority="normal",
        capabilities='["analysis"]',
        candidates=candidate(GUEST),
        named=0,
        attempts=3,
        lease_ms=60_000,
        deadline_in_ms=60_000,
        offset_ms=0,
        about='{"kind":"task"}',
        traceparent="",
    )
    caps = {"queue_cap": 10, "requester_cap": 10, "retention_ms": 60_000}
    assert (await request_scripts.create(redis, quick.tenant, new, **caps)).outcome == "created"
    assert (await quick.claim("bob"))["task_id"] == "t-late"


async def test_what_a_guest_has_claimed_stays_its_own_until_the_lease_ends(quick: Network) -> None:
    await quick.register(GUEST, "analysis")
    for message in ("first", "second"):
        await quick.method("alice", "create_task", message=message, target_capabilities=["analysis"], lease_s=2)
    first, second = await quick.claim(GUEST), await quick.claim(GUEST)
    await go(quick, GUEST)
    assert (await quick.get("alice", first["task_id"]))["state"] == "working"
    # Through another connection of the same session, without a word of presence.
    assert (await quick.submit(GUEST, first, "done"))["state"] == "completed"
    await go(quick, GUEST)
    seen = await quick.get("alice", second["task_id"], wait_s=10)
    assert seen["error"] == {
        "code": "unroutable",
        "message": f"{GUEST} was silent until its lease lapsed, and has left; and nobody else fits",
    }


def pictured(*described: tuple[str, str, bool]) -> Picture:
    """A picture of agents, each with a name, a capability and whether it is online."""
    index = AgentIndex()
    profiles = {}
    for name, ability, _ in described:
        profile = Profile(agent=name, user=name, capabilities=(ability,), description=ability)
        profiles[name] = profile
        index.put(name, profile)
    return Picture(Members(profiles), {name for name, _, online in described if online}, {}, index)


def test_a_guest_is_chosen_only_while_it_is_there() -> None:
    agents = pictured(("guest-a", "analysis", True), ("guest-b", "analysis", False), ("bob", "analysis", False))
    found = agents.match_for("alice", Wish("x", ("analysis",)))
    assert [match.agent for match in found] == ["guest-a", "bob"]
    assert [match.agent for match in agents.match_for("bob", Wish("x", ("analysis",)))] == ["guest-a"]


def test_of_those_who_came_near_the_ones_who_are_online_are_shown_first() -> None:
    agents = pictured(("anna", "number analysis", False), ("bert", "cooking", True))
    matches = agents.match_for("alice", Wish("some analysis", ("analyses of numbers",)))
    assert [one.agent for one in nearest(matches, agents)] == ["bert", "anna"]


async def test_an_agent_that_leaves_the_network_gets_no_more_work(quick: Network, redis: Redis) -> None:
    await quick.register("bob", "analysis")
    for n in range(3):
        await quick.route("alice", f"number {n}", target_capabilities=["analysis"])
    named = await quick.route("alice", agent="bob")
    mine = await quick.claim("bob")
    await quick.register("carol", "analysis")
    assert (await quick.tool("bob", "leave_network"))["status"] == "left"
    assert list(await listed(quick)) == ["carol"]
    assert (await quick.tool("bob", "receive_tasks"))["tasks"] == []
    assert [(await quick.claim("carol"))["message"] for _ in range(2)] == ["number 1", "number 2"]
    assert (await quick.get("alice", named["task_id"]))["error"] == {
        "code": "unroutable",
        "message": "bob left before it took the task; and it was asked for by name",
    }
    assert (await quick.submit("bob", mine, "done"))["state"] == "completed"
    assert (await quick.route("alice", target_capabilities=["analysis"]))["agent"] == "carol"
    again = await quick.tool("bob", "leave_network")
    assert again["status"] == "not_registered"
    assert "register_agent" in again["next"]
    await quick.register("bob", "analysis")
    assert await told(redis, quick.tenant, "bob") == ["registered", "left", "registered"]


async def test_those_who_are_online_are_listed_first(quick: Network) -> None:
    for agent in ("anna", "bert", "carl"):
        await quick.register(agent, "analysis")
    await go(quick, "anna")
    assert list(await listed(quick)) == ["bert", "carl", "anna"]
    assert list(await listed(quick, capabilities=["analysis"])) == ["bert", "carl", "anna"]
    error = await refused(quick.route("alice", agent="nobody"))
    assert error.message.index("bert (") < error.message.index("carl (") < error.message.index("anna (")
    agents = (await quick.read("alice", "aicp://agents"))["agents"]
    assert [one["agent"] for one in agents] == ["bert", "carl", "anna"]


async def test_a_newcomer_is_shown_who_is_online_and_who_was_seen_last(quick: Network) -> None:
    long_gone = [f"a{n}" for n in range(5)]
    lately = [f"b{n:02}" for n in range(20)]
    for agent in (*long_gone, *lately, "zoe"):
        await quick.register(agent, "analysis")
    await go(quick, *long_gone)
    await asyncio.sleep(0.3)  # until the sweep has noted since when they are away
    await go(quick, *lately)
    await asyncio.sleep(0.3)
    joined = await quick.register("alice", "cooking")
    others = [one["agent"] for one in joined["others"]]
    assert others[0] == "zoe"
    assert sorted(others[1:]) == lately
    assert joined["others_total"] == 26
    assert "5 more" in joined["next"]


async def test_who_left_is_not_reached_by_its_name_until_it_registers_again(net: Network) -> None:
    await net.register("bob", "analysis")
    await net.tool("bob", "leave_network")
    # It is still here, and calls.
    await net.tool("bob", "receive_tasks")
    error = await refused(net.route("alice", agent="bob"))
    assert error.code == "not_found"
    assert [one["agent"] for one in (await net.tool("alice", "list_agents"))["agents"]] == []
    await net.register("bob", "analysis")
    assert (await net.route("alice", agent="bob"))["status"] == "routed"
