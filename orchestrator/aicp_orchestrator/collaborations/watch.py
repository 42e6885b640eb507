"""The watch: what has become of the steps that collaborations here wait for, read for many of them at once."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from aicp_common import subjects
from aicp_common.cancellation import end
from aicp_common.errors import AicpError
from aicp_orchestrator.router_client import ENDED, MAX_AT_ONCE, PASSING, RouterClient, StepTask

log = logging.getLogger(__name__)

SWEEP_S = 5.0
"""How long a lost signal can delay a step."""

RETRY_S = 0.5
"""Between two tries while the router is away."""

AT_ONCE = 4
"""Reads under way."""

RECENT = 4_096
"""Signals that are remembered: a task may end before whoever has made it waits for it here."""

_CLAIMED = b"claimed "
"""How the signal begins that says no more than that somebody has taken a task."""


class _Wait(msgspec.Struct, eq=False):
    tenant: str
    task_id: str
    ended: asyncio.Future[StepTask]
    asks: Callable[[StepTask], None]


class Watch:
    """Waits for the ends of tasks, for all collaborations of this worker.

    A signal says that a task has changed; all of which that is known are read together, and what ended goes to those
    who wait. Every few seconds everything that is waited for is read, so that a lost signal is only a delay.
    """

    def __init__(self, router: RouterClient) -> None:
        self._router = router
        self._waits: dict[str, _Wait] = {}
        """By the subject of the task's signals."""
        self._recent: dict[str, None] = {}
        self._changed: set[str] = set()
        self._news = asyncio.Event()

    def on_signal(self, subject: str, reply: str, said: bytes, headers: Mapping[str, str] | None) -> None:
        """A task has changed: see `subjects.ANY_TASK`."""
        if said.startswith(_CLAIMED):
            return
        if subject in self._waits:
            self._look_at(subject)
        else:
            self._recent[subject] = None
            if len(self._recent) > RECENT:
                del self._recent[next(iter(self._recent))]

    async def ended(self, tenant: str, task_id: str, asks: Callable[[StepTask], None], *, fresh: bool) -> StepTask:
        """A task once it has ended, or with an empty state once it is gone.

        Args:
            tenant: Whose.
            task_id: Its id; nobody else here waits for it.
            asks: Called when its agent asks something, and when that is answered.
            fresh: It was made just now: without a signal there is nothing to find.
        """
        subject = subjects.task(tenant, task_id)
        wait = _Wait(tenant, task_id, asyncio.get_running_loop().create_future(), asks)
        self._waits[subject] = wait
        if not fresh or subject in self._recent:
            self._look_at(subject)
        try:
            return await wait.ended
        finally:
            del self._waits[subject]

    async def run(self) -> None:
        """Read for ever."""
        loops = [asyncio.create_task(self._sweep()), *(asyncio.create_task(self._serve()) for _ in range(AT_ONCE))]
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in done:
                loop.result()
        finally:
            # A task group would cancel each of them once, which is not enough.
            await end(loops)

    async def _serve(self) -> None:
        while True:
            await self._news.wait()
            # What else has changed in this turn of the loop is read together with it.
            await asyncio.sleep(0)
            changed, self._changed = self._changed, set()
            self._news.clear()
            for tenant, ids in self._by_tenant(changed):
                await self._read(tenant, ids)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for tenant, ids in self._by_tenant(self._waits):
                await self._read(tenant, ids, settled=True)

    async def _read(self, tenant: str, ids: Sequence[str], *, settled: bool = False) -> None:
        try:
            for found in await self._router.read_steps(tenant, "", task_ids=ids, settled=settled):
                task = found
                if not found.whole:
                    (task,) = await self._router.read_steps(tenant, "", task_ids=[found.task_id])
                self._tell(tenant, task)
        except PASSING:
            # All of them again: until the next sweep nobody else looks.
            asyncio.get_running_loop().call_later(RETRY_S, self._look_again, tenant, ids)
        except AicpError:
            log.exception("steps could not be read")

    def _tell(self, tenant: str, task: StepTask) -> None:
        wait = self._waits.get(subjects.task(tenant, task.task_id))
        if wait is None or wait.ended.done():
            return
        if task.state in ENDED or not task.state:
            wait.ended.set_result(task)
        else:
            wait.asks(task)

    def _look_again(self, tenant: str, ids: Iterable[str]) -> None:
        for subject in (subjects.task(tenant, id) for id in ids):
            if subject in self._waits:
                self._look_at(subject)

    def _look_at(self, subject: str) -> None:
        self._changed.add(subject)
        self._news.set()

    def _by_tenant(self, which: Iterable[str]) -> list[tuple[str, list[str]]]:
        """In portions of what one call takes."""
        by: dict[str, list[str]] = defaultdict(list)
        for subject in which:
            if (wait := self._waits.get(subject)) is not None:
                by[wait.tenant].append(wait.task_id)
        return [
            (tenant, ids[first : first + MAX_AT_ONCE])
            for tenant, ids in by.items()
            for first in range(0, len(ids), MAX_AT_ONCE)
        ]
