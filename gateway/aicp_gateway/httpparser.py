"""HTTP/1.1 for the gateway: one connection, parsed by httptools, whose requests become exchanges.

uvicorn keeps the ports and has this where its own connection would be.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.server import ServerState

from aicp_gateway.httpexchange import Answer, HttpExchange
from aicp_gateway.identity import Facts
from aicp_gateway.textsocket import TextSocket

log = logging.getLogger(__name__)

_BLANKS = b" \t"

MAX_HEAD_BYTES = 64 * 1024
"""Of what frames a body: request line and headers, trailers, the extensions of a chunk. One read may bring more.
Without a limit one client could fill the memory."""
MAX_UPGRADE_LINE_BYTES, MAX_UPGRADE_HEADERS = 8000, 128
"""What the WebSocket parser takes. It has no answer to more; source: `websockets.http11`."""
REQUEST_S = 60.0
"""How long a client may take to send a whole request, and to send anything after it has connected."""
IDLE_S = 75.0
"""How long a connection is kept between two requests. Longer than the minute that proxies usually reuse one."""
CLOSING_S = 30.0
"""How long a client may take to read the last answer of a connection, and to stop sending."""

MAX_NAMES = 256
_names: dict[bytes, str] = {}
"""Names of headers as they came, and in lower case: there are few, and they come with each request."""


_default: list[tuple[bytes, bytes]] = []
_default_fields = b""
"""What uvicorn last made, as bytes."""


class HttpConnection(asyncio.Protocol):
    """One connection. Its requests are answered one after the other, in the order in which they came.

    It ignores an `Upgrade` to anything but a WebSocket (RFC 9110, section 7.8). Java's HTTP client sends `Upgrade: h2c`
    with each first request over plain HTTP.

    Args:
        answer: Answers an exchange.
        upgrade: Makes what takes a connection over that is to be a WebSocket.
        server_state: uvicorn's: what is to be closed and waited for when the server stops.
    """

    def __init__(self, answer: Answer, upgrade: "Upgrade", server_state: ServerState) -> None:
        self._answer = answer
        self._upgrade = upgrade
        self._server_state = server_state
        self.loop = asyncio.get_running_loop()
        self.transport = cast("asyncio.Transport", None)
        self._parser: Any = httptools.HttpRequestParser(self)
        # An answer that ends the connection may follow on a request whose successor is here already.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._address = ""
        self.blocked: asyncio.Event | None = None
        """While the client does not read: set once it does again, or once the connection is lost."""
        self._reading = True
        self._url = b""
        self._headers: dict[str, str] = {}
        self._count = 0
        self._upgrading = False
        """The request asks for an upgrade: the parser stops after its head."""
        self._deaf = False
        """The connection ends with the answers that are owed; what still comes is dropped."""
        self._current = cast("HttpExchange", None)
        """The request whose body comes."""
        self._open: deque[HttpExchange] = deque()
        """Requests whose answer is not out yet; the first has its turn."""
        self._in_head = True
        self._head_bytes = 0
        self._coming = True
        """A request is on its way, or the first one is waited for."""
        self._stopping = False
        self._since = self.loop.time()
        """When the request began that is coming, or when the last one was answered."""
        self._patience = self.loop.call_later(REQUEST_S, self._look)

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self.transport = cast("asyncio.Transport", transport)
        address = transport.get_extra_info("peername")
        self._address = address[0] if isinstance(address, tuple) else ""
        self._server_state.connections.add(cast("Any", self))

    def data_received(self, data: bytes) -> None:
        """Bytes from the socket."""
        if self._deaf:
            return
        # The parser's callbacks set it back whenever a head, a piece of a body or a request is complete.
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._upgrade_or_not(memoryview(data)[stop.args[0] :])
        except httptools.HttpParserError as error:
            log.info("a request that is no HTTP/1.1: %s", error)
            self._refuse(b"400 Bad Request")
        else:
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

    def eof_received(self) -> bool:
        """The client sends no more: then it does not read either."""
        self._close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._server_state.connections.discard(cast("Any", self))
        self._patience.cancel()
        self.resume_writing()
        for exchange in list(self._open):
            exchange.lose()
        self._open.clear()
        self._parser = None

    def pause_writing(self) -> None:
        """The client does not read."""
        if self.blocked is None:
            self.blocked = asyncio.Event()

    def resume_writing(self) -> None:
        """It reads again."""
        if self.blocked is not None:
            self.blocked.set()
            self.blocked = None

    def shutdown(self) -> None:
        """The server stops: end with the answers that are under way."""
        self._stopping = True
        for exchange in self._open:
            exchange.keep_alive = False
        if not self._open:
            self._close()

    # From the parser

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers = {}
        self._count = 0
        self._coming = True
        self._since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        """A piece of its target."""
        self._url += url

    def on_header(self, raw_name: bytes, raw_value: bytes) -> None:
        """A header."""
        self._count += 1
        name = _names.get(raw_name)
        if name is None:
            name = raw_name.decode("latin-1").lower()
            if len(_names) < MAX_NAMES:
                _names[raw_name] = name
        value = raw_value.decode("latin-1")
        if raw_value and raw_value[-1] in _BLANKS:
            # White space around a value is no part of it; the parser leaves what comes after (RFC 9110, section 5.5).
            value = value.rstrip(" \t")
        # Whoever stands between may have read the first or the last of several: RFC 9110, section 5.3.
        self._headers[name] = f"{self._headers[name]}, {value}" if name in self._headers else value

    def on_headers_complete(self) -> None:
        """Its head is here; it may have to wait for its turn."""
        parser, headers = self._parser, self._headers
        if parser.should_upgrade():
            self._upgrading = True
            return
        self._in_head, self._head_bytes = False, 0
        # Trailers are none of the headers that the request is judged by (RFC 9110, section 6.5.1).
        self._headers = {}
        modern = parser.get_http_version() != "1.0"
        path, query = _split(self._url)
        self._current = exchange = HttpExchange(
            self,
            Facts(headers, query, self._address),
            parser.get_method().decode("ascii"),
            path,
            keep_alive=modern and not self._stopping and parser.should_keep_alive(),
            chunks=modern,
            expects_continue=modern and headers.get("expect", "").lower() == "100-continue",
        )
        self._open.append(exchange)
        if len(self._open) == 1:
            self._begin(exchange)
        else:
            # One after the other, in the order in which they came (RFC 9112, section 9.3.2).
            self.pause_reading()

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        self._head_bytes = 0
        self._current.feed(body)

    def on_message_complete(self) -> None:
        """All of it is here."""
        if self._upgrading:
            return
        self._current.feed_end()
        self._in_head, self._head_bytes, self._coming = True, 0, False
        self._since = self.loop.time()

    # For the exchanges: see `Wire`

    def pause_reading(self) -> None:
        """Let the client wait with what it sends."""
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless there are requests already that wait for their turn."""
        if not self._reading and len(self._open) < 2 and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    def default_fields(self) -> bytes:
        """Headers that each answer has: the date, which uvicorn writes anew each second."""
        global _default, _default_fields
        fields = self._server_state.default_headers
        if fields is not _default:
            _default, _default_fields = fields, b"".join(b"%b: %b\r\n" % field for field in fields)
        return _default_fields

    def on_answered(self, exchange: HttpExchange) -> None:
        """The answer is out: the next request has its turn."""
        self._open.popleft()
        self._since = self.loop.time()
        if not exchange.keep_alive:
            self._close(lingers=self._coming or self._deaf)
            return
        if not self._reading:
            self.resume_reading()
        if self._open:
            self._begin(self._open[0])

    def on_served(self, exchange: HttpExchange) -> None:
        """Nobody works on it any more."""
        if exchange.task is not None:
            self._server_state.tasks.discard(exchange.task)

    def _begin(self, exchange: HttpExchange) -> None:
        """Have it answered. The server waits for its tasks when it stops."""
        exchange.task = task = self.loop.create_task(exchange.serve(self._answer))
        self._server_state.tasks.add(task)

    def _upgrade_or_not(self, rest: memoryview) -> None:
        """Deal with a request that asks for an upgrade, and with what came after its head."""
        while True:
            self._upgrading = False
            headers, method = self._headers, self._parser.get_method()
            if method == b"CONNECT":
                self._refuse(b"501 Not Implemented")
                return
            if "websocket" in headers.get("upgrade", "").lower().replace(" ", "").split(","):
                headers["upgrade"] = "websocket"
                if self._open:
                    # Answers are owed, and would get in between the frames.
                    self._end_after_answers()
                else:
                    self._hand_over()
                return
            # As if it had not been asked for. The parser has left the body out, and reads the head once more.
            fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name != "upgrade")
            version = self._parser.get_http_version().encode()
            head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self._url, version, fields.encode("latin-1"))
            try:
                self._parser.feed_data(head)
                self._parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as stop:
                rest = rest[stop.args[0] :]
            except httptools.HttpParserError as error:
                log.info("a request that is no HTTP/1.1: %s", error)
                self._refuse(b"400 Bad Request")
                return

    def _hand_over(self) -> None:
        """From here on it is a WebSocket, unless its head is more than the parser of that takes."""
        headers = self._headers
        longest = max((len(name) + len(value) for name, value in headers.items()), default=0)
        if self._count > MAX_UPGRADE_HEADERS or max(longest, len(self._url)) > MAX_UPGRADE_LINE_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
            return
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            # The WebSocket parser has no answer to a body either.
            self._refuse(b"400 Bad Request")
            return
        self._patience.cancel()
        self._server_state.connections.discard(cast("Any", self))
        socket = self._upgrade(self._server_state)
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
        socket.connection_made(self.transport)
        socket.data_received(b"%b %b HTTP/1.1\r\n%b\r\n" % (self._parser.get_method(), self._url, fields))
        self.transport.set_protocol(socket)

    def _refuse(self, status: bytes) -> None:
        """End the connection, and say why unless answers to earlier requests are owed: this would be taken for one."""
        if not self._in_head and self._open and self._open[-1] is self._current:
            # It is this one's body that is wrong.
            self._open.pop().lose()
        if self._open:
            if self._open[0].started:
                # In the middle of a stream, which may have no end of its own, nothing can be said.
                self._close()
            else:
                self._end_after_answers()
            return
        self.transport.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        self._close(lingers=True)

    def _end_after_answers(self) -> None:
        self._deaf, self._coming = True, False
        self._open[-1].keep_alive = False

    def _close(self, *, lingers: bool = False) -> None:
        """Close once everything is written.

        Args:
            lingers: The client may still be sending; to close at once would reset the connection, and the answer would
                be lost with it (RFC 9112, section 9.6).
        """
        self._deaf = True
        self._patience.cancel()
        self._patience = self.loop.call_later(CLOSING_S, self.transport.abort)
        if lingers and not self._stopping:
            self.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()

    def _look(self) -> None:
        """Give up on a client that takes too long to say what it wants, and on a connection that is idle for long."""
        left_s = REQUEST_S
        if self._coming and self._reading:
            left_s = self._since + REQUEST_S - self.loop.time()
        elif not (self._coming or self._open):
            left_s = self._since + IDLE_S - self.loop.time()
        if left_s > 0:
            self._patience = self.loop.call_later(left_s, self._look)
        elif self._coming:
            self.transport.abort()
        else:
            self._close()


Upgrade = Callable[[ServerState], TextSocket]


@lru_cache(maxsize=256)
def _split(target: bytes) -> tuple[str, str]:
    """Path and query of a request's target, which may be a whole URL (RFC 9112, section 3.2)."""
    url = httptools.parse_url(target)
    return unquote((url.path or b"/").decode("latin-1")), (url.query or b"").decode("latin-1")


async def no_asgi(scope: Any, receive: Any, send: Any) -> None:
    """What uvicorn wants to have, and never calls: its connections are `HttpConnection` and `TextSocket`."""
    raise RuntimeError("the gateway is no ASGI application")
