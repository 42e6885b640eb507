"""How connections and streams end: with a reason, in time, and without leaving work behind."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests.gateway.client import RawClient
from tests.gateway.conftest import token
from tests.gateway.eventsource import events
from tests.gateway.httpclient import HttpClient, call_of
from tests.gateway.listener import SUBSCRIPTION
from tests.gateway.revisions import EVERYTHING, NEWEST
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

PATIENCE_S = 10.0
"""A gateway takes some seconds to stop; after this long it would be killed, and its exit status tell so."""


@pytest.fixture
async def own(backend: Backend, plugin: ServiceProcess) -> AsyncIterator[GatewayProcess]:
    """A gateway that the test may stop."""
    service = GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture"})
    await asyncio.to_thread(service.start().wait)
    yield service
    assert await asyncio.to_thread(service.process.stop, PATIENCE_S) == 0, service.process.output()[-4000:]


async def test_a_gateway_that_stops_says_so_and_lets_nobody_hang(own: GatewayProcess, alice: RawClient) -> None:
    mark = secrets.token_hex(4)
    async with (
        RawClient.connect(own.ws_url, "bob") as raw,
        HttpClient(f"{own.http_url}?agent=bob") as client,
        HttpClient(f"{own.http_url}?agent=bob") as asking,
    ):
        await raw.initialize()
        await client.initialize()
        await asking.initialize(NEWEST, EVERYTHING)
        slow = call_of("play", 1, steps=[["write", f"began w {mark}"], ["sleep", 30]], mark=f"w {mark}")
        await raw.send(slow)
        slow["params"]["arguments"] = {"steps": [["write", f"began h {mark}"], ["sleep", 30]], "mark": f"h {mark}"}
        posting = asyncio.create_task(client.post(slow))
        asks = asyncio.create_task(asking.post(call_of("play", 1, steps=[["ask", {"it": "form"}]])))
        for where in "wh":
            await alice.call("wait_for_log", entry=f"began {where} {mark}")
        async with client.get() as stream:
            assert await asyncio.to_thread(own.process.stop, PATIENCE_S) == 0
            # Coming back soon may be worth it: another gateway answers.
            assert [event.retry_ms for event in [each async for each in events(stream)] if not event.id][-1] == 500
        assert (raw.socket.close_code, raw.socket.close_reason) == (1001, "this gateway stops; connect again")
        for answer in ((await posting).text, (await asks).text):
            assert "stops" in answer
        assert (await posting).json()["result"]["isError"] is True
        for where in "wh":
            async with asyncio.timeout(10):
                await alice.call("wait_for_log", entry=f"cancelled {where} {mark}")
    assert "Traceback" not in own.process.output()


async def test_a_gateway_that_stops_tells_how_many_calls_were_in_flight(own: GatewayProcess, alice: RawClient) -> None:
    mark = secrets.token_hex(4)
    async with (
        RawClient.connect(own.ws_url, "bob") as raw,
        HttpClient(f"{own.http_url}?agent=bob") as client,
    ):
        await raw.initialize()
        for id in (1, 2):
            await raw.send(call_of("play", id, steps=[["write", f"began {id} {mark}"], ["sleep", 30]]))
        arguments = {"steps": [["write", f"began 3 {mark}"], ["sleep", 30]]}
        posting = asyncio.create_task(
            client.ask(client.stateless("tools/call", {"name": "play", "arguments": arguments}))
        )
        for id in (1, 2, 3):
            await alice.call("wait_for_log", entry=f"began {id} {mark}")
        assert await asyncio.to_thread(own.process.stop, PATIENCE_S) == 0
        assert (await posting).json()["result"]["isError"] is True
    lines = [json.loads(line) for line in own.process.output().splitlines() if line.startswith("{")]
    assert [line["calls_in_flight"] for line in lines if "connections are closed" in line["message"]] == [3]


async def test_a_call_that_is_nearly_done_still_has_its_answer_when_the_gateway_stops(own: GatewayProcess) -> None:
    async with HttpClient(f"{own.http_url}?agent=bob") as client:
        message = client.stateless("tools/call", {"name": "sleep", "arguments": {"seconds": 0.5}})
        posting = asyncio.create_task(client.ask(message))
        ping = client.stateless("server/discover")
        assert (await client.ask(ping)).status_code == 200
        assert await asyncio.to_thread(own.process.stop, PATIENCE_S) == 0
        assert (await posting).json()["result"]["structuredContent"] == {"slept": True}


async def test_clients_that_do_not_read_hold_up_no_gateway_that_stops(own: GatewayProcess) -> None:
    # The sockets hold some megabytes; what is beyond them waits in the gateway.
    big = {"name": "echo", "arguments": {"text": "x" * 1000, "times": 1000}}
    async with websockets.connect(own.ws_url, max_queue=1, max_size=None) as deaf:
        info = {"protocolVersion": NEWEST, "capabilities": {}, "clientInfo": {"name": "deaf", "version": "1"}}
        await deaf.send(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": info}))
        await deaf.recv()
        deaf.transport.pause_reading()
        for id in range(1, 31):
            await deaf.send(json.dumps({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": big}))
        reader, writer = await asyncio.open_connection("127.0.0.1", own.http_port, limit=1024)
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # no other way not to read
        async with HttpClient(f"{own.http_url}?agent=bob") as client:
            body = json.dumps(client.stateless("tools/call", big)).encode()
            head = (
                f"POST /mcp?agent=bob HTTP/1.1\r\nHost: 127.0.0.1:{own.http_port}\r\nContent-Type: application/json\r\n"
                "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            writer.write((head + body) * 10)
            # The gateway is at work on both when it has answered somebody else a few times.
            for number in range(10):
                message = client.stateless("tools/call", {"name": "echo", "arguments": {"text": str(number)}})
                assert (await client.ask(message)).status_code == 200
        assert await asyncio.to_thread(own.process.stop, PATIENCE_S) == 0
        writer.close()
        deaf.transport.abort()


async def test_clients_that_talk_without_end_hear_why_their_connection_ends(own: GatewayProcess) -> None:
    talking = asyncio.Barrier(4)

    async def talk() -> tuple[int | None, str | None]:
        async with websockets.connect(own.ws_url, max_queue=None) as socket:
            # Far more than the gateway reads at once, so that something is always on its way to it.
            ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}) + " " * 20_000
            reading = asyncio.create_task(drain(socket))
            for _ in range(200):
                await socket.send(ping)
            await talking.wait()
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    await socket.send(ping)
            await reading
            return socket.close_code, socket.close_reason

    async def drain(socket: ClientConnection) -> None:
        async for _ in socket:
            pass

    clients = [asyncio.create_task(talk()) for _ in range(3)]
    await talking.wait()
    assert await asyncio.to_thread(own.process.stop, PATIENCE_S) == 0
    assert await asyncio.gather(*clients) == [(1001, "this gateway stops; connect again")] * 3


async def test_streams_end_with_their_token(locked_gateway: GatewayProcess) -> None:
    headers = {"authorization": f"Bearer {token(exp=int(time.time()) + 2)}"}
    async with (
        HttpClient(locked_gateway.http_url, headers=headers) as client,
        HttpClient(locked_gateway.http_url, headers=headers) as other,
    ):
        await client.initialize()
        listen = other.stateless("subscriptions/listen", {"notifications": {}}, id="l")
        async with asyncio.timeout(10), client.get() as stream, other.ask_stream(listen) as listening:
            assert [event async for event in events(stream) if event.data] == []
            *_, last = [event.message async for event in events(listening) if event.data]
            # A subscription ends in good order.
            assert (last["id"], last["result"]["_meta"][SUBSCRIPTION]) == ("l", "l")
        assert (await client.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})).status_code == 401


async def test_pings_are_answered(alice: RawClient) -> None:
    pong = await alice.socket.ping(b"are you there")
    await asyncio.wait_for(pong, 10)
