"""Workers, not all of them reliable: they decline, fail, ask, fall silent, and say things twice or too late."""

import asyncio
import heapq
import random
from typing import Any

from tests.router.chaos.connection import Connection, Refused
from tests.router.chaos.ledger import Handed, Ledger

WAIT_S = 3.0
_LATE = 24
"""How many tasks a worker takes at most before it comes back to one that it was silent about: its lease may still hold,
or somebody else may be at it by then."""


class Worker:
    """One of them.

    Args:
        connection: What it speaks through.
        ledger: What it writes down what it is told in.
        seed: Of what it does by chance.
    """

    def __init__(self, connection: Connection, ledger: Ledger, seed: int) -> None:
        self._connection = connection
        self._ledger = ledger
        self._random = random.Random(seed)
        self._silent: list[tuple[int, str, int, str]] = []
        """Tasks that it says nothing about: when it comes back to them, and their ids, attempts and messages."""
        self._taken = 0
        self._stop = asyncio.Event()

    async def join(self) -> None:
        """Become known."""
        about = {"description": "does whatever there is", "max_concurrency": 5}
        await self._connection.insist("register_agent", capabilities=["work"], **about)

    def stop(self) -> None:
        """Take no more tasks."""
        self._stop.set()

    async def run(self) -> None:
        """Until it is told to stop."""
        while not self._stop.is_set():
            received = await self._connection.insist("receive_tasks", wait_s=WAIT_S, max=2)
            for task in received["tasks"]:
                answered = bool(task.get("answered"))
                self._ledger.delivered(task["task_id"], task["attempt"], self._connection.agent, answered=answered)
                await self._work(task, answered=answered)
                self._taken += 1
                while self._silent and self._silent[0][0] <= self._taken:
                    _, id, attempt, message = heapq.heappop(self._silent)
                    await self._submit(id, attempt, message, "completed", late=True)

    async def speak_up(self) -> None:
        """Hand in, long after, what it was silent about: all of it has ended, so all of it is refused."""
        for _, id, attempt, message in self._silent:
            known = self._ledger.accepted.get(id)
            await self._submit(id, attempt, message, "completed", late=True)
            if self._ledger.accepted.get(id) != known:
                self._ledger.violations.append(f"{id} had ended, yet a late result was taken")

    async def _work(self, task: dict[str, Any], *, answered: bool) -> None:
        id, attempt, message = task["task_id"], task["attempt"], task["message"]
        chance = self._random.random()
        if chance < 0.06:
            self._ledger.counts["silent"] += 1
            again = self._taken + self._random.randint(1, _LATE)
            heapq.heappush(self._silent, (again, id, attempt, message))
        elif chance < 0.14:
            await self._submit(id, attempt, message, "declined")
        elif chance < 0.20:
            await self._submit(id, attempt, message, "failed")
        elif chance < 0.30 and not answered:
            await self._update(id, attempt, question="Which year?")
        else:
            if chance < 0.40:
                await self._update(id, attempt, progress=0.5)
            await self._submit(id, attempt, message, "completed")
            if chance < 0.50:
                await self._submit(id, attempt, message, "completed")
            elif chance < 0.60 and attempt > 1:
                await self._submit(id, attempt - 1, message, "completed", late=True)

    async def _update(self, id: str, attempt: int, **news: Any) -> None:
        try:
            await self._connection.insist("update_task", task_id=id, attempt=attempt, **news)
        except Refused as refusal:
            self._refused(refusal)
        else:
            self._ledger.counts["questions" if "question" in news else "progress"] += 1

    async def _submit(self, id: str, attempt: int, message: str, status: str, *, late: bool = False) -> None:
        result = f"{self._connection.agent}, attempt {attempt}: {message}"
        said = {"task_id": id, "attempt": attempt, "status": status, "result": result}
        try:
            answer = await self._connection.insist("submit_result", **said)
        except Refused as refusal:
            self._refused(refusal)
            self._ledger.counts["refused, late" if late else "refused"] += 1
            return
        self._ledger.counts["taken, late" if late else "taken"] += 1
        if status != "declined" or answer["state"] == "failed":
            self._ledger.taken(id, Handed(answer["state"], attempt, self._connection.agent, result))

    def _refused(self, refusal: Refused) -> None:
        """Its lease has lapsed, its deadline has passed or its requester has cancelled it."""
        if refusal.code not in ("conflict", "not_found"):
            self._ledger.violations.append(f"{self._connection.agent} was refused: {refusal}")
