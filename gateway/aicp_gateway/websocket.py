"""MCP over WebSocket: drives one conversation over one connection. One JSON-RPC message a text frame."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from aicp_common.cancellation import end
from aicp_common.errors import AicpError, Internal
from aicp_gateway.dispatch import Dispatch
from aicp_gateway.hub import Hub
from aicp_gateway.identity import Caller
from aicp_gateway.metrics import CONNECTIONS, MESSAGES, NOTIFICATIONS
from aicp_gateway.notices import Notices
from aicp_gateway.protocol.engine import Call, Cancel, Conversation, Send, Unwatch
from aicp_gateway.protocol.jsonrpc import INVALID_REQUEST, encode_error

log = logging.getLogger(__name__)

AsgiSend = Callable[[dict[str, Any]], Awaitable[None]]
AsgiReceive = Callable[[], Awaitable[dict[str, Any]]]

SUBPROTOCOL = "mcp"
TOKEN_EXPIRED = 4401
"""Close code; 4000 to 4999 are for applications (RFC 6455, section 7.4.2)."""


class WebSocketConnection:
    """One connection, from the accepted upgrade to its end."""

    def __init__(self, hub: Hub, caller: Caller, receive: AsgiReceive, send: AsgiSend) -> None:
        self._hub = hub
        self._caller = caller
        self._principal = caller.principal
        self._receive = receive
        self._send = send
        self._session = f"s-{secrets.token_hex(16)}"
        self._dispatch = Dispatch(hub.bus, "websocket")
        self._notices = Notices()
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._conversation = Conversation(caller.principal, hub.catalogue, max_in_flight=hub.settings.max_in_flight)

    async def serve(self, scope: dict[str, Any]) -> None:
        """Accept, talk until one side goes, and leave nothing behind."""
        await self._receive()  # websocket.connect
        offered = scope.get("subprotocols", [])
        await self._send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None})
        notifier = asyncio.create_task(self._notify_for_ever())
        self._hub.clients.add(self._notices)
        CONNECTIONS.labels("websocket").inc()
        await self._hub.presence.joined(self._principal)
        try:
            async with asyncio.timeout(self._caller.lasts_s()):
                await self._read()
        except TimeoutError:
            await self._send({"type": "websocket.close", "code": TOKEN_EXPIRED, "reason": "the token has expired"})
        finally:
            CONNECTIONS.labels("websocket").dec()
            self._hub.clients.discard(self._notices)
            await end([notifier, *self._tasks.values()])
            await self._hub.watches.remove_all(self._notices)
            await self._hub.presence.left(self._principal)

    async def _read(self) -> None:
        messages = MESSAGES.labels("websocket")
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                return
            messages.inc()
            text = event.get("text")
            if text is None:
                await self._write(
                    encode_error(b"null", INVALID_REQUEST, "the frame is binary; MCP messages are text frames")
                )
            else:
                await self._take(text.encode("utf-8", "surrogatepass"))

    async def _take(self, data: bytes) -> None:
        for action in self._conversation.receive(data, self._hub.settings.max_message_bytes):
            match action:
                case Send(message):
                    await self._write(message)
                case Call():
                    task = asyncio.create_task(self._perform(action))
                    self._tasks[action.id] = task
                case Unwatch(uri):
                    await self._hub.watches.remove(self._notices, uri)
                case Cancel(id):
                    running = self._tasks.pop(id, None)
                    if running is not None:
                        running.cancel()

    async def _perform(self, call: Call) -> None:
        try:
            # A client that went away meanwhile has no use for the answer.
            with contextlib.suppress(OSError):
                if call.kind == "watch":
                    await self._write(await self._watch(call))
                else:
                    await self._dispatch.answer(self._conversation, call, self._session, self._write)
        finally:
            self._conversation.finish(call)
            if self._tasks.get(call.id) is asyncio.current_task():
                del self._tasks[call.id]

    async def _watch(self, call: Call) -> bytes:
        try:
            subject = await self._dispatch.watched_subject(call, self._principal, self._session)
            await self._hub.watches.add(self._notices, call.uri, subject)
        except AicpError as error:
            return self._conversation.fail(call, error)
        except Exception:
            log.exception("a resource could not be watched")
            return self._conversation.fail(call, Internal("the gateway failed to subscribe"))
        return self._conversation.answer(call, b"{}")

    async def _notify_for_ever(self) -> None:
        sent = NOTIFICATIONS.labels("websocket")
        while True:
            for message in await self._notices.take():
                await self._write(message)
                sent.inc()

    async def _write(self, message: bytes) -> None:
        await self._send({"type": "websocket.send", "text": message.decode()})
