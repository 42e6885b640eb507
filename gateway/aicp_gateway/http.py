"""MCP over Streamable HTTP: POST takes a message, GET opens the session's event stream, DELETE ends the session.

In the stateless era there is only POST. Source: MCP 2025-11-25 and 2026-07-28, basic/transports, "Streamable HTTP".
"""

import asyncio
import itertools
import logging
import secrets
from functools import lru_cache
from typing import Any

from aicp_common.errors import AicpError, Internal, InvalidArgument, NotFound, TooLarge, Unavailable
from aicp_common.tracing import is_traceparent
from aicp_gateway.batch import BatchChannel
from aicp_gateway.dispatch import Channel
from aicp_gateway.eventstream import EventStream, ListenStream, ResumedStream
from aicp_gateway.httpexchange import JSON, Exchange
from aicp_gateway.hub import Hub
from aicp_gateway.identity import GUEST_PREFIX, Caller
from aicp_gateway.metrics import MESSAGES
from aicp_gateway.post import PostAnswer
from aicp_gateway.protocol.actions import Action, Answered, Batch, Call, Cancel, Listen, Send, Unwatch
from aicp_gateway.protocol.engine import Conversation
from aicp_gateway.protocol.headers import VERSION
from aicp_gateway.protocol.jsonrpc import INVALID_REQUEST, NULL, encode_error, id_of
from aicp_gateway.protocol.revisions import HANDSHAKE, STATELESS
from aicp_gateway.refusal import peek_id, refuse
from aicp_gateway.sessions import Control, Session
from aicp_gateway.streams import parse_event_id

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
SESSION_HEADER = "mcp-session-id"
LAST_EVENT_HEADER = "last-event-id"

_PREFIX = f"r-{secrets.token_hex(8)}-"
_numbers = itertools.count()
_MESSAGES = MESSAGES.of("http")

MAX_FIELD_CHARS = 1000
"""Of a header whose meaning is kept for the next request; what is of use in it stands before."""

OUTCOME_UNKNOWN = "it may or may not have been done: look before you do it again"


