"""Times and caps that operators set, on a router that has small ones; and what its changes leave in the outbox."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.envelope import encode_json
from aicp_common.store import OUTBOX_CAP, connect_redis, key
from aicp_router.tasks import sweep_scripts, work_scripts
from tests.router.conftest import Network, refused
from tests.support.processes import Backend, ServiceProcess

SMALL = {
    "TASK_LEASE_S": "0.4",
    "TASK_RETENTION_S": "1",
    "TASK_ATTEMPTS": "2",
    "QUEUE_CAP": "3",
    "AGENT_CAP": "3",
    "ONLINE_S": "1",
    "LEAVE_GRACE_S": "0.2",
    "SWEEP_INTERVAL_S": "0.1",
}


@pytest.fixture(scope="module")
def small_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """NATS and Redis without a state hub, so that the outbox keeps what is written."""
    backend = Backend(tmp_path_factory.mktemp("small"))
    backend.start()
    router = ServiceProcess("router", backend, SMALL).start().wait()
    yield backend
    assert router.stop() == 0, router.process.output()[-4000:]
    assert "Traceback" not in router.process.output(), router.process.output()[-4000:]
    backend.stop()


@pytest.fixture
async def small(small_backend: Backend, tenant: str) -> AsyncIterator[Network]:
    """A tenant on the router with small limits."""
    bus = Bus(small_backend.nats_url, "tests")
    await bus.connect()
    yield Network(bus, tenant)
    await bus.close()


@pytest.fixture
async def redis(small_backend: Backend) -> AsyncIterator[Redis]:
    """The router's Redis."""
    connection = connect_redis(small_backend.redis_url)
    yield connection
    await connection.aclose()


async def events(redis: Redis, tenant: str) -> list[dict[str, str]]:
    """What the outbox of a tenant holds."""
    entries: Any = await redis.xrange(key(tenant, "outbox"))
    return [fields for _, fields in entries]


async def eventually(read: Any, patience_s: float = 5.0) -> Any:
    """What `read` returns once it is true."""
    until = time.monotonic() + patience_s
    while not (found := await read()):
        assert time.monotonic() < until, f"{read} is not so"
        await asyncio.sleep(0.05)
    return found


async def offline(net: Network, agent: str) -> None:
    """Wait until `agent` is seen as offline."""

    async def away() -> bool:
        listed = await net.tool("watcher", "list_agents")
        return any(one["agent"] == agent and not one["online"] for one in listed["agents"])

    await eventually(away)


async def say_left(net: Network, agent: str) -> None:
    """Say what a gateway says when the last connection of `agent` has closed."""
    left = {"gateway": "g", "agents": [], "left": [[net.tenant, agent]]}
    await net.bus.publish(subjects.PRESENCE, encode_json(left))


async def test_a_task_for_an_agent_that_is_offline_is_queued_and_not_waited_for(small: Network) -> None:
    await small.register("bob", "analysis")
    await offline(small, "bob")
    began = time.monotonic()
    routed = await small.tool("alice", "route_to_agent", message="when you are back", agent="bob")
    assert routed["status"] == "queued"
    assert "when it comes online" in routed["next"]
    assert time.monotonic() - began < 2
    assert (await small.claim("bob"))["message"] == "when you are back"


async def test_an_agent_that_waits_for_tasks_is_seen_again(small: Network) -> None:
    await small.register("bob", "analysis")
    waiting = asyncio.create_task(small.claim("bob", wait_s=20))
    await offline(small, "bob")  # a waiter looks again every 2 s, which is longer than this router's ONLINE_S

    async def back() -> bool:
        listed = await small.tool("alice", "list_agents", online_only=True)
        return any(one["agent"] == "bob" for one in listed["agents"])

    await eventually(back)
    await small.route("alice", agent="bob")
    await waiting


async def test_an_agent_whose_connections_closed_is_offline_after_a_grace(small: Network) -> None:
    await small.register("bob", "analysis")
    began = time.monotonic()
    await say_left(small, "bob")
    await offline(small, "bob")
    assert time.monotonic() - began < 0.9


async def test_coming_and_going_is_told(small: Network, redis: Redis) -> None:
    async def told() -> list[str]:
        return [event["what"] for event in await events(redis, small.tenant) if event["entity"] == "agent"]

    async def went() -> bool:
        return await told() == ["registered", "offline"]

    await small.register("bob", "analysis")
    await eventually(went)
    await small.tool("bob", "receive_tasks")
    assert (await told())[:3] == ["registered", "offline", "online"]


