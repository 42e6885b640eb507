"""Idle agents learn of waiting work through whatever they do: by a line in results, by a greeting, by notifications."""

import asyncio
import contextlib
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.gateway.client import RawClient
from tests.gateway.eventsource import messages
from tests.gateway.httpclient import HttpClient
from tests.gateway.listener import listening
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

WAYS = ["websocket", "websocket stateless", "http", "http stateless"]
ROUNDS = 20
SOON_S = 0.05

Call = Callable[..., Coroutine[Any, Any, dict[str, Any]]]
"""A tool, its arguments: the whole result."""


@pytest.fixture(scope="module")
def second_hub(backend: Backend, hub: GatewayProcess) -> Iterator[GatewayProcess]:
    """Another gateway of the same hub."""
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": "orchestrator,router,statehub"})
    gateway.start().wait()
    yield gateway
    assert gateway.stop() == 0, gateway.process.output()[-4000:]


def name(stem: str) -> str:
    """A name that no other test uses."""
    return f"{stem}-{secrets.token_hex(4)}"


@contextlib.asynccontextmanager
async def calling(way: str, gateway: GatewayProcess, agent: str) -> AsyncIterator[Call]:
    """A client of `agent` that calls tools in one way."""
    if way.startswith("websocket"):
        async with RawClient.connect(gateway.ws_url, agent) as raw:
            if way == "websocket":
                await raw.initialize()

            async def call_raw(tool: str, **arguments: Any) -> dict[str, Any]:
                params = {"name": tool, "arguments": arguments}
                asked = raw.request("tools/call", params) if way == "websocket" else raw.stateless("tools/call", params)
                return result_of(await asked)

            yield call_raw
    else:
        async with HttpClient(f"{gateway.http_url}?agent={agent}") as client:
            if way == "http":
                await client.initialize()

            async def call_http(tool: str, **arguments: Any) -> dict[str, Any]:
                params = {"name": tool, "arguments": arguments}
                if way == "http":
                    return result_of(await client.request("tools/call", params))
                return result_of((await client.ask(client.stateless("tools/call", params))).json())

            yield call_http


def result_of(answer: dict[str, Any]) -> dict[str, Any]:
    assert "result" in answer, answer
    result: dict[str, Any] = answer["result"]
    return result


def lines(result: dict[str, Any]) -> list[str]:
    """What a result says beside its own text, which comes first."""
    return [block["text"] for block in result["content"][1:]]


