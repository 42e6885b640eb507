"""Load: how long tasks wait for agents of unequal speed, with a real router, NATS and Redis, in real time.

The same arrivals are routed twice: by what they need, so that the router chooses, and to named agents in turn. What
happened is read from what Redis holds of each task, by one clock.
"""

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np
from redis.asyncio import Redis

from aicp_common.bus import Bus
from aicp_common.envelope import Envelope, Principal, encode_json
from aicp_common.store import connect_redis, key
from tests.support.processes import Backend

ANALYSIS, TRANSLATION = "data analysis", "translation"
UTILISATION = 0.8
"""Of all agents together."""
_SPREAD = 0.5
"""How much longer or shorter than usual one task takes at most, as a share."""
_TRANSLATED = 0.2
"""The share of the tasks that only those with both capabilities can do."""
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Worker:
    """An agent that works on one task at a time."""

    name: str
    service_s: float
    """How long it usually takes for one."""
    capabilities: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """What is asked for."""

    at_s: float
    """When, from the beginning."""
    capability: str
    size: float
    """How long it takes, against what is usual."""


@dataclass(frozen=True)
class Stay:
    """A task's way, by Redis' clock, in ms."""

    created: int
    claimed: int | None
    """None: it still waited when the run was over."""
    ended: int | None
    worker: str
    capability: str


@dataclass(frozen=True)
class Waits:
    """What came of one run."""

    tasks: int
    p50_ms: float
    p99_ms: float
    """Of the time from creation to claim; a task that was never claimed has waited until the end of the run, so this
    is less than the truth when there are many of them."""
    longest_ms: float
    unclaimed: int
    utilisation: float
    """The share of their time that the agents worked."""
    idle_share: float
    """The share of their time that agents were idle while a task waited that they could have taken."""
    idle_p99_ms: float
    """Of all stretches of such time."""
    idle_longest_ms: float


def crew(agents: int, fastest_s: float, factor: float = 10.0) -> list[Worker]:
    """Agents whose speeds lie evenly, by ratio, between the fastest and one `factor` times slower. All of them have the
    same capability; every third has another one."""
    step = factor ** (1 / (agents - 1))
    return [
        Worker(_name(number), fastest_s * step**number, (ANALYSIS, TRANSLATION) if number % 3 == 1 else (ANALYSIS,))
        for number in range(agents)
    ]


def arrivals(workers: Sequence[Worker], tasks: int, seed: int) -> list[Task]:
    """Tasks that come by chance (a Poisson process), so often that the agents work for `UTILISATION` of their time."""
    rng = random.Random(seed)  # noqa: S311
    rate = UTILISATION * sum(1 / worker.service_s for worker in workers)
    both = UTILISATION * sum(1 / worker.service_s for worker in workers if TRANSLATION in worker.capabilities)
    share = min(_TRANSLATED, 0.7 * both / rate)
    found, at_s = [], 0.0
    for _ in range(tasks):
        at_s += rng.expovariate(rate)
        capability = TRANSLATION if rng.random() < share else ANALYSIS
        found.append(Task(at_s, capability, rng.uniform(1 - _SPREAD, 1 + _SPREAD)))
    return found


def _name(number: int) -> str:
    """Of an agent; no word of any message."""
    return f"worker-{chr(ord('a') + number)}"


