"""What clients do on the wire, rare or wicked: the gateway answers, or cuts them off, and serves the others."""

import asyncio
import contextlib
import json
import re
import secrets
import struct
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import websockets
from uvicorn.server import ServerState

from aicp_gateway import httpparser
from aicp_gateway.httpexchange import Exchange
from tests.gateway.client import RawClient
from tests.gateway.httpclient import ACCEPT, HttpClient, call_of
from tests.gateway.revisions import NEWEST, headers_of, meta
from tests.gateway.test_limits import resident_mib
from tests.support.processes import GatewayProcess


def post(message: dict[str, Any], **headers: str) -> bytes:
    """A POST as bytes."""
    body = json.dumps(message).encode()
    fields = {"Host": "127.0.0.1", **ACCEPT, **headers, "Content-Length": str(len(body))}
    lines = ["POST /mcp?agent=alice HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def stateless(tool: str, id: int | str = 1, **arguments: Any) -> bytes:
    """A tool call of the stateless era as bytes."""
    message = call_of(tool, id, **arguments)
    message["params"]["_meta"] = meta()
    return post(message, **headers_of(message))


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    """One answer with a JSON body: its status and its message."""
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        found = re.search(r"content-length: (\d+)", head)
        assert found is not None, head
        body = await reader.readexactly(int(found.group(1)))
    return int(head.split()[1]), json.loads(body) if body else {}


async def test_requests_that_come_at_once_are_answered_in_turn(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port, limit=2**24)
    requests = [stateless("echo", number, text=f"{number} ", times=1 + number * 5000) for number in range(20)]
    # The third is wrong, the fourth takes its time.
    requests[2] = post({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
    requests[3] = stateless("sleep", 3, seconds=0.2)
    writer.write(b"".join(requests))
    for number in range(20):
        status, answer = await read_answer(reader)
        assert (status, answer["id"]) == (400 if number == 2 else 200, number)
    writer.close()


async def test_who_hangs_up_on_the_second_request_cancels_that_one(gateway: GatewayProcess, alice: RawClient) -> None:
    first, second = secrets.token_hex(4), secrets.token_hex(4)
    async with HttpClient(f"{gateway.http_url}?agent=alice") as client:
        await client.initialize(NEWEST)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
        # The first answer's stream ends, and its call goes on beside the second request of the connection.
        steps = [["end_stream"], ["write", f"began {first}"], ["wait", f"go {first}"], ["write", f"done {first}"]]
        writer.write(post(call_of("play", 1, steps=steps), **client.headers))
        await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)
        await alice.call("wait_for_log", entry=f"began {first}")
        writer.write(post(call_of("sleep", 2, seconds=30.0, mark=second), **client.headers))
        await alice.call("wait_for_log", entry=f"began {second}")
        await alice.call("write_log", entry=f"go {first}")
        await alice.call("wait_for_log", entry=f"done {first}")
        writer.transport.abort()
        async with asyncio.timeout(10):
            await alice.call("wait_for_log", entry=f"cancelled {second}")


async def test_a_client_that_asks_before_it_sends_its_body_may(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    head, _, body = stateless("echo", text="x").partition(b"\r\n\r\n")
    writer.write(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await read_answer(reader))[1]["result"]["structuredContent"]["text"] == "x"
    writer.close()


async def test_bodies_in_pieces_and_in_chunks_are_read(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    for byte in stateless("echo", text="x"):
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await read_answer(reader))[0] == 200
    head, _, body = stateless("echo", text="x").partition(b"\r\n\r\n")
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    writer.write(head + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert (await read_answer(reader))[0] == 200
    # Without a length, the limit is found out on the way.
    writer.write(head + b"\r\n\r\n")
    for _ in range(20):
        writer.write(b"%x\r\n%b\r\n" % (2**16, b" " * 2**16))
    assert (await read_answer(reader))[0] == 413
    writer.close()


async def test_a_client_of_http_1_0_is_served(gateway: GatewayProcess) -> None:
    async def whole(request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
        writer.write(request.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1))
        return await asyncio.wait_for(reader.read(), 10)

    assert b'"x"' in await whole(stateless("echo", text="x"))
    message = call_of("play", steps=[["progress", 1], ["progress", 2]])
    message["params"]["_meta"] = {**meta(), "progressToken": 1}
    head, _, body = (await whole(post(message, **headers_of(message)))).partition(b"\r\n\r\n")
    # It does not know chunks: the stream ends with the connection.
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert [line[:5] for line in body.split(b"\n") if line.startswith(b"data")] == [b"data:"] * 3


async def test_a_target_may_be_a_whole_url(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    request = stateless("echo", text="x")
    writer.write(request.replace(b"POST /mcp", b"POST http://127.0.0.1/mcp", 1))
    assert (await read_answer(reader))[0] == 200
    writer.write(request.replace(b"POST /mcp", b"POST /%6dcp/", 1))
    assert (await read_answer(reader))[0] == 200
    writer.write(request.replace(b"POST /mcp", b"POST mcp", 1))
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_head_is_get_without_a_body(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    for path in (b"/health", b"/metrics"):
        writer.write(b"HEAD %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert int(head.split(b"content-length: ")[1].split(b"\r\n")[0]) > 0
    # What follows is the next answer: nothing of a body came before it.
    writer.write(stateless("echo", text="x"))
    assert (await read_answer(reader))[0] == 200
    writer.close()


async def test_a_head_without_end_is_refused_and_costs_little(gateway: GatewayProcess) -> None:
    before = resident_mib(gateway)
    for piece in (b"X-A: " + b"y" * 1000 + b"\r\n", b"y" * 1000):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
        writer.write(b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-B: y")
        with contextlib.suppress(OSError):
            for _ in range(50_000):
                writer.write(piece)
                await writer.drain()
                if writer.transport.is_closing():
                    break
        with contextlib.suppress(OSError):
            assert (await asyncio.wait_for(reader.read(100), 10))[:12] in (b"HTTP/1.1 431", b"")
        writer.close()
    assert resident_mib(gateway) - before < 10


async def test_a_long_head_is_no_fault_of_a_websocket(gateway: GatewayProcess) -> None:
    async with RawClient.connect(gateway.ws_url, "alice", additional_headers={"X-A": "y" * 7000}) as client:
        assert (await client.request("ping"))["result"] == {}
    for headers in ({"X-A": "y" * 9000}, {f"X-{number}": "y" for number in range(200)}):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(gateway.ws_url, additional_headers=headers)
        assert refused.value.response.status_code == 431


def frame(opcode: int, data: bytes, *, masked: bool = True, final: bool = True, reserved: int = 0) -> bytes:
    """A frame, right or wrong. Source: RFC 6455, section 5.2."""
    mask = 0x80 if masked else 0
    length = bytes([mask | len(data)]) if len(data) < 126 else bytes([mask | 126]) + struct.pack(">H", len(data))
    return bytes([(0x80 if final else 0) | reserved << 4 | opcode]) + length + (bytes(4) if masked else b"") + data


TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"{}", masked=False), 1002),
        (frame(TEXT, b"{}", reserved=4), 1002),
        (frame(3, b""), 1002),
        (frame(0, b"x"), 1002),
        (frame(PING, b"x", final=False), 1002),
        (frame(PING, b"x" * 200), 1002),
        (frame(CLOSE, struct.pack(">H", 999)), 1002),
        (frame(TEXT, b"{", final=False) + frame(TEXT, b"}"), 1002),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (bytes([0x81, 0xFF]) + struct.pack(">Q", 2**40), 1009),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
        (frame(CLOSE, struct.pack(">H", 1000)), 1000),
    ],
)
async def test_broken_frames_close_the_connection_with_a_code(gateway: GatewayProcess, sent: bytes, code: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    upgrade = [
        "GET /mcp HTTP/1.1",
        f"Host: 127.0.0.1:{gateway.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    writer.write("\r\n".join(upgrade).encode() + b"\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(sent)
        answer = await reader.read(-1)
    assert (answer[0] & 0x0F, struct.unpack(">H", answer[2:4])[0]) == (CLOSE, code)
    writer.close()


async def test_a_message_in_fragments_is_one_message(alice: RawClient) -> None:
    whole = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "한" * 100}})
    await alice.socket.send(whole[start : start + 7] for start in range(0, len(whole), 7))
    assert (await asyncio.wait_for(alice.orphans.get(), 10))["result"] == {}


async def test_a_crowd_that_comes_and_goes_leaves_nothing_behind(gateway: GatewayProcess, alice: RawClient) -> None:
    async def come_and_go(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
        # Some say nothing, some a part, some all, some garbage.
        whole = stateless("echo", text="x")
        writer.write((b"", whole[: 5 + number % len(whole)], whole, b"\x16\x03\x01" + bytes(100))[number % 4])
        if number % 3:
            await writer.drain()
        writer.transport.abort() if number % 2 else writer.close()
        reader.feed_eof()

    async def open_and_leave(number: int) -> None:
        if number % 2:
            socket = await websockets.connect(gateway.ws_url)
            socket.transport.abort()
            return
        listen = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen"}
        message = {**listen, "params": {"notifications": {"toolsListChanged": True}, "_meta": meta()}}
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
        writer.write(post(message, **headers_of(message)))
        await reader.readuntil(b"acknowledged")
        writer.transport.abort()

    async def connections() -> float:
        async with HttpClient(gateway.http_url) as client:
            metrics = (await client.http.get(gateway.http_url.replace("/mcp", "/metrics"))).text
        found = [line for line in metrics.splitlines() if line.startswith("aicp_gateway_connections{")]
        return sum(float(line.split()[1]) for line in found)

    before, there = resident_mib(gateway), await connections()
    for _ in range(10):
        await asyncio.gather(*(come_and_go(number) for number in range(100)))
        await asyncio.gather(*(open_and_leave(number) for number in range(20)))
        assert (await asyncio.wait_for(alice.call("echo", text="x"), 5))["text"] == "x"
    assert resident_mib(gateway) - before < 10
    async with asyncio.timeout(10):
        while await connections() != there:
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def impatient_server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """The gateway's HTTP alone, in this process, with less patience than it really has; its port."""
    monkeypatch.setattr(httpparser, "REQUEST_S", 0.3)

    async def app(exchange: Exchange) -> None:
        more = True
        while more:
            _, more = await exchange.read()
        await exchange.respond(200, b"{}")

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: httpparser.HttpConnection(app, cast("httpparser.Upgrade", None), ServerState()), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    "begun",
    [b"", b"POST /mcp HT", b"POST /mcp HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345"],
    ids=["nothing", "head", "body"],
)
async def test_who_takes_too_long_to_say_what_it_wants_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    async with impatient_server(monkeypatch) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if begun != b"":
            # A request that went well is no excuse for the next.
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await read_answer(reader) == (200, {})
        writer.write(begun)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
