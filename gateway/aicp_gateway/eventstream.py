"""The event stream of a Streamable HTTP session: what the server tells its client outside of any answer."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from nats.aio.msg import Msg

from aicp_common import subjects
from aicp_common.cancellation import end
from aicp_common.ids import new_id
from aicp_gateway.hub import Hub
from aicp_gateway.identity import Caller
from aicp_gateway.metrics import CONNECTIONS, NOTIFICATIONS
from aicp_gateway.notices import Notices
from aicp_gateway.sessions import Control, Session, decode_control

KEEP_ALIVE_S = 15.0
"""How often a stream with nothing to say says so, for proxies that cut silent connections."""


class EventStream:
    """One GET of one session. A newer stream of the same session, on any gateway, ends this one."""

    def __init__(
        self,
        hub: Hub,
        session: Session,
        caller: Caller,
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self._hub = hub
        self._session = session
        self._caller = caller
        self._receive = receive
        self._send = send
        # Sorts by time: of two streams that open at once, the same one ends on every gateway.
        self._id = new_id("e")
        self._notices = Notices()
        self._over = asyncio.Event()
        self._started = False

    async def serve(self) -> None:
        """Stream until the client, the session or the gateway ends."""
        gone = asyncio.create_task(self._client_gone())
        over = asyncio.create_task(self._over.wait())
        streaming = asyncio.create_task(self._stream())
        self._hub.streams.add(self._over)
        self._hub.clients.add(self._notices)
        CONNECTIONS.labels("http").inc()
        try:
            await asyncio.wait(
                (gone, over, streaming), timeout=self._caller.lasts_s(), return_when=asyncio.FIRST_COMPLETED
            )
            await end([streaming])
            if not gone.done() and self._started:
                with contextlib.suppress(OSError):
                    await self._send({"type": "http.response.body", "body": b""})
        finally:
            await end([gone, over, streaming])
            CONNECTIONS.labels("http").dec()
            self._hub.clients.discard(self._notices)
            self._hub.streams.discard(self._over)
            await self._hub.watches.remove_all(self._notices)

    async def _stream(self) -> None:
        await self._start()
        await self._hub.presence.joined(self._session.principal)
        try:
            control = await self._hub.bus.subscribe(subjects.session(self._session.id), self._on_control)
            try:
                await self._hub.bus.flush()
                await self._hub.sessions.tell(self._session.id, Control("taken", stream=self._id))
                # Subscribed to the session first, then its watches are read: none can fall in between.
                await self._hub.watches.add_all(self._notices, await self._hub.sessions.watches(self._session))
                await self._write_for_ever()
            finally:
                await control.unsubscribe()
        finally:
            await self._hub.presence.left(self._session.principal)

    async def _on_control(self, message: Msg) -> None:
        try:
            control = decode_control(message.data)
        except msgspec.MsgspecError:
            return
        match control.what:
            case "watch":
                await self._hub.watches.add(self._notices, control.uri, control.subject)
            case "unwatch":
                await self._hub.watches.remove(self._notices, control.uri)
            case "taken" if control.stream > self._id:
                self._over.set()
            case "ended":
                self._over.set()

    async def _start(self) -> None:
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._started = True
        await self._chunk(b": open\n\n")

    async def _write_for_ever(self) -> None:
        sent = NOTIFICATIONS.labels("http")
        while True:
            try:
                messages = await asyncio.wait_for(self._notices.take(), KEEP_ALIVE_S)
            except TimeoutError:
                await self._chunk(b": alive\n\n")
                continue
            for message in messages:
                await self._chunk(b"event: message\ndata: %b\n\n" % message)
                sent.inc()

    async def _chunk(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _client_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
