"""A worker that was held up loses its collaborations, and may be the one that gets them back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aicp_common.bus import Bus
from tests.orchestrator.mortal import InnerWorker
from tests.orchestrator.network import Network, parts
from tests.support.processes import Backend, ServiceProcess

LEASE_S = 0.5


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """Without any orchestrator but the one of the test."""
    running = Backend(tmp_path)
    running.start()
    router = ServiceProcess("router", running, {"SWEEP_INTERVAL_S": "0.05"}).start().wait()
    yield running
    assert router.stop() == 0, router.process.output()[-4000:]
    running.stop()


@pytest.fixture
async def worker(backend: Backend, bus: Bus) -> AsyncIterator[InnerWorker]:
    one = InnerWorker(backend.nats_url)
    await one.start()
    yield one
    await one.die()


async def test_a_worker_that_gets_back_what_it_had_lost_runs_it_once(
    worker: InnerWorker, bus: Bus, tenant: str
) -> None:
    network = Network(bus, tenant)
    await network.join("alice", "bob")
    steps = [{"id": "a", "task": "do a", "agent": "bob"}, {"id": "b", "task": "do b", "agent": "bob"}]
    task_id = await network.open_collaboration(steps, LEASE_S)
    tasks = [await network.receive("bob") for _ in steps]
    await worker.go_deaf()
    # It says how far it is once it has looked at what is there.
    await network.until(task_id, lambda whole: whole["attempt"] == 2 and "progress" in whole)
    worker.hear_again()
    assert worker.running == 1
    for task in tasks:
        await network.submit("bob", task, task["step"])
    whole = await network.ended(task_id)
    assert (whole["state"], whole["attempt"]) == ("completed", 2)
    assert {id: part["result"] for id, part in parts(whole["result"]).items()} == {"a": "a", "b": "b"}
    async with asyncio.timeout(5):
        await worker.idle()