class HttpRequest:
    """One HTTP request to the MCP endpoint."""

    __slots__ = (
        "_caller",
        "_dispatch",
        "_exchange",
        "_headers",
        "_hub",
        "_lost",
        "_principal",
        "_read",
        "_takes_streams",
    )

    def __init__(self, hub: Hub, exchange: Exchange, caller: Caller) -> None:
        self._hub = hub
        self._exchange = exchange
        self._headers = exchange.facts.headers
        self._caller = caller
        self._principal = caller.principal
        self._takes_streams = False
        self._read: bytes | None = None
        """The body, once it has been read."""
        self._dispatch = hub.dispatch_http
        self._lost = False
        """Whether the client has gone and cannot come back."""

    async def serve(self) -> None:
        """Answer it. Errors of the hierarchy become HTTP answers with a JSON-RPC error as their body."""
        method = self._exchange.method
        stateless = self._headers.get(VERSION) == STATELESS
        try:
            match method:
                case "POST":
                    await self._post()
                case "GET" if not stateless:
                    await self._get()
                case "DELETE" if not stateless:
                    await self._hub.sessions.end(await self._session())
                    await self._exchange.respond(204)
                case _:
                    allowed = b"POST" if stateless else b"GET, POST, DELETE"
                    reason = f"{method[:20]} is not for this endpoint, which takes {allowed.decode()}"
                    await self._exchange.respond(405, _error(NULL, reason), fields=[(b"allow", allowed)])
        except AicpError as error:
            await refuse(self._exchange, error, id=await self._request_id())

    async def _request_id(self) -> bytes:
        if self._read is not None:
            return id_of(self._read)
        return await peek_id(self._exchange) if self._exchange.method == "POST" else NULL

    async def _post(self) -> None:
        headers = self._headers
        if not _is_json(headers.get("content-type", "")[:MAX_FIELD_CHARS]):
            await self._reject(415, f"the body must be {JSON}")
            return
        takes_json, self._takes_streams = _taken(headers.get("accept", "*/*")[:MAX_FIELD_CHARS])
        if not takes_json:
            await self._reject(406, f"answers are {JSON}; the Accept header must allow it")
            return
        body = await self._body()
        _MESSAGES.value += 1
        # What a session is for belongs to the handshake era; elsewhere its header is to be ignored.
        in_session = SESSION_HEADER in headers and headers.get(VERSION) != STATELESS
        session = await self._session() if in_session else None
        conversation = Conversation(
            session.principal if session is not None else self._principal,
            self._hub.catalogue,
            self._hub.sealer,
            max_in_flight=self._hub.settings.max_in_flight,
            agreed=session.agreed if session is not None else None,
        )
        actions = conversation.receive(body, self._hub.settings.max_message_bytes, headers)
        if session is not None and conversation.agreed != session.agreed:
            await self._hub.sessions.agree(session, conversation.agreed)
        elif session is None and conversation.agreed.revision:
            session = await self._hub.sessions.create(self._principal, conversation.agreed)
            first = actions[0]
            greeting = await self._dispatch.greet(first, session.id) if isinstance(first, Call) else first
            assert isinstance(greeting, Send)
            named = [(SESSION_HEADER.encode(), session.id.encode())]
            await self._exchange.respond(200, greeting.message, fields=named)
            return
        await self._carry_out(actions, session)

    async def _carry_out(self, actions: list[Action], session: Session | None) -> None:
        if len(actions) == 1 and isinstance(actions[0], Listen):
            await self._listen(actions[0])
            return
        answer = PostAnswer(self._hub, session, self._exchange, streams=self._takes_streams)
        answered = False
        for action in actions:
            if isinstance(action, Call):
                await self._watched(self._perform(action, session, answer), answer)
                answered = True
            else:
                answered = await self._do(action, session, answer, answer) or answered
        if not answered and not answer.done:
            await self._exchange.respond(202)

    async def _listen(self, listen: Listen) -> None:
        if not self._takes_streams:
            reason = f"a subscription is an event stream; the Accept header must have {EVENT_STREAM}"
            await self._exchange.respond(406, _error(listen.id, reason))
            return
        try:
            await ListenStream(self._hub, self._dispatch, listen, self._caller, self._exchange).serve()
        except AicpError as error:
            await refuse(self._exchange, error, id=listen.id)

    async def _do(self, action: Action, session: Session | None, answer: PostAnswer, channel: Channel) -> bool:
        """Carry out one action that is no call; whether it was one that gives an answer."""
        match action:
            case Send():
                # Without a session nothing of the handshake era can go well.
                await channel.answer(action)
                return True
            case Batch(actions, expected):
                together = BatchChannel(channel, expected)
                quick = [each for each in actions if not isinstance(each, Call)]
                for each in quick:
                    await self._do(each, session, answer, together)
                calls = [each for each in actions if isinstance(each, Call)]
                if calls:
                    await self._watched(self._all(calls, session, together), answer)
                return expected > 0
            case Unwatch(uri) if session is not None:
                await self._hub.sessions.unwatch(session, uri)
            case Cancel(id) if session is not None:
                await self._dispatch.cancel(session.id, id)
                # No service has the call while its client is asked, by whichever gateway.
                await self._hub.sessions.tell(session.id, Control("cancelled", id=id.decode()))
            case Answered() if session is not None:
                await self._pass_on(action, session)
        return False

    async def _all(self, calls: list[Call], session: Session | None, channel: Channel) -> None:
        await asyncio.gather(*(self._perform(call, session, channel) for call in calls))

    async def _watched(self, work: Any, answer: PostAnswer) -> None:
        """Do `work`, and end it when the client goes away and cannot come back."""

        def on_lost() -> None:
            if answer.outlives_connection:
                answer.lose_connection()
            elif not answer.done:
                self._lost = True
                self._exchange.give_up()

        self._exchange.on_lost(on_lost)
        answer.keep_alive()
        try:
            await work
        except OSError:
            # The client has gone.
            pass
        except asyncio.CancelledError:
            if not (self._lost or answer.done):
                raise
        finally:
            self._exchange.on_lost(None)
            answer.close()

    async def _perform(self, call: Call, session: Session | None, channel: Channel) -> None:
        traceparent = self._headers.get("traceparent", "")
        if traceparent and not is_traceparent(traceparent):
            traceparent = ""
        if call.kind == "watch" and session is not None:
            await channel.answer(await self._watch(call, session))
            return
        # Without a session nothing can refer to this request later: a name of its own keeps it apart from others.
        name = session.id if session is not None else f"{_PREFIX}{next(_numbers)}"
        try:
            await self._dispatch.carry_out(call, name, channel, traceparent)
        except asyncio.CancelledError:
            if not self._lost:
                # This gateway stops. Whoever is there, or comes back to another gateway, is to know that it is over.
                stops = Unavailable("the gateway that the call was under way at stops", hint=OUTCOME_UNKNOWN)
                await channel.answer(call.exchange.fail(call, stops))
            raise

    async def _watch(self, call: Call, session: Session) -> Send:
        try:
            source = await self._dispatch.watched_source(call, session.id)
            await self._hub.sessions.watch(session, call.uri, source)
        except AicpError as error:
            return call.exchange.fail(call, error)
        except Exception:
            log.exception("a resource could not be watched")
            return call.exchange.fail(call, Internal("the gateway failed to subscribe"))
        return Send(call.exchange.encode(call.id, b"{}"))

    async def _pass_on(self, answered: Answered, session: Session) -> None:
        """Give the client's answer to whichever gateway has asked."""
        if self._hub.asks.take(session.id, answered):
            return
        result = answered.result.decode() if answered.result is not None else None
        error = answered.error.decode() if answered.error is not None else None
        await self._hub.sessions.tell(session.id, Control("answer", id=answered.id, result=result, error=error))

    async def _get(self) -> None:
        if EVENT_STREAM not in self._headers.get("accept", ""):
            await self._reject(406, f"GET opens the event stream; the Accept header must have {EVENT_STREAM}")
            return
        session = await self._session()
        last = self._headers.get(LAST_EVENT_HEADER)
        event = parse_event_id(last) if last is not None else None
        if last is not None and event is None:
            raise NotFound("there is no such event stream, or no more", hint="leave Last-Event-ID out")
        if event is not None and event[0] != EventStream.NAME:
            await ResumedStream(self._hub, session, self._caller, self._exchange, *event).serve()
        else:
            await EventStream(self._hub, session, self._caller, self._exchange, resumed=event is not None).serve()

    async def _session(self) -> Session:
        """The session that the headers name.

        Raises:
            InvalidArgument: no session, or a protocol version that is not the session's.
            NotFound: no such session, or not this client's.
        """
        headers = self._headers
        session_id = headers.get(SESSION_HEADER)
        if session_id is None:
            raise InvalidArgument("the header Mcp-Session-Id is missing", hint="send initialize first")
        session = await self._hub.sessions.find(session_id)
        if not self._owns(session):
            raise NotFound("there is no such session, or no more", hint="send initialize without Mcp-Session-Id")
        revision = headers.get(VERSION, session.agreed.revision)
        if revision not in HANDSHAKE:
            raise InvalidArgument(
                f"MCP-Protocol-Version {revision[:40]!r} is not spoken here", expected=" or ".join(HANDSHAKE)
            )
        return session

    def _owns(self, session: Session) -> bool:
        if session.principal.tenant != self._principal.tenant:
            return False
        if self._hub.settings.jwt_required:
            return session.principal == self._principal
        # On an open hub the session id alone says who it is; a name given again must be the same one.
        return self._principal.agent.startswith(GUEST_PREFIX) or session.principal.agent == self._principal.agent

    async def _body(self) -> bytes:
        """The whole body.

        Raises:
            TooLarge: it is longer than a message may be.
        """
        limit = self._hub.settings.max_message_bytes
        declared = self._headers.get("content-length", "")
        size = int(declared) if declared.isdigit() else 0
        body, more = b"", True
        while more and size <= limit:
            data, more = await self._exchange.read()
            body = body + data if body else data
            size = max(size, len(body))
        if size > limit:
            raise TooLarge(f"the message has {size} bytes or more", expected=f"at most {limit}")
        self._read = body
        return body

    async def _reject(self, status: int, message: str) -> None:
        await self._exchange.respond(status, _error(await self._request_id(), message))


def _error(id: bytes, message: str) -> bytes:
    return encode_error(id, INVALID_REQUEST, message)


@lru_cache(maxsize=256)
def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == JSON


@lru_cache(maxsize=1024)
def _taken(accept: str) -> tuple[bool, bool]:
    """Whether a client takes JSON, and whether it takes event streams."""
    anything = "*/*" in accept
    return anything or JSON in accept or "application/*" in accept, anything or EVENT_STREAM in accept
