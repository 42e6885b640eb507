"""The agents of a scenario: they say to each task what is written for it, and write down what they got."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aicp_common.cancellation import end
from tests.orchestrator.network import Network, Refused, Task
from tests.orchestrator.scenario import AGENTS, Answer, Scenario
from tests.orchestrator.seen import Seen

WAIT_S = 10.0


class Cast:
    """All agents of one scenario.

    Args:
        network: Where they are.
        scenario: What they say.
    """

    def __init__(self, network: Network, scenario: Scenario) -> None:
        self.seen = Seen()
        self._network = network
        self._scenario = scenario
        self._happened = 0
        self._over = False
        self._news = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        """They join, and work until this is left."""
        await self._network.join("alice", *AGENTS)
        playing = [asyncio.create_task(self._play(agent)) for agent in AGENTS]
        try:
            yield
        finally:
            await end(playing)
        for task in playing:
            if not task.cancelled():
                task.result()

    async def reached(self, count: int) -> bool:
        """Wait until so many tasks were handed out or handed in; False when it is over before."""
        async with self._news:
            await self._news.wait_for(lambda: self._over or self._happened >= count)
        return not self._over

    async def finish(self) -> None:
        """It is over."""
        async with self._news:
            self._over = True
            self._news.notify_all()

    async def _play(self, agent: str) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                found = await self._network.tool(agent, "receive_tasks", wait_s=WAIT_S, max=5)
                for task in found["tasks"]:
                    answer = self._scenario.answer(task["step"], len(self.seen.deliveries[task["step"]]))
                    self.seen.deliver(agent, task)
                    group.create_task(self._work(agent, task, answer))
                    await self._happens()

    async def _work(self, agent: str, task: Task, answer: Answer) -> None:
        await asyncio.sleep(answer.after_ms / 1000)
        said = {"of": task["step"], "by": agent, "task": task["task_id"], "attempt": task["attempt"]}
        result = said if answer.word == "completed" else f"{agent} {answer.word} it"
        # It is refused when the step was called off.
        with contextlib.suppress(Refused):
            await self._network.submit(agent, task, result, answer.word)
            if answer.word == "completed":
                self.seen.results[task["step"]].append((task["task_id"], result))
        await self._happens()

    async def _happens(self) -> None:
        async with self._news:
            self._happened += 1
            self._news.notify_all()
