"""MCP over WebSocket: drives one conversation over one connection. One JSON-RPC message a text frame."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Coroutine, Mapping
from typing import Any, cast

from uvicorn.server import ServerState

from aicp_common.cancellation import end
from aicp_common.envelope import encode_json
from aicp_common.errors import AicpError, Internal
from aicp_gateway.batch import BatchChannel
from aicp_gateway.dispatch import Channel
from aicp_gateway.hub import Hub
from aicp_gateway.identity import Caller, Facts, challenge
from aicp_gateway.metrics import CONNECTIONS, MESSAGES, NOTIFICATIONS, REFUSED
from aicp_gateway.notices import Notices
from aicp_gateway.protocol.actions import Action, Answered, Answers, Ask, Batch, Call, Cancel, Listen, Send, Unwatch
from aicp_gateway.protocol.engine import Conversation
from aicp_gateway.protocol.jsonrpc import INVALID_REQUEST, encode_error
from aicp_gateway.subscription import Subscription
from aicp_gateway.textsocket import ClientGone, Refusal, TextSocket

log = logging.getLogger(__name__)

GOING_AWAY = 1001
"""Close code. Source: RFC 6455, section 7.4.1."""
TOKEN_EXPIRED = 4401
"""Close code; 4000 to 4999 are for applications (RFC 6455, section 7.4.2)."""

ENDPOINT = "/mcp"

_connections = CONNECTIONS.labels("websocket")
_messages = MESSAGES.of("websocket")
_notifications = NOTIFICATIONS.of("websocket")


class WebSocketConnection(TextSocket):
    """One connection, from the upgrade to its end. It is the `Channel` of its calls.

    Args:
        hub: What all connections share.
        server_state: uvicorn's.
    """

    __slots__ = (
        "__weakref__",
        "_busy",
        "_caller",
        "_conversation",
        "_dispatch",
        "_expiry",
        "_hub",
        "_notices",
        "_session",
        "_subscriptions",
        "_tasks",
        "_telling",
        "_told",
    )

    def __init__(self, hub: Hub, server_state: ServerState) -> None:
        super().__init__(server_state, hub.heartbeat, 4 * hub.settings.max_message_bytes)
        self._hub = hub
        self._dispatch = hub.dispatch_websocket
        self._caller = cast("Caller", None)
        self._conversation = cast("Conversation", None)
        self._notices = cast("Notices", None)
        self._session = ""
        self._expiry: asyncio.TimerHandle | None = None
        self._busy = False
        # Most connections are idle, and an empty dict is as large as this object.
        self._tasks: dict[bytes, asyncio.Task[None]] | None = None
        self._subscriptions: dict[Notices, Subscription] | None = None
        self._telling: dict[Notices, None] | None = None
        self._told = False

    # Life

    def refusal(self, path: str, query: str, headers: Mapping[str, str]) -> Refusal | None:
        """See `TextSocket.refusal`."""
        if path.rstrip("/") != ENDPOINT:
            return Refusal(404, nothing_at(path))
        address = self._transport.get_extra_info("peername")
        facts = Facts(headers, query, address[0] if address else "")
        try:
            self._hub.identity.check_origin(facts)
            self._caller = self._hub.identity.caller(facts)
        except AicpError as error:
            REFUSED.labels(error.code).inc()
            body = encode_error(b"null", error.jsonrpc_code, str(error), error.as_dict())
            fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in challenge(error)]
            return Refusal(error.http_status, body, fields)
        return None

    def on_open(self) -> None:
        """See `TextSocket.on_open`."""
        hub, principal = self._hub, self._caller.principal
        self._session = f"s-{secrets.token_hex(16)}"
        self._notices = Notices(self._wake)
        self._conversation = Conversation(
            principal, hub.catalogue, hub.sealer, max_in_flight=hub.settings.max_in_flight
        )
        hub.connections.add(self)
        _connections.inc()
        lasts_s = self._caller.lasts_s()
        if lasts_s is not None:
            self._expiry = self._loop.call_later(lasts_s, self.end, TOKEN_EXPIRED, "the token has expired")
        self.spawn(hub.presence.joined(principal))

    async def on_closed(self) -> None:
        """See `TextSocket.on_closed`."""
        hub = self._hub
        _connections.dec()
        hub.clients.discard(self._notices)
        hub.connections.discard(self)
        if self._expiry is not None:
            self._expiry.cancel()
        await end((self._tasks or {}).values())
        for subscription in list((self._subscriptions or {}).values()):
            await subscription.close()
        await hub.watches.remove_all(self._notices)
        await hub.presence.left(self._caller.principal)

    async def close(self) -> None:
        """End it in good order: subscriptions get their answer, then the connection is closed."""
        with contextlib.suppress(OSError):
            acknowledged = [each for each in (self._subscriptions or {}).values() if each.acknowledged]
            # Nothing follows the answer that ends one.
            self._subscriptions = None
            for subscription in acknowledged:
                await self.send_patiently(subscription.conclude())
        self.end(GOING_AWAY, "this gateway stops; connect again")

    # The channel of the calls

    async def notify(self, message: bytes) -> None:
        """See `Channel.notify`."""
        await self.send_patiently(message)

    async def answer(self, send: Send, *, hands_over: bool = False) -> None:
        """See `Channel.answer`."""
        await self.send_patiently(send.message)

    async def ask(self, ask: Ask) -> Answers:
        """See `Channel.ask`."""
        return await self._hub.asks.gather(ask, self._session, self.send_patiently)

    async def end_stream(self) -> None:
        """See `Channel.end_stream`. The connection is one stream."""

    # What comes in

    @property
    def busy(self) -> bool:
        """See `TextSocket.busy`."""
        return self._busy

    def answers_nothing(self, message: bytes) -> bool:
        """See `TextSocket.answers_nothing`. A notification, as one that cancels what the client does not read."""
        return b'"id"' not in message

    def on_text(self, message: bytes) -> None:
        """See `TextSocket.on_text`."""
        _messages.value += 1
        actions = self._conversation.receive(message, self._hub.settings.max_message_bytes)
        for index, action in enumerate(actions):
            if isinstance(action, Unwatch | Batch | Cancel):
                # These take a while, and what comes later, in this message or in another, is to be done later.
                self._busy = True
                self.spawn(self._one_by_one(actions[index:]))
                return
            self._do(action)
        if not self._told and self._conversation.agreed.revision:
            # The handshake era alone is told of lists that change without having asked.
            self._told = True
            self._hub.clients.add(self._notices)

    def on_binary(self) -> None:
        """See `TextSocket.on_binary`."""
        _messages.value += 1
        with contextlib.suppress(ClientGone):
            self.send(encode_error(b"null", INVALID_REQUEST, "the frame is binary; MCP messages are text frames"))

    def _do(self, action: Action) -> None:
        match action:
            case Call():
                if action.kind == "greeting":
                    # Nothing may come before the answer to `initialize`.
                    self._notices.hold()
                self._begin(action.id, self._perform(action, self))
            case Send(message):
                self.send(message)
            case Listen():
                self._begin(action.id, self._listen(action))
            case Answered():
                self._hub.asks.take(self._session, action)

    async def _one_by_one(self, actions: list[Action]) -> None:
        try:
            with contextlib.suppress(OSError):
                for action in actions:
                    match action:
                        case Batch(parts, expected):
                            together = BatchChannel(self, expected)
                            for part in parts:
                                await self._do_patiently(part, together)
                        case _:
                            await self._do_patiently(action, self)
        finally:
            self._busy = False
            self.work_off()

    async def _do_patiently(self, action: Action, channel: Channel) -> None:
        match action:
            case Call():
                self._begin(action.id, self._perform(action, channel))
            case Send():
                await channel.answer(action)
            case Unwatch(uri):
                await self._hub.watches.remove(self._notices, uri)
            case Cancel(id):
                if self._tasks is not None and id in self._tasks:
                    # A task that has not begun ends without a word, and the batch that it belongs to would wait for it.
                    await asyncio.sleep(0)
                    running = self._tasks.pop(id, None)
                    if running is not None:
                        running.cancel()
            case _:
                self._do(action)

    def _begin(self, id: bytes, work: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            self._tasks = {}
        self._tasks[id] = self._loop.create_task(work)

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
            if call.kind == "greeting":
                self._notices.release()

    async def _watch(self, call: Call) -> Send:
        try:
            source = await self._dispatch.watched_source(call, self._session)
            await self._hub.watches.add(self._notices, call.uri, source)
        except AicpError as error:
            return call.exchange.fail(call, error)
        except Exception:
            log.exception("a resource could not be watched")
            return call.exchange.fail(call, Internal("the gateway failed to subscribe"))
        return Send(call.exchange.encode(call.id, b"{}"))

    async def _listen(self, listen: Listen) -> None:
        subscription = Subscription(self._hub, self._dispatch, listen, self._session, self._wake)
        if self._subscriptions is None:
            self._subscriptions = {}
        self._subscriptions[subscription.notices] = subscription
        try:
            await self.send_patiently(await subscription.open())
            subscription.release()
            await asyncio.Event().wait()  # until it is cancelled
        except AicpError as error:
            await self.send_patiently(encode_error(listen.id, error.jsonrpc_code, str(error), error.as_dict()))
        finally:
            if self._subscriptions is not None:
                self._subscriptions.pop(subscription.notices, None)
            await subscription.close()
            self._finish(listen)

    def _finish(self, request: Call | Listen) -> None:
        if self._conversation.finish(request) and self._tasks is not None:
            del self._tasks[request.id]
            if not self._tasks:
                self._tasks = None

    # What goes out

    def on_writable(self) -> None:
        """See `TextSocket.on_writable`."""
        self._tell()

    def _wake(self, notices: Notices) -> None:
        if self._telling is None:
            self._telling = {}
        self._telling[notices] = None
        self._tell()

    def _tell(self) -> None:
        try:
            while self._telling and self.writable:
                notices = next(iter(self._telling))
                del self._telling[notices]
                if notices is self._notices:
                    messages = notices.take()[0]
                else:
                    subscription = self._subscriptions.get(notices) if self._subscriptions is not None else None
                    # One that was cancelled meanwhile says nothing more.
                    messages = subscription.take() if subscription is not None else []
                for message in messages:
                    self.send_to_many(message)
                    _notifications.value += 1
        except ClientGone:
            # `suppress` would be a tenth of what a notification takes.
            self._telling = None
        if not self._telling:
            self._telling = None


def nothing_at(path: str) -> bytes:
    """The body of a 404."""
    return encode_json(
        {
            "error": f"nothing at {path[:200]}",
            "hint": f"this is an AICP hub: connect an MCP client to {ENDPOINT}, over WebSocket or Streamable HTTP",
        }
    )
