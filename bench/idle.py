"""Many sessions that say nothing: what one of them costs the gateway in memory, and whether calls still answer."""

import asyncio
import os
import statistics
import time
from pathlib import Path

from bench.clients import WebSocketClient
from bench.rounds import rows
from bench.servers import ECHO, INITIALIZE, allow_open_files, bearer, plugin_and_gateway
from tests.support.processes import Backend

AT_ONCE = 100
"""Sessions that are being opened at the same time."""

SAMPLE = 500
"""Calls of which the median is taken."""

WARM_UP = 20
"""Sessions before the first measurement: few, because their memory is used again by those that are measured."""

SOURCES = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
"""Addresses to connect from, so that the ports of one of them do not run out."""

SPARE_FILES = 256


async def measure(backend: Backend, rounds: int, sessions: int) -> str:
    """`sessions` sessions of the handshake era, each of an agent of its own; `rounds` times with a new gateway."""
    allow_open_files(sessions + SPARE_FILES)
    bytes_each, opened_per_second, alone_ms, among_ms = [], [], [], []
    for _ in range(rounds):
        with plugin_and_gateway(backend) as (_, gateway):
            assert gateway.process.popen is not None
            pid = gateway.process.popen.pid
            # What the first sessions leave behind, code and caches, is not what a session costs.
            clients = await _open(gateway.ws_url, WARM_UP)
            alone_ms.append(await _call(clients))
            for client in clients:
                client.close()
            before = resident_bytes(pid)
            started = time.perf_counter()
            clients = await _open(gateway.ws_url, sessions)
            opened_per_second.append(sessions / (time.perf_counter() - started))
            among_ms.append(await _call(clients))
            bytes_each.append((resident_bytes(pid) - before) / sessions)
            closed = sum(client.closed for client in clients)
            if closed:
                raise RuntimeError(f"the gateway closed {closed} of {sessions} sessions")
            for client in clients:
                client.close()
    return rows(
        {
            "memory of one session": f"{statistics.median(bytes_each) / 1024:.1f} KiB",
            "sessions opened a second": f"{statistics.median(opened_per_second):,.0f}",
            "a call, p50, few sessions": f"{statistics.median(alone_ms):.2f} ms",
            f"a call, p50, {sessions:,} sessions": f"{statistics.median(among_ms):.2f} ms",
        }
    )


async def _open(url: str, count: int) -> list[WebSocketClient]:
    clients = []
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        clients += await asyncio.gather(*(_session(url, number) for number in numbers))
    return clients


async def _session(url: str, number: int) -> WebSocketClient:
    source = SOURCES[number % len(SOURCES)]
    client = await WebSocketClient.connect(url, bearer(f"idle-{number}"), source=source)
    await client.request("initialize", INITIALIZE)
    client.notify("notifications/initialized")
    return client


async def _call(clients: list[WebSocketClient]) -> float:
    """Calls of sessions from all over the list, one after the other; the median in ms."""
    took = []
    for number in range(SAMPLE):
        client = clients[number * len(clients) // SAMPLE]
        started = time.perf_counter()
        await client.request("tools/call", ECHO)
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


def resident_bytes(pid: int) -> int:
    """What a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")
