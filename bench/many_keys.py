"""What a million contexts cost beside a thousand, and whether the snapshot of so many holds up Redis."""

import asyncio
import contextlib
import itertools
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.asyncio import Redis

from aicp_common.store import TENANTS, connect_redis, key
from aicp_statehub.contexts import scripts
from aicp_statehub.contexts.scripts import Bounds
from bench.clients import WebSocketClient
from bench.pings import pings
from bench.rounds import Contestant, grid, take_turns
from bench.servers import gateway_of
from bench.sessions import Call, open_session, tool, works
from tests.support.processes import Backend, ServiceProcess

FEW = 1_000
OPERATIONS = 2_000
"""Writes or reads of a round; of what takes longer there are fewer."""

CONNECTIONS = 16
IN_FLIGHT = 2

WATCH_S = 5.0
"""How long Redis is watched, with snapshots and without."""

BLOCKED_MS = 100
"""A script that looks at a million keys takes longer, and one that looks at a few hundred a fraction of it."""

LOGGED_US = 100
"""What the slow log takes in. To log each of a script's own commands, most of which are shorter, would slow it down."""

UNBOUNDED = {"keys", "scan", "sscan", "hscan", "zscan", "sort", "flushdb", "flushall"}
"""Commands that look at all there is, at once or bit by bit. None is to be seen."""

TENANT = "default"

_CHUNK = 2_000


class _Listed(msgspec.Struct):
    revision: int


def name_of(number: int) -> str:
    """A key; a thousand share a folder."""
    return f"projects/p{number // 1000:04}/item-{number % 1000:03}"


async def measure(backend: Backend, rounds: int, keys: int) -> str:
    """Two hubs of their own, one with `FEW` keys and one with `keys`."""
    folder = backend.folder / "second"
    folder.mkdir()
    second = Backend(folder)
    second.start()
    try:
        await fill(backend, FEW)
        await fill(second, keys)
        async with _serving(backend, FEW) as few, _serving(second, keys) as many:
            pairs = await _compare(few, many, rounds)
            stalls = [await _stall(few), await _stall(many)]
    finally:
        second.stop()
    return "\n\n".join([_table(pairs, keys), "Redis while snapshots are read, one after the other:", _stalls(stalls)])


async def fill(backend: Backend, count: int) -> None:
    """Let the store hold `count` contexts, as the state hub writes them. None may run: the events are thrown away."""
    redis = connect_redis(backend.redis_url)
    bounds = Bounds(max_keys=count, tombstone_ms=60_000)
    try:
        await redis.sadd(TENANTS, TENANT)
        for start in range(0, count, _CHUNK):
            await asyncio.gather(
                *(
                    scripts.write(
                        redis,
                        TENANT,
                        name_of(number),
                        b'{"phase":"design","number":%d}' % number,
                        author="alice",
                        bounds=bounds,
                        traceparent="",
                    )
                    for number in range(start, min(start + _CHUNK, count))
                )
            )
            await redis.delete(key(TENANT, "outbox"))
    finally:
        await redis.aclose()


@dataclass
class _Hub:
    """One that serves, and its clients."""

    backend: Backend
    keys: int
    clients: list[WebSocketClient]
    revision: int
    """Of its last change."""

    def __post_init__(self) -> None:
        # Far apart from each other, and all over the keys.
        self._numbers = (number * 7919 % self.keys for number in itertools.count())

    def any_name(self) -> str:
        return name_of(next(self._numbers))

    def works(self, call: Call, method: str = "tools/call") -> Any:
        return works(self.clients, IN_FLIGHT, call, method)

    def share(self) -> dict[str, Any]:
        return tool("share_context", context_key=self.any_name(), context_value={"phase": "build", "open": ["budget"]})

    def get(self) -> dict[str, Any]:
        return tool("get_context", context_key=self.any_name())

    def list(self) -> dict[str, Any]:
        return tool("get_context", prefix=self.any_name().rpartition("/")[0], limit=10)

    def changes(self) -> dict[str, Any]:
        return tool("get_context", changed_since=self.revision - 10, limit=10)

    def snapshot(self) -> dict[str, Any]:
        return {"uri": "aicp://shared-state"}


@contextlib.asynccontextmanager
async def _serving(backend: Backend, keys: int) -> AsyncIterator[_Hub]:
    statehub = ServiceProcess("statehub", backend, {"CONTEXT_MAX_KEYS": str(2 * keys), "LOG_LEVEL": "warning"})
    with gateway_of(backend, statehub) as gateway:
        clients = [await open_session(f"{gateway.ws_url}?agent=bench-{n}", {}) for n in range(CONNECTIONS)]
        yield _Hub(backend, keys, clients, 0)
        for client in clients:
            client.close()


