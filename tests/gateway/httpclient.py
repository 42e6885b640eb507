"""A client of Streamable HTTP without any SDK."""

import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import httpx2 as httpx

from tests.gateway.revisions import STATELESS, headers_of, meta

ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


class HttpClient:
    """Sends by hand what it is told to, right or wrong; every request goes to the next of its gateways."""

    def __init__(self, *urls: str, headers: Mapping[str, str] | None = None) -> None:
        self.urls = urls
        self._next = 0
        self.http = httpx.AsyncClient(timeout=60)
        self.headers = {**ACCEPT, **(headers or {})}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.http.aclose()

    @property
    def url(self) -> str:
        """Of the next gateway."""
        self._next += 1
        return self.urls[self._next % len(self.urls)]

    @property
    def session(self) -> str:
        """The id of its session."""
        return self.headers["mcp-session-id"]

    def twin(self, *urls: str) -> "HttpClient":
        """Another client in the same session, with connections of its own."""
        return HttpClient(*(urls or self.urls), headers=self.headers)

    # The handshake era

    async def post(self, message: Any, **headers: str) -> httpx.Response:
        """POST a message: bytes as they are, anything else as JSON."""
        content = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.http.post(self.url, content=content, headers={**self.headers, **headers})

    @contextlib.asynccontextmanager
    async def post_stream(self, message: Any, **headers: str) -> AsyncIterator[httpx.Response]:
        """POST a message and read the answer while it comes."""
        content = json.dumps(message).encode()
        own = {**self.headers, **headers}
        async with self.http.stream("POST", self.url, content=content, headers=own) as response:
            yield response

    @contextlib.asynccontextmanager
    async def get(self, last_event: str | None = None) -> AsyncIterator[httpx.Response]:
        """The session's event stream, or another that the client comes back to."""
        headers = dict(self.headers)
        if last_event is not None:
            headers["last-event-id"] = last_event
        async with self.http.stream("GET", self.url, headers=headers) as response:
            yield response

    async def delete(self) -> httpx.Response:
        """End the session."""
        return await self.http.delete(self.url, headers=self.headers)

    async def initialize(
        self, revision: str = "2025-11-25", capabilities: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """The handshake; its answer."""
        info = {"name": "raw", "version": "1"}
        params = {"protocolVersion": revision, "capabilities": dict(capabilities or {}), "clientInfo": info}
        answer = await self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        self.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
        self.headers["mcp-protocol-version"] = revision
        accepted = await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert accepted.status_code == 202
        return answer

    async def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """A request; its answer, which is one JSON object."""
        id = secrets.token_hex(4)
        answer = await self.post({"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        assert body["id"] == id
        return body

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """A tool call; its `structuredContent`. Fails if the tool did."""
        result = (await self.request("tools/call", {"name": tool, "arguments": arguments}))["result"]
        assert not result.get("isError"), result
        structured: dict[str, Any] = result["structuredContent"]
        return structured

    # The stateless era

    def stateless(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        id: int | str = 1,
        capabilities: Mapping[str, Any] | None = None,
        **of_meta: Any,
    ) -> dict[str, Any]:
        """A request of that era."""
        own = {**(params or {}), "_meta": meta(STATELESS, capabilities, **of_meta)}
        return {"jsonrpc": "2.0", "id": id, "method": method, "params": own}

    async def ask(self, message: Mapping[str, Any], **headers: str) -> httpx.Response:
        """POST a request of that era with the headers that repeat it."""
        return await self.post(message, **{**headers_of(message), **headers})

    def ask_stream(self, message: Mapping[str, Any]) -> "contextlib.AbstractAsyncContextManager[httpx.Response]":
        """As `ask`, and read the answer while it comes."""
        return self.post_stream(message, **headers_of(message))


def call_of(tool: str, id: int | str = 1, token: str | int | None = None, **arguments: Any) -> dict[str, Any]:
    """A `tools/call` of the handshake era."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if token is not None:
        params["_meta"] = {"progressToken": token}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}
