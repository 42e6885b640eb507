"""Event streams over HTTP: of a session, of a call that a client comes back to, and of a subscription."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod

import msgspec
from nats.aio.msg import Msg

from aicp_common import subjects
from aicp_common.cancellation import end
from aicp_common.envelope import Principal
from aicp_common.errors import AicpError, NotFound, Unavailable
from aicp_common.ids import new_id
from aicp_gateway.dispatch import Dispatch
from aicp_gateway.httpexchange import Exchange
from aicp_gateway.hub import Hub
from aicp_gateway.identity import Caller
from aicp_gateway.metrics import CONNECTIONS, NOTIFICATIONS
from aicp_gateway.notices import Notices
from aicp_gateway.protocol.actions import Listen
from aicp_gateway.protocol.revisions import primes_streams, resumes_streams
from aicp_gateway.refusal import refuse
from aicp_gateway.sessions import Control, Session, decode_control
from aicp_gateway.source import decode_source
from aicp_gateway.streams import event_id
from aicp_gateway.subscription import Subscription

log = logging.getLogger(__name__)

RETRY = b"retry: 500\n\n"
"""Tells a client how many milliseconds to wait before it comes back to a stream that the gateway has closed."""

REREAD_S = 5.0
"""How often a stream that a client has come back to is looked at, in case that a signal got lost."""

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


def encode_event(message: bytes, id: str = "") -> bytes:
    """One server-sent event. JSON has no raw line breaks inside of texts; between tokens they are white space."""
    if b"\n" in message or b"\r" in message:
        message = message.replace(b"\r", b" ").replace(b"\n", b" ")
    if id:
        return b"id: %b\nevent: message\ndata: %b\n\n" % (id.encode(), message)
    return b"event: message\ndata: %b\n\n" % message


class Stream(ABC):
    """One event stream, until its client, its token, its gateway or it itself ends.

    Args:
        hub: What all connections share.
        principal: Whose it is.
        caller: Whose token it lasts as long as.
        exchange: What is answered.
    """

    def __init__(self, hub: Hub, principal: Principal, caller: Caller, exchange: Exchange) -> None:
        self._hub = hub
        self._principal = principal
        self._caller = caller
        self._exchange = exchange
        self._over = asyncio.Event()
        self._closed = False
        self._started = False
        self._some = asyncio.Event()
        """There is something to say."""
        self._silent = False
        """It is time to say that it is alive."""

    async def serve(self) -> None:
        """Stream until the end, and leave nothing behind."""
        self._exchange.on_lost(self._over.set)
        over = asyncio.create_task(self._over.wait())
        streaming = asyncio.create_task(self._stream())
        self._hub.connections.add(self)
        part = self._hub.signs_of_life.join(self)
        CONNECTIONS.labels("http").inc()
        try:
            await asyncio.wait((over, streaming), timeout=self._caller.lasts_s(), return_when=asyncio.FIRST_COMPLETED)
            if streaming.done():
                self._look_at(streaming.exception())
            await end([streaming])
            if self._started:
                await self._exchange.finish(self._last_words())
            else:
                await refuse(self._exchange, Unavailable("the stream ended before it began", hint="open it again"))
        finally:
            self._exchange.on_lost(None)
            self._hub.signs_of_life.leave(self, part)
            await end([over, streaming])
            CONNECTIONS.labels("http").dec()
            self._hub.connections.discard(self)
            await self._clean_up()

    async def close(self) -> None:
        """End it in good order."""
        self._closed = True
        self._over.set()

    def _look_at(self, error: BaseException | None) -> None:
        if error is None:
            return
        if not (self._started and isinstance(error, AicpError)):
            raise error
        # The client has an answer already, and comes back when it ends.
        log.warning("an event stream ends: %s", error)

    @abstractmethod
    async def _stream(self) -> None:
        """Say everything that there is to say, from `_start` on."""

    def _last_words(self) -> bytes:
        return RETRY if self._closed else b""

    async def _clean_up(self) -> None:  # noqa: B027  # only some have anything to clean up
        """Leave nothing behind."""

    async def _start(self) -> None:
        await self._exchange.start(STREAM_HEADERS)
        self._started = True
        await self._chunk(b": open\n\n")

    async def _chunk(self, data: bytes) -> None:
        await self._exchange.write(data)

    def ping(self) -> None:
        """See `Pinged`. A time-out for each wait would cost a fifth of what a notification takes."""
        self._silent = True
        self._some.set()

    async def _wait(self) -> None:
        """Wait until there is something to say; now and then, say that the stream is alive."""
        await self._some.wait()
        self._some.clear()
        if self._silent:
            self._silent = False
            await self._chunk(b": alive\n\n")


class EventStream(Stream):
    """The GET of a session: what the server tells its client outside of any answer.

    A newer one of the same session, on any gateway, ends this one.

    Args:
        hub: What all connections share.
        session: Whose stream it is.
        caller: Whose token it lasts as long as.
        exchange: What is answered.
        resumed: The client comes back after its connection broke.
    """

    NAME = "n"
    """Of the stream, in the ids of its events."""

    def __init__(self, hub: Hub, session: Session, caller: Caller, exchange: Exchange, *, resumed: bool) -> None:
        super().__init__(hub, session.principal, caller, exchange)
        self._session = session
        self._resumed = resumed
        # Sorts by time: of two streams that open at once, the same one ends on every gateway.
        self._id = new_id("e")
        self._notices = Notices(lambda notices: self._some.set())

    async def _stream(self) -> None:
        self._hub.clients.add(self._notices)
        await self._hub.presence.joined(self._principal)
        try:
            control = await self._hub.bus.subscribe(subjects.session(self._session.id), self._on_control)
            try:
                await self._hub.bus.flush()
                await self._hub.sessions.tell(self._session.id, Control("taken", stream=self._id))
                # Subscribed to the session first, then its watches are read: none can fall in between.
                watches = await self._hub.sessions.watches(self._session)
                # Which news a stream before this one has told is not known.
                await self._hub.watches.add_all(self._notices, watches, anew=True)
                if self._resumed:
                    # What changed while it was away was told to nobody; to look once too often does no harm.
                    for uri, source in watches.items():
                        if not source.has_news:
                            self._notices.changed(uri)
                # Not before: once the client knows that the stream is open, it misses nothing any more.
                await self._start()
                revision = self._session.agreed.revision
                if primes_streams(revision):
                    await self._chunk(encode_event(b"", event_id(self.NAME, 0)))
                await self._write_for_ever(numbered=resumes_streams(revision))
            finally:
                await control.unsubscribe()
        finally:
            await self._hub.presence.left(self._principal)

    async def _clean_up(self) -> None:
        self._hub.clients.discard(self._notices)
        await self._hub.watches.remove_all(self._notices)

    async def _on_control(self, message: Msg) -> None:
        try:
            control = decode_control(message.data)
        except msgspec.MsgspecError:
            return
        match control.what:
            case "watch":
                await self._hub.watches.add(self._notices, control.uri, decode_source(control.source))
                self._hub.bus.acknowledge(message.reply, taken=True)
            case "unwatch":
                await self._hub.watches.remove(self._notices, control.uri)
            case "taken" if control.stream > self._id:
                self._over.set()
            case "ended":
                self._over.set()

    async def _write_for_ever(self, *, numbered: bool) -> None:
        sent = NOTIFICATIONS.of("http")
        number = 0
        loop = asyncio.get_running_loop()
        kept_at = loop.time()
        while True:
            await self._wait()
            if loop.time() - kept_at > self._hub.settings.session_ttl_s / 8:
                kept_at = loop.time()
                await self._hub.sessions.keep(self._session)
            for message in self._notices.take()[0]:
                number += 1
                await self._chunk(encode_event(message.encode(), event_id(self.NAME, number) if numbered else ""))
                sent.value += 1


class ResumedStream(Stream):
    """The GET of a client that comes back to the stream of a POST: the events that it missed, then those that follow.

    Args:
        hub: What all connections share.
        session: Whose stream it is.
        caller: Whose token it lasts as long as.
        exchange: What is answered.
        stream: Which stream.
        number: Of the last event that the client has.
    """

    def __init__(
        self, hub: Hub, session: Session, caller: Caller, exchange: Exchange, stream: str, number: int
    ) -> None:
        super().__init__(hub, session.principal, caller, exchange)
        self._session = session
        self._name = stream
        self._number = number

    async def _stream(self) -> None:
        control = await self._hub.bus.subscribe(subjects.session(self._session.id), self._on_control)
        try:
            await self._hub.bus.flush()
            while True:
                found = await self._hub.streams.after(self._session.id, self._name, self._number)
                if found is None:
                    if not self._started:
                        raise NotFound("there is no such event stream, or no more", hint="send the request again")
                    return
                if not self._started:
                    await self._start()
                events, final = found
                for number, message in events:
                    self._number = number
                    if message:
                        await self._chunk(encode_event(message, event_id(self._name, number)))
                if final:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REREAD_S):
                        await self._wait()
        finally:
            await control.unsubscribe()

    async def _on_control(self, message: Msg) -> None:
        with contextlib.suppress(msgspec.MsgspecError):
            control = decode_control(message.data)
            if control.what == "event" and control.stream == self._name:
                self._some.set()
            elif control.what == "ended":
                self._over.set()


class ListenStream(Stream):
    """The answer to `subscriptions/listen`: an event stream that stays open.

    Args:
        hub: What all connections share.
        dispatch: Of the transport.
        listen: What was asked for.
        caller: Whose token it lasts as long as.
        exchange: What is answered.
    """

    def __init__(self, hub: Hub, dispatch: Dispatch, listen: Listen, caller: Caller, exchange: Exchange) -> None:
        super().__init__(hub, listen.exchange.principal, caller, exchange)
        self._subscription = Subscription(hub, dispatch, listen, new_id("l"), lambda notices: self._some.set())

    async def _stream(self) -> None:
        acknowledgement = await self._subscription.open()
        await self._start()
        await self._chunk(encode_event(acknowledgement))
        self._subscription.release()
        sent = NOTIFICATIONS.of("http")
        await self._hub.presence.joined(self._principal)
        try:
            while True:
                await self._wait()
                for message in self._subscription.take():
                    await self._chunk(encode_event(message.encode()))
                    sent.value += 1
        finally:
            await self._hub.presence.left(self._principal)

    def _last_words(self) -> bytes:
        return encode_event(self._subscription.conclude())

    async def _clean_up(self) -> None:
        await self._subscription.close()
