"""One change that many clients are to hear of: how long until the last of them has its notification."""

import asyncio
import statistics
import time

from bench.clients import WebSocketClient
from bench.rounds import rows
from bench.servers import INITIALIZE, allow_open_files, bearer, plugin_and_gateway
from tests.support.processes import Backend

THING = {"uri": "fixture://things/bench"}
CHANGE = {"name": "change", "arguments": {"name": "bench"}}

AT_ONCE = 100
SPARE_FILES = 256

PATIENCE_S = 30.0


class _Listeners:
    """Counts notifications of one change."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._missing = 0
        self._all = asyncio.Event()

    def expect(self) -> None:
        """A change is about to happen."""
        self._missing = self._count
        self._all.clear()

    def on_notification(self, method: str) -> None:
        """One listener has heard of something."""
        if method == "notifications/resources/updated":
            self._missing -= 1
            if not self._missing:
                self._all.set()

    async def all_told(self) -> None:
        """Wait until every listener has heard of the change.

        Raises:
            TimeoutError: some have not after `PATIENCE_S`.
        """
        async with asyncio.timeout(PATIENCE_S):
            await self._all.wait()


async def measure(backend: Backend, rounds: int, subscribers: int) -> str:
    """`subscribers` WebSocket clients of one gateway watch one resource, which changes `rounds` times."""
    allow_open_files(subscribers + SPARE_FILES)
    with plugin_and_gateway(backend) as (_, gateway):
        listeners = _Listeners(subscribers)
        clients: list[WebSocketClient] = []
        for first in range(0, subscribers, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, subscribers))
            clients += await asyncio.gather(*(_subscriber(gateway.ws_url, number, listeners) for number in numbers))
        changer = await _session(gateway.ws_url, "changes", None)
        took_ms = []
        for _ in range(rounds + 1):  # The first change warms up.
            listeners.expect()
            started = time.perf_counter()
            await asyncio.gather(changer.request("tools/call", CHANGE), listeners.all_told())
            took_ms.append((time.perf_counter() - started) * 1000)
        for client in (changer, *clients):
            client.close()
    measured = took_ms[1:]
    return rows(
        {
            "from the change to the last notification, median": f"{statistics.median(measured):.0f} ms",
            "the longest": f"{max(measured):.0f} ms",
        }
    )


async def _subscriber(url: str, number: int, listeners: _Listeners) -> WebSocketClient:
    client = await _session(url, f"listens-{number}", listeners)
    await client.request("resources/subscribe", THING)
    return client


async def _session(url: str, agent: str, listeners: _Listeners | None) -> WebSocketClient:
    client = await WebSocketClient.connect(
        url, bearer(agent), on_notification=listeners.on_notification if listeners else None
    )
    await client.request("initialize", INITIALIZE)
    client.notify("notifications/initialized")
    return client
