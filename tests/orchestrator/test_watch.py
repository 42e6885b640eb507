"""The watch, on a real NATS and router: it learns what became of a task by its signal, and without one soon after."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from nats.aio.msg import Msg

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.envelope import ALL_SCOPES, Principal
from aicp_orchestrator.collaborations import watch as watch_module
from aicp_orchestrator.collaborations.watch import Watch
from aicp_orchestrator.router_client import RouterClient, StepTask
from tests.orchestrator.network import Network
from tests.support.processes import Backend, ServiceProcess

FAR_S = 3600.0
"""Between sweeps that a test does without."""


class Reader(RouterClient):
    """The router, and what was read of it."""

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus)
        self.reads: list[list[str]] = []
        self.failed = asyncio.Event()
        """A read has failed."""

    async def read_steps(self, tenant: str, traceparent: str, **which: Any) -> list[StepTask]:
        """As it is, noted down."""
        self.reads.append(list(which.get("task_ids", ())))
        try:
            return await super().read_steps(tenant, traceparent, **which)
        except Exception:
            self.failed.set()
            raise


class Stage:
    """A watch that runs, and agents that work on what it waits for."""

    def __init__(self, bus: Bus, tenant: str) -> None:
        self.network = Network(bus, tenant)
        self.router = Reader(bus)
        self.watch = Watch(self.router)
        self.asked: list[str] = []
        """Questions that were told."""
        self.told = asyncio.Event()

    async def task(self) -> str:
        """A task of alice for bob; its id."""
        alice = Principal(self.network.tenant, "alice", "alice", (ALL_SCOPES,))
        created = await self.router.create(alice, "", {"message": "t", "agent": "bob", "step": "a"})
        return created.task_id

    def waits(self, task_id: str, *, fresh: bool = True) -> "asyncio.Task[StepTask]":
        """Wait for a task."""
        return asyncio.create_task(self.watch.ended(self.network.tenant, task_id, self._asks, fresh=fresh))

    def _asks(self, task: StepTask) -> None:
        self.asked.append(task.question)
        self.told.set()

    async def hear(self) -> None:
        """Let the watch hear the signals of tasks, from now on."""

        async def on_signal(message: Msg) -> None:
            self.watch.on_signal(message.subject, message.reply, message.data, message.headers)

        await self.network.bus.subscribe(subjects.task(self.network.tenant, "*"), on_signal)
        await self.network.bus.flush()

    def signal(self, task_id: str, said: bytes = b"") -> None:
        """One signal about a task."""
        self.watch.on_signal(subjects.task(self.network.tenant, task_id), "", said, None)


@contextlib.asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Stage]:
    task = asyncio.create_task(stage.watch.run())
    try:
        yield stage
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
async def stage(bus: Bus, tenant: str, router: ServiceProcess, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A watch that never looks by itself."""
    monkeypatch.setattr(watch_module, "SWEEP_S", FAR_S)
    async with running(Stage(bus, tenant)) as made:
        await made.network.join("bob")
        yield made


async def all_of(waiting: Sequence["asyncio.Task[StepTask]"]) -> list[StepTask]:
    async with asyncio.timeout(10):
        return list(await asyncio.gather(*waiting))


async def test_the_end_of_a_task_is_known_at_its_signal(stage: Stage) -> None:
    await stage.hear()
    task_id = await stage.task()
    waiting = stage.waits(task_id)
    await stage.network.serve("bob", {"done": True})
    (ended,) = await all_of([waiting])
    assert (ended.task_id, ended.state, ended.agent, ended.result) == (task_id, "completed", "bob", '{"done":true}')
    assert 0 < ended.created_ms <= ended.claimed_ms <= ended.ended_ms


async def test_a_task_that_ended_before_anybody_waited_is_read_when_its_signal_was_heard(stage: Stage) -> None:
    await stage.hear()
    task_id = await stage.task()
    await stage.network.serve("bob", "was quick")
    await stage.network.bus.flush()
    (ended,) = await all_of([stage.waits(task_id, fresh=True)])
    assert ended.result == '"was quick"'


async def test_a_task_that_is_not_new_is_looked_at_without_a_signal(stage: Stage) -> None:
    task_id = await stage.task()
    await stage.network.serve("bob", "long ago")
    (ended,) = await all_of([stage.waits(task_id, fresh=False)])
    assert ended.result == '"long ago"'


async def test_a_task_that_is_gone_has_no_state(stage: Stage) -> None:
    (gone,) = await all_of([stage.waits("t-gone", fresh=False)])
    assert (gone.task_id, gone.state) == ("t-gone", "")


