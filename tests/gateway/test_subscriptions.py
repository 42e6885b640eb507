"""Subscriptions of the stateless era, and who is told of what in both eras."""

import asyncio
import contextlib
import secrets
from typing import Any

import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from aicp_common import subjects
from aicp_common.announcement import AnnouncedResource, AnnouncedTool, Announcement, encode_announcement
from aicp_common.bus import Bus
from tests.gateway.client import RawClient
from tests.gateway.eventsource import messages
from tests.gateway.httpclient import HttpClient
from tests.gateway.listener import SUBSCRIPTION, HttpListener, listening
from tests.gateway.plugin import thing_subject
from tests.gateway.revisions import NEWEST, OLDEST, TASKS
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

TRANSPORTS = ("websocket", "http")
UPDATED = "notifications/resources/updated"


def thing() -> tuple[str, str]:
    """The name and the URI of a thing that nobody else knows."""
    name = secrets.token_hex(4)
    return name, f"fixture://things/{name}"


async def nobody_watches(bus: Bus, name: str) -> None:
    """Wait until no gateway listens to changes of this thing any more."""
    async with asyncio.timeout(10):
        while True:
            try:
                await bus.client.request(thing_subject("default", name), timeout=0.1)
            except NoRespondersError:
                return
            except NatsTimeoutError:
                continue


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("id", [7, "seven", "7", -1])
async def test_the_acknowledgement_comes_first_and_all_carry_the_id(
    gateway: GatewayProcess, alice: RawClient, transport: str, id: int | str
) -> None:
    name, uri = thing()
    wanted = {"resourceSubscriptions": [uri], "toolsListChanged": True}
    async with listening(transport, gateway, wanted, id=id) as listener:
        assert await listener.acknowledgement() == wanted
        await alice.call("change", name=name)
        assert await listener.next() == {"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": uri}}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_only_what_was_asked_for_is_told(gateway: GatewayProcess, alice: RawClient, transport: str) -> None:
    (name, uri), (other, _) = thing(), thing()
    async with listening(transport, gateway, {"resourceSubscriptions": [uri]}) as listener:
        assert await listener.acknowledgement() == {"resourceSubscriptions": [uri]}
        for _ in range(2):
            await alice.call("come_or_go", name="visitor")
            await alice.call("come_or_go", name="visit")
        await alice.call("change", name=other)
        await alice.call("change", name=name)
        assert (await listener.next())["params"] == {"uri": uri}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_cannot_be_watched_is_left_out(gateway: GatewayProcess, alice: RawClient, transport: str) -> None:
    name, uri = thing()
    impossible = ["fixture://still", "fixture://things/missing", "other://x", "", "fixture://things/"]
    wanted = {"resourceSubscriptions": [*impossible, uri], "promptsListChanged": False}
    async with listening(transport, gateway, wanted) as listener:
        assert await listener.acknowledgement() == {"resourceSubscriptions": [uri]}
        await alice.call("change", name=name)
        assert (await listener.next())["params"] == {"uri": uri}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_lists_that_change_are_told_to_those_who_want_to_know(
    gateway: GatewayProcess, alice: RawClient, transport: str
) -> None:
    for wanted, name, method in (
        ({"toolsListChanged": True}, "visitor", "notifications/tools/list_changed"),
        ({"promptsListChanged": True}, "visit", "notifications/prompts/list_changed"),
    ):
        async with listening(transport, gateway, wanted) as listener:
            assert await listener.acknowledgement() == wanted
            for _ in range(2):
                await alice.call("come_or_go", name=name)
                assert await listener.next() == {"jsonrpc": "2.0", "method": method, "params": {}}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_plugin_that_comes_and_goes_is_told(gateway: GatewayProcess, bus: Bus, transport: str) -> None:
    name = f"plugin-{secrets.token_hex(4)}"
    tool = AnnouncedTool(name, {"name": name, "inputSchema": {"type": "object"}})
    wanted = {"toolsListChanged": True, "resourcesListChanged": True}
    async with listening(transport, gateway, wanted) as listener:
        assert await listener.acknowledgement() == wanted
        for tools in ((tool,), ()):
            # Twice is told once: the second says nothing new.
            for _ in range(2):
                await bus.publish(subjects.ANNOUNCE, encode_announcement(Announcement(name, "1", tools=tools)))
            assert (await listener.next())["method"] == "notifications/tools/list_changed"
        await bus.publish(subjects.ANNOUNCE, b"no announcement")
        resources = (AnnouncedResource({"uri": f"{name}://x", "name": "x"}),)
        for some in (resources, ()):
            await bus.publish(subjects.ANNOUNCE, encode_announcement(Announcement(name, "1", resources=some)))
            assert (await listener.next())["method"] == "notifications/resources/list_changed"


