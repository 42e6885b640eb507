"""MCP over WebSocket: drives one conversation over one connection. One JSON-RPC message a text frame."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from aicp_common.cancellation import end
from aicp_common.errors import AicpError, Internal
from aicp_gateway.batch import BatchChannel
from aicp_gateway.dispatch import Channel
from aicp_gateway.hub import Hub
from aicp_gateway.identity import Caller
from aicp_gateway.metrics import CONNECTIONS, MESSAGES, NOTIFICATIONS
from aicp_gateway.notices import Notices
from aicp_gateway.protocol.actions import Action, Answered, Answers, Ask, Batch, Call, Cancel, Listen, Send, Unwatch
from aicp_gateway.protocol.engine import Conversation
from aicp_gateway.protocol.jsonrpc import INVALID_REQUEST, encode_error
from aicp_gateway.subscription import Subscription

log = logging.getLogger(__name__)

AsgiSend = Callable[[dict[str, Any]], Awaitable[None]]
AsgiReceive = Callable[[], Awaitable[dict[str, Any]]]

SUBPROTOCOL = "mcp"
GOING_AWAY = 1001
"""Close code. Source: RFC 6455, section 7.4.1."""
TOKEN_EXPIRED = 4401
"""Close code; 4000 to 4999 are for applications (RFC 6455, section 7.4.2)."""


class WebSocketConnection:
    """One connection, from the accepted upgrade to its end. It is the `Channel` of its calls."""

    def __init__(self, hub: Hub, caller: Caller, receive: AsgiReceive, send: AsgiSend) -> None:
        self._hub = hub
        self._caller = caller
        self._principal = caller.principal
        self._receive = receive
        self._send = send
        self._session = f"s-{secrets.token_hex(16)}"
        self._dispatch = hub.dispatch_websocket
        self._notices = Notices(self._wake)
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._subscriptions: dict[Notices, Subscription] = {}
        self._telling: dict[Notices, None] = {}
        self._teller: asyncio.Task[None] | None = None
        self._conversation = Conversation(
            caller.principal, hub.catalogue, hub.sealer, max_in_flight=hub.settings.max_in_flight
        )

    async def serve(self, scope: dict[str, Any]) -> None:
        """Accept, talk until one side goes, and leave nothing behind."""
        await self._receive()  # websocket.connect
        offered = scope.get("subprotocols", [])
        await self._send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None})
        self._hub.connections.add(self)
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
            self._hub.connections.discard(self)
            await end([*self._tasks.values(), *([self._teller] if self._teller else [])])
            for subscription in list(self._subscriptions.values()):
                await subscription.close()
            await self._hub.watches.remove_all(self._notices)
            await self._hub.presence.left(self._principal)

    async def close(self) -> None:
        """End it in good order: subscriptions get their answer, then the connection is closed."""
        with contextlib.suppress(OSError):
            acknowledged = [each for each in self._subscriptions.values() if each.acknowledged]
            # Nothing follows the answer that ends one.
            self._subscriptions.clear()
            for subscription in acknowledged:
                await self._write(subscription.conclude())
            await self._send(
                {"type": "websocket.close", "code": GOING_AWAY, "reason": "this gateway stops; connect again"}
            )

    # The channel of the calls

    async def notify(self, message: bytes) -> None:
        """See `Channel.notify`."""
        await self._write(message)

    async def answer(self, send: Send, *, hands_over: bool = False) -> None:
        """See `Channel.answer`."""
        await self._write(send.message)

    async def ask(self, ask: Ask) -> Answers:
        """See `Channel.ask`."""
        return await self._hub.asks.gather(ask, self._session, self._write)

    async def end_stream(self) -> None:
        """See `Channel.end_stream`. The connection is one stream."""

    # What comes in

    async def _read(self) -> None:
        messages = MESSAGES.labels("websocket")
        receive, limit, conversation = self._receive, self._hub.settings.max_message_bytes, self._conversation
        shook_hands = False
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            messages.inc()
            text = event.get("text")
            if text is None:
                await self._write(
                    encode_error(b"null", INVALID_REQUEST, "the frame is binary; MCP messages are text frames")
                )
                continue
            for action in conversation.receive(text.encode("utf-8", "surrogatepass"), limit):
                await self._do(action, self)
            if conversation.agreed.revision and not shook_hands:
                # The handshake era alone is told of lists that change without having asked.
                shook_hands = True
                self._hub.clients.add(self._notices)

    async def _do(self, action: Action, channel: Channel) -> None:
        match action:
            case Call():
                self._begin(action.id, self._perform(action, channel))
            case Send():
                await channel.answer(action)
            case Listen():
                self._begin(action.id, self._listen(action))
            case Cancel(id):
                if id in self._tasks:
                    # A task that has not begun ends without a word, and the batch that it belongs to would wait for it.
                    await asyncio.sleep(0)
                    running = self._tasks.pop(id, None)
                    if running is not None:
                        running.cancel()
            case Answered():
                self._hub.asks.take(self._session, action)
            case Unwatch(uri):
                await self._hub.watches.remove(self._notices, uri)
            case Batch(actions, expected):
                together = BatchChannel(self, expected)
                for each in actions:
                    await self._do(each, together)

    def _begin(self, id: bytes, work: Any) -> None:
        self._tasks[id] = asyncio.create_task(work)

    async def _perform(self, call: Call, channel: Channel) -> None:
        try:
            # A client that went away meanwhile has no use for the answer.
            with contextlib.suppress(OSError):
                if call.kind == "watch":
                    await channel.answer(await self._watch(call))
                else:
                    await self._dispatch.carry_out(call, self._session, channel)
        except asyncio.CancelledError:
            if isinstance(channel, BatchChannel):
                await channel.forgo()
            raise
        finally:
            self._finish(call)

    async def _watch(self, call: Call) -> Send:
        try:
            subject = await self._dispatch.watched_subject(call, self._session)
            await self._hub.watches.add(self._notices, call.uri, subject)
        except AicpError as error:
            return call.exchange.fail(call, error)
        except Exception:
            log.exception("a resource could not be watched")
            return call.exchange.fail(call, Internal("the gateway failed to subscribe"))
        return Send(call.exchange.encode(call.id, b"{}"))

    async def _listen(self, listen: Listen) -> None:
        subscription = Subscription(self._hub, self._dispatch, listen, self._session, self._wake)
        self._subscriptions[subscription.notices] = subscription
        try:
            await self._write(await subscription.open())
            subscription.release()
            await asyncio.Event().wait()  # until it is cancelled
        except AicpError as error:
            await self._write(encode_error(listen.id, error.jsonrpc_code, str(error), error.as_dict()))
        finally:
            self._subscriptions.pop(subscription.notices, None)
            await subscription.close()
            self._finish(listen)

    def _finish(self, request: Call | Listen) -> None:
        self._conversation.finish(request)
        if self._tasks.get(request.id) is asyncio.current_task():
            del self._tasks[request.id]

    # What goes out

    def _wake(self, notices: Notices) -> None:
        self._telling[notices] = None
        if self._teller is None:
            self._teller = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        sent = NOTIFICATIONS.labels("websocket")
        with contextlib.suppress(OSError):
            while self._telling:
                notices = next(iter(self._telling))
                del self._telling[notices]
                if notices is self._notices:
                    messages = notices.take()[0]
                else:
                    subscription = self._subscriptions.get(notices)
                    # One that was cancelled meanwhile says nothing more.
                    messages = subscription.take() if subscription is not None else []
                for message in messages:
                    await self._send({"type": "websocket.send", "text": message})
                    sent.inc()
        self._teller = None

    async def _write(self, message: bytes) -> None:
        await self._send({"type": "websocket.send", "text": message.decode()})
