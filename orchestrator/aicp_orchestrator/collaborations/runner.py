"""One collaboration that this worker has claimed, from wherever it stands to its end."""

import asyncio
import contextlib
import datetime
import logging
from typing import Any, Literal

from prometheus_client import Counter

from aicp_common import subjects
from aicp_common.cancellation import end
from aicp_common.errors import AicpError, Conflict, NotFound
from aicp_common.logs import current_traceparent
from aicp_common.tracing import span
from aicp_common.waiting import Waiters
from aicp_orchestrator.collaborations.handover import Progress, context_of, failure_of, message_of, result_of
from aicp_orchestrator.collaborations.plan import Plan, Step, StepStatus, next_move
from aicp_orchestrator.router_client import PASSING, Claim, Created, RouterClient, TaskView, hub

log = logging.getLogger(__name__)

COLLABORATIONS = Counter(
    "aicp_collaborations_total",
    "Collaborations that this worker ran, by how they left it: completed, failed, or lost (cancelled, or taken over).",
    ["outcome"],
)
STEPS = Counter("aicp_collaboration_steps_total", "Steps that ended, by status.", ["status"])

FOR_EVER_S = 10.0 * 365 * 86400

GATHER_S = 0.25
"""Progress is told at most this often."""

HEAD_START_S = 2.0
"""How long before the whole a step's time ends, so that the parts which did complete can still be handed over."""

RETRY_S = 0.5
"""Between two tries while the router is away."""


class Lost(Exception):
    """This worker has the collaboration no more: it was cancelled, its time is over, or another worker has it."""


class Stopping(Exception):
    """This worker stops; another one takes the collaboration over when the lease lapses."""


