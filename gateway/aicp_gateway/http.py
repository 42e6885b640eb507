"""MCP over Streamable HTTP: POST takes one message, GET opens the session's event stream, DELETE ends the session.

Source: MCP 2025-11-25, basic/transports, "Streamable HTTP".
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aicp_common.admin import respond
from aicp_common.cancellation import end
from aicp_common.errors import AicpError, Internal, InvalidArgument, NotFound, TooLarge
from aicp_common.tracing import is_traceparent
from aicp_gateway.dispatch import Dispatch
from aicp_gateway.eventstream import EventStream
from aicp_gateway.hub import Hub
from aicp_gateway.identity import GUEST_PREFIX, Caller, Facts
from aicp_gateway.metrics import MESSAGES
from aicp_gateway.protocol.engine import Call, Cancel, Conversation, Send, Unwatch
from aicp_gateway.protocol.jsonrpc import INVALID_REQUEST, encode_error
from aicp_gateway.protocol.revisions import REVISIONS
from aicp_gateway.sessions import Session

log = logging.getLogger(__name__)

AsgiSend = Callable[[dict[str, Any]], Awaitable[None]]
AsgiReceive = Callable[[], Awaitable[dict[str, Any]]]

JSON = "application/json"
SESSION_HEADER = "mcp-session-id"
REVISION_HEADER = "mcp-protocol-version"


class HttpRequest:
    """One HTTP request to the MCP endpoint."""

    def __init__(self, hub: Hub, facts: Facts, caller: Caller, receive: AsgiReceive, send: AsgiSend) -> None:
        self._hub = hub
        self._facts = facts
        self._caller = caller
        self._principal = caller.principal
        self._receive = receive
        self._send = send
        self._dispatch = Dispatch(hub.bus, "http")

    async def serve(self, method: str) -> None:
        """Answer it. Errors of the hierarchy become HTTP answers with a JSON-RPC error as their body."""
        try:
            match method:
                case "POST":
                    await self._post()
                case "GET":
                    await self._get()
                case "DELETE":
                    await self._hub.sessions.end(await self._session())
                    await respond(self._send, 204, b"", JSON)
                case _:
                    await respond(self._send, 405, b"", JSON, [(b"allow", b"GET, POST, DELETE")])
        except AicpError as error:
            await refuse(self._send, error)

    async def _post(self) -> None:
        headers = self._facts.headers
        if headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            await self._reject(415, f"the body must be {JSON}")
            return
        accept = headers.get("accept", "*/*")
        if not any(kind in accept for kind in (JSON, "application/*", "*/*")):
            await self._reject(406, f"answers are {JSON}; the Accept header must allow it")
            return
        body = await self._body()
        MESSAGES.labels("http").inc()
        session = await self._session() if SESSION_HEADER in headers else None
        principal = session.principal if session else self._principal
        conversation = Conversation(
            principal,
            self._hub.catalogue,
            max_in_flight=self._hub.settings.max_in_flight,
            revision=session.revision if session else None,
        )
        for action in conversation.receive(body, self._hub.settings.max_message_bytes):
            match action:
                case Send(message):
                    await self._answer(message, session, conversation)
                    return
                case Call() if session is not None:
                    await self._call(action, session, conversation)
                    return
                case Unwatch(uri) if session is not None:
                    await self._hub.sessions.unwatch(session, uri)
                case Cancel(id) if session is not None:
                    await self._dispatch.cancel(session.id, id)
        await respond(self._send, 202, b"", JSON)

    async def _answer(self, message: bytes, session: Session | None, conversation: Conversation) -> None:
        if session is None and conversation.revision is not None:
            session = await self._hub.sessions.create(self._principal, conversation.revision, conversation.client_name)
            await respond(self._send, 200, message, JSON, [(SESSION_HEADER.encode(), session.id.encode())])
            return
        # A message without an id that could be echoed, or before any session, is the request's own fault.
        wrong = session is None or message.startswith(b'{"jsonrpc":"2.0","id":null,')
        await respond(self._send, 400 if wrong else 200, message, JSON)

    async def _call(self, call: Call, session: Session, conversation: Conversation) -> None:
        given = self._facts.headers.get("traceparent", "")
        traceparent = given if is_traceparent(given) else ""
        if call.kind == "watch":
            work = asyncio.create_task(self._watch(call, session, conversation))
        else:
            work = asyncio.create_task(self._dispatch.answer(conversation, call, session.id, self._write, traceparent))
        gone = asyncio.create_task(self._client_gone())
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            # When the client went first, nobody is left to take the answer: what waits for it must not claim work.
            if work.done():
                with contextlib.suppress(OSError):
                    work.result()
        finally:
            await end([work, gone])

    async def _write(self, message: bytes) -> None:
        await respond(self._send, 200, message, JSON)

    async def _watch(self, call: Call, session: Session, conversation: Conversation) -> None:
        await self._write(await self._watched(call, session, conversation))

    async def _watched(self, call: Call, session: Session, conversation: Conversation) -> bytes:
        try:
            subject = await self._dispatch.watched_subject(call, session.principal, session.id)
            await self._hub.sessions.watch(session, call.uri, subject)
        except AicpError as error:
            return conversation.fail(call, error)
        except Exception:
            log.exception("a resource could not be watched")
            return conversation.fail(call, Internal("the gateway failed to subscribe"))
        return conversation.answer(call, b"{}")

    async def _client_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _get(self) -> None:
        if "text/event-stream" not in self._facts.headers.get("accept", ""):
            await self._reject(406, "GET opens the event stream; the Accept header must have text/event-stream")
            return
        session = await self._session()
        await EventStream(self._hub, session, self._caller, self._receive, self._send).serve()

    async def _session(self) -> Session:
        """The session that the headers name.

        Raises:
            InvalidArgument: no session, or a protocol version that is not the session's.
            NotFound: no such session, or not this client's.
        """
        headers = self._facts.headers
        session_id = headers.get(SESSION_HEADER)
        if session_id is None:
            raise InvalidArgument("the header Mcp-Session-Id is missing", hint="send initialize first")
        session = await self._hub.sessions.find(session_id)
        if not self._owns(session):
            raise NotFound("there is no such session, or no more", hint="send initialize without Mcp-Session-Id")
        revision = headers.get(REVISION_HEADER, session.revision)
        if revision not in REVISIONS:
            raise InvalidArgument(
                f"MCP-Protocol-Version {revision[:40]!r} is not spoken here", expected=" or ".join(REVISIONS)
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
        declared = self._facts.headers.get("content-length", "")
        chunks: list[bytes] = []
        size = int(declared) if declared.isdigit() else 0
        received = 0
        while size <= limit:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise InvalidArgument("the client went away before its message was complete")
            chunk = event.get("body", b"")
            chunks.append(chunk)
            received += len(chunk)
            size = max(size, received)
            if not event.get("more_body", False):
                return b"".join(chunks)
        raise TooLarge(f"the message has {size} bytes or more", expected=f"at most {limit}")

    async def _reject(self, status: int, message: str) -> None:
        await respond(self._send, status, encode_error(b"null", INVALID_REQUEST, message), JSON)


async def refuse(send: AsgiSend, error: AicpError, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """An HTTP error answer with a JSON-RPC error as its body."""
    body = encode_error(b"null", error.jsonrpc_code, str(error), error.as_dict())
    await respond(send, error.http_status, body, JSON, headers)
