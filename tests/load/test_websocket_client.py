"""The WebSocket client, against a server that does what a test wants, and against real gateways."""

import asyncio
import contextlib
import gc
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tests.gateway.conftest import SECRET, plugin_and_gateway
from tests.load.certificate import self_signed
from tests.load.clients import WebSocketClient
from tests.load.failure import CallFailed, ConnectFailed
from tests.load.message import Era
from tests.load.websocket_connection import WebSocketConnection
from tests.support.processes import Backend, GatewayProcess, free_port

ECHO = {"name": "echo", "arguments": {"text": "x"}}

Act = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]


@contextlib.asynccontextmanager
async def hub_that(act: Act, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A WebSocket server that calls `act` with each request, and lets clients in; its URL."""

    async def talk(socket: ServerConnection) -> None:
        async for frame in socket:
            message = json.loads(frame)
            if message.get("method") in ("initialize", "server/discover"):
                await socket.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}))
            elif "initialized" not in message.get("method", ""):
                await act(socket, message)

    # It would compress, if it were asked to.
    async with serve(talk, "127.0.0.1", 0, subprotocols=[Subprotocol("mcp")], ssl=tls) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/mcp"


async def answer(socket: ServerConnection, request: dict[str, Any], **result: Any) -> None:
    await socket.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}))


async def code_of(client: WebSocketClient) -> str:
    with pytest.raises(CallFailed) as caught:
        await client.request("tools/call", ECHO)
    return caught.value.code


async def test_requests_overlap_on_one_connection(gateway: GatewayProcess) -> None:
    client = WebSocketClient(gateway.ws_url, agent="overlapping")
    await client.open()
    slow = asyncio.create_task(client.request("tools/call", {"name": "sleep", "arguments": {"seconds": 1}}))
    texts = [f"text {number}" for number in range(40)]
    calls = (client.request("tools/call", {"name": "echo", "arguments": {"text": text}}) for text in texts)
    results = [json.loads(result)["structuredContent"] for result in await asyncio.gather(*calls)]
    assert [result["text"] for result in results] == texts
    assert {result["agent"] for result in results} == {"overlapping"}
    assert not slow.done()
    assert json.loads(await slow)["structuredContent"] == {"slept": True}
    await client.close()


async def test_each_request_of_the_stateless_era_says_who_calls() -> None:
    seen: list[dict[str, Any]] = []

    async def note(socket: ServerConnection, request: dict[str, Any]) -> None:
        seen.append(request)
        await answer(socket, request, resultType="complete")

    async with hub_that(note) as url:
        client = WebSocketClient(url, era=Era.STATELESS)
        await client.open()
        await client.request("tools/call", ECHO)
        await client.close()
    (request,) = seen
    assert request["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert request["params"]["name"] == "echo"


async def test_the_protocol_mcp_is_asked_for_and_compression_is_not() -> None:
    async def tell(socket: ServerConnection, request: dict[str, Any]) -> None:
        assert socket.request is not None
        headers = dict(socket.request.headers.raw_items())
        await answer(socket, request, protocol=socket.subprotocol, headers=headers)

    async with hub_that(tell) as url:
        client = WebSocketClient(url, agent="alice", token="t-1")
        await client.open()
        told = json.loads(await client.request("tools/call", ECHO))
        await client.close()
    assert told["protocol"] == "mcp"
    assert "Sec-WebSocket-Extensions" not in told["headers"]
    assert told["headers"]["Authorization"] == "Bearer t-1"
    assert told["headers"]["X-AICP-Agent"] == "alice"


async def test_an_answer_in_fragments_is_put_together() -> None:
    async def tear(socket: ServerConnection, request: dict[str, Any]) -> None:
        text = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {"text": "가나다"}}, ensure_ascii=False)
        await socket.send(iter([text[:10], text[10:20], text[20:]]))

    async with hub_that(tear) as url:
        client = WebSocketClient(url)
        await client.open()
        assert json.loads(await client.request("tools/call", ECHO)) == {"text": "가나다"}
        await client.close()


async def test_what_the_hub_asks_and_tells_is_no_answer() -> None:
    answered: list[dict[str, Any]] = []

    async def ask(socket: ServerConnection, message: dict[str, Any]) -> None:
        if "method" not in message:
            answered.append(message)
            return
        await socket.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "method": "ping"}))
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": 12345, "result": {}}))
        await answer(socket, message, n=1)

    async with hub_that(ask) as url:
        client = WebSocketClient(url)
        await client.open()
        assert json.loads(await client.request("tools/call", ECHO)) == {"n": 1}
        assert json.loads(await client.request("tools/call", ECHO)) == {"n": 1}
        await client.close()
    assert [message["result"] for message in answered] == [{}, {}]


async def test_a_closed_connection_fails_what_was_under_way_and_is_made_again() -> None:
    closed = asyncio.Event()

    async def close_once(socket: ServerConnection, request: dict[str, Any]) -> None:
        if closed.is_set():
            await answer(socket, request)
        elif request["params"]["name"] == "close":
            closed.set()
            await socket.close(4000, "enough")

    async with hub_that(close_once) as url:
        client = WebSocketClient(url)
        await client.open()
        waiting = [asyncio.create_task(code_of(client)) for _ in range(3)]
        with pytest.raises(CallFailed, match="4000 enough"):
            await client.request("tools/call", {"name": "close"})
        assert await asyncio.gather(*waiting) == ["connection_lost"] * 3
        await asyncio.gather(*(client.request("tools/call", ECHO) for _ in range(3)))
        assert client.reconnects == 1
        await client.close()


async def test_a_connection_that_the_hub_is_closing_takes_no_more_requests() -> None:
    """The close frame comes with the answer and a question, before the client has looked at either."""

    async def answer_and_close(socket: ServerConnection, request: dict[str, Any]) -> None:
        if request["method"] == "ping":
            await answer(socket, request)
            return
        socket.protocol.send_text(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
        socket.protocol.send_text(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {"n": 1}}).encode())
        socket.protocol.send_close(1001)
        for data in socket.protocol.data_to_send():
            socket.transport.write(data)

    async with hub_that(answer_and_close) as url:
        client = WebSocketClient(url, timeout_s=5)
        await client.open()
        assert json.loads(await client.request("tools/call", ECHO)) == {"n": 1}
        assert json.loads(await client.request("ping")) == {}
        assert client.reconnects == 1
        await client.close()


async def test_what_is_no_json_ends_the_connection() -> None:
    async def mumble(socket: ServerConnection, request: dict[str, Any]) -> None:
        await socket.send("mumble")

    async with hub_that(mumble) as url:
        client = WebSocketClient(url)
        await client.open()
        assert await code_of(client) == "bad_answer"
        await client.close()


async def test_no_answer_in_time_is_a_timeout_and_the_connection_stays() -> None:
    async def ignore_first(socket: ServerConnection, request: dict[str, Any]) -> None:
        if request["params"]["name"] != "echo":
            await answer(socket, request)

    async with hub_that(ignore_first) as url:
        client = WebSocketClient(url, timeout_s=0.2)
        await client.open()
        assert await code_of(client) == "timeout"
        await client.request("tools/call", {"name": "other"})
        assert client.reconnects == 0
        await client.close()


async def test_a_hub_that_wants_a_token_lets_nobody_in_without(own_backend: Backend) -> None:
    with plugin_and_gateway(own_backend, {"JWT_REQUIRED": "true", "JWT_SECRET": SECRET}) as (_, gateway):
        with pytest.raises(CallFailed, match="token") as caught:
            await WebSocketClient(gateway.ws_url).open()
        assert caught.value.code == "401"


def test_a_refusal_that_nobody_waits_for_any_more_is_no_fault() -> None:
    faults: list[dict[str, Any]] = []

    async def give_up_between_connecting_and_refusal() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))

        class Connection(WebSocketConnection):
            """The refusal is there as soon as the socket is; then, before `open` goes on, the run is given up."""

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                self.data_received(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
                opening.pop().cancel()

        async with hub_that(answer) as url:
            opening = [asyncio.create_task(Connection(url, {}, lambda *_: None, lambda *_: None).open(None))]
            await asyncio.wait(list(opening))

    # What was never looked at is reported when nothing refers to it any more, the loop's timers included.
    asyncio.run(give_up_between_connecting_and_refusal())
    gc.collect()
    assert faults == []


async def test_a_killed_gateway_is_found_again(own_backend: Backend) -> None:
    with plugin_and_gateway(own_backend) as (_, gateway):
        client = WebSocketClient(gateway.ws_url)
        await client.open()
        sleeping = asyncio.create_task(client.request("tools/call", {"name": "sleep", "arguments": {"seconds": 30}}))
        await client.request("tools/call", {"name": "wait_for_log", "arguments": {"entry": "began "}})
        gateway.kill()
        with pytest.raises(CallFailed) as caught:
            await sleeping
        assert caught.value.code == "connection_lost"
        assert await code_of(client) == "connect_failed"
        gateway.start().wait()
        await client.request("tools/call", ECHO)
        assert client.reconnects == 1
        await client.close()


async def test_nobody_there_is_told_as_such() -> None:
    with pytest.raises(ConnectFailed):
        await WebSocketClient(f"ws://127.0.0.1:{free_port()}/mcp").open()


async def test_wss_is_checked_against_the_certificates_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with hub_that(answer, context) as url:
        with pytest.raises(ConnectFailed, match="certificate"):
            await WebSocketClient(url).open()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        client = WebSocketClient(url)
        await client.open()
        await client.request("tools/call", ECHO)
        await client.close()
