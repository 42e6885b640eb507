"""Those who take part in a campaign: requesters that follow their orders to the end, and agents that do the steps.

They speak through gateways, take another one when theirs is gone, and ask again whatever got no answer.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.orchestrator.campaign.orders import CHOICES, PLANNER, SKILL, WORKERS, WRITER, Order, name_in
from tests.router.chaos.connection import Connection, Refused
from tests.router.chaos.ledger import ENDED

WAIT_S = 3.0
SKILLS = {**dict.fromkeys(WORKERS, SKILL), PLANNER: "planning", WRITER: "synthesis"}
"""What each agent can do."""


class Requester:
    """Who asks for collaborations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def follow(self, order: Order) -> None:
        """Ask for it, and learn what came of it and of each of its steps."""
        call = self._connection.insist
        answer = await call("orchestrate_collaboration", wait_s=0, idempotency_key=order.name, **order.arguments)
        order.task_id = answer["task_id"]
        order.whole = await self._ended(order.task_id)
        order.tasks = [await self._ended(task_id) for task_id in order.whole.get("children", ())]
        again = await call("orchestrate_collaboration", wait_s=0, idempotency_key=order.name, **order.arguments)
        assert again["task_id"] == order.task_id, f"the key of {order.name} stands for two collaborations"

    async def _ended(self, task_id: str) -> dict[str, Any]:
        while True:
            task = await self._connection.insist("get_task", task_id=task_id, wait_s=WAIT_S)
            if task["state"] in ENDED:
                return task


class Agent:
    """Who does steps.

    Args:
        connection: What it speaks through.
        orders: By name.
        work_s: How long a step takes, at least and at most.
        seed: Of what it does by chance.
    """

    def __init__(
        self, connection: Connection, orders: Mapping[str, Order], work_s: tuple[float, float], seed: int
    ) -> None:
        self._connection = connection
        self._orders = orders
        self._work_s = work_s
        self._chance = random.Random(seed)
        self._stop = asyncio.Event()

    async def join(self) -> None:
        """Become known."""
        skill = SKILLS[self._connection.agent]
        await self._connection.insist(
            "register_agent", capabilities=[skill], description=f"does {skill}", max_concurrency=100
        )

    def stop(self) -> None:
        """Take no more tasks."""
        self._stop.set()

    async def run(self) -> None:
        """Until it is told to stop."""
        async with asyncio.TaskGroup() as group:
            while not self._stop.is_set():
                received = await self._connection.insist("receive_tasks", wait_s=WAIT_S, max=5)
                for task in received["tasks"]:
                    order = self._orders[name_in(task["message"])]
                    order.seen.deliver(self._connection.agent, task)
                    group.create_task(self._work(order, task))

    async def _work(self, order: Order, task: dict[str, Any]) -> None:
        step, task_id = task["step"], task["task_id"]
        status, result = self._answer(order, step, order.seen.tries(step).index(task_id))
        await asyncio.sleep(self._chance.uniform(*self._work_s))
        said = {"task_id": task_id, "attempt": task["attempt"], "status": status, "result": result}
        try:
            await self._connection.insist("submit_result", **said)
        except Refused as refusal:
            # The step was called off, or this agent was too slow.
            if refusal.code not in ("conflict", "not_found"):
                raise
            return
        if status == "completed":
            order.seen.results[step].append((task_id, result))

    def _answer(self, order: Order, step: str, number: int) -> tuple[str, Any]:
        """To the task of a step with this number, from 0."""
        if step == "plan":
            return ("failed", "too difficult") if order.submits is None else ("completed", order.submits)
        failures = len(order.scenario.answers[step])
        if number < failures:
            return "failed", f"{self._connection.agent} failed at {step} of {order.name}"
        said = {"of": f"{order.name}/{step}", "by": self._connection.agent, "choice": choice_of(step)}
        return "completed", said


def choice_of(step: str) -> str:
    """What the agent of a step votes for: two thirds of them for the same."""
    number = int(step[-1]) if step[-1].isdigit() else 0
    return CHOICES[max(0, number % 3 - 1)]


def connections(urls: Sequence[str], names: Sequence[str]) -> list[Connection]:
    """One for each name, to the gateways in turn."""
    return [
        Connection(name, [*urls[number % len(urls) :], *urls[: number % len(urls)]])
        for number, name in enumerate(names)
    ]