async def test_every_change_of_a_task_is_an_event_in_the_trace_of_its_call(small: Network, redis: Redis) -> None:
    await small.register("bob", "analysis")
    task_id = (await small.route("alice", agent="bob"))["task_id"]
    await small.claim("bob")
    task = {"task_id": task_id, "attempt": 1}
    await small.tool("bob", "update_task", **task, progress=0.5)
    await small.tool("bob", "update_task", **task, question="which?")
    await small.tool("alice", "answer_task", task_id=task_id, answer="this")
    await small.claim("bob")
    await small.submit("bob", task)
    of_task = [event for event in await events(redis, small.tenant) if event["id"] == task_id]
    assert [event["what"] for event in of_task] == [
        *("created", "claimed", "progress", "question", "answered", "claimed", "completed")
    ]
    for event in of_task:
        data = msgspec.json.decode(event["data"])
        assert data["agent"] == "bob"
        assert event["traceparent"].startswith("00-")
        assert "please do this" not in event["data"]
    assert [msgspec.json.decode(event["data"])["state"] for event in of_task] == [
        *("submitted", "working", "working", "input_required", "working", "working", "completed")
    ]


async def test_when_the_event_log_is_full_nothing_changes_until_it_drains(small: Network, redis: Redis) -> None:
    async def everything() -> dict[str, Any]:
        pattern = key(small.tenant, "*").replace("{", "[{]").replace("}", "[}]")
        names = sorted([str(name) async for name in redis.scan_iter(match=pattern, count=1000)])
        lasting = [name for name in names if not name.endswith((":outbox", ":presence"))]
        dump = "local all = {} for i, k in ipairs(KEYS) do all[i] = redis.sha1hex(redis.call('DUMP', k)) end return all"
        found: Any = await redis.eval(dump, len(lasting), *lasting)
        return dict(zip(lasting, found, strict=True))

    bob = {"capabilities": ["analysis"], "description": "b"}
    await small.tool("bob", "register_agent", **bob, max_concurrency=3)
    made = [await small.method("alice", "create_task", message="x", agent="bob", lease_s=600) for _ in range(2)]
    working, asked = [(await small.claim("bob"))["task_id"] for _ in range(2)]
    made.append(await small.method("alice", "create_task", message="x", agent="bob", lease_s=600))
    await small.tool("bob", "update_task", task_id=asked, attempt=1, question="which?")
    before = await everything()
    fill = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'x', '') end return redis.call('XLEN', KEYS[1])"
    assert await redis.eval(fill, 1, key(small.tenant, "outbox"), OUTBOX_CAP) > OUTBOX_CAP
    calls = [
        small.tool("bob", "register_agent", **bob),
        small.tool("dave", "register_agent", **bob),
        small.route("alice", agent="bob"),
        small.tool("bob", "receive_tasks"),
        small.tool("bob", "update_task", task_id=working, attempt=1, progress=1),
        small.tool("bob", "update_task", task_id=working, attempt=1, question="?"),
        *(small.submit("bob", {"task_id": working, "attempt": 1}, "", s) for s in ("completed", "failed", "declined")),
        small.tool("alice", "answer_task", task_id=asked, answer="this"),
        *(small.tool("alice", "cancel_task", task_id=one["task_id"]) for one in made),
    ]
    for call in calls:
        error = await refused(call)
        assert (error.code, "event log" in error.message) == ("busy", True)
    assert await everything() == before
    await redis.xtrim(key(small.tenant, "outbox"), maxlen=0, approximate=False)
    assert (await small.submit("bob", {"task_id": working, "attempt": 1}))["state"] == "completed"


async def test_a_lease_that_nobody_asked_to_be_different_is_the_configured_one(small: Network) -> None:
    await small.register("bob", "analysis")
    task_id = (await small.route("alice", agent="bob"))["task_id"]
    for attempt in (1, 2):
        task = await small.claim("bob")
        assert (task["lease_s"], task["attempt"]) == (0.4, attempt)
    seen = await small.get("alice", task_id, wait_s=10)
    assert seen["error"]["code"] == "attempts"


async def test_a_full_queue_is_said_with_its_agent_and_its_cap(small: Network) -> None:
    await small.register("bob", "analysis")
    for requester in ("alice", "alice", "dora"):
        await small.route(requester, agent="bob")
    for call in (small.route("alice", agent="bob"), small.route("alice", target_capabilities=["analysis"])):
        error = await refused(call)
        assert error.code == "busy"
        assert "bob" in error.message
        assert "3" in error.message
    await small.register("carol", "analysis")
    assert (await small.route("alice", target_capabilities=["analysis"]))["agent"] == "carol"


async def test_one_requester_does_not_get_the_whole_queue_of_an_agent(small: Network, redis: Redis) -> None:
    await small.register("bob", "analysis")
    first, _ = [await small.route("mallory", agent="bob") for _ in range(2)]
    for call in (small.route("mallory", agent="bob"), small.route("mallory", target_capabilities=["analysis"])):
        error = await refused(call)
        assert error.code == "busy"
        assert error.message == "mallory has as many tasks in the queue of bob as one requester may: 2 of 3"
    # There is room for others, and elsewhere; and again for whoever takes something back.
    await small.route("alice", agent="bob")
    await small.tool("mallory", "cancel_task", task_id=first["task_id"])
    await small.route("mallory", agent="bob")
    await small.register("carol", "analysis")
    assert (await small.route("mallory", target_capabilities=["analysis"]))["agent"] == "carol"
    assert await redis.hgetall(key(small.tenant, "queued", "bob")) == {"mallory": "2", "alice": "1"}


