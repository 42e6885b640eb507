"""HTTP/1.1 for the gateway: uvicorn's, with what a gateway needs beside it."""

import re
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

_OFFERS_HTTP2 = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)
_METHODS = (b"POST ", b"GET ", b"DELETE ", b"HEAD ", b"PUT ", b"OPTIONS ")

MAX_HEAD_BYTES = 64 * 1024
"""Of request line and headers, beside what the first read brings. Without a limit one client could fill the memory."""
MAX_UPGRADE_LINE_BYTES, MAX_UPGRADE_HEADERS = 8000, 128
"""What the WebSocket parser takes. It has no answer to more; source: `websockets.http11`."""
REQUEST_S = 60.0
"""How long a client may take to send a whole request, and to send anything after it has connected."""


class Connection(Protocol):
    """What a request may do with its connection beside ASGI: an answer is one write instead of two, which is an eighth
    of a request's time, and a lost connection is told by a call, not by a message that it takes a task to wait for.

    It stands in the scope's extensions under `CONNECTION`.
    """

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called when the connection is lost, at once if it is; None: nothing any more."""

    async def respond(self, status: int, body: bytes) -> None:
        """Send a whole answer with a JSON body. Does nothing when the connection is lost."""


CONNECTION = "aicp.connection"


class HttpProtocol(HttpToolsProtocol):
    """Serves what ASGI has no cheap way for: see `Connection`.

    And it ignores `Upgrade: h2c`, which Java's HTTP client sends with each first request over plain HTTP: a server
    ignores an upgrade that it does not know (RFC 9110, section 7.8); httptools stops parsing there instead, and the
    body is lost.
    """

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        self._turns: set[_Turn] = set()
        self._in_head = True
        self._head_bytes = 0
        self._began: float | None = self.loop.time()
        self._patience = self.loop.call_later(REQUEST_S, self._look)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the socket."""
        if data.startswith(_METHODS):
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
        super().on_message_begin()
        self._began = self.loop.time()
        self._turn = _Turn(self._turns)
        cast("dict[str, Any]", self.scope)["extensions"] = {CONNECTION: self._turn}

    def on_headers_complete(self) -> None:
        """Its head is here; it may have to wait for its turn."""
        super().on_headers_complete()
        self._in_head = False
        self._turn.cycle = self.cycle

    def on_message_complete(self) -> None:
        """All of it is here."""
        super().on_message_complete()
        self._in_head, self._head_bytes, self._began = True, 0, None

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
        super().connection_lost(exc)
        self._patience.cancel()
        for turn in list(self._turns):
            turn.lose()

    def _refuse_head(self) -> None:
        self.transport.write(STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def _look(self) -> None:
        """Give up on a client that takes too long to say what it wants. One that has to wait for its turn may."""
        late_s = 0.0 if self._began is None or self.flow.read_paused else self.loop.time() - self._began
        if late_s >= REQUEST_S:
            self.transport.abort()
        else:
            self._patience = self.loop.call_later(REQUEST_S - late_s, self._look)


class _Turn:
    """One request on its connection. Several may have come at once, and an older one may still be at work."""

    __slots__ = ("_lost", "_turns", "cycle")

    def __init__(self, turns: "set[_Turn]") -> None:
        self._turns = turns
        self._lost: Callable[[], None] | None = None
        self.cycle: RequestResponseCycle | None = None

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        """See `Connection.on_lost`."""
        self._lost = callback
        if callback is None:
            self._turns.discard(self)
            self.cycle = None
            return
        self._turns.add(self)
        if self.cycle is not None and self.cycle.transport.is_closing():
            self.lose()

    def lose(self) -> None:
        """The connection is gone."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        if self._lost is not None:
            self._lost()

    async def respond(self, status: int, body: bytes) -> None:
        """See `Connection.respond`."""
        cycle = self.cycle
        if cycle is None:
            return
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected or cycle.response_started:
            return
        # The cycle's scope leads back here; it is to vanish without the garbage collector.
        self.cycle = None
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        close = b"" if cycle.keep_alive else b"connection: close\r\n"
        date = b"".join(b"%b: %b\r\n" % each for each in cycle.default_headers)
        head = b"content-type: application/json\r\ncontent-length: %d\r\n%b%b\r\n" % (len(body), date, close)
        cycle.transport.write(STATUS_LINE[status] + head + body)
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
