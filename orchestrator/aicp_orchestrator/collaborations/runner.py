"""One collaboration that this worker has claimed, from wherever it stands to its end."""

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Literal

from prometheus_client import Counter as Metric

from aicp_common.cancellation import end
from aicp_common.errors import Conflict, NotFound, Unavailable
from aicp_common.logs import current_traceparent
from aicp_common.tracing import span
from aicp_orchestrator.collaborations.handover import Progress, count, failure_of, result_of
from aicp_orchestrator.collaborations.hands import RETRY_S, Hands, Surroundings, patiently
from aicp_orchestrator.collaborations.plan import FINAL, PLAN_STEP, Move, Plan, Step, StepStatus, next_move, unreachable
from aicp_orchestrator.collaborations.planmaking import made_plan
from aicp_orchestrator.collaborations.room_news import RoomNews
from aicp_orchestrator.router_client import PASSING, Claim, TaskView, hub

log = logging.getLogger(__name__)

COLLABORATIONS = Metric(
    "aicp_collaborations_total",
    "Collaborations that this worker ran, by how they left it: completed, failed, or lost (cancelled, or taken over).",
    ["outcome"],
)
STEPS = Metric("aicp_collaboration_steps_total", "Steps that ended, by status.", ["status"])

GATHER_S = 0.25
"""Progress is told at most this often."""

NOT_NEEDED = "it was not needed any more"


class Lost(Exception):
    """This worker has the collaboration no more: it was cancelled, its time is over, or another worker has it."""


