"""No task is lost, whatever is killed: gateways, routers and Redis die in turn while work goes on.

`CHAOS_TASKS` (default 2,000, at least 20) and `CHAOS_SECONDS` (default 30) make a campaign of it: so many tasks are
handed over, evenly spread over so much time. Without a state hub the outbox keeps every event, at most 200,000: enough
for 20,000 tasks.
"""

import asyncio
import faulthandler
import os
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from aicp_common.store import connect_redis
from tests.router.chaos.connection import Connection
from tests.router.chaos.killer import Killer
from tests.router.chaos.ledger import ENDED, Ledger
from tests.router.chaos.requester import Requester
from tests.router.chaos.stored import Stored, read_all
from tests.router.chaos.worker import Worker
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

TASKS = int(os.environ.get("CHAOS_TASKS", "2000"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))
AGENTS = 20
"""Requesters, and as many workers."""
SWIFT = {"WORKER_PATIENCE_S": "2", "TASK_LEASE_S": "2", "SWEEP_INTERVAL_S": "0.2"}
"""A hub that soon misses what is gone."""


@pytest.fixture
def gateways(own_backend: Backend) -> Iterator[list[GatewayProcess]]:
    """Two, so that clients have where to go."""
    two = [GatewayProcess(own_backend, SWIFT, module="aicp_gateway") for _ in range(2)]
    for gateway in two:
        gateway.start()
    yield two
    for gateway in two:
        assert gateway.stop() == 0, gateway.process.output()[-4000:]


@pytest.fixture
def routers(own_backend: Backend, gateways: list[GatewayProcess]) -> Iterator[list[ServiceProcess]]:
    """Two, so that one works while the other starts."""
    two = [ServiceProcess("router", own_backend, SWIFT).start() for _ in range(2)]
    for service in (*two, *gateways):
        service.wait()
    yield two
    for router in two:
        assert router.stop() == 0, router.process.output()[-4000:]


async def test_no_task_is_lost_while_gateways_routers_and_redis_are_killed(
    own_backend: Backend, gateways: list[GatewayProcess], routers: list[ServiceProcess]
) -> None:
    # It bounds its own waits; a campaign may take longer than a test that hangs.
    faulthandler.cancel_dump_traceback_later()
    urls = [gateway.ws_url for gateway in gateways]
    names = [f"worker-{number}" for number in range(AGENTS)]
    asking = [Connection(f"requester-{number}", urls[number % 2 :] + urls[: number % 2]) for number in range(AGENTS)]
    working = [Connection(name, urls[number % 2 :] + urls[: number % 2]) for number, name in enumerate(names)]
    ledger = Ledger()
    share = TASKS // AGENTS
    requesters = [Requester(one, names, share, SECONDS, ledger, seed) for seed, one in enumerate(asking)]
    workers = [Worker(one, ledger, seed) for seed, one in enumerate(working, start=AGENTS)]
    killer = Killer(own_backend, [part for pair in zip(gateways, routers, strict=True) for part in pair])

    await asyncio.gather(*(worker.join() for worker in workers))
    async with asyncio.TaskGroup() as group:
        killing = group.create_task(killer.run())
        for worker in workers:
            group.create_task(worker.run())
        await asyncio.gather(*(requester.run() for requester in requesters))
        killer.stop()
        await killing
        for worker in workers:
            worker.stop()
    await asyncio.gather(*(worker.speak_up() for worker in workers))
    await asyncio.gather(*(requester.look_again() for requester in requesters))
    ledger.settle()
    for connection in (*asking, *working):
        await connection.close()

    redis = connect_redis(own_backend.redis_url)
    stored = await read_all(redis, "default")
    await redis.aclose()
    lost = sum(connection.lost for connection in (*asking, *working))
    print(f"\n{dict(ledger.counts)}\nkilled: {dict(killer.kills)}, calls without an answer: {lost}")

    assert ledger.violations == []
    assert len(ledger.asked) == len(set(ledger.asked.values())) == len(ledger.ends) == share * AGENTS
    assert set(killer.kills) == {part.instance for part in (*gateways, *routers)} | {"redis-server"}
    assert ledger.counts["completed"] > share * AGENTS / 2
    for part in (*gateways, *routers):
        assert "Traceback" not in part.process.output(), part.process.output()[-4000:]
    _nothing_is_left(stored, ledger)
    _each_task_ended_once(stored, ledger)


def _nothing_is_left(stored: Stored, ledger: Ledger) -> None:
    """Redis holds the tasks that were asked for, all of them ended, and no trace of work."""
    assert {name.partition(":")[0] for name in stored.named("task:")} == set(ledger.asked.values())
    for task_id, end in ledger.ends.items():
        fields = stored.fields(f"task:{task_id}")
        assert (fields["state"], int(fields["attempt"]), fields["agent"] or None) == (end.state, end.attempt, end.agent)
    for name in ("leases", "deadlines", "unassigned", "orphans", "reacts", "loads"):
        assert name not in stored.kinds, stored.fields(name)
    for part in ("queue", "queued", "working", "offers"):
        assert stored.named(f"{part}:") == set()


def _each_task_ended_once(stored: Stored, ledger: Ledger) -> None:
    """The log of events tells of one end of each task, as its last change, and of each attempt once."""
    whats, claims = defaultdict(list), Counter[tuple[str, int]]()
    for event in stored.events():
        whats[event.id].append(event.what)
        if event.what == "claimed" and whats[event.id][-2] != "answered":
            claims[event.id, event.attempt] += 1
    for task_id, end in ledger.ends.items():
        assert whats[task_id][0] == "created"
        assert [what for what in whats[task_id] if what in ENDED] == [end.state]
        assert whats[task_id][-1] == end.state
    assert set(claims.values()) <= {1}, claims.most_common(3)
