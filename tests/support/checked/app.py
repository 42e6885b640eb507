"""An application around the gateway's that lets nothing out unchecked. See `websocket.py` for WebSockets."""

from collections.abc import Awaitable, Callable

from aicp_gateway.httpexchange import JSON, Exchange, Fields
from tests.support.checked.report import Report
from tests.support.checked.revisions import HANDSHAKE, STATELESS
from tests.support.checked.session import Session
from tests.support.checked.sse import EventReader
from tests.support.checked.talk import Talk

App = Callable[[Exchange], Awaitable[None]]

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

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.path.rstrip("/") != ENDPOINT:
            await self._app(exchange)
            return
        headers = exchange.facts.headers
        revision = headers.get(REVISION_HEADER)
        session_id = headers.get(SESSION_HEADER)
        talk = Talk(
            await self._session(session_id, revision),
            self._report,
            "post" if exchange.method == "POST" else "stream",
            stateless=revision == STATELESS,
            resumed="last-event-id" in headers,
        )
        overheard = OverheardExchange(exchange, talk, self._sessions)
        await self._app(overheard)
        if exchange.method == "DELETE" and session_id is not None and overheard.status in range(200, 300):
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


class OverheardExchange:
    """One HTTP request with its answer.

    Args:
        exchange: The gateway's.
        talk: What is said in it.
        sessions: Of this gateway, by their ids.
    """

    def __init__(self, exchange: Exchange, talk: Talk, sessions: dict[str, Session]) -> None:
        self._exchange = exchange
        self._talk = talk
        self._sessions = sessions
        self._chunks: list[bytes] = []
        self._answer = _Answer(talk)
        self.method = exchange.method
        self.path = exchange.path
        self.facts = exchange.facts

    @property
    def status(self) -> int:
        """Of the answer; 0 before there is one."""
        return self._answer.status

    async def read(self) -> tuple[bytes, bool]:
        """See `Exchange.read`."""
        data, more = await self._exchange.read()
        self._chunks.append(data)
        if not more:
            body = b"".join(self._chunks)
            if body:
                self._talk.heard(body)
        return data, more

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        """See `Exchange.on_lost`."""
        self._exchange.on_lost(callback)

    def give_up(self) -> None:
        """See `Exchange.give_up`."""
        self._exchange.give_up()

    async def respond(self, status: int, body: bytes = b"", content_type: str = JSON, fields: Fields = ()) -> None:
        """See `Exchange.respond`."""
        self._begin(status, content_type, fields)
        self._answer.body(body, last=True)
        await self._exchange.respond(status, body, content_type, fields)

    async def start(self, fields: Fields) -> None:
        """See `Exchange.start`."""
        self._begin(200, dict(fields)[b"content-type"].decode(), fields)
        await self._exchange.start(fields)

    async def write(self, data: bytes) -> None:
        """See `Exchange.write`."""
        self._answer.body(data, last=False)
        await self._exchange.write(data)

    async def finish(self, data: bytes = b"") -> None:
        """See `Exchange.finish`."""
        self._answer.body(data, last=True)
        await self._exchange.finish(data)

    def _begin(self, status: int, content_type: str, fields: Fields) -> None:
        self._answer.start(status, content_type)
        session_id = dict(fields).get(SESSION_HEADER.encode())
        if session_id is not None:
            if self._talk.stateless:
                self._talk.wrong("", [f"the header Mcp-Session-Id; {STATELESS} has no sessions"], str(fields))
            self._sessions[session_id.decode()] = self._talk.session


class _Answer:
    """The answer to one HTTP request: one JSON document, a stream of events, or nothing."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.status = 0
        self._type = ""
        self._chunks: list[bytes] = []
        self._events = EventReader()

    def start(self, status: int, content_type: str) -> None:
        """Take the status and the type of what follows."""
        self.status = status
        self._type = content_type.partition(";")[0].strip().lower()

    def body(self, chunk: bytes, *, last: bool) -> None:
        """Take a chunk and check the messages that it completes."""
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
