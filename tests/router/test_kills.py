"""What was accepted survives `kill -9` of a router and of Redis."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aicp_common.bus import Bus
from aicp_common.errors import AicpError
from tests.router.conftest import Network, ToolError
from tests.router.mcp_client import McpClient
from tests.support.processes import Backend, ServiceProcess, wait_until_listening

pytestmark = pytest.mark.chaos


@pytest.fixture
async def own(own_backend: Backend, tenant: str) -> AsyncIterator[Network]:
    """A network on a backend of its own, without routers yet."""
    bus = Bus(own_backend.nats_url, "tests")
    await bus.connect()
    yield Network(bus, tenant)
    await bus.close()


async def insist(call: Any) -> dict[str, Any]:
    """Call again until the hub is back."""
    async with asyncio.timeout(30):
        while True:
            try:
                answer: dict[str, Any] = await call()
                return answer
            except (AicpError, ToolError) as error:
                if error.code not in ("unavailable", "deadline_exceeded"):
                    raise
            await asyncio.sleep(0.05)


async def test_a_router_that_dies_while_a_requester_waits_loses_nothing(own: Network, own_backend: Backend) -> None:
    first = ServiceProcess("router", own_backend).start().wait()
    await own.register("bob", "analysis")
    asking = asyncio.create_task(
        own.raw("alice", "route_to_agent", {"message": "x", "agent": "bob", "wait_s": 30}, deadline_s=8)
    )
    task = await own.claim("bob")
    # Starting a process stands in the way of what this one still has to send: that it has the task.
    await own.bus.flush()
    second = ServiceProcess("router", own_backend).start().wait()
    first.kill()
    # Until NATS sees that its connection has closed, a call can still go to the dead one: then it is unknown whether it
    # was done, and the same result is handed in again.
    await insist(lambda: own.submit("bob", task, "still here"))
    seen = await own.get("alice", task["task_id"], wait_s=5)
    assert (seen["state"], seen["result"]) == ("completed", "still here")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert second.stop() == 0


async def test_a_handle_and_its_question_outlive_the_router_that_made_them(own: Network, own_backend: Backend) -> None:
    alice = McpClient(own.bus, own.tenant)
    first = ServiceProcess("router", own_backend).start().wait()
    await own.register("bob", "analysis")
    task_id = (await alice.handle("route_to_agent", message="x", agent="bob"))["taskId"]
    first.kill()
    second = ServiceProcess("router", own_backend).start().wait()
    assert (await alice.get(task_id))["status"] == "working"
    task = await own.claim("bob")
    await own.tool("bob", "update_task", task_id=task_id, attempt=1, question="Which year?")
    (key,) = (await alice.get(task_id))["inputRequests"]
    second.kill()
    third = ServiceProcess("router", own_backend).start().wait()
    assert list((await alice.get(task_id))["inputRequests"]) == [key]
    await alice.answer(task_id, key, "2026")
    await own.submit("bob", task, "done")
    assert (await alice.get(task_id))["result"]["structuredContent"]["result"] == "done"
    assert third.stop() == 0


async def test_two_routers_hand_each_task_to_one_worker(own: Network, own_backend: Backend) -> None:
    routers = [ServiceProcess("router", own_backend).start() for _ in range(2)]
    for router in routers:
        router.wait()
    await own.register("bob", "analysis", max_concurrency=100)
    waiting = [asyncio.create_task(own.tool("bob", "receive_tasks", wait_s=20)) for _ in range(40)]
    routed = await asyncio.gather(*(own.route("alice", f"{number}", agent="bob") for number in range(40)))
    received = await asyncio.gather(*waiting)
    got = [task["task_id"] for one in received for task in one["tasks"]]
    assert sorted(got) == sorted(one["task_id"] for one in routed)
    for router in routers:
        assert router.stop() == 0


async def test_redis_that_is_killed_and_started_again_has_all_that_was_acknowledged(
    own: Network, own_backend: Backend
) -> None:
    router = ServiceProcess("router", own_backend).start().wait()
    await own.register("bob", "analysis", max_concurrency=100)
    acknowledged: list[str] = []
    claimed: list[dict[str, Any]] = []

    async def ask() -> None:
        while True:
            try:
                acknowledged.append((await own.route("alice", agent="bob"))["task_id"])
            except (AicpError, ToolError):
                return

    async def take() -> None:
        while True:
            try:
                claimed.extend((await own.tool("bob", "receive_tasks", max=1))["tasks"])
            except (AicpError, ToolError):
                return

    work = asyncio.gather(*(ask() for _ in range(4)), take())
    while len(acknowledged) < 50 or not claimed:
        await asyncio.sleep(0.01)
    own_backend.redis.kill()
    await asyncio.wait_for(work, 30)
    own_backend.redis.start()
    wait_until_listening(own_backend.redis, own_backend.redis_port)
    assert (await insist(lambda: own.tool("alice", "list_agents")))["agents"][0]["agent"] == "bob"
    for task in claimed:
        assert (await own.submit("bob", task, task["task_id"]))["state"] == "completed"
    for task_id in acknowledged:
        assert (await own.get("alice", task_id))["task_id"] == task_id
    assert router.stop() == 0
    assert "Traceback" not in router.process.output(), router.process.output()[-4000:]


async def test_calls_while_redis_is_away_say_so_and_a_waiting_worker_is_told(
    own: Network, own_backend: Backend
) -> None:
    router = ServiceProcess("router", own_backend).start().wait()
    await own.register("bob", "analysis")
    waiting = asyncio.create_task(own.tool("bob", "receive_tasks", wait_s=20))
    await own.tool("alice", "list_agents")
    own_backend.redis.kill()
    for call in (own.route("alice", agent="bob"), waiting):
        with pytest.raises(ToolError) as caught:
            await call
        assert caught.value.code == "unavailable"
        assert "Redis" in caught.value.message
    own_backend.redis.start()
    wait_until_listening(own_backend.redis, own_backend.redis_port)
    routed = await insist(lambda: own.route("alice", agent="bob"))
    assert (await own.claim("bob"))["task_id"] == routed["task_id"]
    assert router.stop() == 0


async def test_the_sweep_says_once_that_it_waits_and_once_that_it_goes_on(own: Network, own_backend: Backend) -> None:
    router = ServiceProcess("router", own_backend, {"SWEEP_INTERVAL_S": "0.1"}).start().wait()
    await own.register("bob", "analysis")

    async def logged(words: str) -> None:
        async with asyncio.timeout(20):
            while words not in router.process.output():
                await asyncio.sleep(0.05)

    own_backend.redis.kill()
    await logged("the sweep waits")
    own_backend.redis.start()
    await logged("the sweep goes on")
    assert router.stop() == 0
    said = router.process.output()
    assert (said.count("the sweep waits"), said.count("the sweep goes on")) == (1, 1)