async def test_the_same_request_again_is_answered_when_the_share_is_used_up(small: Network) -> None:
    await small.register("bob", "analysis")
    made = [await small.route("alice", agent="bob", idempotency_key=name) for name in ("k1", "k2")]
    assert (await small.route("alice", agent="bob", idempotency_key="k2"))["task_id"] == made[1]["task_id"]


async def test_a_task_that_was_accepted_is_never_refused_by_the_share(small: Network, redis: Redis) -> None:
    held = []
    await small.register("bob", "analysis", max_concurrency=4)
    for _ in range(4):
        await small.route("alice", agent="bob")
        held.append((await small.claim("bob"))["task_id"])
    for _ in range(2):
        await small.route("alice", agent="bob")
    # bob says nothing more: the sweep gives it back all that it held, and has nobody else for it.

    async def all_wait() -> bool:
        return await redis.hgetall(key(small.tenant, "queued", "bob")) == {"alice": "6"}

    await eventually(all_wait)
    assert (await refused(small.route("alice", agent="bob"))).code == "busy"
    assert [(await small.get("alice", task_id))["state"] for task_id in held] == ["submitted"] * 4


async def test_a_queue_from_before_shares_were_counted_is_counted(small: Network, redis: Redis) -> None:
    await small.register("bob", "analysis")
    queued = key(small.tenant, "queued", "bob")
    for _ in range(2):
        await small.route("alice", agent="bob")
    await redis.delete(queued)
    await small.route("dora", agent="bob")
    assert await redis.hgetall(queued) == {"alice": "2", "dora": "1"}


@pytest.mark.parametrize("how", ["a claim", "the sweep"])
async def test_what_is_gone_from_a_queue_without_a_trace_does_not_count(small: Network, redis: Redis, how: str) -> None:
    await small.register("bob", "analysis", max_concurrency=1)
    await small.method("dora", "create_task", message="x", agent="bob", lease_s=600)
    await small.claim("bob")
    lost, _ = [(await small.route("alice", agent="bob"))["task_id"] for _ in range(2)]
    await redis.delete(key(small.tenant, "task", lost))
    if how == "a claim":
        got = await work_scripts.claim(
            redis, small.tenant, agent="bob", unlimited=False, default_slots=1, traceparent=""
        )
        assert got.full
    else:
        assert not await sweep_scripts.turn_away(
            redis, small.tenant, task_id=lost, agent="bob", online_ms=0, text="", grace_ms=0
        )
    assert await redis.hgetall(key(small.tenant, "queued", "bob")) == {"alice": "1"}


async def test_there_are_no_more_profiles_than_allowed(small: Network) -> None:
    for agent in ("bob", "carol", "dave"):
        await small.register(agent, "analysis")
    error = await refused(small.register("eve", "analysis"))
    assert error.code == "busy"
    await small.register("bob", "cooking")


async def test_ended_tasks_leave_nothing_behind(small: Network, redis: Redis) -> None:
    await small.register("bob", "analysis")
    task_id = (await small.route("alice", agent="bob", idempotency_key="k"))["task_id"]
    await small.submit("bob", await small.claim("bob"))
    await small.route("alice", agent="bob", deadline_s=1)

    async def of_tenant() -> bool:
        pattern = key(small.tenant, "*").replace("{", "[{]").replace("}", "[}]")
        prefix = key(small.tenant) + ":"
        names = [str(name).removeprefix(prefix) async for name in redis.scan_iter(match=pattern, count=1000)]
        # The last of these for a minute.
        lasting = ("agents", "slots", "seen", "presence", "outbox", "idem", "outcomes", "learned")
        kept = [name for name in names if not name.startswith(lasting)]
        return not kept

    await eventually(of_tenant)
    assert (await refused(small.get("alice", task_id))).code == "not_found"


async def test_a_long_task_keeps_the_last_fifty_steps_of_its_history(small: Network) -> None:
    await small.register("bob", "analysis")
    task_id = (await small.route("alice", agent="bob"))["task_id"]
    await small.claim("bob")
    for number in range(60):
        await small.tool("bob", "update_task", task_id=task_id, attempt=1, message=f"{number}")
    history = (await small.get("alice", task_id))["history"]
    assert len(history) == 50
    assert history[-1]["note"] == {"message": "59"}


async def test_a_wrong_setting_stops_the_start_with_its_name(small_backend: Backend) -> None:
    router = ServiceProcess("router", small_backend, {"QUEUE_CAP": "none"}).start()
    assert router.process.popen is not None
    assert await asyncio.to_thread(router.process.popen.wait, 20) == 78
    assert "QUEUE_CAP" in router.process.output()
