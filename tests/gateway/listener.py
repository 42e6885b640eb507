"""A client with an open subscription of the stateless era, over either transport."""

import asyncio
import contextlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Any

from tests.gateway.client import RawClient
from tests.gateway.eventsource import messages
from tests.gateway.httpclient import HttpClient
from tests.support.processes import GatewayProcess

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


class Listener(ABC):
    """One subscription."""

    def __init__(self, id: int | str) -> None:
        self.id = id
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        """Its messages."""

    async def next(self) -> dict[str, Any]:
        """Its next message, without what names the subscription."""
        message = await asyncio.wait_for(self.told.get(), 10)
        body = message["params"] if "method" in message else message["result"]
        assert body["_meta"].pop(SUBSCRIPTION) == self.id, message
        if not body["_meta"]:
            del body["_meta"]
        return message

    async def acknowledgement(self) -> dict[str, Any]:
        """What the gateway agrees to tell: its first message."""
        message = await self.next()
        assert message["method"] == "notifications/subscriptions/acknowledged"
        agreed: dict[str, Any] = message["params"]["notifications"]
        return agreed

    @abstractmethod
    async def cancel(self) -> None:
        """Listen no more."""


class WebSocketListener(Listener):
    """Over WebSocket, where several share a connection."""

    def __init__(self, raw: RawClient, id: int | str) -> None:
        super().__init__(id)
        self.raw = raw

    async def cancel(self) -> None:
        await self.raw.notify("notifications/cancelled", {"requestId": self.id})
        assert (await self.raw.request("ping"))["result"] == {}


class HttpListener(Listener):
    """Over HTTP, on a connection of its own."""

    def __init__(self, client: HttpClient, id: int | str) -> None:
        super().__init__(id)
        self._client = client
        self.ended = asyncio.Event()
        """The gateway has ended the stream."""

    async def read(self, message: Mapping[str, Any]) -> None:
        """Open it and take in what comes."""
        async with self._client.ask_stream(message) as response:
            assert response.headers["content-type"] == "text/event-stream", await response.aread()
            async for each in messages(response):
                await self.told.put(each)
        self.ended.set()

    async def cancel(self) -> None:
        await self._client.http.aclose()


@contextlib.asynccontextmanager
async def listening(
    transport: str,
    gateway: GatewayProcess,
    notifications: Mapping[str, Any],
    *,
    id: int | str = 1,
    agent: str = "",
    capabilities: Mapping[str, Any] | None = None,
) -> AsyncIterator[Listener]:
    """A subscription of a client of its own.

    Args:
        transport: `websocket` or `http`.
        gateway: Where.
        notifications: What it is for.
        id: Of the request.
        agent: The client's name; default: one of its own.
        capabilities: Of the client.
    """
    name = agent or f"a{secrets.token_hex(4)}"
    async with contextlib.AsyncExitStack() as stack:
        listener: Listener
        if transport == "http":
            client = await stack.enter_async_context(HttpClient(f"{gateway.http_url}?agent={name}"))
            listener = HttpListener(client, id)
            message = client.stateless(
                "subscriptions/listen", {"notifications": notifications}, id=id, capabilities=capabilities
            )
            working = asyncio.create_task(listener.read(message))
        else:
            raw = await stack.enter_async_context(RawClient.connect(gateway.ws_url, name))
            listener = WebSocketListener(raw, id)
            working = asyncio.create_task(_listen(raw, listener, notifications, capabilities))
        try:
            yield listener
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def _listen(
    raw: RawClient, listener: Listener, notifications: Mapping[str, Any], capabilities: Mapping[str, Any] | None
) -> None:
    raw.notifications = listener.told
    answer = await raw.stateless(
        "subscriptions/listen", {"notifications": notifications}, id=listener.id, capabilities=capabilities
    )
    await listener.told.put(answer)
