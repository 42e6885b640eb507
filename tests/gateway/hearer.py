"""A client that watches one resource with news, in either era and over either transport."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

from tests.gateway.client import RawClient
from tests.gateway.eventsource import messages
from tests.gateway.httpclient import HttpClient
from tests.gateway.listener import SUBSCRIPTION, listening
from tests.support.processes import GatewayProcess

WAYS = ("handshake, websocket", "handshake, http", "stateless, websocket", "stateless, http")


class Hearer:
    """What it heard of the resource.

    Args:
        told: Where its messages come.
        id: Of the subscription; None in the handshake era.
    """

    def __init__(self, told: "asyncio.Queue[dict[str, Any]]", id: str | None) -> None:
        self.told = told
        self._id = id

    async def next(self) -> list[dict[str, Any]] | None:
        """The items of the next message; None for one that only says that something has changed."""
        message = await asyncio.wait_for(self.told.get(), 15)
        assert message["method"] == "notifications/resources/updated", message
        meta = message["params"].get("_meta", {})
        assert meta.get(SUBSCRIPTION) == self._id
        news: list[dict[str, Any]] | None = meta.get("aicp/news")
        return news

    async def texts(self, count: int) -> list[tuple[int, str]]:
        """The numbers and texts of the next `count` items, in however many messages they come."""
        found: list[tuple[int, str]] = []
        while len(found) < count:
            items = await self.next()
            assert items, f"after {found} came a change without items"
            found += [(item["number"], item["text"]) for item in items]
        return found


@contextlib.asynccontextmanager
async def hearing(way: str, gateway: GatewayProcess, uri: str, agent: str) -> AsyncIterator[Hearer]:
    """One client that is subscribed to `uri`.

    Args:
        way: One of `WAYS`.
        gateway: Where.
        uri: Of the resource.
        agent: The client's name.
    """
    era, transport = way.split(", ")
    if era == "stateless":
        id = f"l-{secrets.token_hex(3)}"
        async with listening(transport, gateway, {"resourceSubscriptions": [uri]}, id=id, agent=agent) as listener:
            assert await listener.acknowledgement() == {"resourceSubscriptions": [uri]}
            yield Hearer(listener.told, id)
    elif transport == "websocket":
        async with RawClient.connect(gateway.ws_url, agent) as raw:
            await raw.initialize()
            assert (await raw.request("resources/subscribe", {"uri": uri}))["result"] == {}
            yield Hearer(raw.notifications, None)
    else:
        async with HttpClient(f"{gateway.http_url}?agent={agent}") as client:
            await client.initialize()
            async with session_stream(client) as told:
                assert (await client.request("resources/subscribe", {"uri": uri}))["result"] == {}
                yield Hearer(told, None)


@contextlib.asynccontextmanager
async def session_stream(
    client: HttpClient, last_event: str | None = None
) -> AsyncIterator["asyncio.Queue[dict[str, Any]]"]:
    """What comes on the event stream of a session, once it is open."""
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def read() -> None:
        async for message in messages(response):
            await told.put(message)

    async with client.get(last_event) as response:
        reading = asyncio.create_task(read())
        try:
            yield told
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
