"""Requesters: each hands over its share of tasks, at a steady pace, and follows each of them to its end."""

import asyncio
import random

from tests.router.chaos.connection import Connection, Refused
from tests.router.chaos.ledger import ENDED, Ledger, end_of

WAIT_S = 5.0


class Requester:
    """One of them.

    Args:
        connection: What it speaks through.
        workers: Agents that it may name.
        tasks: How many it hands over.
        seconds: How long it takes for that.
        ledger: What it writes down what it is told in.
        seed: Of what it does by chance.
    """

    def __init__(
        self, connection: Connection, workers: list[str], tasks: int, seconds: float, ledger: Ledger, seed: int
    ) -> None:
        self._connection = connection
        self._workers = workers
        self._tasks = tasks
        self._interval_s = seconds / tasks
        self._ledger = ledger
        self._random = random.Random(seed)

    async def run(self) -> None:
        """Until every task has ended."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._tasks):
                group.create_task(self._follow(f"{self._connection.agent}-{number}"))
                await asyncio.sleep(self._interval_s)

    async def _follow(self, key: str) -> None:
        chance = self._random.random()
        whom = {"agent": self._random.choice(self._workers)} if chance < 0.3 else {"target_capabilities": ["work"]}
        priority = self._random.choice(["interactive", "normal", "batch"])
        order = {"message": f"do {key}", "priority": priority, "wait_s": 0, "idempotency_key": key, **whom}
        if chance > 0.98:
            order["deadline_s"] = 1
        routed = await self._connection.insist("route_to_agent", **order)
        task_id = routed["task_id"]
        self._ledger.routed(key, task_id)
        if 0.9 < chance < 0.95:
            # Somebody who did not hear the answer asks again.
            self._ledger.routed(key, (await self._connection.insist("route_to_agent", **order))["task_id"])
        if 0.85 < chance < 0.9:
            await self._connection.insist("cancel_task", task_id=task_id, reason="not wanted any more")
            self._ledger.counts["cancels"] += 1
        while True:
            task = await self._connection.insist("get_task", task_id=task_id, wait_s=WAIT_S)
            if task["state"] in ENDED:
                break
            if task["state"] == "input_required":
                await self._answer(task_id)
        self._ledger.told(task_id, end_of(task))

    async def _answer(self, task_id: str) -> None:
        try:
            await self._connection.insist("answer_task", task_id=task_id, answer="this year")
        except Refused as refusal:
            # Its deadline has passed meanwhile.
            if refusal.code != "conflict":
                raise
        self._ledger.counts["answers"] += 1

    async def look_again(self) -> None:
        """Every task of it still stands as its requester was told."""
        for key, task_id in self._ledger.asked.items():
            if key.rpartition("-")[0] == self._connection.agent:
                task = await self._connection.insist("get_task", task_id=task_id)
                if end_of(task) != self._ledger.ends[task_id]:
                    self._ledger.violations.append(f"{task_id} was {self._ledger.ends[task_id]} and is {end_of(task)}")
