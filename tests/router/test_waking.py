"""How soon an agent that waits has what comes for it, over two routers."""

import asyncio
import statistics
import time
from collections.abc import Iterator

import pytest

from tests.conftest import running
from tests.router.conftest import Network
from tests.support.processes import Backend, ServiceProcess

ROUNDS = 30
SOON_S = 0.05


@pytest.fixture
def second_router(backend: Backend, router: ServiceProcess) -> Iterator[ServiceProcess]:
    """Another router: who waits and who asks are often at different ones."""
    yield from running("router", backend)


async def test_who_waits_has_a_task_within_50_ms_of_its_arrival(net: Network, second_router: ServiceProcess) -> None:
    await net.register("bob", "work")
    took = []
    for _ in range(ROUNDS):
        receiving = asyncio.create_task(net.claim("bob", wait_s=20))
        # These calls are behind the waiting one on the same connection, whichever router they come to.
        await asyncio.gather(*(net.tool("alice", "list_agents") for _ in range(4)))
        asked_at = time.perf_counter()
        routed = await net.route("alice", agent="bob")
        task = await receiving
        # From before the task was there: so long at most.
        took.append(time.perf_counter() - asked_at)
        assert task["task_id"] == routed["task_id"]
        await net.submit("bob", task)
    assert statistics.median(took) < SOON_S, took