async def _compare(few: _Hub, many: _Hub, rounds: int) -> dict[str, tuple[Contestant, Contestant]]:
    """Each operation with both hubs in turn."""
    measured = {}

    async def turns(name: str, operations: int, few_works: Any, many_works: Any) -> None:
        pair = Contestant(name, few_works), Contestant(name, many_works)
        await take_turns(list(pair), rounds, operations)
        measured[name] = pair

    await turns("`share_context`", OPERATIONS, few.works(few.share), many.works(many.share))
    await turns("`get_context` of a key", OPERATIONS, few.works(few.get), many.works(many.get))
    await turns("`get_context`, a page of 10", OPERATIONS // 2, few.works(few.list), many.works(many.list))
    for hub in (few, many):
        answer = await hub.clients[0].request("tools/call", tool("get_context", limit=1))
        assert answer is not None
        hub.revision = msgspec.json.decode(answer.structured_content, type=_Listed).revision
    await turns("`get_context`, the last 10 changes", OPERATIONS // 2, few.works(few.changes), many.works(many.changes))
    read = "resources/read"
    await turns("snapshot", OPERATIONS // 10, few.works(few.snapshot, read), many.works(many.snapshot, read))
    return measured


@dataclass(frozen=True)
class _Stall:
    """How Redis did while it was watched."""

    keys: int
    per_second: float
    """Snapshots that were read."""
    longest_ms: float
    """The longest command or script."""
    alone_ms: list[float]
    """How long a PING took while nothing was read, each."""
    beside_ms: list[float]
    """The same while snapshots were read."""


async def _stall(hub: _Hub) -> _Stall:
    """Read snapshots and nothing else, and look at Redis.

    Raises:
        RuntimeError: see `judge`.
    """
    redis = connect_redis(hub.backend.redis_url)
    try:
        alone_ms = await pings(hub.backend.redis_port, WATCH_S)
        await redis.config_set("slowlog-max-len", 20_000)
        await redis.config_set("slowlog-log-slower-than", LOGGED_US)
        await redis.slowlog_reset()
        watching = asyncio.create_task(pings(hub.backend.redis_port, WATCH_S))
        snapshots, started = 0, time.perf_counter()
        while not watching.done():
            await hub.clients[0].request("resources/read", hub.snapshot())
            snapshots += 1
        per_second = snapshots / (time.perf_counter() - started)
        longest_ms = await _longest_ms(redis)
        await redis.config_set("slowlog-log-slower-than", 10_000)
        seen = {name.removeprefix("cmdstat_").partition("|")[0] for name in await redis.info("commandstats")}
    finally:
        await redis.aclose()
    beside_ms = await watching
    judge(seen, beside_ms)
    return _Stall(hub.keys, per_second, longest_ms, alone_ms, beside_ms)


def judge(seen: set[str], beside_ms: list[float]) -> None:
    """See whether Redis was held up while snapshots were read.

    Args:
        seen: The commands that it has carried out since it was started, those of scripts among them.
        beside_ms: How long PINGs took.

    Raises:
        RuntimeError: there was a command that looks at everything, or many PINGs had to wait.
    """
    if seen & UNBOUNDED:
        raise RuntimeError(f"commands that look at everything: {', '.join(sorted(seen & UNBOUNDED))}")
    # A busy machine delays one or the other; a snapshot that looks at everything delays what comes while it does.
    late_ms = statistics.quantiles(beside_ms, n=10)[8]
    if late_ms > BLOCKED_MS:
        raise RuntimeError(f"a tenth of the PINGs took more than {late_ms:.0f} ms")


async def _longest_ms(redis: Redis) -> float:
    """Of the commands since the slow log was reset, those that look at Redis itself left out."""
    entries: list[dict[str, Any]] = await redis.slowlog_get(20_000)
    own = (b"CONFIG", b"SLOWLOG", b"INFO")
    longest_us: int = max((one["duration"] for one in entries if not one["command"].upper().startswith(own)), default=0)
    return longest_us / 1000


def _table(pairs: dict[str, tuple[Contestant, Contestant]], keys: int) -> str:
    head = ["", f"{FEW:,} keys, a second", f"{keys:,} keys", "times the cost"]
    head += [f"{FEW:,} keys, one alone, p50 ms", f"{keys:,} keys", "times as long"]
    lines = [
        [
            name,
            f"{few.median_per_second:,.0f}",
            f"{many.median_per_second:,.0f}",
            f"{few.beside(many):.2f}",
            f"{few.p50_ms:.2f}",
            f"{many.p50_ms:.2f}",
            f"{many.latency_beside(few):.2f}",
        ]
        for name, (few, many) in pairs.items()
    ]
    return grid(head, lines)


def _stalls(stalls: list[_Stall]) -> str:
    def p99(took_ms: list[float]) -> str:
        return f"{statistics.quantiles(took_ms, n=100)[98]:.2f}"

    head = ["", "snapshots a second", "longest command, ms", "PING, p99 ms", "PING, longest ms"]
    head += ["without snapshots: PING, p99 ms", "PING, longest ms"]
    lines = [
        [
            f"{one.keys:,} keys",
            f"{one.per_second:,.0f}",
            f"{one.longest_ms:.2f}",
            p99(one.beside_ms),
            f"{max(one.beside_ms):.2f}",
            p99(one.alone_ms),
            f"{max(one.alone_ms):.2f}",
        ]
        for one in stalls
    ]
    return grid(head, lines)
