"""What hostile clients and careless proxies do to the gateway's HTTP connection: framing, order, upgrades, patience."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest
from uvicorn.server import ServerState

from aicp_gateway import httpparser
from aicp_gateway.httpexchange import Exchange
from tests.gateway.conftest import SECRET
from tests.gateway.httpclient import call_of
from tests.gateway.revisions import headers_of, meta
from tests.gateway.test_limits import resident_mib
from tests.gateway.test_wire import post, read_answer, stateless
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

HOST = b"Host: 127.0.0.1\r\n"
HEALTH = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
WEBSOCKET = (
    b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)

Asked = dict[str, Any]
"""A request as the gateway understood it."""


@contextlib.asynccontextmanager
async def http_alone() -> AsyncIterator[int]:
    """The gateway's HTTP in this process, which says what it was asked; its port. `/early` does not read the body."""

    async def app(exchange: Exchange) -> None:
        body, more = b"", exchange.path != "/early"
        while more:
            data, more = await exchange.read()
            body += data
        asked = {"path": exchange.path, "size": len(body), "headers": dict(exchange.facts.headers)}
        await exchange.respond(200, json.dumps(asked).encode())

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: httpparser.HttpConnection(app, cast("httpparser.Upgrade", None), ServerState()), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Wire(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def feed(*pieces: bytes) -> tuple[httpparser.HttpConnection, Wire]:
    """A connection that has been given these bytes, each piece as one read."""

    async def app(exchange: Exchange) -> None:
        more = True
        while more:
            _, more = await exchange.read()
        await exchange.respond(200, b"{}")

    connection = httpparser.HttpConnection(app, cast("httpparser.Upgrade", None), ServerState())
    wire = Wire()
    connection.connection_made(wire)
    for piece in pieces:
        connection.data_received(piece)
    return connection, wire


async def answers(wire: Wire, count: int) -> None:
    """Wait until so many requests have been answered well, and nothing else was."""
    async with asyncio.timeout(10):
        while wire.written.count(b"HTTP/1.1 200 ") < count:
            assert not wire.is_closing(), wire.written
            await asyncio.sleep(0)


@pytest.fixture(scope="module")
def strict_gateway(backend: Backend, plugin: ServiceProcess) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens, and finds nothing wrong in its log afterwards."""
    service = GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture", "JWT_REQUIRED": "true", "JWT_SECRET": SECRET})
    service.start().wait()
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.process.output()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """Everything until the end of the connection."""
    return await asyncio.wait_for(reader.read(), 10)


async def test_a_long_message_that_comes_in_one_read_is_no_long_head() -> None:
    size = httpparser.MAX_HEAD_BYTES + 1000
    connection, wire = feed(b"POST / HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (HOST, size) + b"x" * size)
    await answers(wire, 1)
    # All of it is read, and whoever hangs up now is to be noticed; that takes reading.
    assert wire.reading
    connection.connection_lost(None)


async def test_many_short_requests_that_come_in_one_read_are_no_long_head() -> None:
    count = httpparser.MAX_HEAD_BYTES // len(HEALTH) + 10
    connection, wire = feed(HEALTH * count)
    await answers(wire, count)
    connection.connection_lost(None)


async def test_no_more_is_read_while_requests_wait_for_their_turn() -> None:
    connection, wire = feed(HEALTH * 10)
    for number in range(1, 10):
        await answers(wire, number)
        assert wire.reading == (number >= 9)
    connection.connection_lost(None)


async def test_trailers_are_no_headers() -> None:
    async with http_alone() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"2\r\n{}\r\n0\r\nX-AICP-Agent: mallory\r\nHost: evil\r\n\r\n")
        _, asked = await read_answer(reader)
        assert asked["headers"] == {"host": "127.0.0.1", "transfer-encoding": "chunked"}
        writer.close()


@pytest.mark.parametrize("piece", [b"y" * 100_000, b"X-A: " + b"y" * 1000 + b"\r\n"], ids=["one", "many"])
async def test_trailers_without_end_are_refused_and_cost_little(strict_gateway: GatewayProcess, piece: bytes) -> None:
    before = resident_mib(strict_gateway)
    reader, writer = await asyncio.open_connection("127.0.0.1", strict_gateway.http_port)
    writer.write(b"POST /mcp HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-B: y")
    with contextlib.suppress(OSError):
        assert (await read_answer(reader))[0] == 401
        for _ in range(40_000_000 // len(piece)):
            writer.write(piece)
            await writer.drain()
            if reader.at_eof():
                break
    assert resident_mib(strict_gateway) - before < 10
    writer.transport.abort()


@pytest.mark.parametrize("offer", [b"h2c", b"H2C", b"h2c, foo", b"foo"])
@pytest.mark.parametrize("last", [True, False], ids=["last", "first"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "bytes"])
async def test_an_upgrade_to_something_unknown_is_ignored(offer: bytes, last: bool, whole: bool) -> None:
    fields = [b"Content-Length: 4\r\n", b"Connection: Upgrade\r\nUpgrade: " + offer + b"\r\n"]
    request = b"POST / HTTP/1.1\r\n" + HOST + b"".join(fields if last else fields[::-1]) + b"\r\nbody"
    async with http_alone() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in [request + HEALTH] if whole else [bytes([byte]) for byte in request + HEALTH]:
            writer.write(piece)
            await writer.drain()
        assert (await read_answer(reader))[1]["size"] == 4
        assert (await read_answer(reader))[1]["path"] == "/health"
        writer.close()


async def test_nothing_of_a_body_is_taken_for_an_upgrade() -> None:
    body = b"POST /\r\nUpgrade: h2c\r\n12345678"
    connection, wire = feed(b"POST / HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (HOST, len(body)), body, HEALTH)
    await answers(wire, 2)
    connection.connection_lost(None)


async def test_connect_is_refused(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    writer.write(b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + HOST + b"\r\n")
    assert re.match(rb"HTTP/1.1 (400|405|501) ", await rest_of(reader))
    writer.close()


async def test_no_answer_gets_in_between_the_frames_of_a_websocket(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    writer.write(stateless("sleep", seconds=0.1) + WEBSOCKET + b"\r\n")
    status, answer = await read_answer(reader)
    assert (status, answer["result"]["structuredContent"]) == (200, {"slept": True})
    # The upgrade came too early: the client has to connect again for it.
    assert await rest_of(reader) == b""
    writer.close()


@pytest.mark.parametrize("body", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
async def test_an_upgrade_with_a_body_is_refused(gateway: GatewayProcess, body: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    writer.write(WEBSOCKET + body)
    assert (await rest_of(reader)).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_garbage_after_a_request_does_not_take_its_answer_away(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    writer.write(stateless("sleep", seconds=0.1) + b"GARBAGE\r\n\r\n")
    status, answer = await read_answer(reader)
    assert (status, answer["result"]["structuredContent"]) == (200, {"slept": True})
    assert await rest_of(reader) == b""
    writer.close()


async def test_garbage_ends_a_stream_and_is_no_part_of_it(gateway: GatewayProcess) -> None:
    listen: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen"}
    listen["params"] = {"notifications": {"toolsListChanged": True}, "_meta": meta()}
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    writer.write(post(listen, **headers_of(listen)))
    async with asyncio.timeout(10):
        await reader.readuntil(b"acknowledged")
    writer.write(b"GARBAGE\r\n\r\n")
    assert b"HTTP/1.1" not in await rest_of(reader)
    writer.close()


async def test_a_body_whose_chunks_are_wrong_is_refused() -> None:
    async with http_alone() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        writer.write(b"2\r\n{}\r\nzz\r\n")
        assert (await rest_of(reader)).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_who_is_answered_before_it_may_send_its_body_starts_anew() -> None:
    async with http_alone() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /early HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n")
        # Whether the body comes is not known: what follows must not be taken for it, nor it for a request.
        assert b"\r\nconnection: close\r\n" in await rest_of(reader)
        writer.close()


async def test_a_client_of_http_1_0_is_sent_no_interim_answer() -> None:
    async with http_alone() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.0\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody")
        assert (await rest_of(reader)).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_a_refusal_reaches_a_client_that_still_sends(strict_gateway: GatewayProcess) -> None:
    message = call_of("echo", text="x" * 900_000)
    request = post(message, Connection="close")
    reader, writer = await asyncio.open_connection("127.0.0.1", strict_gateway.http_port)
    writer.write(request[:100_000])
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nconnection: close\r\n" in head
    writer.write(request[100_000:])
    await writer.drain()
    assert b'"unauthenticated"' in await rest_of(reader)
    writer.close()


async def test_who_never_reads_the_last_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpparser, "CLOSING_S", 0.2)
    lost = asyncio.Event()

    async def app(exchange: Exchange) -> None:
        await exchange.respond(200, b"x" * 10_000_000)

    class Watched(httpparser.HttpConnection):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Watched(app, cast("httpparser.Upgrade", None), ServerState()), "127.0.0.1", 0
    )
    with socket.create_connection(server.sockets[0].getsockname()) as deaf:
        deaf.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        await asyncio.wait_for(lost.wait(), 10)
    server.close()
