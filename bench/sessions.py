"""Sessions of the handshake era, and calls over them that change from one to the next."""

from collections.abc import Callable, Mapping
from typing import Any

from bench.clients import WebSocketClient
from bench.rounds import Work
from bench.servers import INITIALIZE

Call = Callable[[], Mapping[str, Any]]
"""Makes the parameters of the next request."""


async def open_session(
    url: str, headers: Mapping[str, str], on_notification: Callable[[str], None] | None = None
) -> WebSocketClient:
    """Connect and shake hands."""
    client = await WebSocketClient.connect(url, headers, on_notification=on_notification)
    await client.request("initialize", INITIALIZE)
    client.notify("notifications/initialized")
    return client


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    """The parameters of a tool call."""
    return {"name": name, "arguments": arguments}


def works(clients: list[WebSocketClient], in_flight: int, call: Call, method: str = "tools/call") -> list[Work]:
    """Workers for a contestant: so many of each client."""

    def work_of(client: WebSocketClient) -> Work:
        async def work() -> None:
            await client.request(method, call())

        return work

    return [work_of(client) for client in clients for _ in range(in_flight)]
