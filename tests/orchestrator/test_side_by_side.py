"""Many collaborations at the same time: all of them end, and one requester with many does not hold up another."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from aicp_common.cancellation import end
from tests.orchestrator.network import Network, parts

WORKERS = ("bob", "carol", "dave", "erin")


@contextlib.asynccontextmanager
async def at_work(network: Network) -> AsyncIterator[Counter[tuple[str, str]]]:
    """Agents that answer at once; how often each step of each collaboration was done."""
    await network.join("alice", "zoe", *WORKERS)
    done: Counter[tuple[str, str]] = Counter()

    async def work(agent: str) -> None:
        while True:
            for task in (await network.tool(agent, "receive_tasks", wait_s=20, max=20))["tasks"]:
                done[task["parent"], task["step"]] += 1
                await network.submit(agent, task, task["step"])

    working = [asyncio.create_task(work(agent)) for agent in WORKERS]
    try:
        yield done
    finally:
        await end(working)


def diamond(number: int) -> list[dict[str, Any]]:
    """Four steps: b and c after a, d after both."""
    after: list[list[str]] = [[], ["a"], ["a"], ["b", "c"]]
    return [
        {"id": id, "task": f"{id} of {number}", "agent": WORKERS[(number + place) % 4], "depends_on": before}
        for place, (id, before) in enumerate(zip("abcd", after, strict=True))
    ]


async def test_two_collaborations_of_fifty_steps_run_side_by_side(network: Network) -> None:
    async with at_work(network) as done:
        steps = [
            {
                "id": f"s{number}",
                "task": f"part {number}",
                "agent": WORKERS[number % 4],
                "depends_on": [f"s{before}" for before in (number - 7, number - 3) if before >= 0],
            }
            for number in range(50)
        ]
        asked = [await network.collaborate(who, task="t", steps=steps, wait_s=0) for who in ("alice", "zoe")]
        for who, answer in zip(("alice", "zoe"), asked, strict=True):
            whole = await network.ended(answer["task_id"], who)
            assert {id: part["result"] for id, part in parts(whole["result"]).items()} == {
                f"s{number}": f"s{number}" for number in range(50)
            }
        assert set(done.values()) == {1}
        assert len(done) == 100


async def test_one_with_many_does_not_hold_up_another_with_one(network: Network) -> None:
    count = 150
    async with at_work(network) as done:
        asked = await asyncio.gather(
            *(network.collaborate(task="t", steps=diamond(number), wait_s=0) for number in range(count))
        )
        answer = await network.collaborate("zoe", task="t", steps=diamond(0), wait_s=40)
        assert answer["status"] == "completed"
        mine = {one["task_id"] for one in asked}
        before = sum(times for (parent, _), times in done.items() if parent in mine)
        for one in asked:
            assert (await network.ended(one["task_id"]))["state"] == "completed"
        assert set(done.values()) == {1}
        assert len(done) == 4 * (count + 1)
        assert before < 4 * count * 0.6, "she waited for nearly all of the others"
