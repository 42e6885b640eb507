"""How far a task has come to its agent, as its requester is told: queued, delivered, seen, claimed."""

from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.envelope import encode_json
from aicp_common.store import connect_redis, key
from aicp_router.tasks.record import Record
from tests.router.conftest import Network
from tests.support.processes import Backend, ServiceProcess

SHORT = {"ONLINE_S": "1", "LEAVE_GRACE_S": "0", "SWEEP_INTERVAL_S": "0.05", "REACT_S": "0.3"}
"""An agent that says nothing for a second is gone."""


@pytest.fixture(scope="module")
def forgetful_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """With a router that soon takes a silent agent for gone."""
    backend = Backend(tmp_path_factory.mktemp("forgetful"))
    backend.start()
    router = ServiceProcess("router", backend, SHORT).start().wait()
    yield backend
    assert router.stop() == 0, router.process.output()[-4000:]
    assert "Traceback" not in router.process.output(), router.process.output()[-4000:]
    backend.stop()


@pytest.fixture
async def forgetful(forgetful_backend: Backend, tenant: str) -> AsyncIterator[Network]:
    bus = Bus(forgetful_backend.nats_url, "tests")
    await bus.connect()
    yield Network(bus, tenant)
    await bus.close()


@pytest.fixture
async def redis(forgetful_backend: Backend) -> AsyncIterator[Redis]:
    """The router's Redis."""
    connection = connect_redis(forgetful_backend.redis_url)
    yield connection
    await connection.aclose()


async def gone(net: Network, redis: Redis, agent: str) -> None:
    """Let the agent's last connection close, and wait until it is called offline."""
    while await redis.zscore(key(net.tenant, "presence"), agent) is not None:
        await net.bus.publish(subjects.PRESENCE, encode_json({"gateway": "g", "left": [(net.tenant, agent)]}))
        await net.tool("alice", "list_agents")


async def back(net: Network, redis: Redis, agent: str) -> None:
    """Let the agent connect, and wait until that is known."""
    while await redis.zscore(key(net.tenant, "presence"), agent) is None:
        await net.bus.publish(subjects.PRESENCE, encode_json({"gateway": "g", "agents": [(net.tenant, agent)]}))
        await net.tool("alice", "list_agents")


async def test_from_delivered_to_seen_to_claimed(net: Network) -> None:
    await net.register("bob", "work")
    routed = await net.route("alice", agent="bob")
    assert routed["delivery"] == "delivered"
    task = await net.get("alice", routed["task_id"])
    assert task["delivery"] == "delivered"
    assert "seen" not in task
    assert task["queued"] >= task["created"]
    await net.method("bob", "inbox_hint")
    task = await net.get("alice", routed["task_id"])
    assert task["delivery"] == "seen"
    assert task["seen"] >= task["queued"]
    assert "claimed" not in task
    await net.submit("bob", await net.claim("bob"))
    task = await net.get("alice", routed["task_id"])
    assert task["delivery"] == "claimed"
    assert task["claimed"] >= task["seen"]


@pytest.mark.parametrize("how", ["hint", "greeting", "inbox"])
async def test_each_way_of_being_shown_it_counts(net: Network, how: str) -> None:
    await net.register("bob", "work")
    routed = await net.route("alice", agent="bob")
    if how == "inbox":
        await net.read("bob", "aicp://inbox")
    else:
        await net.method("bob", "inbox_hint", greeting=how == "greeting")
    assert (await net.read("alice", f"aicp://tasks/{routed['task_id']}"))["delivery"] == "seen"


async def test_who_waits_for_the_result_in_vain_learns_how_far_it_came(net: Network) -> None:
    await net.register("bob", "work")
    assert (await net.route("alice", agent="bob", wait_s=0.1))["delivery"] == "delivered"
    task = await net.handed_over("alice", "carol", idempotency_key="k")
    again = await net.route("alice", agent="carol", idempotency_key="k", wait_s=0.1)
    assert (again["task_id"], again["delivery"]) == (task["task_id"], "claimed")


async def test_what_waits_for_an_agent_that_is_away_is_queued_until_it_comes(forgetful: Network, redis: Redis) -> None:
    net = forgetful
    await net.register("bob", "work")
    await gone(net, redis, "bob")
    routed = await net.route("alice", agent="bob")
    assert (routed["status"], routed["delivery"]) == ("queued", "queued")
    task = await net.get("alice", routed["task_id"])
    assert task["delivery"] == "queued"
    assert "bob gets it when it comes online" in task["next"]
    await back(net, redis, "bob")
    assert (await net.get("alice", routed["task_id"]))["delivery"] == "delivered"
    await gone(net, redis, "bob")
    assert (await net.get("alice", routed["task_id"]))["delivery"] == "delivered"


async def test_it_starts_anew_with_the_next_agent(forgetful: Network) -> None:
    net = forgetful
    for agent in ("bob", "carol"):
        await net.register(agent, "analysis")
    routed = await net.route("alice", target_capabilities=["analysis"])
    first, second = ("bob", "carol") if routed["agent"] == "bob" else ("carol", "bob")
    await net.method(first, "inbox_hint")
    seen = await net.get("alice", routed["task_id"])
    assert (seen["agent"], seen["delivery"]) == (first, "seen")
    passed_on = await net.until("alice", routed["task_id"], lambda task: task["agent"] == second)
    assert passed_on["delivery"] == "delivered"
    assert "seen" not in passed_on
    assert passed_on["queued"] > seen["queued"]


async def test_an_answer_that_waits_for_its_worker_does_not_undo_the_claim(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    await net.tool("bob", "update_task", task_id=task["task_id"], attempt=1, question="which year?")
    await net.tool("alice", "answer_task", task_id=task["task_id"], answer="this one")
    await net.method("bob", "inbox_hint")
    answered = await net.get("alice", task["task_id"])
    assert answered["delivery"] == "claimed"
    assert "claimed" in answered
    assert "seen" not in answered
    assert "queued" not in answered


async def test_what_was_cancelled_before_anybody_saw_it_has_come_nowhere(net: Network) -> None:
    await net.register("bob", "work")
    routed = await net.route("alice", agent="bob")
    await net.tool("alice", "cancel_task", task_id=routed["task_id"])
    assert "delivery" not in await net.get("alice", routed["task_id"])


async def test_of_a_collaboration_that_waits_for_the_hub_nothing_is_told(net: Network) -> None:
    made = await net.method("alice", "create_task", message="together", kind="collaboration")
    assert "delivery" not in await net.get("alice", made["task_id"])


@given(
    state=st.sampled_from(["submitted", "working", "input_required", "completed", "failed", "cancelled"]),
    agent=st.sampled_from(["", "bob", "orchestrator"]),
    holders=st.sampled_from(["", "bob", "carol,bob", "carol"]),
    seen=st.sampled_from(["", "5"]),
    reached=st.booleans(),
)
def test_it_says_no_more_than_what_is_known(state: str, agent: str, holders: str, seen: str, reached: bool) -> None:
    fields = {"state": state, "agent": agent, "holders": holders, "seen_ms": seen, "created_ms": "1"}
    delivery = Record("t-1", fields, [], [], []).delivery(reached=reached)
    if delivery == "seen":
        assert seen
    if delivery == "delivered":
        assert reached
        assert state == "submitted"
    if delivery == "claimed":
        assert state in ("working", "input_required") or agent in holders.split(",")
    if state == "submitted" and agent != "orchestrator":
        assert delivery in ("queued", "delivered", "seen")
