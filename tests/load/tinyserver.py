"""A small HTTP server of the tests: answers each request with the bytes that a test made."""

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

_META = "io.modelcontextprotocol/"
_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


@dataclass(frozen=True)
class HttpMessage:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any
    """Decoded JSON; None without a body."""

    @property
    def called(self) -> str:
        """The method of MCP; for other messages the method of HTTP."""
        return self.body["method"] if self.body else self.method


Answer = Callable[[HttpMessage], Awaitable[list[bytes]]]
"""Gives the parts of an answer, which are sent one by one; nothing: end the connection."""


class TinyServer:
    """One server on a free port of loopback."""

    def __init__(self, answer: Answer, port: int, scheme: str) -> None:
        self.requests: list[HttpMessage] = []
        self.connections = 0
        self.url = f"{scheme}://127.0.0.1:{port}/mcp"
        self._answer = answer

    @classmethod
    @contextlib.asynccontextmanager
    async def run(cls, answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator["TinyServer"]:
        """Serve until the end of the block."""
        talking: set[asyncio.Task[Any]] = set()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            talking.add(task)
            server.connections += 1
            try:
                await server._talk(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()
                talking.discard(task)

        listening = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
        server = cls(answer, listening.sockets[0].getsockname()[1], "https" if tls else "http")
        try:
            yield server
        finally:
            listening.close()
            for task in list(talking):
                task.cancel()
            await asyncio.gather(*talking, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            text = await reader.readexactly(int(headers.get("content-length", "0")))
            request = HttpMessage(method, path, headers, json.loads(text) if text else None)
            self.requests.append(request)
            parts = await self._answer(request)
            for part in parts:
                writer.write(part)
                await writer.drain()
            if not parts or any(b"connection: close" in part.lower() for part in parts[:1]):
                return


def json_answer(body: Any, status: int = 200, session: str = "") -> bytes:
    """An HTTP answer with JSON as its body."""
    text = json.dumps(body).encode()
    more = f"Mcp-Session-Id: {session}\r\n" if session else ""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json; charset=utf-8\r\n{more}"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


def result_answer(request: HttpMessage, result: Any, session: str = "") -> bytes:
    """The result of this request."""
    return json_answer({"jsonrpc": "2.0", "id": request.body["id"], "result": result}, session=session)


def error_answer(request: HttpMessage, code: int, message: str, status: int) -> bytes:
    """An error for this request."""
    error = {"code": code, "message": message}
    return json_answer({"jsonrpc": "2.0", "id": request.body["id"], "error": error}, status)


EVENTS_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A chunk of an HTTP body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(message: Any) -> bytes:
    """A server-sent event."""
    return b"event: message\r\ndata: %b\r\n\r\n" % json.dumps(message).encode()


async def stateless_hub(request: HttpMessage) -> list[bytes]:
    """A hub that speaks 2026-07-28 alone, by the letter: what says something else in its headers than in its body is
    refused. Source: MCP 2026-07-28, basic/transports/streamable-http, "Server Validation"."""
    headers, params = request.headers, request.body.get("params", {})
    meta = params.get("_meta", {})
    if "initialize" in request.called or f"{_META}clientCapabilities" not in meta:
        return [error_answer(request, -32602, "no _meta", 400)]
    expected = {
        "mcp-protocol-version": meta.get(f"{_META}protocolVersion"),
        "mcp-method": request.called,
        "mcp-name": params.get(_NAMED_BY.get(request.called, "")),
    }
    if expected != {name: _decoded(headers.get(name)) for name in expected} or "mcp-session-id" in headers:
        return [error_answer(request, -32020, f"headers: {headers}", 400)]
    if expected["mcp-protocol-version"] != "2026-07-28":
        return [error_answer(request, -32022, "another revision", 400)]
    complete: dict[str, Any] = {"resultType": "complete"}
    match request.called:
        case "server/discover":
            return [result_answer(request, {**complete, "supportedVersions": ["2026-07-28"], "capabilities": {}})]
        case "tools/list":
            return [result_answer(request, {**complete, "tools": [], "ttlMs": 0, "cacheScope": "private"})]
        case "tools/call" if params["name"] == "echo":
            # As a stream, with something else before the answer.
            answer = {"jsonrpc": "2.0", "id": request.body["id"], "result": {**complete, "content": []}}
            told = event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
            return [EVENTS_HEAD, chunk(b": alive\r\n\r\n"), chunk(told), chunk(event(answer)), LAST_CHUNK]
        case "tools/call":
            return [result_answer(request, {"resultType": "input_required", "inputRequests": {}})]
    return [error_answer(request, -32601, "no such method", 404)]


def _decoded(value: str | None) -> str | None:
    if value is None or not value.startswith("=?base64?"):
        return value
    return base64.b64decode(value.removeprefix("=?base64?").removesuffix("?=")).decode()