async def test_a_subscription_to_nothing_is_acknowledged(gateway: GatewayProcess) -> None:
    for transport in TRANSPORTS:
        async with listening(transport, gateway, {}) as listener:
            assert await listener.acknowledgement() == {}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_task_is_told_with_its_state(gateway: GatewayProcess, transport: str) -> None:
    agent = f"a{secrets.token_hex(4)}"
    async with HttpClient(f"{gateway.http_url}?agent={agent}") as client:
        begun = (await client.ask(client.stateless("tools/call", {"name": "begin_job"}, capabilities=TASKS))).json()
        assert begun["result"]["resultType"] == "task"
        id = begun["result"]["taskId"]
        wanted = {"taskIds": [id, "job-unknown", "nobody's"]}
        async with (
            listening(transport, gateway, wanted, agent=agent, capabilities=TASKS) as listener,
            listening(transport, gateway, wanted, agent="mallory", capabilities=TASKS) as stranger,
        ):
            assert await listener.acknowledgement() == {"taskIds": [id]}
            assert await stranger.acknowledgement() == {}
            await client.ask(client.stateless("tools/call", {"name": "end_job", "arguments": {"task_id": id}}))
            told = await listener.next()
            assert told["method"] == "notifications/tasks"
            assert (told["params"]["taskId"], told["params"]["status"]) == (id, "completed")
            assert told["params"]["result"]["content"][0]["text"] == "done"
            assert stranger.told.empty()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_tasks_are_for_clients_with_the_extension(gateway: GatewayProcess, transport: str) -> None:
    wanted = {"notifications": {"taskIds": ["job-x"]}}
    if transport == "http":
        async with HttpClient(f"{gateway.http_url}?agent=alice") as client:
            answer = await client.ask(client.stateless("subscriptions/listen", wanted, id="l"))
            assert answer.status_code == 400
            refused = answer.json()
    else:
        async with RawClient.connect(gateway.ws_url, "alice") as raw:
            refused = await raw.stateless("subscriptions/listen", wanted, id="l")
    assert (refused["id"], refused["error"]["code"]) == ("l", -32021)


async def test_several_subscriptions_share_a_websocket(gateway: GatewayProcess, alice: RawClient) -> None:
    names = [secrets.token_hex(4) for _ in range(10)]
    async with RawClient.connect(gateway.ws_url, "alice") as raw:
        for number, name in enumerate(names):
            uris = [f"fixture://things/{name}", f"fixture://things/{names[0]}"]
            wanted = {"notifications": {"resourceSubscriptions": uris}}
            asyncio.create_task(raw.stateless("subscriptions/listen", wanted, id=f"l{number}"))  # noqa: RUF006
        acknowledged = [await asyncio.wait_for(raw.notifications.get(), 10) for _ in names]
        assert {each["params"]["_meta"][SUBSCRIPTION] for each in acknowledged} == {f"l{n}" for n in range(10)}
        # One that all watch, and one of each.
        await alice.call("change", name=names[0])
        told = [await asyncio.wait_for(raw.notifications.get(), 10) for _ in names]
        assert {each["params"]["_meta"][SUBSCRIPTION] for each in told} == {f"l{n}" for n in range(10)}
        for number, name in enumerate(names[1:], 1):
            await alice.call("change", name=name)
            message = await asyncio.wait_for(raw.notifications.get(), 10)
            assert message["params"]["_meta"][SUBSCRIPTION] == f"l{number}"
        # Calls go on beside them, and an id is free again when its subscription has ended.
        assert (await raw.call("echo", text="x") if await raw.initialize() else {})["text"] == "x"
        await raw.notify("notifications/cancelled", {"requestId": "l1"})
        again = asyncio.create_task(raw.stateless("subscriptions/listen", {"notifications": {}}, id="l1"))
        message = await asyncio.wait_for(raw.notifications.get(), 10)
        assert message["params"]["_meta"][SUBSCRIPTION] == "l1"
        again.cancel()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_subscription_that_is_cancelled_leaves_nothing_behind(
    gateway: GatewayProcess, alice: RawClient, bus: Bus, transport: str
) -> None:
    name, uri = thing()
    async with listening(transport, gateway, {"resourceSubscriptions": [uri]}) as listener:
        await listener.acknowledgement()
        with pytest.raises(NatsTimeoutError):
            await bus.client.request(thing_subject("default", name), timeout=0.1)
        await listener.next()
        await listener.cancel()
        await nobody_watches(bus, name)
        while not listener.told.empty():
            listener.told.get_nowait()
        await alice.call("change", name=name)
        await alice.call("echo", text="x")
        assert listener.told.empty()


