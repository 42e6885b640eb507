"""Collaborations of every kind end right while each service, NATS and Redis are killed in turn.

`COLLABORATIONS` (default 30) and `COLLABORATION_SECONDS` (default 12) make a campaign of it: so many collaborations are
begun, evenly spread over so much time. With 100 and more each worker of a service is killed, not one of them only.
"""

import asyncio
import faulthandler
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from aicp_common.store import connect_redis
from tests.orchestrator.campaign.crew import SKILLS, Agent, Requester, choice_of, connections
from tests.orchestrator.campaign.hub import Hub, Reaper
from tests.orchestrator.campaign.orders import Order, orders
from tests.orchestrator.verdict import check
from tests.router.chaos.ledger import ENDED
from tests.router.chaos.stored import Stored, read_all

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

COLLABORATIONS = int(os.environ.get("COLLABORATIONS", "30"))
SECONDS = float(os.environ.get("COLLABORATION_SECONDS", "12"))
REQUESTERS = 4
WORK_S = (0.05, 0.8)
"""How long an agent works on a step."""
PATIENCE_S = 120.0
"""How long after the last one was begun all of them have ended."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub of this test alone."""
    made = Hub(tmp_path)
    made.start()
    yield made
    assert made.stop() == {}


async def test_collaborations_end_right_while_every_part_of_the_hub_is_killed(hub: Hub) -> None:
    # It bounds its own waits; a campaign may take longer than a test that hangs.
    faulthandler.cancel_dump_traceback_later()
    asked = orders(COLLABORATIONS, seed=COLLABORATIONS)
    asking = connections(hub.urls, [f"requester-{number}" for number in range(REQUESTERS)])
    working = connections(hub.urls, list(SKILLS))
    by_name = {order.name: order for order in asked}
    agents = [Agent(one, by_name, WORK_S, seed) for seed, one in enumerate(working)]
    reaper = Reaper(hub, pause_s=0.6, each=COLLABORATIONS < 100)
    began = time.monotonic()
    async with asyncio.timeout(SECONDS + PATIENCE_S):
        await asyncio.gather(*(agent.join() for agent in agents))
        async with asyncio.TaskGroup() as group:
            playing = [group.create_task(agent.run()) for agent in agents]
            reaping = group.create_task(reaper.run())
            following = []
            for number, order in enumerate(asked):
                following.append(group.create_task(Requester(asking[number % REQUESTERS]).follow(order)))
                await asyncio.sleep(SECONDS / COLLABORATIONS)
            await asyncio.gather(*following)
            reaper.stop()
            await reaping
            for agent in agents:
                agent.stop()
            await asyncio.gather(*playing)
    took_s = time.monotonic() - began
    for connection in (*asking, *working):
        await connection.close()
    redis = connect_redis(hub.backend.redis_url)
    stored = await read_all(redis, "default")
    await redis.aclose()

    ends = Counter((order.scenario.plan.pattern, order.whole["state"]) for order in asked)
    lost = sum(connection.lost for connection in (*asking, *working))
    taken_over = sum(order.whole["attempt"] > 1 for order in asked)
    print(
        f"\n{COLLABORATIONS} collaborations in {took_s:.0f} s, {taken_over} of them taken over; {dict(ends)}"
        f"\nkilled: {dict(reaper.kills)}, calls without an answer: {lost}"
    )
    for order in asked:
        ended_right(order)
    assert set(reaper.kills) == {"nats-server", "redis-server", *(worker.name for worker in hub.workers)}
    nothing_is_left(stored, asked)
    for worker in hub.workers:
        assert "Traceback" not in worker.process.output(), worker.process.output()[-4000:]


def ended_right(order: Order) -> None:
    """It came to what the model says, and no step was done twice."""
    try:
        check(order.scenario, order.seen, order.whole, order.tasks, steady=False)
        planning = [task["state"] for task in order.tasks if task["step"] == "plan"]
        if "agents" in order.arguments and not {"pattern", "rounds", "choices"} & set(order.arguments):
            assert planning == ["failed" if order.submits is None else "completed"]
        else:
            assert planning == []
        if order.scenario.plan.pattern == "vote" and order.whole["state"] == "completed":
            votes = order.whole["result"]["vote"]["votes"]
            done = [part for part in order.whole["result"]["parts"] if part["status"] == "completed"]
            assert {agent: choice for choice, agents in votes.items() for agent in agents} == {
                part["agent"]: choice_of(part["step"]) for part in done
            }
    except AssertionError as error:
        error.add_note(f"{order.name}: {order.arguments}\n{order.scenario.answers}\n{order.seen}\n{order.whole}")
        raise


def nothing_is_left(stored: Stored, asked: list[Order]) -> None:
    """Redis holds the collaborations that were asked for with their steps, all of them ended, and no trace of work."""
    ids = {name for name in stored.named("task:") if ":" not in name}
    assert {stored.fields(f"task:{id}")["state"] for id in ids} <= set(ENDED)
    assert ids == {id for order in asked for id in (order.task_id, *(task["task_id"] for task in order.tasks))}
    for name in ("leases", "deadlines", "unassigned", "orphans", "reacts", "loads"):
        assert name not in stored.kinds, stored.fields(name)
