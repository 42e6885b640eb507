"""A server that says what it is told to, right or wrong, behind the wrapper that checks it."""

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aicp_gateway.httpexchange import JSON, Exchange, Fields
from aicp_gateway.identity import Facts
from tests.support.checked.app import Checked
from tests.support.checked.report import Report
from tests.support.checked.session import Session
from tests.support.checked.talk import Talk

STATELESS = "2026-07-28"
LATEST = "2025-11-25"

META = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientInfo": {"name": "stage", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}

SERVER_CAPABILITIES = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "logging": {},
}


@dataclass(frozen=True)
class Client:
    """The client sends this; bytes go in a binary frame."""

    message: Any


@dataclass(frozen=True)
class Server:
    """The server sends this."""

    message: Any


Line = Client | Server


class Notes(Report):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def add(self, revision: str, method: str, faults: list[str], message: str) -> None:
        self.violations += 1
        self.faults += (f"{revision} {method}: {fault}" for fault in faults)

    def take(self) -> list[str]:
        """What is new."""
        taken, self.faults = self.faults, []
        return taken


def text_of(message: Any) -> str:
    """A text as it is, anything else as JSON."""
    return message if isinstance(message, str) else json.dumps(message)


async def over_websocket(*lines: Line) -> list[str]:
    """One connection on which this is said, in this order; what is wrong with it."""
    report = Notes()
    talk = Talk(Session(), report, "websocket")
    for line in lines:
        if isinstance(line, Server):
            talk.said(text_of(line.message))
        elif isinstance(line.message, bytes):
            talk.heard_nothing_readable()
        else:
            talk.heard(text_of(line.message))
    return report.take()


class Web:
    """A server's HTTP endpoint. Sessions last from one request to the next.

    Args:
        elsewhere: The revisions of sessions that began at another gateway.
    """

    def __init__(self, elsewhere: dict[str, str] | None = None) -> None:
        self._report = Notes()
        self._elsewhere = elsewhere or {}
        self._answer: tuple[int, dict[str, str], list[bytes]] = (0, {}, [])
        self._checked = Checked(self._app, self._report, self._revision_of)

    async def post(
        self,
        message: Any,
        answer: Any = "",
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        sent: dict[str, str] | None = None,
    ) -> list[str]:
        """A POST that is answered with one JSON document.

        Args:
            message: Of the client.
            answer: Of the server.
            status: Of the answer.
            headers: Of the answer.
            sent: Headers of the request.
        """
        body = text_of(answer).encode()
        given = {"content-type": "application/json", **(headers or {})}
        return await self._exchange("POST", message, sent, status, given, [body[:7], body[7:]])

    async def stream(
        self,
        message: Any,
        answers: Iterable[Any],
        *,
        sent: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        cut: int = 0,
        method: str = "POST",
    ) -> list[str]:
        """A POST or GET that is answered with a stream of events.

        Args:
            message: Of the client; ignored for GET.
            answers: Of the server; bytes are sent as they are.
            sent: Headers of the request.
            headers: Of the answer.
            cut: Bytes a chunk; 0: all in one.
            method: GET or POST.
        """
        whole = b"".join(
            each if isinstance(each, bytes) else b"data: %b\n\n" % text_of(each).encode() for each in answers
        )
        step = cut or len(whole) or 1
        chunks = [whole[start : start + step] for start in range(0, len(whole), step)]
        given = {"content-type": "text/event-stream; charset=utf-8", **(headers or {})}
        return await self._exchange(method, message, sent, 200, given, chunks)

    async def delete(self, session: str) -> list[str]:
        """End a session."""
        return await self._exchange("DELETE", "", {"mcp-session-id": session}, 204, {}, [])

    async def begin(self, session: str, revision: str = LATEST, **capabilities: Any) -> list[str]:
        """The handshake over HTTP."""
        asked, answered = handshake(revision, **capabilities)
        return await self.post(asked.message, answered.message, headers={"mcp-session-id": session})

    async def _exchange(
        self,
        method: str,
        message: Any,
        sent: dict[str, str] | None,
        status: int,
        headers: dict[str, str],
        chunks: list[bytes],
    ) -> list[str]:
        body = b"" if method != "POST" else text_of(message).encode("utf-8", "surrogateescape")
        self._answer = (status, headers, chunks)
        await self._checked(Played(method, sent or {}, [body[:5], body[5:]]))
        return self._report.take()

    async def _app(self, exchange: Exchange) -> None:
        more = True
        while more:
            _, more = await exchange.read()
        status, headers, chunks = self._answer
        content_type = headers.get("content-type", JSON)
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        if content_type.startswith("text/event-stream"):
            await exchange.start(fields)
            for chunk in chunks:
                await exchange.write(chunk)
            await exchange.finish()
        else:
            await exchange.respond(status, b"".join(chunks), content_type, fields)

    async def _revision_of(self, session: str) -> str | None:
        return self._elsewhere.get(session)