class Collaboration:
    """A collaboration while this worker runs it. Everything it knows, it can learn again from the router.

    When the whole is cancelled or its time is over, the router ends its steps; that wakes this worker, which then finds
    that it may neither make a step nor submit.

    Args:
        tenant: Whose.
        claim: Of this worker.
        plan: What is to be done.
        around: Of this worker.
        begun: Another worker may have worked on it before.
    """

    def __init__(self, tenant: str, claim: Claim, plan: Plan, around: Surroundings, *, begun: bool) -> None:
        self.tenant = tenant
        self.claim = claim
        self._plan = plan
        self._around = around
        self._router = around.router
        self._begun = begun
        self._traceparent = plan.traceparent
        self._progress: dict[str, Progress] = {}
        self._changed = asyncio.Event()
        self._telling = asyncio.Lock()
        self._told: dict[str, Any] = {}
        self._submitting = False
        self._lost = asyncio.Event()
        self._room = RoomNews(around.post, tenant, claim.task_id, claim.asker.agent, plan) if plan.room else None
        self._telling_room: set[asyncio.Task[None]] = set()

    def lose(self) -> None:
        """The lease was found lost."""
        self._lost.set()

    async def run(self) -> None:
        """Run it until it has ended or is lost."""
        with span("orchestrator.collaboration", self._plan.traceparent, "consumer") as inner:
            self._traceparent = inner
            current_traceparent.set(inner)
            work = asyncio.create_task(self._work())
            news = asyncio.create_task(self._tell_news())
            lost = asyncio.create_task(self._lost.wait())
            try:
                await asyncio.wait({work, news, lost}, return_when=asyncio.FIRST_COMPLETED)
                if self._submitting:
                    # That it is no longer held may be because of the end that is being written.
                    await asyncio.wait({work})
                for task in (work, news):
                    if task.done():
                        task.result()
                if not work.done():
                    raise Lost("it has ended, or its lease lapsed")
            except Lost as why:
                COLLABORATIONS.labels("lost").inc()
                log.info("a collaboration is no longer this worker's: %s", why, extra={"task": self.claim.task_id})
                await end({work, news})
                await self._tell_room_of_lost()
            finally:
                await end({work, news, lost})
                await end(self._telling_room)

    async def _work(self) -> None:
        hands = Hands(self.tenant, self.claim, self._around, self._traceparent, self._changed.set)
        if self._begun:
            await hands.take_stock()
        if self._plan.planner is not None:
            planner = self._plan.planner
            self._progress = {PLAN_STEP: Progress(agent=planner.agent, status="running")}
            await self._record(await made_plan(self._plan, planner, hands, self._progress))
        self._progress = {step.id: Progress(agent=step.agent) for step in self._plan.all_steps}
        if self._room is not None:
            self._tell_room(self._room.began(self._plan))
        running: dict[asyncio.Task[None], str] = {}
        try:
            while True:
                move = self._next_move()
                await self._give_up(move, running, hands)
                if move.outcome is not None:
                    self._changed.clear()
                    self._submitting = True
                    await self._submit(move.outcome)
                    return
                for step in move.start:
                    self._progress[step.id].status = "running"
                    running[asyncio.create_task(self._run_step(step, hands))] = step.id
                self._changed.set()
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del running[task]
                    task.result()
        finally:
            await end(running)

    def _next_move(self) -> Move:
        status: dict[str, StepStatus] = {id: state.status for id, state in self._progress.items()}
        decided = (
            self._plan.pattern == "vote"
            and self._plan.closing is not None
            and count(self._plan, self._progress).winner is not None
        )
        return next_move(self._plan, status, decided=decided)

    async def _give_up(self, move: Move, running: dict[asyncio.Task[None], str], hands: Hands) -> None:
        """Let go of what is not needed or cannot be done any more."""
        lost = unreachable(self._plan.all_steps, {id: state.status for id, state in self._progress.items()})
        for id in move.skip:
            self._set(id, "skipped", "a step that it needs did not complete" if id in lost else NOT_NEEDED)
        stopped = [task for task, id in running.items() if id in move.cancel]
        for task in stopped:
            del running[task]
        await end(stopped)
        for id in move.cancel:
            self._set(id, "cancelled", NOT_NEEDED)
        tasks = [self._progress[id].task_id for id in move.cancel]
        await asyncio.gather(*(hands.call_off(task_id) for task_id in tasks if task_id))

    async def _run_step(self, step: Step, hands: Hands) -> None:
        state = self._progress[step.id]
        await hands.run(self._plan, step, self._progress)
        STEPS.labels(state.status).inc()
        if self._room is not None:
            self._tell_room(self._room.step_ended(step.id, state))

    def _set(self, id: str, status: StepStatus, error: str) -> None:
        state = self._progress[id]
        state.status, state.error, state.question = status, error, ""
        STEPS.labels(status).inc()

    async def _record(self, plan: Plan) -> None:
        """From now on this is the plan, for every worker."""
        held = await patiently(lambda: self._router.record(self.tenant, self._traceparent, self.claim, plan))
        if not held:
            raise Lost("it has ended, or its lease lapsed, while its plan was made")
        self._plan = plan

    # What is told of it

    async def _submit(self, outcome: Literal["completed", "failed"]) -> None:
        result = (result_of if outcome == "completed" else failure_of)(self._plan, self._progress)
        claim = self.claim
        try:
            # What is told last stays with the task: that it runs, or that a step asks, would be wrong by now.
            await patiently(self._tell)
            if self._room is not None:
                # It is still this worker's. The room hears it before it is submitted: then whoever takes over from here
                # tells it too, once.
                self._tell_room(self._room.ended(outcome, result))
                await asyncio.wait(self._telling_room)
                if self._room.unheard:
                    result["note"] = "; ".join(filter(None, [result.get("note", ""), self._room.unheard]))
            await patiently(
                lambda: self._router.submit(
                    self.tenant, self._traceparent, claim.task_id, claim.attempt, status=outcome, result=result
                )
            )
        except (Conflict, NotFound) as error:
            raise Lost(str(error)) from error
        COLLABORATIONS.labels(outcome).inc()

    def _tell_room(self, telling: Coroutine[Any, Any, None]) -> None:
        # Beside the work, one after the other: a room that cannot be told holds nothing up but its own end.
        self._telling_room.add(asyncio.create_task(telling))

    async def _tell_room_of_lost(self) -> None:
        """If it is lost because it was cancelled or its time is over, nobody else tells the room."""
        if self._room is None:
            return
        await end(self._telling_room)
        whole = await patiently(self._read_whole)
        if whole.ended:
            await self._room.ended(whole.state, {"reason": whole.error.message if whole.error else ""})

    async def _read_whole(self) -> TaskView:
        whole = await self._router.task_if_reachable(hub(self.tenant), self._traceparent, self.claim.task_id)
        if whole is None:
            raise Unavailable("the router is away")
        return whole

    async def _tell_news(self) -> None:
        """Say how far it is when something has changed."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(GATHER_S)
            self._changed.clear()
            try:
                await self._tell()
            except PASSING:
                self._changed.set()
                await asyncio.sleep(RETRY_S)
            except (Conflict, NotFound) as error:
                raise Lost(str(error)) from error

    async def _tell(self) -> None:
        # One after the other, so that what is older never arrives last.
        async with self._telling:
            news = {"progress": self._share(), "message": self._summary()}
            if news == self._told and not self._submitting:
                return
            await self._router.update(self.tenant, self._traceparent, self.claim.task_id, self.claim.attempt, news)
            self._told = news

    def _share(self) -> float:
        ended = sum(state.status in FINAL for state in self._progress.values())
        return round(ended / len(self._progress), 3)

    def _summary(self) -> str:
        by_status = Counter(state.status for state in self._progress.values())
        steps = "1 step" if len(self._progress) == 1 else f"{len(self._progress)} steps"
        text = f"{steps}: " + ", ".join(f"{number} {status}" for status, number in by_status.items())
        asking = [
            f"{id} ({state.agent}) asks: {state.question[:300]} - answer with answer_task, task_id {state.task_id}"
            for id, state in self._progress.items()
            if state.question
        ]
        return "; ".join([text, *asking])[:4000]
