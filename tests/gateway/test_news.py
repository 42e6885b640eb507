"""Resources that say what is new: what clients hear, in both eras and over both transports."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from aicp_common.bus import Bus
from tests.gateway.client import RawClient
from tests.gateway.conftest import plugin_process
from tests.gateway.hearer import WAYS, Hearer, hearing, session_stream
from tests.gateway.httpclient import HttpClient
from tests.gateway.talks import URI, subject
from tests.support.processes import Backend, GatewayProcess, ServiceProcess, wait_until_listening


@pytest.fixture
def name() -> str:
    """Of a talk that nobody else knows."""
    return secrets.token_hex(4)


def numbers(first: int, last: int, text: str = "hi") -> list[tuple[int, str]]:
    return [(number, text) for number in range(first, last + 1)]


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_new_comes_with_the_notification(
    gateway: GatewayProcess, alice: RawClient, name: str, way: str
) -> None:
    await alice.call("let_hear", name=name, agents=["bob"])
    # What was there before the subscription is not new.
    await alice.call("say", name=name, text="before", times=3)
    async with hearing(way, gateway, URI + name, "bob") as bob:
        await alice.call("say", name=name, text='"é\n\\u0000" ✓')
        assert await bob.next() == [{"number": 4, "text": '"é\n\\u0000" ✓'}]
        await alice.call("say", name=name, text="hi", times=20)
        assert await bob.texts(20) == numbers(5, 24)


@pytest.mark.parametrize("way", WAYS)
async def test_who_may_hear_is_decided_each_time(
    gateway: GatewayProcess, alice: RawClient, name: str, way: str
) -> None:
    await alice.call("let_hear", name=name, agents=["bob"])
    async with (
        hearing(way, gateway, URI + name, "bob") as bob,
        hearing(way, gateway, URI + name, "carol") as carol,
        hearing("handshake, websocket", gateway, URI + name, "dan") as dan,
    ):
        await alice.call("say", name=name, text="for bob")
        assert await bob.texts(1) == [(1, "for bob")]
        await alice.call("let_hear", name=name, agents=["carol", "dan"])
        await alice.call("say", name=name, text="for carol")
        assert await carol.texts(1) == [(2, "for carol")]
        assert await dan.texts(1) == [(2, "for carol")]
        await alice.call("let_hear", name=name, agents=["bob", "dan"])
        await alice.call("say", name=name, text="for bob again")
        assert await bob.texts(1) == [(3, "for bob again")]
        assert await dan.texts(1) == [(3, "for bob again")]
        assert carol.told.empty()


async def test_many_clients_of_both_transports_and_eras_hear_each_item_once_and_in_order(
    gateway: GatewayProcess, other_gateway: GatewayProcess, alice: RawClient, name: str
) -> None:
    agents = [f"a{number}" for number in range(16)]
    await alice.call("let_hear", name=name, agents=agents)
    async with contextlib.AsyncExitStack() as stack:
        hearers = [
            await stack.enter_async_context(
                hearing(WAYS[number % 4], (gateway, other_gateway)[number // 4 % 2], URI + name, agent)
            )
            for number, agent in enumerate(agents)
        ]
        await asyncio.gather(*(alice.call("say", name=name, text="hi", times=10) for _ in range(6)))
        for hearer in hearers:
            assert await hearer.texts(60) == numbers(1, 60)
            assert hearer.told.empty()


async def test_one_connection_may_hear_of_several_resources(gateway: GatewayProcess, alice: RawClient) -> None:
    names = [secrets.token_hex(4) for _ in range(3)]
    async with RawClient.connect(gateway.ws_url, "bob") as raw:
        await raw.initialize()
        for name in names:
            await alice.call("let_hear", name=name, agents=["bob"])
            await raw.request("resources/subscribe", {"uri": URI + name})
        for name in names:
            await alice.call("say", name=name, text=name)
        found = [(await asyncio.wait_for(raw.notifications.get(), 10))["params"] for _ in names]
        assert {params["uri"]: params["_meta"]["aicp/news"][0]["text"] for params in found} == {
            URI + name: name for name in names
        }


@pytest.mark.parametrize("era", ["handshake", "stateless"])
async def test_a_client_that_does_not_read_is_told_to_look(
    gateway: GatewayProcess, alice: RawClient, name: str, era: str
) -> None:
    await alice.call("let_hear", name=name, agents=["bob", "carol"])
    text, times, rounds = "x" * 5_000, 10, 100
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    small.connect(("127.0.0.1", gateway.port))
    async with (
        RawClient.connect(gateway.ws_url, "bob", sock=small, max_queue=1) as raw,
        hearing("handshake, websocket", gateway, URI + name, "carol") as carol,
    ):
        # Its reader waits as long as nobody takes what it has read.
        told = raw.notifications = asyncio.Queue(1)
        listening: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if era == "handshake":
            await raw.initialize()
            await raw.request("resources/subscribe", {"uri": URI + name})
        else:
            wanted = {"notifications": {"resourceSubscriptions": [URI + name]}}
            listening = asyncio.ensure_future(raw.stateless("subscriptions/listen", wanted, id="l"))
            assert (await asyncio.wait_for(told.get(), 10))["method"] == "notifications/subscriptions/acknowledged"
        for _ in range(rounds):
            await alice.call("say", name=name, text=text, times=times)
            await carol.texts(times)
        bob, last = Hearer(told, None if era == "handshake" else "l"), 0
        while (items := await bob.next()) is not None:
            assert [item["number"] for item in items] == list(range(last + 1, last + len(items) + 1))
            last += len(items)
        # All the rest is for it to read.
        assert last < rounds * times
        await alice.call("say", name=name, text="the end")
        assert await bob.next() == [{"number": rounds * times + 1, "text": "the end"}]
        listening.cancel()


async def test_an_unsubscribed_client_hears_nothing_even_of_a_question_under_way(
    gateway: GatewayProcess, alice: RawClient, bus: Bus, name: str
) -> None:
    await alice.call("let_hear", name=name, agents=["bob", "carol"])
    async with (
        RawClient.connect(gateway.ws_url, "bob") as bob,
        hearing("handshake, websocket", gateway, URI + name, "carol") as carol,
    ):
        await bob.initialize()
        await bob.request("resources/subscribe", {"uri": URI + name})
        await alice.call("say", name=name, text="first")
        assert await carol.texts(1) == [(1, "first")]
        await asyncio.wait_for(bob.notifications.get(), 10)
        await alice.call("hold_news", name=name, how="wait")
        await alice.call("say", name=name, text="second")
        await bob.request("resources/unsubscribe", {"uri": URI + name})
        await alice.call("write_log", entry=f"go {name}")
        assert await carol.texts(1) == [(2, "second")]
        assert (await bob.request("ping"))["result"] == {}
        assert bob.notifications.empty()
    # A feed whose last listener has left stops.
    async with asyncio.timeout(10):
        while True:
            try:
                await bus.client.request(subject("default", name), timeout=0.1)
            except NoRespondersError:
                break
            except NatsTimeoutError:
                continue


@pytest.mark.parametrize("how", ["fail", "garbage"])
async def test_a_question_that_fails_is_asked_again_and_nothing_is_lost(
    gateway: GatewayProcess, alice: RawClient, name: str, how: str
) -> None:
    await alice.call("let_hear", name=name, agents=["bob"])
    async with hearing("stateless, http", gateway, URI + name, "bob") as bob:
        await alice.call("say", name=name, text="hi")
        assert await bob.texts(1) == numbers(1, 1)
        await alice.call("hold_news", name=name, how=how)
        await alice.call("say", name=name, text="hi", times=3)
        assert await bob.texts(3) == numbers(2, 4)


async def test_a_session_whose_stream_opens_later_is_told_to_look_once(
    gateway: GatewayProcess, other_gateway: GatewayProcess, alice: RawClient, name: str
) -> None:
    """Which items an earlier stream of the session has told, at whatever gateway, nobody knows."""
    await alice.call("let_hear", name=name, agents=["bob"])
    async with HttpClient(f"{gateway.http_url}?agent=bob", f"{other_gateway.http_url}?agent=bob") as client:
        await client.initialize()
        await client.request("resources/subscribe", {"uri": URI + name})
        async with session_stream(client) as told:
            bob = Hearer(told, None)
            await alice.call("say", name=name, text="hi")
            # The stream may have opened before or after the question about this one.
            assert await bob.next() in (None, [{"number": 1, "text": "hi"}])
        await alice.call("say", name=name, text="hi", times=2)
        for _ in range(2):
            async with session_stream(client) as told:
                bob = Hearer(told, None)
                assert await bob.next() is None
                await alice.call("say", name=name, text="hi")
                assert len(await bob.texts(1)) == 1


@pytest.fixture
async def own_hub(own_backend: Backend) -> AsyncIterator[tuple[Backend, ServiceProcess, GatewayProcess]]:
    """A plug-in and a gateway that a test may kill, on a NATS and a Redis of its own."""
    plugin = plugin_process(own_backend)
    gateway = GatewayProcess(own_backend, {"REQUIRED_SERVICES": "fixture"})
    try:
        for process in (plugin, gateway):
            process.start()
        for process in (plugin, gateway):
            await asyncio.to_thread(process.wait)
        yield own_backend, plugin, gateway
    finally:
        await asyncio.to_thread(gateway.stop)
        await asyncio.to_thread(plugin.stop)


async def test_a_service_that_was_killed_is_asked_again_when_it_is_back(
    own_hub: tuple[Backend, ServiceProcess, GatewayProcess], name: str
) -> None:
    _, plugin, gateway = own_hub
    async with RawClient.connect(gateway.ws_url, "alice") as alice:
        await alice.initialize()
        await alice.call("let_hear", name=name, agents=["bob", "carol"])
        async with (
            hearing("handshake, websocket", gateway, URI + name, "bob") as bob,
            hearing("stateless, http", gateway, URI + name, "carol") as carol,
        ):
            await alice.call("say", name=name, text="hi")
            assert await bob.texts(1) == await carol.texts(1) == numbers(1, 1)
            # The question is under way when the service dies.
            await alice.call("hold_news", name=name, how="wait")
            await alice.call("say", name=name, text="hi")
            await alice.call("wait_for_log", entry=f"asked {name} 1")
            await alice.call("say", name=name, text="hi", times=2, silent=True)
            plugin.kill()
            plugin.start()
            assert await bob.texts(3) == await carol.texts(3) == numbers(2, 4)


async def test_when_nats_comes_back_what_was_missed_is_asked_for(
    own_hub: tuple[Backend, ServiceProcess, GatewayProcess], name: str
) -> None:
    backend, _, gateway = own_hub
    async with RawClient.connect(gateway.ws_url, "alice") as alice:
        await alice.initialize()
        await alice.call("let_hear", name=name, agents=["bob"])
        async with hearing("handshake, websocket", gateway, URI + name, "bob") as bob:
            for number in range(1, 6, 2):
                await alice.call("say", name=name, text="hi")
                assert await bob.texts(1) == numbers(number, number)
                await alice.call("say", name=name, text="hi", silent=True)
                await asyncio.to_thread(backend.nats.kill)
                backend.nats.start()
                await asyncio.to_thread(wait_until_listening, backend.nats, backend.nats_port)
                assert await bob.texts(1) == numbers(number + 1, number + 1)


async def test_a_client_cannot_call_itself_the_one_who_asks(gateway: GatewayProcess) -> None:
    async with HttpClient(f"{gateway.http_url}?agent=gateway") as client:
        refused = await client.ask(client.stateless("server/discover"))
        assert refused.status_code == 403