async def test_a_lost_signal_is_only_a_delay(
    bus: Bus, tenant: str, router: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "SWEEP_S", 0.2)
    async with running(Stage(bus, tenant)) as stage:
        await stage.network.join("bob")
        waiting = [stage.waits(await stage.task()) for _ in range(3)]
        for _ in waiting:
            await stage.network.serve("bob", "done")
        assert {task.state for task in await all_of(waiting)} == {"completed"}


async def test_a_question_that_nobody_signalled_is_told_at_the_next_sweep(
    bus: Bus, tenant: str, router: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "SWEEP_S", 0.2)
    async with running(Stage(bus, tenant)) as stage:
        await stage.network.join("bob")
        waiting = stage.waits(await stage.task())
        task = await stage.network.receive("bob")
        await stage.network.ask("bob", task, "Which?")
        async with asyncio.timeout(10):
            await stage.told.wait()
        assert stage.asked[0] == "Which?"
        assert not waiting.done()
        waiting.cancel()


async def test_a_question_and_its_answer_are_told_at_their_signals(stage: Stage) -> None:
    await stage.hear()
    task_id = await stage.task()
    waiting = stage.waits(task_id)
    task = await stage.network.receive("bob")
    await stage.network.ask("bob", task, "Which?")
    async with asyncio.timeout(10):
        while stage.asked[-1:] != ["Which?"]:
            stage.told.clear()
            await stage.told.wait()
        await stage.network.tool("alice", "answer_task", task_id=task_id, answer="that")
        while stage.asked[-1:] != [""]:
            stage.told.clear()
            await stage.told.wait()
    await stage.network.serve("bob", "done")
    assert [task.state for task in await all_of([waiting])] == ["completed"]


async def test_that_somebody_has_taken_a_task_is_no_reason_to_read_it(stage: Stage) -> None:
    first, second = await stage.task(), await stage.task()
    waiting = [stage.waits(first), stage.waits(second)]
    await asyncio.wait(waiting, timeout=0)
    stage.signal(first, b"claimed 00-trace")
    stage.signal(second)
    async with asyncio.timeout(10):
        await stage.told.wait()
    assert stage.router.reads == [[second]]
    for one in waiting:
        one.cancel()


async def test_what_has_changed_at_the_same_time_is_read_together(stage: Stage) -> None:
    ids = [await stage.task() for _ in range(50)]
    for _ in ids:
        await stage.network.serve("bob", "done")
    assert [task.task_id for task in await all_of([stage.waits(id, fresh=False) for id in ids])] == ids
    assert [sorted(read) for read in stage.router.reads] == [sorted(ids)]


async def test_results_that_do_not_fit_beside_the_others_are_read_by_themselves(stage: Stage) -> None:
    long = "x" * 200_000
    ids = [await stage.task() for _ in range(3)]
    for _ in ids:
        await stage.network.serve("bob", long)
    found = await all_of([stage.waits(id, fresh=False) for id in ids])
    assert {len(task.result) for task in found} == {200_002}
    together, *alone = stage.router.reads
    assert sorted(together) == sorted(ids)
    assert [len(read) for read in alone] == [1, 1]


async def test_who_no_longer_waits_for_a_task_is_told_nothing_of_it(stage: Stage) -> None:
    first, second = await stage.task(), await stage.task()
    gone, waiting = stage.waits(first), stage.waits(second)
    await asyncio.wait({gone, waiting}, timeout=0)
    gone.cancel()
    await asyncio.wait({gone})
    for _ in range(2):
        await stage.network.serve("bob", "done")
    stage.signal(first)
    stage.signal(second)
    assert [task.task_id for task in await all_of([waiting])] == [second]
    # It may be waited for again.
    assert [task.task_id for task in await all_of([stage.waits(first)])] == [first]


async def test_a_read_that_finds_the_router_away_is_tried_again_without_another_signal(
    own_backend: Backend, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "SWEEP_S", FAR_S)
    router = ServiceProcess("router", own_backend).start().wait()
    bus = Bus(own_backend.nats_url, "tests")
    await bus.connect()
    try:
        async with running(Stage(bus, tenant)) as stage:
            await stage.network.join("bob")
            task_id = await stage.task()
            waiting = stage.waits(task_id)
            await stage.network.serve("bob", "done")
            await asyncio.to_thread(router.kill)
            stage.signal(task_id)
            async with asyncio.timeout(20):
                await stage.router.failed.wait()
                assert not waiting.done()
                await asyncio.to_thread(lambda: router.start().wait())
                assert (await waiting).result == '"done"'
    finally:
        await bus.close()
        router.stop()
