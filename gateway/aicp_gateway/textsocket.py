"""A WebSocket that carries text: takes a connection over that began as HTTP, without ASGI in between.

An idle connection is this object and the frame parser of `websockets`: no task, no queue, no timer, and nothing of its
handshake. As an ASGI application it took nearly four times as much memory: 26.9 KiB, now 7.1 (`make bench`).
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from aicp_gateway.corked import Corked
from aicp_gateway.heartbeat import Heartbeat

SUBPROTOCOL = Subprotocol("mcp")

log = logging.getLogger("websockets.server")

CLOSE_S = 1.0
"""How long a client may take to read what it was sent, and to answer, once its connection is closed."""

TURN_BYTES = 128 * 1024
"""After so much at once, other connections are read first: libuv would go on for megabytes."""

_PING = b"aicp"


@dataclass(frozen=True)
class Refusal:
    """An answer that is no upgrade."""

    status: int
    body: bytes
    headers: Sequence[tuple[str, str]] = ()


class ClientGone(OSError):
    """The client has gone."""


class TextSocket(asyncio.Protocol, ABC):
    """One WebSocket, from the request for the upgrade to its end.

    Args:
        server_state: uvicorn's: what is to be closed and waited for when the server stops.
        heartbeat: Pings it.
        max_bytes: The longest message that is read; a longer one ends the connection.
    """

    __slots__ = (
        "_fragments",
        "_heartbeat",
        "_held",
        "_lingering",
        "_loop",
        "_max_bytes",
        "_part",
        "_ponged",
        "_protocol",
        "_resumed",
        "_server_state",
        "_transport",
    )

    def __init__(self, server_state: ServerState, heartbeat: Heartbeat, max_bytes: int) -> None:
        self._server_state = server_state
        self._heartbeat = heartbeat
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", None)
        self._protocol: Protocol | None = None
        """Of the open connection."""
        self._part: int | None = None
        self._ponged = True
        self._lingering = False
        """The connection ends, and what still comes is dropped."""
        self._fragments: list[bytes] | None = None
        """Of a message that comes in pieces."""
        self._held: deque[bytes] | None = None
        """Messages that came while no more were to be read."""
        self._resumed: asyncio.Future[None] | None = None
        """While the client does not read: done when it does again."""

    # What a conversation makes of it

    @abstractmethod
    def refusal(self, path: str, query: str, headers: Mapping[str, str]) -> Refusal | None:
        """Whether the upgrade is refused, and how.

        Args:
            path: Of the request.
            query: Of the request.
            headers: Of the request, names in lower case.
        """

    @abstractmethod
    def on_open(self) -> None:
        """The connection is open."""

    @abstractmethod
    def on_text(self, message: bytes) -> None:
        """A message has come: UTF-8."""

    @abstractmethod
    def on_binary(self) -> None:
        """A message has come that is no text."""

    @abstractmethod
    def on_writable(self) -> None:
        """The client reads again."""

    @abstractmethod
    async def on_closed(self) -> None:
        """The connection, which was open, has ended."""

    @property
    def busy(self) -> bool:
        """Whether no more messages are to be given to `on_text` now; see `work_off`."""
        return False

    def answers_nothing(self, message: bytes) -> bool:
        """Whether a message asks for no answer, so that it can be taken in of a client that does not read."""
        return False

    # Sending

    @property
    def transport(self) -> asyncio.Transport:
        """To cut off a client that does not read."""
        return self._transport

    @property
    def writable(self) -> bool:
        """Whether the client reads what it is sent."""
        return self._resumed is None

    def send(self, message: bytes) -> None:
        """Send a message, however much waits to be read by the client.

        Raises:
            ClientGone: it has gone.
        """
        self._write(Frame(Opcode.TEXT, message).serialize(mask=False))

    def send_to_many(self, message: str) -> None:
        """As `send`, for what many clients are sent."""
        self._write(_frame_of(message))

    async def send_patiently(self, message: bytes) -> None:
        """Send a message once the client reads.

        Raises:
            ClientGone: it has gone.
        """
        while self._resumed is not None:
            await asyncio.shield(self._resumed)
        self.send(message)

    def end(self, code: int, reason: str = "") -> None:
        """Close the connection. The client has `CLOSE_S` to take in what it was sent, and to answer."""
        if self._protocol is None:
            self._transport.close()
        elif self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
            self._linger()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do `work`, which uvicorn waits for when it stops."""
        task = self._loop.create_task(work)
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)
        return task

    def _write(self, frame: bytes) -> None:
        if self._protocol is None or self._protocol.state is not State.OPEN or self._transport.is_closing():
            raise ClientGone("the client has gone")
        self._transport.write(frame)

    def _linger(self) -> None:
        """Drop what still comes: closed with something unread, TCP takes back the close frame. RFC 1122, 4.2.2.13."""
        self._lingering = True
        self._held = None
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._loop.call_later(CLOSE_S, self._transport.abort)

    def _flush(self) -> None:
        assert self._protocol is not None
        self._transport.write(b"".join(self._protocol.data_to_send()))

    # Heartbeat

    def ping(self) -> None:
        """See `Pinged`."""
        if not self._ponged:
            self.end(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
            return
        self._ponged = False
        self._transport.write(Frame(Opcode.PING, _PING).serialize(mask=False))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", Corked(cast("asyncio.Transport", transport), self._loop))
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own classes

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._protocol is None:
            self._upgrade(data)
            return
        self._protocol.receive_data(data)
        events = self._protocol.events_received()
        if self._protocol.writes:
            self._flush()
        if not self._lingering:
            for event in events:
                self._frame(cast("Frame", event))
        if self._protocol.close_rcvd is not None:
            self._transport.close()
        elif self._lingering:
            pass
        elif self._protocol.eof_sent:
            # The parser has refused what the client sent, and said why.
            self._transport.write_eof()
            self._linger()
        elif self._held:
            self._transport.pause_reading()
        elif len(data) >= TURN_BYTES:
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self._held and not self._transport.is_closing():
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """See asyncio."""
        self._resumed = self._loop.create_future()

    def resume_writing(self) -> None:
        """See asyncio."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)
        self.work_off()
        self.on_writable()

    def work_off(self) -> None:
        """Take in what was held, as far as the client reads the answers."""
        if self._held is None:
            return
        while self._held and self.writable and not self.busy:
            self._take(self._held.popleft())
        if not self._held:
            self._held = None
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._server_state.connections.discard(self)
        if self._resumed is not None:
            if not self._resumed.done():
                self._resumed.set_exception(ClientGone("the client has gone"))
            self._resumed.exception()  # Nobody may be waiting.
        if self._part is not None:
            self._heartbeat.leave(self, self._part)
            self.spawn(self.on_closed())

    def shutdown(self) -> None:
        """uvicorn stops."""
        self.end(CloseCode.SERVICE_RESTART)

    # From bytes to messages

    def _upgrade(self, data: bytes) -> None:
        """uvicorn gives the whole request at once."""
        handshake = ServerProtocol(select_subprotocol=_choose_subprotocol, logger=log)
        handshake.receive_data(data)
        events = handshake.events_received()
        if events:
            request = cast("Request", events[0])
            refused = self._refused(request)
            response = refused or handshake.accept(request)
            handshake.send_response(response)
        self._transport.write(b"".join(handshake.data_to_send()))
        if handshake.state is not State.OPEN:
            self._transport.close()
            return
        self._protocol = Protocol(Side.SERVER, max_size=self._max_bytes, logger=log)
        self._part = self._heartbeat.join(self)
        self.on_open()

    def _refused(self, request: Request) -> Response | None:
        path, _, query = request.path.partition("?")
        headers: dict[str, str] = {}
        for name, value in request.headers.raw_items():
            # As with HTTP: RFC 9110, section 5.3.
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        refusal = self.refusal(path, query, headers)
        if refusal is None:
            return None
        length = str(len(refusal.body))
        fixed = [("Content-Type", "application/json"), ("Content-Length", length), ("Connection", "close")]
        status = HTTPStatus(refusal.status)
        return Response(status, status.phrase, Headers([*fixed, *refusal.headers]), refusal.body)

    def _frame(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT:
                if frame.fin:
                    self._message(bytes(frame.data))
                else:
                    self._fragments = [bytes(frame.data)]
            case Opcode.CONT if self._fragments is not None:
                self._fragments.append(bytes(frame.data))
                if frame.fin:
                    message, self._fragments = b"".join(self._fragments), None
                    self._message(message)
            case Opcode.BINARY:
                # What follows of one that is split finds no fragments, and is dropped.
                self.on_binary()
            case Opcode.PONG:
                self._ponged = True

    def _message(self, message: bytes) -> None:
        if self._held is not None or self.busy or not (self.writable or self.answers_nothing(message)):
            self._held = self._held or deque()
            self._held.append(message)
        else:
            self._take(message)

    def _take(self, message: bytes) -> None:
        if self._transport.is_closing():
            return
        try:
            message.decode()
        except UnicodeDecodeError:
            self.end(CloseCode.INVALID_DATA, "the text is not UTF-8")
            return
        try:
            self.on_text(message)
        except ClientGone:
            log.debug("the client went away while it was answered")


@lru_cache(maxsize=64)
def _frame_of(message: str) -> bytes:
    return Frame(Opcode.TEXT, message.encode()).serialize(mask=False)


def _choose_subprotocol(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return SUBPROTOCOL if SUBPROTOCOL in offered else None
