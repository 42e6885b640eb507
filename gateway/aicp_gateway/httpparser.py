"""HTTP/1.1 for the gateway: uvicorn's connection and parser, with exchanges of our own instead of ASGI's."""

import re
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aicp_gateway.httpexchange import Answer, HttpExchange
from aicp_gateway.identity import Facts

_OFFERS_HTTP2 = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)
_METHODS = (b"POST ", b"GET ", b"DELETE ", b"HEAD ", b"PUT ", b"OPTIONS ")

MAX_HEAD_BYTES = 64 * 1024
"""Of request line and headers, beside what the first read brings. Without a limit one client could fill the memory."""
MAX_UPGRADE_LINE_BYTES, MAX_UPGRADE_HEADERS = 8000, 128
"""What the WebSocket parser takes. It has no answer to more; source: `websockets.http11`."""
REQUEST_S = 60.0
"""How long a client may take to send a whole request, and to send anything after it has connected."""
IDLE_S = 75.0
"""How long a connection is kept between two requests. Longer than the minute that proxies usually reuse one."""

MAX_NAMES = 256
_names: dict[bytes, str] = {}
"""Names of headers as they came, and in lower case: there are few, and they come with each request."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. Each request becomes an exchange.

    Args:
        answer: Answers an exchange.
        uvicorns: What uvicorn makes a connection with.
        uvicorns_named: Likewise.

    It ignores `Upgrade: h2c`, which Java's HTTP client sends with each first request over plain HTTP: a server
    ignores an upgrade that it does not know (RFC 9110, section 7.8); httptools stops parsing there instead, and the
    body is lost.
    """

    def __init__(self, answer: Answer, *uvicorns: Any, **uvicorns_named: Any) -> None:
        super().__init__(*uvicorns, **uvicorns_named)
        self._answer = answer

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        self._open: set[HttpExchange] = set()
        """Whose answer is not out yet."""
        self._in_head = True
        self._head_bytes = 0
        self._since = self.loop.time()
        """When the request began that is coming, or when the last one was answered."""
        self._coming = True
        """A request is on its way, or the first one is waited for."""
        self._patience = self.loop.call_later(REQUEST_S, self._look)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the socket."""
        if b"h2c" in data and data.startswith(_METHODS):
            head, blank, body = data.partition(b"\r\n\r\n")
            if _OFFERS_HTTP2.search(head) is not None:
                data = _OFFERS_HTTP2.sub(b"", head) + blank + body
        in_head = self._in_head
        super().data_received(data)
        if in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        # What an upgrade needs of it; see `HttpToolsProtocol.handle_websocket_upgrade`.
        self.scope = cast("Any", {"headers": self.headers})
        self._since = self.loop.time()
        self._coming = True

    def on_headers_complete(self) -> None:
        """Its head is here; it may have to wait for its turn."""
        self._in_head = False
        parser = self.parser
        method = parser.get_method().decode("ascii")
        self.scope["method"] = method
        if parser.should_upgrade() and self._should_upgrade():
            return
        version = parser.get_http_version()
        before = cast("HttpExchange | None", self.cycle)
        path, query = _split(self.url)
        exchange = HttpExchange(
            self,
            Facts(self._headers(), query, self.client[0] if self.client else ""),
            method,
            path,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            chunks=version != "1.0",
            expects_continue=self.expect_100_continue,
        )
        self._open.add(exchange)
        self.cycle = cast("Any", exchange)
        if before is None or before.response_complete:
            self._begin(exchange)
        else:
            # One after the other, in the order in which they came (RFC 9112, section 9.3.2).
            self.flow.pause_reading()
            self.pipeline.appendleft(cast("Any", exchange))

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        exchange = cast("HttpExchange", self.cycle)
        if not (self._upgrades() or exchange.response_complete):
            exchange.feed(body)

    def on_message_complete(self) -> None:
        """All of it is here."""
        if not self._upgrades():
            cast("HttpExchange", self.cycle).feed_end()
        self._in_head, self._head_bytes, self._coming = True, 0, False
        self._since = self.loop.time()

    def on_response_complete(self) -> None:
        """See `Wire.on_response_complete`. How long an idle connection is kept is seen to by `_look`."""
        self._open = {each for each in self._open if not each.response_complete} if len(self._open) > 1 else set()
        self._since = self.loop.time()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._begin(cast("HttpExchange", self.pipeline.pop()))

    def default_fields(self) -> bytes:
        """See `Wire.default_fields`: the date, which uvicorn writes anew each second."""
        return b"".join(b"%b: %b\r\n" % field for field in self.server_state.default_headers)

    def handle_websocket_upgrade(self) -> None:
        """From here on it is a WebSocket, unless its head is more than the parser of that takes."""
        headers = self.headers
        longest = max((len(name) + len(value) for name, value in headers), default=0)
        if len(headers) > MAX_UPGRADE_HEADERS or max(longest, len(self.url)) > MAX_UPGRADE_LINE_BYTES:
            self._refuse_head()
            return
        self._patience.cancel()
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.connections.discard(self)
        self._patience.cancel()
        self.flow.resume_writing()
        for exchange in list(self._open):
            exchange.lose()
        self._open.clear()
        self.parser = cast("Any", None)

    def _begin(self, exchange: HttpExchange) -> None:
        """Have it answered. The server waits for its tasks when it stops."""
        exchange.task = task = self.loop.create_task(exchange.serve(self._answer))
        self.tasks.add(task)

    def on_served(self, exchange: HttpExchange) -> None:
        """See `Wire.on_served`."""
        if exchange.task is not None:
            self.tasks.discard(exchange.task)

    def _upgrades(self) -> bool:
        return self.parser.should_upgrade() and self._should_upgrade()

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for raw_name, raw_value in self.headers:
            name = _names.get(raw_name)
            if name is None:
                name = raw_name.decode("latin-1")
                if len(_names) < MAX_NAMES:
                    _names[raw_name] = name
            # White space around a value is no part of it; the parser leaves what comes after (RFC 9110, section 5.5).
            value = raw_value.decode("latin-1").strip(" \t")
            # Whoever stands between may have read the first or the last of several: RFC 9110, section 5.3.
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    def _refuse_head(self) -> None:
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()

    def _look(self) -> None:
        """Give up on a client that takes too long to say what it wants, and on a connection that is idle for long."""
        left_s = REQUEST_S
        if self._coming and not self.flow.read_paused:
            left_s = self._since + REQUEST_S - self.loop.time()
        elif not (self._coming or self._open):
            left_s = self._since + IDLE_S - self.loop.time()
        if left_s > 0:
            self._patience = self.loop.call_later(left_s, self._look)
        elif self._coming:
            self.transport.abort()
        else:
            self.transport.close()


@lru_cache(maxsize=256)
def _split(target: bytes) -> tuple[str, str]:
    """Path and query of a request's target, which may be a whole URL (RFC 9112, section 3.2)."""
    url = httptools.parse_url(target)
    return unquote(url.path.decode("latin-1")), (url.query or b"").decode("latin-1")


async def no_asgi(scope: Any, receive: Any, send: Any) -> None:
    """What uvicorn wants to have, and never calls: its connections are `HttpProtocol` and `TextSocket`."""
    raise RuntimeError("the gateway is no ASGI application")