async def structured(result: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    whole = await result
    assert not whole.get("isError"), whole
    content: dict[str, Any] = whole["structuredContent"]
    return content


async def register(call: Call) -> None:
    await structured(call("register_agent", capabilities=["idling"], description="Idles."))


async def route(call: Call, to: str) -> dict[str, Any]:
    return await structured(call("route_to_agent", message="please", agent=to, wait_s=0))


@pytest.fixture
async def alice(hub: GatewayProcess) -> AsyncIterator[Call]:
    """Who hands out work; she is called alice-something."""
    async with calling("websocket", hub, name("alice")) as call:
        yield call


@pytest.mark.parametrize("way", WAYS)
async def test_a_result_of_any_tool_tells_once_what_waits(hub: GatewayProcess, alice: Call, way: str) -> None:
    bob = name("bob")
    async with calling(way, hub, bob) as call:
        await register(call)
        assert lines(await call("get_context", context_key="k")) == []
        await route(alice, bob)
        told = await call("get_context", context_key="k")
        [line] = lines(told)
        assert line.startswith("inbox: 1 waiting (from alice-")
        assert line.endswith("; receive_tasks brings it)")
        assert "inbox" not in str(told["structuredContent"])
        assert lines(await call("get_context", context_key="k")) == []
        assert lines(await call("list_agents")) == []
        await route(alice, bob)
        [line] = lines(await call("list_agents"))
        assert line.startswith("inbox: 2 waiting")


async def test_a_tool_that_fails_tells_it_too(hub: GatewayProcess, alice: Call) -> None:
    bob = name("bob")
    async with calling("websocket", hub, bob) as call:
        await register(call)
        await route(alice, bob)
        failed = await call("get_task", task_id="t-none")
        assert failed["isError"]
        assert lines(failed)[0].startswith("inbox: 1 waiting")


async def test_once_per_change_holds_over_two_gateways(
    hub: GatewayProcess, second_hub: GatewayProcess, alice: Call
) -> None:
    bob = name("bob")
    async with calling("websocket", hub, bob) as here, calling("http", second_hub, bob) as there:
        await register(here)
        await there("list_agents")
        for tells, is_silent in ((here, there), (there, here)):
            await route(alice, bob)
            assert lines(await tells("list_agents"))
            assert lines(await is_silent("list_agents")) == []
            assert lines(await tells("list_agents")) == []


async def test_a_gateway_that_did_not_hear_the_signal_tells_it_all_the_same(
    backend: Backend, hub: GatewayProcess, alice: Call
) -> None:
    bob = name("bob")
    async with calling("websocket", hub, bob) as call:
        await register(call)
    await route(alice, bob)
    late = GatewayProcess(backend, {"REQUIRED_SERVICES": "router"})
    late.start().wait()
    async with calling("http stateless", late, bob) as call:
        assert lines(await call("list_agents"))[0].startswith("inbox: 1 waiting")
        assert lines(await call("list_agents")) == []
    assert late.stop() == 0, late.process.output()[-4000:]


async def test_who_takes_its_tasks_and_hands_in_results_gets_no_line(hub: GatewayProcess, alice: Call) -> None:
    bob = name("bob")
    async with calling("websocket", hub, bob) as call:
        await register(call)
        for _ in range(3):
            await route(alice, bob)
        received = await call("receive_tasks")
        assert lines(received) == []
        [task] = received["structuredContent"]["tasks"]
        assert received["structuredContent"]["waiting"] == 2
        about = {"task_id": task["task_id"], "attempt": task["attempt"], "status": "completed", "result": "done"}
        submitted = await call("submit_result", **about)
        assert lines(submitted) == []
        assert submitted["structuredContent"]["next"] == "receive_tasks brings the next one: 2 wait"


async def test_what_was_claimed_is_not_told_and_neither_is_what_waits_for_others(
    hub: GatewayProcess, alice: Call
) -> None:
    bob = name("bob")
    async with calling("websocket", hub, bob) as call, calling("websocket", hub, name("carol")) as other:
        await register(call)
        await route(alice, bob)
        assert (await structured(call("receive_tasks")))["tasks"]
        assert lines(await call("list_agents")) == []
        await route(alice, bob)
        assert lines(await other("list_agents")) == []
        assert lines(await alice("list_agents")) == []


async def greeted(way: str, gateway: GatewayProcess, agent: str) -> str:
    """The instructions that a client gets when it connects."""
    said: dict[str, Any]
    if way.startswith("websocket"):
        async with RawClient.connect(gateway.ws_url, agent) as raw:
            said = await raw.initialize() if way == "websocket" else result_of(await raw.stateless("server/discover"))
    else:
        async with HttpClient(f"{gateway.http_url}?agent={agent}") as client:
            if way == "http":
                said = result_of((await client.initialize()).json())
            else:
                said = result_of((await client.ask(client.stateless("server/discover"))).json())
                assert (said["ttlMs"], said["cacheScope"]) == (0, "private")
    instructions: str = said["instructions"]
    return instructions


@pytest.mark.parametrize("way", WAYS)
async def test_who_connects_is_told_what_waits_and_not_again(hub: GatewayProcess, alice: Call, way: str) -> None:
    bob = name("bob")
    async with calling("websocket", hub, bob) as call:
        await register(call)
    assert "for you (" not in await greeted(way, hub, bob)
    routed = await route(alice, bob)
    last = (await greeted(way, hub, bob)).splitlines()[-1]
    assert last.startswith("1 task waits for you (from alice-")
    assert last.endswith("): receive_tasks brings it.")
    assert (await structured(alice("get_task", task_id=routed["task_id"])))["delivery"] == "seen"
    # A second session is a second LLM: it is told as well. What it was told, no result repeats.
    async with calling(way, hub, bob) as call:
        assert lines(await call("list_agents")) == []


async def test_the_requester_sees_how_far_its_task_has_come(hub: GatewayProcess, alice: Call) -> None:
    bob = name("bob")
    async with calling("websocket", hub, bob) as call:
        await register(call)
        routed = await route(alice, bob)
        assert routed["delivery"] == "delivered"

        async def delivery() -> str:
            task = await structured(alice("get_task", task_id=routed["task_id"]))
            said: str = task["delivery"]
            return said

        assert await delivery() == "delivered"
        assert lines(await call("list_agents"))
        assert await delivery() == "seen"
        await call("receive_tasks")
        assert await delivery() == "claimed"


@pytest.mark.parametrize("way", WAYS)
async def test_who_waits_has_a_task_within_50_ms(hub: GatewayProcess, alice: Call, way: str) -> None:
    bob, took = name("bob"), []
    async with calling(way, hub, bob) as call, calling("websocket", hub, bob) as other:
        await register(call)
        for _ in range(ROUNDS):
            receiving = asyncio.create_task(call("receive_tasks", wait_s=20))
            # The waiting call is on its way by the time that this one has its answer.
            await other("list_agents")
            asked_at = time.perf_counter()
            routed = await route(alice, bob)
            [task] = (await structured(receiving))["tasks"]
            took.append(time.perf_counter() - asked_at)
            assert task["task_id"] == routed["task_id"]
            await other("submit_result", task_id=task["task_id"], attempt=1, status="completed", result=1)
    assert statistics.median(took) < SOON_S, took


async def notified(alice: Call, bob: str, hear: Callable[[], Awaitable[dict[str, Any]]]) -> float:
    """How long it takes, at most, from a task's arrival to the notification of its agent: the median, in seconds."""
    took = []
    for _ in range(ROUNDS):
        hearing = asyncio.ensure_future(hear())
        asked_at = time.perf_counter()
        await route(alice, bob)
        told = await asyncio.wait_for(hearing, 10)
        took.append(time.perf_counter() - asked_at)
        assert told["method"] == "notifications/resources/updated"
        assert told["params"]["uri"] == "aicp://inbox"
    return statistics.median(took)


async def test_a_subscriber_over_websocket_is_notified_within_50_ms(hub: GatewayProcess, alice: Call) -> None:
    bob = name("bob")
    async with RawClient.connect(hub.ws_url, bob) as raw:
        await raw.initialize()
        await raw.call("register_agent", capabilities=["idling"], description="Idles.")
        await raw.request("resources/subscribe", {"uri": "aicp://inbox"})
        assert await notified(alice, bob, raw.notifications.get) < SOON_S


async def test_a_subscriber_over_an_http_session_is_notified_within_50_ms(hub: GatewayProcess, alice: Call) -> None:
    bob = name("bob")
    async with HttpClient(f"{hub.http_url}?agent={bob}") as client:
        await client.initialize()
        await client.call("register_agent", capabilities=["idling"], description="Idles.")
        await client.request("resources/subscribe", {"uri": "aicp://inbox"})
        async with client.get() as stream:
            told = messages(stream)
            assert await notified(alice, bob, told.__anext__) < SOON_S


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_subscriber_of_the_stateless_era_is_notified_within_50_ms(
    hub: GatewayProcess, alice: Call, transport: str
) -> None:
    bob = name("bob")
    async with calling("websocket", hub, bob) as call:
        await register(call)
    async with listening(transport, hub, {"resourceSubscriptions": ["aicp://inbox"]}, agent=bob) as listener:
        assert await listener.acknowledgement() == {"resourceSubscriptions": ["aicp://inbox"]}
        assert await notified(alice, bob, listener.next) < SOON_S


async def test_a_router_that_is_away_holds_up_nobody(own_backend: Backend) -> None:
    statehub = ServiceProcess("statehub", own_backend).start()
    router = ServiceProcess("router", own_backend).start()
    gateway = GatewayProcess(own_backend, {"REQUIRED_SERVICES": "router,statehub"})
    gateway.start()
    for service in (statehub, router, gateway):
        service.wait()
    try:
        async with calling("websocket", gateway, "bob") as call:
            await register(call)
            router.kill()
            took = []
            # The first to ask finds it away; whoever comes after that is not held up at all.
            for agent in ("carol", "dave", "erin"):
                began = time.perf_counter()
                assert f"You are the agent '{agent}'" in await greeted("websocket", gateway, agent)
                took.append(time.perf_counter() - began)
            began = time.perf_counter()
            assert lines(await call("get_context", context_key="k")) == []
            took.append(time.perf_counter() - began)
        assert took[0] < 1, took
        assert statistics.median(took[1:]) < 0.15, took
    finally:
        for service in (gateway, statehub):
            assert service.stop() == 0, service.process.output()[-3000:]