class Collaboration:
    """A collaboration while this worker runs it. Everything it knows, it can learn again from the router.

    Each step is a task of the router under an idempotency key made of the collaboration and the step. A worker that
    takes over makes the same tasks, and gets those that exist with whatever has become of them.

    When the whole is cancelled or its time is over, the router ends its steps; that wakes this worker, which then finds
    that it may neither make a step nor submit.
    """

    def __init__(self, tenant: str, claim: Claim, plan: Plan, router: RouterClient, waiters: Waiters) -> None:
        self._tenant = tenant
        self._claim = claim
        self._plan = plan
        self._router = router
        self._waiters = waiters
        self._traceparent = plan.traceparent
        self._progress = {step.id: Progress(agent=step.agent) for step in plan.steps}
        self._changed = asyncio.Event()
        self._telling = asyncio.Lock()
        self._told: dict[str, Any] = {}
        self._submitting = False

    async def run(self) -> None:
        """Run it until it has ended, or is lost, or this worker stops."""
        with span("orchestrator.collaboration", self._plan.traceparent, "consumer") as inner:
            self._traceparent = inner
            current_traceparent.set(inner)
            lease = asyncio.create_task(self._keep_lease())
            work = asyncio.create_task(self._work())
            try:
                await asyncio.wait({work, lease}, return_when=asyncio.FIRST_COMPLETED)
                if self._submitting:
                    # The end that the lease has found may be the one that is being written.
                    await asyncio.wait({work})
                (work if work.done() else lease).result()
            except Lost as lost:
                COLLABORATIONS.labels("lost").inc()
                log.info("a collaboration is no longer this worker's: %s", lost, extra={"task": self._claim.task_id})
            except Stopping:
                pass
            finally:
                await end({work, lease})

    async def _work(self) -> None:
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                move = next_move(self._plan, {id: state.status for id, state in self._progress.items()})
                for id in move.skip:
                    self._set(id, "skipped", "a step that it needs did not complete")
                for id in move.cancel:
                    self._set(id, "cancelled", "another step ended the collaboration")
                if move.outcome is not None:
                    self._changed.clear()
                    self._submitting = True
                    await self._submit(move.outcome)
                    return
                for step in move.start:
                    self._progress[step.id].status = "running"
                    running.add(asyncio.create_task(self._run_step(step)))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                self._changed.set()
        finally:
            await end(running)

    async def _run_step(self, step: Step) -> None:
        """Make the step's task, or find it, and wait for its end."""
        try:
            created = await self._create(step)
        except AicpError as error:
            self._set(step.id, "failed", str(error))
            return
        if created.unroutable is not None:
            self._set(step.id, "failed", f"no agent for it: {created.unroutable.reason}")
            return
        state = self._progress[step.id]
        state.task_id = created.task_id
        state.agent = created.agent or state.agent

        async def look() -> TaskView | None:
            view = await self._router.task_if_reachable(hub(self._tenant), self._traceparent, created.task_id)
            if view is None:
                return None
            state.agent = view.agent or state.agent
            if state.question != view.question:
                state.question = view.question
                self._changed.set()
            return view if view.ended else None

        view = await self._waiters.until(subjects.task(self._tenant, created.task_id), look, FOR_EVER_S)
        if view is None:
            raise Stopping
        match view.state:
            case "completed":
                state.result = view.result
                self._set(step.id, "completed")
            case "cancelled":
                self._set(step.id, "cancelled", view.error.message if view.error else "it was cancelled")
            case _:
                self._set(step.id, "failed", _why(view))

    async def _create(self, step: Step) -> Created:
        fields: dict[str, Any] = {
            "message": message_of(self._plan, step),
            "parent": self._claim.task_id,
            "step": step.id,
            "idempotency_key": f"{self._claim.task_id}/{step.id}/1",
            "deadline_s": self._step_deadline_s(),
        }
        if step.agent:
            fields["agent"] = step.agent
        if step.capabilities:
            fields["target_capabilities"] = step.capabilities
        context = context_of(self._plan, step, self._progress)
        if context is not None:
            fields["context"] = context
        requester = self._claim.requester(self._tenant)
        while True:
            try:
                return await self._router.create(requester, self._traceparent, fields)
            except PASSING as error:
                log.info("a step waits for the router: %s", error, extra={"task": self._claim.task_id})
                await asyncio.sleep(RETRY_S)

    def _step_deadline_s(self) -> float:
        until = datetime.datetime.fromisoformat(self._claim.deadline)
        left_s = (until - datetime.datetime.now(datetime.UTC)).total_seconds()
        return max(1.0, left_s - min(HEAD_START_S, left_s * 0.2))

    def _set(self, id: str, status: StepStatus, error: str = "") -> None:
        state = self._progress[id]
        state.status = status
        state.error = error
        state.question = ""
        STEPS.labels(status).inc()

    async def _submit(self, outcome: Literal["completed", "failed"]) -> None:
        result = (result_of if outcome == "completed" else failure_of)(self._plan, self._progress)
        told = False
        while True:
            try:
                if not told:
                    # What is told last stays with the task: that it runs, or that a step asks, would be wrong by now.
                    await self._tell()
                    told = True
                await self._router.submit(
                    self._tenant,
                    self._traceparent,
                    self._claim.task_id,
                    self._claim.attempt,
                    status=outcome,
                    result=result,
                )
                COLLABORATIONS.labels(outcome).inc()
                return
            except PASSING:
                await asyncio.sleep(RETRY_S)
            except (Conflict, NotFound) as error:
                raise Lost(str(error)) from error

    async def _keep_lease(self) -> None:
        """Extend the lease, and say how far it is, regularly and when something has changed."""
        while True:
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which before Python 3.12 may lose a cancellation.
                async with asyncio.timeout(self._claim.lease_s / 3):
                    await self._changed.wait()
                await asyncio.sleep(min(GATHER_S, self._claim.lease_s / 3))
            self._changed.clear()
            try:
                await self._tell()
            except PASSING:
                # Not a third of the lease later: the first try may have taken that long.
                self._changed.set()
                await asyncio.sleep(RETRY_S)
            except (Conflict, NotFound) as error:
                raise Lost(str(error)) from error

    async def _tell(self) -> None:
        """Extend the lease, with what is new."""
        # One after the other, so that what is older never arrives last.
        async with self._telling:
            news = {"progress": self._share(), "message": self._summary()}
            await self._router.update(
                self._tenant,
                self._traceparent,
                self._claim.task_id,
                self._claim.attempt,
                news if news != self._told else {},
            )
            self._told = news

    def _share(self) -> float:
        ended = sum(state.status not in ("waiting", "running") for state in self._progress.values())
        return round(ended / len(self._progress), 3)

    def _summary(self) -> str:
        count: dict[str, int] = {}
        for state in self._progress.values():
            count[state.status] = count.get(state.status, 0) + 1
        steps = "1 step" if len(self._progress) == 1 else f"{len(self._progress)} steps"
        text = f"{steps}: " + ", ".join(f"{number} {status}" for status, number in count.items())
        asking = [
            f"{id} ({state.agent}) asks: {state.question[:300]} - answer with answer_task, task_id {state.task_id}"
            for id, state in self._progress.items()
            if state.question
        ]
        return "; ".join([text, *asking])[:4000]


def _why(view: TaskView) -> str:
    said = view.result if isinstance(view.result, str) else ""
    if view.error is None:
        return said or "it failed"
    return f"{view.error.code}: {said or view.error.message}"