class Run:
    """One run in a tenant of its own.

    Args:
        backend: Where a router runs.
        workers: The agents.
        tasks: What comes, by the time when it comes.
        slots: How many tasks at once each agent says that it takes, whatever it does.
    """

    def __init__(self, backend: Backend, workers: Sequence[Worker], tasks: Sequence[Task], slots: int = 1) -> None:
        self._backend = backend
        self._workers = workers
        self._tasks = tasks
        self._slots = slots
        self._tenant = f"load-{secrets.token_hex(4)}"
        self._bus = Bus(backend.nats_url, "load")
        self._ids: dict[str, int] = {}
        """Ids of tasks to their numbers."""

    async def measure(self, *, in_turn: bool) -> Waits:
        """Let everything come, and look what became of it.

        Args:
            in_turn: Name the agents one after the other, instead of letting the router choose.
        """
        await self._bus.connect()
        redis = connect_redis(self._backend.redis_url)
        try:
            for worker in self._workers:
                profile = {"description": "does what it can", "max_concurrency": self._slots}
                await self._call(worker.name, "register_agent", {"capabilities": worker.capabilities, **profile})
            working = [asyncio.create_task(self._work(worker)) for worker in self._workers]
            try:
                await asyncio.gather(*self._arrive(in_turn=in_turn))
                # Named agents fall ever further behind: nobody needs to see the end of that.
                over_ms = int(time.time() * 1000) if in_turn else await self._finish(redis)
            finally:
                for one in working:
                    one.cancel()
                await asyncio.gather(*working, return_exceptions=True)
            stays = [await self._stay(redis, task_id, number) for task_id, number in self._ids.items()]
        finally:
            await redis.aclose()
            await self._bus.close()
        return judged(stays, self._workers, over_ms)

    async def _call(self, agent: str, tool: str, arguments: dict[str, Any], wait_s: float = 0.0) -> dict[str, Any]:
        if wait_s:
            arguments = {**arguments, "wait_s": wait_s}
        who = Principal(tenant=self._tenant, agent=agent, user=agent, scopes=("*",))
        trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
        envelope = Envelope(who, int((time.time() + wait_s + _PATIENCE_S) * 1000), trace, secrets.token_hex(4))
        answer = msgspec.json.decode((await self._bus.call("router", tool, envelope, encode_json(arguments))).body)
        if answer["isError"]:
            raise RuntimeError(f"{tool}: {answer}")
        return cast("dict[str, Any]", answer["structuredContent"])

    async def _work(self, worker: Worker) -> None:
        while True:
            for task in (await self._call(worker.name, "receive_tasks", {}, 30.0))["tasks"]:
                await asyncio.sleep(worker.service_s * task["context"]["size"])
                done = {"task_id": task["task_id"], "attempt": task["attempt"], "status": "completed", "result": "done"}
                await self._call(worker.name, "submit_result", done)

    def _arrive(self, *, in_turn: bool) -> "list[asyncio.Task[None]]":
        turns = {
            capability: itertools.cycle([one.name for one in self._workers if capability in one.capabilities])
            for capability in (ANALYSIS, TRANSLATION)
        }
        began = time.monotonic()

        async def ask(number: int, task: Task, whom: dict[str, Any]) -> None:
            await asyncio.sleep(began + task.at_s - time.monotonic())
            order = {"message": "please do this", "context": {"size": task.size}, "wait_s": 0, **whom}
            routed = await self._call("requester", "route_to_agent", order)
            self._ids[routed["task_id"]] = number

        return [
            asyncio.create_task(
                ask(
                    number,
                    task,
                    {"agent": next(turns[task.capability])} if in_turn else {"target_capabilities": [task.capability]},
                )
            )
            for number, task in enumerate(self._tasks)
        ]

    async def _finish(self, redis: Redis) -> int:
        """Wait until every task has ended; when that was, in ms."""
        last = 0
        for task_id in self._ids:
            while True:
                task = await self._call("requester", "get_task", {"task_id": task_id}, 20.0)
                if task["state"] not in ("submitted", "working"):
                    break
            last = max(last, int(await redis.hget(key(self._tenant, "task", task_id), "ended_ms") or 0))
        return last

    async def _stay(self, redis: Redis, task_id: str, number: int) -> Stay:
        fields = ["created_ms", "claimed_ms", "ended_ms", "agent"]
        found = await redis.hmget(key(self._tenant, "task", task_id), fields)
        created, claimed, ended, agent = cast("list[str | None]", found)
        return Stay(
            int(created or 0),
            int(claimed) if claimed else None,
            int(ended) if ended else None,
            agent or "",
            self._tasks[number].capability,
        )


def judged(stays: Sequence[Stay], workers: Sequence[Worker], over_ms: int) -> Waits:
    """The figures of a run that was over at `over_ms`."""
    begin = min(stay.created for stay in stays)
    waited = np.array([(stay.claimed or over_ms) - stay.created for stay in stays])
    worked = sum((stay.ended or over_ms) - stay.claimed for stay in stays if stay.claimed)
    idle = np.array(idle_beside(stays, workers, over_ms) or [0])
    time_ms = (over_ms - begin) * len(workers)
    return Waits(
        tasks=len(stays),
        p50_ms=float(np.percentile(waited, 50)),
        p99_ms=float(np.percentile(waited, 99)),
        longest_ms=float(waited.max()),
        unclaimed=sum(stay.claimed is None for stay in stays),
        utilisation=worked / time_ms,
        idle_share=float(idle.sum()) / time_ms,
        idle_p99_ms=float(np.percentile(idle, 99)),
        idle_longest_ms=float(idle.max()),
    )


def idle_beside(stays: Sequence[Stay], workers: Sequence[Worker], over_ms: int) -> list[int]:
    """How long, each time, an agent was idle while a task waited that it could have taken, in ms.

    Each stretch is the time that an idle agent shares with the one task that waited longest beside it. Any way to bring
    a task to an agent takes a few milliseconds, so they are never 0.
    """
    found = []
    begin = min(stay.created for stay in stays)
    for worker in workers:
        could = [stay for stay in stays if stay.capability in worker.capabilities]
        created = np.array([stay.created for stay in could])
        claimed = np.array([stay.claimed or over_ms for stay in could])
        taken = sorted(
            ((stay.claimed, stay.ended or over_ms) for stay in stays if stay.worker == worker.name and stay.claimed),
        )
        since = begin
        for start, end in [*taken, (over_ms, over_ms)]:
            shared = np.minimum(claimed, start) - np.maximum(created, since)
            if len(shared) and shared.max() > 0:
                found.append(int(shared.max()))
            since = end
    return found
