"""The answer to a POST: one JSON object when the result comes before anything else, else an event stream.

A client of a revision that has it can come back to the stream with `Last-Event-ID`: its events are kept, and the call
goes on when the connection breaks. Elsewhere a broken connection cancels the call.
Source: MCP 2025-11-25 and 2026-07-28, basic/transports, "Streamable HTTP".
"""

import asyncio
import contextlib
import logging
import secrets

import msgspec
from nats.aio.msg import Msg

from aicp_common import subjects
from aicp_common.errors import AicpError, Conflict
from aicp_gateway.dispatch import Away
from aicp_gateway.eventstream import RETRY, STREAM_HEADERS, encode_event
from aicp_gateway.httpexchange import Exchange
from aicp_gateway.hub import Hub
from aicp_gateway.metrics import NOTIFICATIONS
from aicp_gateway.protocol.actions import Answered, Answers, Ask, Send
from aicp_gateway.protocol.revisions import primes_streams, resumes_streams
from aicp_gateway.sessions import Control, Session, decode_control
from aicp_gateway.streams import event_id

log = logging.getLogger(__name__)


class PostAnswer:
    """Gives the messages of one POST to its client. It is the `Channel` of its calls.

    Args:
        hub: What all connections share.
        session: Of the handshake era; None in the stateless one.
        exchange: What is answered.
        streams: Whether the client takes event streams.
    """

    __slots__ = (
        "_closed",
        "_commenting",
        "_exchange",
        "_given",
        "_gone",
        "_hub",
        "_lock",
        "_number",
        "_part",
        "_primes",
        "_resumable",
        "_session",
        "_stream",
        "_streams",
        "done",
    )

    def __init__(self, hub: Hub, session: Session | None, exchange: Exchange, *, streams: bool) -> None:
        self._hub = hub
        self._session = session
        self._exchange = exchange
        self._streams = streams
        self._resumable = session is not None and resumes_streams(session.agreed.revision)
        self._primes = self._resumable and session is not None and primes_streams(session.agreed.revision)
        self._stream = ""
        self._number = 0
        self._gone = False
        self._closed = False
        self._given = False
        self._lock = asyncio.Lock()
        self._part: int | None = None
        self._commenting: asyncio.Task[None] | None = None
        self.done = False
        """Whether the answer has been given."""

    @property
    def outlives_connection(self) -> bool:
        """Whether the client may come back for the rest."""
        return self._resumable and bool(self._stream)

    def lose_connection(self) -> None:
        """The client has gone; what comes now is only kept."""
        self._gone = True

    def keep_alive(self) -> None:
        """From now on, say every `SIGN_OF_LIFE_S` seconds that the answer is still coming."""
        if self._streams and not self._closed:
            self._part = self._hub.signs_of_life.join(self)

    def close(self) -> None:
        """Nothing more has to be waited for."""
        self._closed = True
        if self._part is not None:
            self._hub.signs_of_life.leave(self, self._part)
            self._part = None

    async def notify(self, message: bytes) -> None:
        """See `Channel.notify`."""
        if not self._streams:
            return
        async with self._lock:
            await self._start()
            await self._event(message, final=False)
        NOTIFICATIONS.of("http").value += 1

    async def answer(self, send: Send, *, hands_over: bool = False) -> None:
        """See `Channel.answer`."""
        self.close()
        if hands_over:
            # Whether the connection is lost is known a turn of the loop after it was.
            await asyncio.sleep(0)
        if not (self._given or self._stream or self._lock.locked()):
            # Nothing has come before it, and nothing comes after it.
            self._given = True
            await self._exchange.respond(send.status, send.message)
            self.done = True
            return
        async with self._lock:
            if self._given:
                # Half of it may be on its way to a client that does not read.
                return
            if self._gone and hands_over:
                raise Away("nobody was there when the answer came")
            self._given = True
            await self._start()
            await self._event(send.message, final=True)
            self.done = True
            if not self._gone:
                await self._exchange.finish()

    async def ask(self, ask: Ask) -> Answers:
        """See `Channel.ask`."""
        session = self._session
        if session is None or not self._streams:
            raise Conflict(
                f"{ask.call.label} wants to ask the client, which takes no event stream",
                hint="send Accept: application/json, text/event-stream",
            )
        session_id = session.id

        async def on_control(message: Msg) -> None:
            # The client's answers may reach any gateway.
            with contextlib.suppress(msgspec.MsgspecError):
                control = decode_control(message.data)
                if control.what == "answer":
                    result = control.result.encode() if control.result is not None else None
                    error = control.error.encode() if control.error is not None else None
                    self._hub.asks.take(session_id, Answered(control.id, result, error))
                elif control.what == "cancelled":
                    self._hub.asks.give_up(session_id, control.id.encode())

        subscription = await self._hub.bus.subscribe(subjects.session(session_id), on_control)
        try:
            await self._hub.bus.flush()
            return await self._hub.asks.gather(ask, session_id, self.notify)
        finally:
            await subscription.unsubscribe()

    async def end_stream(self) -> None:
        """See `Channel.end_stream`."""
        if not (self._streams and self._resumable):
            return
        async with self._lock:
            await self._start()
            if self._gone:
                return
            if self._number == 0:
                await self._event(b"", final=False)
            self._gone = True
            await self._exchange.finish(RETRY)

    async def _start(self) -> None:
        if self._stream:
            return
        self._stream = f"p{secrets.token_hex(6)}"
        await self._exchange.start(STREAM_HEADERS)
        if self._primes:
            await self._event(b"", final=False)

    async def _event(self, message: bytes, *, final: bool) -> None:
        id = ""
        if self._resumable and self._session is not None:
            self._number += 1
            id = event_id(self._stream, self._number)
            await self._keep(message, final=final)
        if not self._gone:
            await self._exchange.write(encode_event(message, id))

    async def _keep(self, message: bytes, *, final: bool) -> None:
        assert self._session is not None
        try:
            await self._hub.streams.append(self._session.id, self._stream, self._number, message, final=final)
        except AicpError as error:
            # The connection may well hold: only a client that has to come back would miss it.
            log.warning("an event was not kept for a client that comes back: %s", error)
            return
        await self._hub.sessions.tell(self._session.id, Control("event", stream=self._stream))

    def ping(self) -> None:
        """Say that the answer is still coming."""
        if self._commenting is None or self._commenting.done():
            self._commenting = asyncio.create_task(self._comment())

    async def _comment(self) -> None:
        async with self._lock:
            if self._closed:
                return
            with contextlib.suppress(OSError):
                if not self._gone:
                    await self._start()
                    await self._exchange.write(b": alive\n\n")
            if self._resumable and self._session is not None:
                try:
                    await self._hub.streams.keep(self._session.id, self._stream)
                except AicpError as error:
                    log.warning("an event stream may lapse before its answer is there: %s", error)