class Played:
    """An exchange of which only the request is there.

    Args:
        method: Of the request.
        headers: Of the request.
        parts: Of its body.
    """

    def __init__(self, method: str, headers: dict[str, str], parts: list[bytes]) -> None:
        self.method = method
        self.path = "/mcp"
        self.facts = Facts(headers, "")
        self._parts = deque(parts)

    async def read(self) -> tuple[bytes, bool]:
        return self._parts.popleft(), bool(self._parts)

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        pass

    def give_up(self) -> None:
        pass

    async def respond(self, status: int, body: bytes = b"", content_type: str = JSON, fields: Fields = ()) -> None:
        pass

    async def start(self, fields: Fields) -> None:
        pass

    async def write(self, data: bytes) -> None:
        pass

    async def finish(self, data: bytes = b"") -> None:
        pass


def handshake(
    revision: str = LATEST, client: dict[str, Any] | None = None, server: dict[str, Any] | None = None
) -> tuple[Client, Server]:
    """`initialize` and its answer, under the id 0.

    Args:
        revision: That the server answers with.
        client: The client's capabilities; none by default.
        server: The server's; all by default.
    """
    info = {"name": "stage", "version": "1"}
    params = {"protocolVersion": revision, "capabilities": client or {}, "clientInfo": info}
    declared = SERVER_CAPABILITIES if server is None else server
    return (
        Client(request(0, "initialize", **params)),
        Server(result(0, protocolVersion=revision, capabilities=declared, serverInfo=info)),
    )


def request(id: Any, method: str, **params: Any) -> dict[str, Any]:
    """A request of the handshake era."""
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def stateless(id: Any, method: str, meta: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    """A request of the stateless era; `meta` is added to its `_meta`."""
    return request(id, method, **params, _meta={**META, **(meta or {})})


def result(id: Any, /, **fields: Any) -> dict[str, Any]:
    """A response with a result."""
    return {"jsonrpc": "2.0", "id": id, "result": fields}


def complete(id: Any, /, **fields: Any) -> dict[str, Any]:
    """A response with a complete result of the stateless era."""
    return result(id, resultType="complete", **fields)


def error(id: Any, code: int, **data: Any) -> dict[str, Any]:
    """A response with an error."""
    body: dict[str, Any] = {"code": code, "message": "no"}
    if data:
        body["data"] = data
    return {"jsonrpc": "2.0", "id": id, "error": body}


def notice(method: str, **params: Any) -> dict[str, Any]:
    """A notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def listed(id: Any, method: str, **fields: Any) -> dict[str, Any]:
    """A notification on the subscription `id`; `fields` are its other params."""
    return notice(method, **fields, _meta={"io.modelcontextprotocol/subscriptionId": id})


TEXT = [{"type": "text", "text": "hello"}]
CALL = request(1, "tools/call", name="t", arguments={})
