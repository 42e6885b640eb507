"""One HTTP/1.1 connection: one request at a time, its answer as JSON or as a stream of events."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

import httptools

from tests.load.event_stream import EventStream
from tests.load.failure import BadAnswer, CallFailed, ConnectionLost

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_STREAM_END_S = 1.0
"""How long a stream of events may stay open after the answer was in it."""

IsAnswer = Callable[[bytes], bool]
"""Tells the answer from the notifications that come before it in a stream of events."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    content_type: str
    """Without parameters, in lower case."""
    session: str
    """The header `Mcp-Session-Id`; empty without."""
    body: bytes
    """Of a stream of events: the data of the event that is the answer."""


class HttpConnection(asyncio.Protocol):
    """A connection; `open` makes one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Reply] | None = None
        self._stream_open: asyncio.Future[None] | None = None
        self._is_answer: IsAnswer = bool
        self._status = 0
        self._content_type = ""
        self._session = ""
        self._bounded = False
        """Whether the answer says where it ends."""
        self._body: list[bytes] = []
        self._size = 0
        self._events: EventStream | None = None

    @property
    def alive(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext | None) -> Self:
        """Connect; with `tls` for `https`.

        Raises:
            OSError: the other side cannot be reached.
        """
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port, ssl=tls)
        return connection

    async def exchange(self, request: bytes, is_answer: IsAnswer) -> Reply:
        """Send a whole request and return its answer.

        Raises:
            ConnectionLost: the connection ended first.
            BadAnswer: what came is not HTTP, or too long, or a stream of events without an answer.
        """
        if self._stream_open is not None:
            ended, _ = await asyncio.wait((self._stream_open,), timeout=_STREAM_END_S)
            if not ended:
                self.abort()
                raise ConnectionLost("the stream of events stayed open after the answer")
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionLost("the hub ended the connection")
        self._is_answer = is_answer
        waiting: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting = waiting
        transport.write(request)
        try:
            return await waiting
        except BaseException:
            # What might still come would be taken for the answer of the next request.
            self.abort()
            raise
        finally:
            self._waiting = None

    def fail(self, failure: CallFailed) -> None:
        """Let the exchange that is under way fail, if there is one."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(failure)

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From asyncio."""
        # uvloop's transports are of no class of asyncio.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """From asyncio."""
        try:
            self._parser.feed_data(data)
        except CallFailed as failure:
            self.fail(failure)
            self.abort()
        except httptools.HttpParserError as error:
            cause = error.__context__
            self.fail(cause if isinstance(cause, CallFailed) else BadAnswer(f"not HTTP: {error}"))
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """From asyncio."""
        self._transport = None
        if self._status >= 200 and not self._bounded and self._events is None:
            # Neither a length nor chunks: the end of the connection is the end of the answer.
            self._resolve(b"".join(self._body))
        self.fail(ConnectionLost(f"the connection ended before the answer{f': {error}' if error else ''}"))
        self._end_stream()

    def on_header(self, name: bytes, value: bytes) -> None:
        """From httptools."""
        name = name.lower()
        if name == b"content-type":
            self._content_type = value.partition(b";")[0].strip().lower().decode("latin-1")
        elif name == b"mcp-session-id":
            self._session = value.decode("latin-1")
        elif name in (b"content-length", b"transfer-encoding"):
            self._bounded = True

    def on_headers_complete(self) -> None:
        """From httptools."""
        self._status = self._parser.get_status_code()
        if self._content_type == "text/event-stream":
            self._events = EventStream(MAX_ANSWER_BYTES)
            self._stream_open = self._loop.create_future()

    def on_body(self, data: bytes) -> None:
        """From httptools."""
        if self._events is None:
            self._body.append(data)
            self._size += len(data)
            if self._size > MAX_ANSWER_BYTES:
                raise BadAnswer(f"an answer is longer than {MAX_ANSWER_BYTES} bytes")
            return
        for event in self._events.feed(data):
            if self._waiting is not None and not self._waiting.done() and self._is_answer(event):
                self._resolve(event)

    def on_message_complete(self) -> None:
        """From httptools."""
        if self._events is not None:
            self.fail(BadAnswer("the stream of events ended without an answer"))
        elif self._status >= 200:
            self._resolve(b"".join(self._body))
        if not self._parser.should_keep_alive() and self._status >= 200 and self._transport is not None:
            self._transport.close()
        self._begin()
        self._end_stream()

    def _begin(self) -> None:
        """Be ready for the next answer."""
        self._status = 0
        self._content_type = ""
        self._session = ""
        self._bounded = False
        self._body = []
        self._size = 0
        self._events = None

    def _resolve(self, body: bytes) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(Reply(self._status, self._content_type, self._session, body))

    def _end_stream(self) -> None:
        if self._stream_open is not None:
            self._stream_open.set_result(None)
            self._stream_open = None
