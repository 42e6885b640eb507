"""An ASGI application around the gateway's that lets nothing out unchecked. See `websocket.py` for WebSockets."""

from collections.abc import Awaitable, Callable
from typing import Any

from aicp_gateway.httpparser import CONNECTION, Connection
from tests.support.checked.report import Report
from tests.support.checked.revisions import HANDSHAKE, STATELESS
from tests.support.checked.session import Session
from tests.support.checked.sse import EventReader
from tests.support.checked.talk import Talk

Scope = dict[str, Any]
Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ENDPOINT = "/mcp"
SESSION_HEADER = "mcp-session-id"
REVISION_HEADER = "mcp-protocol-version"

WITHOUT_HEADER = "2025-03-26"
"""What a client speaks that names no revision. Source: MCP 2025-11-25, basic/transports, "Protocol Version Header"."""


class Checked:
    """Passes everything through as it is, and checks what the server says on the way.

    Args:
        app: The gateway's application.
        report: Takes what is wrong.
        revision_of: Tells the revision of a session that began at another gateway; None if there is no such session.
    """

    def __init__(self, app: App, report: Report, revision_of: Callable[[str], Awaitable[str | None]]) -> None:
        self._app = app
        self._report = report
        self._revision_of = revision_of
        self._sessions: dict[str, Session] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].rstrip("/") == ENDPOINT:
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        revision = headers.get(REVISION_HEADER)
        session_id = headers.get(SESSION_HEADER)
        talk = Talk(
            await self._session(session_id, revision),
            self._report,
            "post" if scope["method"] == "POST" else "stream",
            stateless=revision == STATELESS,
            resumed="last-event-id" in headers,
        )
        exchange = _Exchange(talk, receive, send, self._sessions)
        extensions = scope.get("extensions", {})
        if CONNECTION in extensions:
            heard = _HeardConnection(extensions[CONNECTION], exchange)
            scope = {**scope, "extensions": {**extensions, CONNECTION: heard}}
        await self._app(scope, exchange.receive, exchange.send)
        if scope["method"] == "DELETE" and session_id is not None and exchange.status in range(200, 300):
            self._sessions.pop(session_id, None)

    async def _session(self, session_id: str | None, revision: str | None) -> Session:
        if session_id is None:
            return Session(revision if revision in HANDSHAKE else None)
        if session_id not in self._sessions:
            agreed = await self._revision_of(session_id)
            if agreed is None:
                # Not a session at all: whatever is answered is an error.
                return Session(revision if revision in HANDSHAKE else WITHOUT_HEADER, here=False)
            self._sessions[session_id] = Session(agreed, here=False)
        return self._sessions[session_id]


class _Exchange:
    """One HTTP request with its answer."""

    def __init__(self, talk: Talk, receive: Receive, send: Send, sessions: dict[str, Session]) -> None:
        self._talk = talk
        self._receive = receive
        self._send = send
        self._sessions = sessions
        self._chunks: list[bytes] = []
        self._answer = _Answer(talk)

    @property
    def status(self) -> int:
        """Of the answer; 0 before there is one."""
        return self._answer.status

    async def receive(self) -> Event:
        event = await self._receive()
        if event["type"] == "http.request":
            self._chunks.append(event.get("body", b""))
            if not event.get("more_body", False):
                body = b"".join(self._chunks)
                if body:
                    self._talk.heard(body)
        return event

    def hear_answer(self, status: int, body: bytes) -> None:
        """A whole answer with a JSON body."""
        self._answer.start({"status": status, "headers": [(b"content-type", b"application/json")]})
        self._answer.body({"body": body})

    async def send(self, event: Event) -> None:
        if event["type"] == "http.response.start":
            headers = self._answer.start(event)
            if SESSION_HEADER in headers:
                if self._talk.stateless:
                    self._talk.wrong("", [f"the header Mcp-Session-Id; {STATELESS} has no sessions"], str(headers))
                self._sessions[headers[SESSION_HEADER]] = self._talk.session
        elif event["type"] == "http.response.body":
            self._answer.body(event)
        await self._send(event)


class _HeardConnection:
    """The connection of one HTTP request: what goes past ASGI is heard here."""

    def __init__(self, connection: Connection, exchange: _Exchange) -> None:
        self._connection = connection
        self._exchange = exchange

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        self._connection.on_lost(callback)

    async def respond(self, status: int, body: bytes) -> None:
        self._exchange.hear_answer(status, body)
        await self._connection.respond(status, body)


class _Answer:
    """The answer to one HTTP request: one JSON document, a stream of events, or nothing."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.status = 0
        self._type = ""
        self._chunks: list[bytes] = []
        self._events = EventReader()

    def start(self, event: Event) -> dict[str, str]:
        """Take the status and return the headers."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in event.get("headers", [])}
        self.status = event["status"]
        self._type = headers.get("content-type", "").partition(";")[0].strip().lower()
        return headers

    def body(self, event: Event) -> None:
        """Take a chunk and check the messages that it completes."""
        chunk, last = event.get("body", b""), not event.get("more_body", False)
        if self._type == "text/event-stream":
            self._stream(chunk, last)
            return
        self._chunks.append(chunk)
        if last:
            self._document(b"".join(self._chunks))

    def _stream(self, chunk: bytes, last: bool) -> None:
        for event in self._events.read(chunk):
            if event.type != "message":
                self._talk.wrong("", [f"an event of the type {event.type!r}"], event.data.decode("utf-8", "replace"))
            # An event without data only gives the client an id to resume from.
            elif event.data:
                self._talk.said(event.data)
        if last and self._events.inside:
            self._talk.wrong("", ["the stream ends within an event"], "")

    def _document(self, body: bytes) -> None:
        if not body and self.status != 200:
            return
        if self._type != "application/json":
            self._talk.wrong("", [f"an answer of the type {self._type!r}"], body.decode("utf-8", "replace"))
        elif self.status in (202, 204):
            self._talk.wrong("", [f"a body with the HTTP status {self.status}"], body.decode("utf-8", "replace"))
        else:
            self._talk.said(body, self.status)
