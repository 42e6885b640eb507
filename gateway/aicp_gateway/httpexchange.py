"""One HTTP request and its answer, on a connection that uvicorn keeps: a body comes in, an answer or a stream goes out.

It stands where ASGI would. A cycle of ASGI costs a scope, two messages each way and two writes an answer; without it a
tool call over HTTP takes a fifth less of the gateway's time.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Protocol

from aicp_common.envelope import encode_json
from aicp_gateway.identity import Facts

log = logging.getLogger(__name__)

JSON = "application/json"

MAX_WAITING_BYTES = 64 * 1024
"""Of a body: when more has come than was read, the client has to wait."""

Fields = Sequence[tuple[bytes, bytes]]
"""Headers of an answer."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]+")
_JSON_HEAD = b"content-type: application/json\r\ncontent-length: %d\r\n"


class Gone(ConnectionError):
    """The client went away before its request was complete."""


class Exchange(Protocol):
    """What whoever answers an HTTP request needs of it."""

    method: str
    path: str
    facts: Facts

    async def read(self) -> tuple[bytes, bool]:
        """What has come of the body since the last time, and whether there is more to come. Waits for some.

        Raises:
            Gone: no more will come.
        """

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called when the connection is lost, at once if it is; None: nothing any more."""

    def give_up(self) -> None:
        """Cancel whoever answers it."""

    async def respond(self, status: int, body: bytes = b"", content_type: str = JSON, fields: Fields = ()) -> None:
        """Send a whole answer. Does nothing when the connection is lost."""

    async def start(self, fields: Fields) -> None:
        """Begin an answer whose length is not known. Nothing is sent when the connection is lost, here and below."""

    async def write(self, data: bytes) -> None:
        """Send a piece of it. Waits while the client does not read."""

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece of it."""


Answer = Callable[[Exchange], Awaitable[None]]
"""Answers a request."""


