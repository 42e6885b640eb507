"""Collaborations that go on when the processes under them are killed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from aicp_common.bus import Bus
from aicp_common.errors import Unavailable
from tests.orchestrator.network import Network, parts
from tests.router.mcp_client import McpClient
from tests.support.processes import Backend, ServiceProcess

pytestmark = pytest.mark.chaos

LEASE = {"COLLABORATION_LEASE_S": "1.5"}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Backend, ServiceProcess]]:
    """NATS, Redis and a router of this file alone."""
    backend = Backend(tmp_path_factory.mktemp("survival"))
    backend.start()
    router = ServiceProcess("router", backend).start()
    yield backend, router
    router.stop()
    backend.stop()


@pytest.fixture
async def bus(ground: tuple[Backend, ServiceProcess]) -> AsyncIterator[Bus]:
    connection = Bus(ground[0].nats_url, "tests")
    await connection.connect()
    yield connection
    await connection.close()


@pytest.fixture
def network(bus: Bus, tenant: str) -> Network:
    return Network(bus, tenant)


@pytest.fixture(scope="module")
def both(ground: tuple[Backend, ServiceProcess]) -> Iterator[list[ServiceProcess]]:
    processes = [ServiceProcess("orchestrator", ground[0], LEASE) for _ in range(2)]
    yield processes
    for process in processes:
        process.stop()


@pytest.fixture
def workers(ground: tuple[Backend, ServiceProcess], both: list[ServiceProcess]) -> list[ServiceProcess]:
    """Two workers of the orchestrator that run; the test may kill them."""
    for worker in both:
        if not worker.process.running:
            worker.start()
    ground[1].wait()
    return [worker.wait() for worker in both]


@pytest.fixture
def alone(ground: tuple[Backend, ServiceProcess], both: list[ServiceProcess]) -> ServiceProcess:
    """The only worker of the orchestrator that runs; the test may kill it."""
    running = [worker for worker in both if worker.process.running] or [both[0].start()]
    for other in running[1:]:
        other.kill()
    ground[1].wait()
    return running[0].wait()


STEPS: list[dict[str, Any]] = [
    {"id": "a", "task": "do a", "agent": "bob"},
    {"id": "b", "task": "do b", "agent": "bob", "depends_on": ["a"]},
    {"id": "c", "task": "do c", "agent": "carol", "depends_on": ["a"]},
    {"id": "d", "task": "do d", "agent": "bob", "depends_on": ["b", "c"]},
]


async def test_a_collaboration_goes_on_at_another_worker_and_no_finished_step_runs_again(
    network: Network, workers: list[ServiceProcess]
) -> None:
    await network.join("alice", "bob", "carol")
    running = [await network.collaborate(task="t", steps=STEPS, wait_s=0) for _ in range(6)]
    for _ in running:
        await network.serve("bob", "A")
    working = [await network.receive("carol") for _ in running]
    workers[0].kill()
    for task in working:
        await network.submit("carol", task, "C")
    for _ in running:
        await network.serve("bob", "B")
    for _ in running:
        last = await network.serve("bob", "D")
        assert last["context"]["input_from"] == {"b": "B", "c": "C"}
    for answer in running:
        whole = await network.ended(answer["task_id"])
        assert {id: part["result"] for id, part in parts(whole["result"]).items()} == {
            "a": "A",
            "b": "B",
            "c": "C",
            "d": "D",
        }
    assert Counter(network.delivered) == {
        ("bob", "a"): 6,
        ("bob", "b"): 6,
        ("carol", "c"): 6,
        ("bob", "d"): 6,
    }


async def test_a_collaboration_goes_on_when_the_only_worker_is_killed_and_started_again(
    network: Network, alone: ServiceProcess
) -> None:
    await network.join("alice", "bob", "carol")
    answer = await network.collaborate(task="t", steps=STEPS, wait_s=0)
    await network.serve("bob", "A")
    working = await network.receive("carol")
    alone.kill()
    # These end while nobody is there to notice.
    await network.submit("carol", working, "C")
    await network.serve("bob", "B")
    alone.start()
    await network.serve("bob", "D")
    whole = await network.ended(answer["task_id"])
    assert whole["state"] == "completed"
    assert whole["attempt"] == 2
    assert set(Counter(network.delivered).values()) == {1}


async def test_a_handle_says_that_the_orchestrator_is_away_and_has_the_result_when_it_is_back(
    network: Network, alone: ServiceProcess
) -> None:
    await network.join("alice", "bob")
    alice = McpClient(network.bus, network.tenant)
    handle = await alice.handle("orchestrate_collaboration", "orchestrator", task="t", agents=["bob"])
    task_id = handle["taskId"]
    await network.serve("bob", "done")
    await network.ended(task_id)
    alone.kill()
    with pytest.raises(Unavailable, match="orchestrator"):
        await alice.get(task_id)
    # Our own tool needs nobody but the router.
    assert (await network.tool("alice", "get_task", task_id=task_id))["state"] == "completed"
    alone.start().wait()
    result = (await alice.get(task_id))["result"]["structuredContent"]["result"]
    assert parts(result)["step-1"]["result"] == "done"


async def test_a_worker_that_stops_hands_its_collaborations_over_at_once(
    network: Network, alone: ServiceProcess, both: list[ServiceProcess]
) -> None:
    await network.join("alice", "bob", "carol")
    # With such leases, nobody would get to them within this test if they had to lapse.
    running = [await network.open_collaboration(STEPS, lease_s=300) for _ in range(3)]
    for _ in running:
        await network.serve("bob", "A")
    working = [await network.receive("carol") for _ in running]
    (other,) = (worker for worker in both if worker is not alone)
    other.start().wait()
    assert alone.stop() == 0
    for task in working:
        await network.submit("carol", task, "C")
    for result in ("B", "D"):
        for _ in running:
            await network.serve("bob", result)
    for task_id in running:
        whole = await network.ended(task_id)
        assert (whole["state"], whole["attempt"]) == ("completed", 1)
    assert set(Counter(network.delivered).values()) == {len(running)}


async def test_the_requester_who_waits_at_a_worker_that_stops_gets_the_task_id(
    network: Network, alone: ServiceProcess
) -> None:
    await network.join("alice", "bob")
    asked = asyncio.create_task(network.collaborate(task="t", agents=["bob"]))
    task = await network.receive("bob")
    assert alone.stop() == 0
    answer = await asked
    assert (answer["status"], answer["task_id"]) == ("running", task["parent"])
    alone.start()
    await network.submit("bob", task, "done")
    assert (await network.ended(answer["task_id"]))["state"] == "completed"


async def test_a_collaboration_goes_on_when_the_router_is_killed_and_started_again(
    network: Network, alone: ServiceProcess, ground: tuple[Backend, ServiceProcess]
) -> None:
    _, router = ground
    await network.join("alice", "bob", "carol")
    asked = asyncio.create_task(network.collaborate(task="t", steps=STEPS, wait_s=40))
    await network.serve("bob", "A")
    tasks = [await network.receive("bob"), await network.receive("carol")]
    router.kill()
    router.start().wait()
    await network.submit("bob", tasks[0], "B")
    await network.submit("carol", tasks[1], "C")
    await network.serve("bob", "D")
    answer = await asked
    assert answer["status"] == "completed"
    assert set(Counter(network.delivered).values()) == {1}


async def test_a_worker_runs_no_more_at_once_than_it_may_and_leaves_room_for_every_requester(
    network: Network, both: list[ServiceProcess], ground: tuple[Backend, ServiceProcess]
) -> None:
    for other in both:
        other.stop()
    worker = ServiceProcess("orchestrator", ground[0], LEASE | {"MAX_COLLABORATIONS": "4"}).start().wait()

    async def asked(requester: str, count: int) -> list[str]:
        answers = [await network.collaborate(requester, task=f"t{n}", agents=["bob"], wait_s=0) for n in range(count)]
        return [answer["task_id"] for answer in answers]

    async def states(requester: str, ids: list[str]) -> Counter[str]:
        return Counter([(await network.tool(requester, "get_task", task_id=id))["state"] for id in ids])

    try:
        await network.join("alice", "bob", "carol", "dave")
        of_alice = await asked("alice", 6)
        tasks = [await network.receive("bob") for _ in range(2)]
        # She has half of the places; the next requester has half of what is left, and the one after it the last.
        of_carol = await asked("carol", 3)
        tasks.append(await network.receive("bob"))
        of_dave = await asked("dave", 3)
        tasks.append(await network.receive("bob"))
        assert [task["from"]["agent"] for task in tasks] == ["alice", "alice", "carol", "dave"]
        assert await states("alice", of_alice) == {"working": 2, "submitted": 4}
        assert await states("carol", of_carol) == {"working": 1, "submitted": 2}
        assert await states("dave", of_dave) == {"working": 1, "submitted": 2}
        for task in tasks:
            await network.submit("bob", task, "done")
        for _ in range(8):
            await network.serve("bob", "done")
        for requester, ids in (("alice", of_alice), ("carol", of_carol), ("dave", of_dave)):
            for task_id in ids:
                assert (await network.ended(task_id, requester))["state"] == "completed"
    finally:
        worker.stop()
