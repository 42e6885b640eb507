"""What coordination costs: a pipeline beside as many whole loops, and many collaborations side by side."""

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aicp_common.cancellation import end
from bench.clients import WebSocketClient
from bench.hand_over import answer_for_ever, call, hand_over, remember, session
from bench.rounds import grid
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

WORKERS = 8
AT_ONCE = 20
"""Tasks that a worker takes together."""
REQUESTERS = 10
LENGTH = 10
"""Steps of the pipeline."""
FINISHED = 200_000
"""Collaborations that have ended before."""

STEPS = 4


@dataclass
class _Hub:
    requesters: list[WebSocketClient]
    processes: dict[str, int]
    """Their ids, by name."""


class _Answer(msgspec.Struct):
    status: str
    task_id: str


async def measure(backend: Backend, rounds: int, operations: int) -> str:
    """`operations` collaborations of four steps (a; b and c after a; d after both) all at once, and pipelines alone."""
    folder = backend.folder / "second"
    folder.mkdir()
    second = Backend(folder)
    second.start()
    try:
        async with _hub(backend) as empty, _hub(second) as full:
            await remember(second, await _collaborate(full.requesters[0], **_diamond(0)), FINISHED)
            named = {"an empty Redis": empty, f"{FINISHED:,} finished collaborations": full}
            found: dict[str, list[tuple[float, ...]]] = {name: [] for name in named}
            for hub in named.values():
                await _round(hub, operations // 10)  # Warms up.
            for number in range(rounds):
                for name in list(named)[:: 1 if number % 2 == 0 else -1]:
                    found[name].append(await _round(named[name], operations))
            lines = {name: [statistics.median(column) for column in zip(*found[name], strict=True)] for name in named}
    finally:
        second.stop()
    head = ("", "whole loop, ms", f"pipeline of {LENGTH}, ms", "loops", "steps a second", "ms of processor a step")
    return grid(
        head,
        [
            (name, f"{loop:.1f}", f"{pipe:.0f}", f"{(pipe - 50) / loop:.1f}", f"{rate:,.0f}", f"{cost:.2f}")
            for name, (loop, pipe, rate, cost) in lines.items()
        ],
    )


async def _round(hub: _Hub, operations: int) -> tuple[float, ...]:
    """A whole loop alone and a pipeline alone, in ms; steps a second of all at once, and the processor time of each."""
    first = hub.requesters[0]
    loops, pipes = [], []
    for _ in range(10):
        loops.append(await _timed(hand_over(first, "skill-0")))
        agents = [f"works-{number % WORKERS}" for number in range(LENGTH)]
        pipes.append(await _timed(_collaborate(first, agents=agents, pattern="pipeline")))
    before, began = _processor_s(hub), time.perf_counter()
    await asyncio.gather(
        *(_collaborate(hub.requesters[number % REQUESTERS], **_diamond(number)) for number in range(operations))
    )
    steps = operations * STEPS
    return (
        statistics.median(loops),
        statistics.median(pipes),
        steps / (time.perf_counter() - began),
        (_processor_s(hub) - before) * 1000 / steps,
    )


def _diamond(number: int) -> dict[str, Any]:
    agents = [f"works-{(number + place) % WORKERS}" for place in range(STEPS)]
    after: list[list[str]] = [[], ["a"], ["a"], ["b", "c"]]
    steps = [
        {"id": id, "task": f"do {id} of {number}", "agent": agent, "depends_on": before}
        for id, agent, before in zip("abcd", agents, after, strict=True)
    ]
    return {"steps": steps}


async def _collaborate(requester: WebSocketClient, **arguments: Any) -> str:
    """One collaboration to its end; its id."""
    said = await call(requester, "orchestrate_collaboration", task="the whole", wait_s=40, **arguments)
    answer = msgspec.json.decode(said, type=_Answer)
    while answer.status == "running":
        state = await call(requester, "get_task", task_id=answer.task_id, wait_s=40)
        answer.status = msgspec.json.decode(state, type=dict[str, Any])["state"]
    if answer.status != "completed":
        raise RuntimeError(bytes(said).decode())
    return answer.task_id


async def _timed(work: Any) -> float:
    started = time.perf_counter()
    await work
    return (time.perf_counter() - started) * 1000


def _processor_s(hub: _Hub) -> float:
    """Of all processes of the hub, and of this one."""
    ticks = 0
    for pid in (*hub.processes.values(), os.getpid()):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.asynccontextmanager
async def _hub(backend: Backend) -> AsyncIterator[_Hub]:
    services = {name: ServiceProcess(name, backend).start() for name in ("statehub", "router", "orchestrator")}
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": ",".join(services)}, module="aicp_gateway")
    gateway.start()
    working: list[asyncio.Task[None]] = []
    try:
        for service in (*services.values(), gateway):
            service.wait()
        for number in range(WORKERS):
            worker = await session(gateway.ws_url, f"works-{number}")
            about = {"capabilities": [f"skill-{number}"], "description": "Answers at once.", "max_concurrency": 100}
            await call(worker, "register_agent", **about)
            working.append(asyncio.create_task(answer_for_ever(worker, AT_ONCE)))
        requesters = [await session(gateway.ws_url, f"asks-{number}") for number in range(REQUESTERS)]
        running = {name: service.process for name, service in services.items()}
        running |= {"gateway": gateway.process, "nats": backend.nats, "redis": backend.redis}
        yield _Hub(requesters, {name: process.popen.pid for name, process in running.items() if process.popen})
    finally:
        await end(working)
        gateway.stop()
        for started in reversed(services.values()):
            started.stop()
