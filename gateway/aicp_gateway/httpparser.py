"""HTTP/1.1 for the gateway: uvicorn's, with what a gateway needs beside it."""

import re
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

_OFFERS_HTTP2 = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)
_METHODS = (b"POST ", b"GET ", b"DELETE ", b"HEAD ", b"PUT ", b"OPTIONS ")


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
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the socket."""
        if data.startswith(_METHODS):
            head, blank, body = data.partition(b"\r\n\r\n")
            if _OFFERS_HTTP2.search(head) is not None:
                data = _OFFERS_HTTP2.sub(b"", head) + blank + body
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._turn = _Turn(self._turns)
        cast("dict[str, Any]", self.scope)["extensions"] = {CONNECTION: self._turn}

    def on_headers_complete(self) -> None:
        """Its head is here; it may have to wait for its turn."""
        super().on_headers_complete()
        self._turn.cycle = self.cycle

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        for turn in list(self._turns):
            turn.lose()


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
        head = b"content-type: application/json\r\ncontent-length: %d\r\n%b\r\n" % (len(body), close)
        cycle.transport.write(STATUS_LINE[status] + head + body)
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
