"""From a change to those who listen, at a steady rate: a subscriber of the event log, and MCP clients that watch."""

import asyncio
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

import msgspec

from aicp_common import subjects
from aicp_common.bus import Bus
from bench.clients import WebSocketClient
from bench.rounds import grid
from bench.servers import gateway_of
from bench.sessions import open_session, tool
from tests.support.processes import Backend, ServiceProcess

RATE = 500
"""Changes a second."""
KEYS = 50
WRITERS = 25

PATIENCE_S = 30.0

Change = tuple[str, int]
"""A key and its version."""


class _Stored(msgspec.Struct):
    version: int


class _Ears:
    """Notes when which change was heard of. Times are seconds since the epoch, as Redis' clock tells them."""

    def __init__(self) -> None:
        self.acknowledged: dict[Change, float] = {}
        """When the writer had its answer."""
        self.made: dict[Change, float] = {}
        """When the script ran, by Redis' clock in whole milliseconds: up to one too early."""
        self.events: dict[Change, float] = {}
        """When the subscriber of the event log had the event."""
        self.notified: dict[str, list[float]] = defaultdict(list)
        """When the client that watches a key was told of a change of it, in the order of the versions."""

    def on_event(self, subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None) -> None:
        """Of the event log."""
        heard_at = time.time()
        event = json.loads(data)
        change = event["data"]["key"], event["data"]["version"]
        self.made[change] = event["at_ms"] / 1000
        self.events.setdefault(change, heard_at)

    def on_notification_of(self, key: str) -> Callable[[str], None]:
        """For the client that watches this key."""

        def on_notification(method: str) -> None:
            if method == "notifications/resources/updated":
                self.notified[key].append(time.time())

        return on_notification

    async def all_heard(self, count: int) -> None:
        """Wait until `count` changes were heard of by everybody.

        Raises:
            RuntimeError: some were not after `PATIENCE_S`, or a client was told of some only together.
        """
        until = time.monotonic() + PATIENCE_S
        while len(self.events) < count or self._notifications() < count:
            if time.monotonic() > until:
                raise RuntimeError(f"of {count} changes, {len(self.events)} events and {self._notifications()} heard")
            await asyncio.sleep(0.02)
        if self._notifications() > count:
            raise RuntimeError(f"{self._notifications()} notifications of {count} changes")

    def _notifications(self) -> int:
        return sum(map(len, self.notified.values()))

    def latencies_ms(self) -> dict[str, list[float]]:
        """By where it begins and ends."""
        in_order = defaultdict(list)
        for key, version in sorted(self.acknowledged):
            in_order[key].append((key, version))
        told = {
            change: told_at
            for key, changes in in_order.items()
            for change, told_at in zip(changes, self.notified[key], strict=True)
        }
        ends = {"event": self.events, "notification": told}
        return {
            f"{begin} to {end}": [(heard[change] - begun[change]) * 1000 for change in self.acknowledged]
            for end, heard in ends.items()
            for begin, begun in (("script", self.made), ("acknowledgement", self.acknowledged))
        }


async def measure(backend: Backend, rounds: int, changes: int) -> str:
    """`WRITERS` clients change `KEYS` keys in turn, `changes` times a round; as many clients watch one key each."""
    names = [f"projects/apollo/item-{number}" for number in range(KEYS)]
    bus = Bus(backend.nats_url, "bench")
    with gateway_of(backend, ServiceProcess("statehub", backend)) as gateway:
        await bus.connect()
        ears = _Ears()
        await bus.take(subjects.event("default", "context", "*", "*"), lambda *message: ears.on_event(*message))
        writers = [await open_session(f"{gateway.ws_url}?agent=writes-{n}", {}) for n in range(WRITERS)]
        watchers = [await _watcher(gateway.ws_url, name, lambda: ears) for name in names]
        await bus.flush()
        figures: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        per_second = []
        for number in range(rounds + 1):
            ears = _Ears()
            started = time.perf_counter()
            await _write(writers, names, changes if number else RATE, ears)
            elapsed_s = time.perf_counter() - started
            await ears.all_heard(len(ears.acknowledged))
            if number == 0:  # The first round warms up.
                continue
            per_second.append(changes / elapsed_s)
            for name, took_ms in ears.latencies_ms().items():
                cuts = statistics.quantiles(took_ms, n=100)
                figures[name].append((cuts[49], cuts[98], max(took_ms)))
        for client in (*writers, *watchers):
            client.close()
        await bus.close()
    head = [f"{statistics.median(per_second):,.0f} changes a second", "p50 ms", "p99 ms", "longest ms"]
    lines = []
    for name, found in figures.items():
        p50, p99, longest = (statistics.median(column) for column in zip(*found, strict=True))
        lines.append([name, f"{p50:.1f}", f"{p99:.1f}", f"{longest:.1f}"])
    return grid(head, lines)


async def _watcher(url: str, name: str, ears: Callable[[], _Ears]) -> WebSocketClient:
    client = await open_session(
        f"{url}?agent=watches-{name.rpartition('-')[2]}", {}, lambda method: ears().on_notification_of(name)(method)
    )
    await client.request("resources/subscribe", {"uri": f"aicp://context/{name}"})
    return client


async def _write(writers: list[WebSocketClient], names: list[str], changes: int, ears: _Ears) -> None:
    """`RATE` a second, whether or not the ones before have been answered."""

    async def change(number: int) -> None:
        name = names[number % len(names)]
        call = tool("share_context", context_key=name, context_value={"number": number})
        answer = await writers[number % len(writers)].request("tools/call", call)
        acknowledged_at = time.time()
        assert answer is not None
        stored = msgspec.json.decode(answer.structured_content, type=_Stored)
        ears.acknowledged[name, stored.version] = acknowledged_at

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(changes):
            early_s = started + number / RATE - time.perf_counter()
            if early_s > 0:
                await asyncio.sleep(early_s)
            group.create_task(change(number))