class Wire(Protocol):
    """The connection of an exchange, as far as the exchange needs to know it."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    blocked: asyncio.Event | None
    """While the client does not read: set once it does again, or once the connection is lost."""

    def pause_reading(self) -> None:
        """Let the client wait with what it sends."""

    def resume_reading(self) -> None:
        """Read on."""

    def default_fields(self) -> bytes:
        """Headers that each answer has."""

    def on_answered(self, exchange: "HttpExchange") -> None:
        """The answer is out: the next request may have its turn."""

    def on_served(self, exchange: "HttpExchange") -> None:
        """Nobody works on it any more."""


class HttpExchange:
    """One request of a connection. Several may have come at once; one after the other has its turn.

    Args:
        wire: The connection.
        facts: Of the request.
        method: Of the request.
        path: Of the request, decoded.
        keep_alive: Whether the client sends another request over the same connection.
        chunks: Whether the client understands the chunks of HTTP/1.1.
        expects_continue: Whether the client waits for a word before it sends the body.
    """

    __slots__ = (
        "_body",
        "_chunks",
        "_expects_continue",
        "_more",
        "_on_lost",
        "_waiting",
        "_wire",
        "answered",
        "facts",
        "keep_alive",
        "lost",
        "method",
        "path",
        "started",
        "task",
    )

    def __init__(
        self,
        wire: Wire,
        facts: Facts,
        method: str,
        path: str,
        *,
        keep_alive: bool,
        chunks: bool,
        expects_continue: bool,
    ) -> None:
        self._wire = wire
        self.facts = facts
        self.method = method
        self.path = path
        self.keep_alive = keep_alive
        self._chunks = chunks
        self._expects_continue = expects_continue
        self._body = b""
        self._more = True
        self._waiting: asyncio.Future[None] | None = None
        self._on_lost: Callable[[], None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.lost = False
        self.started = False
        self.answered = False

    async def serve(self, answer: Answer) -> None:
        """Have it answered."""
        try:
            await answer(self)
            if not (self.answered or self.lost):
                raise RuntimeError("the answer was not given to its end")
        except Gone:
            pass
        except Exception:
            log.exception("%s %s failed", self.method, self.path)
            if self.started:
                self._wire.transport.close()
            else:
                # What comes of the request's body is not read any more.
                self.keep_alive = False
                await self.respond(500, encode_json({"error": "the gateway failed; its log says why"}))
        finally:
            self._wire.on_served(self)

    # From the connection

    def feed(self, data: bytes) -> None:
        """A piece of the body."""
        if self.answered:
            return
        self._body = self._body + data if self._body else data
        if len(self._body) > MAX_WAITING_BYTES:
            self._wire.pause_reading()
        if self._waiting is not None:
            self._wake()

    def feed_end(self) -> None:
        """The body is complete."""
        self._more = False
        if self._waiting is not None:
            self._wake()

    def lose(self) -> None:
        """The connection is lost."""
        self.lost = True
        self._wake()
        callback, self._on_lost = self._on_lost, None
        if callback is not None:
            callback()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # What an answer is made with: see `Exchange`

    async def read(self) -> tuple[bytes, bool]:
        """See `Exchange.read`."""
        if self._expects_continue:
            self._expects_continue = False
            if not self.lost:
                self._wire.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while self._more and not self._body and not self.lost:
            self._wire.resume_reading()
            self._waiting = self._wire.loop.create_future()
            await self._waiting
            self._waiting = None
        if self._more and self.lost:
            raise Gone("the client went away before its message was complete")
        data, self._body = self._body, b""
        if len(data) > MAX_WAITING_BYTES:
            # Also when all of it is here: who does not read does not learn that the client has gone.
            self._wire.resume_reading()
        return data, self._more

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        """See `Exchange.on_lost`."""
        self._on_lost = callback
        if callback is not None and (self.lost or self._wire.transport.is_closing()):
            self.lose()

    def give_up(self) -> None:
        """See `Exchange.give_up`."""
        if self.task is not None:
            self.task.cancel()

    async def respond(self, status: int, body: bytes = b"", content_type: str = JSON, fields: Fields = ()) -> None:
        """See `Exchange.respond`."""
        if self._wire.blocked is not None:
            await self._wire.blocked.wait()
        if self.lost or self.started:
            return
        self.started = True
        if content_type == JSON and body:
            own = _JSON_HEAD % len(body)
        elif body:
            own = b"content-type: %b\r\ncontent-length: %d\r\n" % (content_type.encode(), len(body))
        else:
            own = b"" if status == HTTPStatus.NO_CONTENT else b"content-length: 0\r\n"
        head = self._head(status, own, fields)
        self._wire.transport.write(head if self.method == "HEAD" else head + body)
        self._complete()

    async def start(self, fields: Fields) -> None:
        """See `Exchange.start`."""
        if self.started:
            return
        self.started = True
        if not self._chunks:
            # Where it ends is where the connection ends.
            self.keep_alive = False
        await self._write(self._head(200, b"transfer-encoding: chunked\r\n" if self._chunks else b"", fields))

    async def write(self, data: bytes) -> None:
        """See `Exchange.write`."""
        if data:
            await self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunks else data)

    async def finish(self, data: bytes = b"") -> None:
        """See `Exchange.finish`."""
        if data:
            await self.write(data)
        if self._chunks:
            await self._write(b"0\r\n\r\n")
        if not (self.lost or self.answered):
            self._complete()

    async def _write(self, data: bytes) -> None:
        if self._wire.blocked is not None:
            await self._wire.blocked.wait()
        if not self.lost:
            self._wire.transport.write(data)

    def _head(self, status: int, own: bytes, fields: Fields) -> bytes:
        if self._expects_continue and self._more:
            # The client may send the body or leave it out: nobody knows what comes next (RFC 9110, section 10.1.1).
            self.keep_alive = False
        self._expects_continue = False
        close = b"" if self.keep_alive else b"connection: close\r\n"
        # A value may hold what a client has sent; it must not become a header of its own.
        more = b"".join(b"%b: %b\r\n" % (name, _CONTROL.sub(b" ", value)) for name, value in fields) if fields else b""
        return b"%b%b%b%b%b\r\n" % (_STATUS_LINES[status], own, self._wire.default_fields(), more, close)

    def _complete(self) -> None:
        self.answered = True
        self._wire.on_answered(self)
