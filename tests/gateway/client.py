"""A client without any SDK: it sends what it is told to, right or wrong."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import websockets
from websockets.asyncio.client import ClientConnection

from tests.gateway.revisions import STATELESS, meta


class RawClient:
    """JSON-RPC over one WebSocket. What comes in is sorted by a reader, so calls may overlap."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []
        """Everything that came, in order."""
        self.notifications: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        """What the server asked."""
        self.orphans: asyncio.Queue[Any] = asyncio.Queue()
        """Answers whose id is null or nobody's, and batches."""
        self._ids = itertools.count(1000)
        self._waiting: dict[Any, asyncio.Future[dict[str, Any]]] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, url: str, agent: str = "", **options: Any) -> AsyncIterator[Self]:
        address = f"{url}?agent={agent}" if agent else url
        async with websockets.connect(address, max_size=None, **options) as socket:
            client = cls(socket)
            reader = asyncio.create_task(client._read())
            try:
                yield client
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def _read(self) -> None:
        async for frame in self.socket:
            message = json.loads(frame)
            self.heard.append(message)
            if isinstance(message, list):
                await self.orphans.put(message)
            elif "method" in message:
                await (self.requests if "id" in message else self.notifications).put(message)
            elif (waiting := self._waiting.pop(message.get("id"), None)) is not None:
                waiting.set_result(message)
            else:
                await self.orphans.put(message)

    def new_id(self) -> int:
        """An id that no request had."""
        return next(self._ids)

    async def send(self, message: Any) -> None:
        """Send a text frame: a text as it is, anything else as JSON."""
        await self.socket.send(message if isinstance(message, str) else json.dumps(message))

    async def exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer with its id."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[message["id"]] = answer
        await self.send(message)
        return await asyncio.wait_for(answer, 30)

    async def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """A request with an id of its own; the whole answer."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": self.new_id(), "method": method}
        if params is not None:
            message["params"] = params
        return await self.exchange(message)

    async def stateless(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        id: int | str | None = None,
        capabilities: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A request of the stateless era; the whole answer."""
        own = {**(params or {}), "_meta": meta(STATELESS, capabilities)}
        return await self.exchange({"jsonrpc": "2.0", "id": id or self.new_id(), "method": method, "params": own})

    async def notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        """A notification."""
        await self.send({"jsonrpc": "2.0", "method": method, **({"params": params} if params is not None else {})})

    async def initialize(
        self, revision: str = "2025-11-25", capabilities: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The handshake; the result."""
        info = {"name": "raw", "version": "1"}
        params = {"protocolVersion": revision, "capabilities": dict(capabilities or {}), "clientInfo": info}
        answer = await self.request("initialize", params)
        await self.notify("notifications/initialized")
        result: dict[str, Any] = answer["result"]
        return result

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """A tool call; its `structuredContent`. Fails if the tool did."""
        result = await self.call_raw(tool, arguments)
        assert not result.get("isError"), result
        structured: dict[str, Any] = result["structuredContent"]
        return structured

    async def call_raw(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A tool call; its result, or an assertion with the JSON-RPC error."""
        answer = await self.request("tools/call", {"name": tool, "arguments": arguments})
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result