async def test_watchers_of_the_handshake_era_leave_nothing_behind(
    gateway: GatewayProcess, other_gateway: GatewayProcess, bus: Bus
) -> None:
    name, uri = thing()
    async with RawClient.connect(gateway.ws_url, "alice") as raw:
        await raw.initialize()
        await raw.request("resources/subscribe", {"uri": uri})
        await raw.request("resources/unsubscribe", {"uri": uri})
        await nobody_watches(bus, name)
        await raw.request("resources/subscribe", {"uri": uri})
    await nobody_watches(bus, name)
    async with HttpClient(f"{gateway.http_url}?agent=alice", f"{other_gateway.http_url}?agent=alice") as client:
        await client.initialize()
        await client.request("resources/subscribe", {"uri": uri})
        async with client.get() as response:
            told = asyncio.ensure_future(anext(messages(response)))
            async with asyncio.timeout(10):
                while not told.done():
                    with contextlib.suppress(NoRespondersError, NatsTimeoutError):
                        await bus.client.request(thing_subject("default", name), timeout=0.1)
            assert told.result()["params"] == {"uri": uri}
    await nobody_watches(bus, name)


async def test_lists_that_change_are_told_in_the_handshake_era_and_to_nobody_who_did_not_say_hello(
    gateway: GatewayProcess, other_gateway: GatewayProcess, alice: RawClient
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        silent = await stack.enter_async_context(RawClient.connect(gateway.ws_url, "silent"))
        modern = await stack.enter_async_context(RawClient.connect(gateway.ws_url, "modern"))
        assert "result" in await modern.stateless("tools/list")
        old = await stack.enter_async_context(RawClient.connect(other_gateway.ws_url, "old"))
        await old.initialize(OLDEST)
        client = await stack.enter_async_context(HttpClient(f"{gateway.http_url}?agent=bob"))
        await client.initialize(NEWEST)
        stream = messages(await stack.enter_async_context(client.get()))
        for _ in range(2):
            await alice.call("come_or_go", name="visit")
            wanted = {"jsonrpc": "2.0", "method": "notifications/prompts/list_changed"}
            assert await asyncio.wait_for(old.notifications.get(), 10) == wanted
            assert await asyncio.wait_for(anext(stream), 10) == wanted
        # Who has not said hello, or belongs to the stateless era, asked for nothing.
        for raw in (silent, modern):
            assert (await raw.request("ping"))["result"] == {}
            assert raw.notifications.empty()


async def test_a_gateway_that_stops_ends_subscriptions_in_good_order(backend: Backend, plugin: ServiceProcess) -> None:
    own = GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture"})
    await asyncio.to_thread(own.start().wait)
    async with (
        listening("websocket", own, {"toolsListChanged": True}, id="w") as socket,
        listening("http", own, {"toolsListChanged": True}, id=5) as stream,
    ):
        await socket.acknowledgement()
        await stream.acknowledgement()
        assert await asyncio.to_thread(own.stop) == 0
        for listener in (socket, stream):
            last: dict[str, Any] = await listener.next()
            assert (last["id"], last["result"]["resultType"]) == (listener.id, "complete")
        assert isinstance(stream, HttpListener)
        await asyncio.wait_for(stream.ended.wait(), 5)


async def test_a_client_that_takes_no_event_stream_cannot_subscribe(gateway: GatewayProcess) -> None:
    async with HttpClient(f"{gateway.http_url}?agent=alice") as client:
        message = client.stateless("subscriptions/listen", {"notifications": {}})
        answer = await client.ask(message, accept="application/json")
        assert answer.status_code == 406
        assert "text/event-stream" in answer.json()["error"]["message"]
