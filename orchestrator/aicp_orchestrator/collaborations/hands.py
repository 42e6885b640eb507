"""From a step to its task and back: handing it out, waiting for its end, and trying again elsewhere."""

import asyncio
import datetime
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from prometheus_client import Counter

from aicp_common.errors import AicpError, Conflict, NotFound
from aicp_orchestrator.collaborations.handover import MAX_ERROR_CHARACTERS, Progress, context_of, message_of
from aicp_orchestrator.collaborations.plan import PLAN_STEP, Plan, Step
from aicp_orchestrator.collaborations.room_news import Post
from aicp_orchestrator.collaborations.turnstile import Turnstile
from aicp_orchestrator.collaborations.watch import Watch
from aicp_orchestrator.router_client import PASSING, Claim, Created, RouterClient, StepTask

log = logging.getLogger(__name__)

RETRIES = Counter("aicp_collaboration_retries_total", "Steps that were tried again by another agent.")

HEAD_START_S = 2.0
"""How long before the whole a step's time ends, so that the parts which did complete can still be handed over."""

MIN_STEP_S = 0.05
"""The least time that the router gives a task."""

PLANNING_SHARE = 0.25
"""Of the time that is left, for a plan."""

RETRY_S = 0.5
"""Between two tries while the router is away."""

EACH_FOR_ITSELF = frozenset({"parallel", "vote", "debate"})
"""Patterns in which the answer of an agent that gives one already is no second one."""

T = TypeVar("T")


class Surroundings(msgspec.Struct, frozen=True, eq=False):
    """What the collaborations of one worker share."""

    router: RouterClient
    watch: Watch
    turnstile: Turnstile
    """Through which steps go to the router."""
    post: Post
    """Into rooms."""


class Hands:
    """Hands out the steps of one collaboration.

    Each try of a step is a task of the router under an idempotency key made of the collaboration, the step and the
    number of the try. A worker that takes over reads which there are and goes on from there; if the worker before it
    still runs, both make the same tasks.

    Args:
        tenant: Whose.
        claim: Of the collaboration.
        around: Of the worker.
        traceparent: Under which all is done.
        changed: Called when something is to be told of a step.
    """

    def __init__(
        self, tenant: str, claim: Claim, around: Surroundings, traceparent: str, changed: Callable[[], None]
    ) -> None:
        self._tenant = tenant
        self._claim = claim
        self._around = around
        self._router = around.router
        self._traceparent = traceparent
        self._changed = changed
        self._made: dict[str, list[StepTask]] = defaultdict(list)
        self._standing_in = asyncio.Lock()

    async def take_stock(self) -> None:
        """Learn which tasks the workers before have made."""
        for task in await patiently(lambda: self._read(parent=self._claim.task_id)):
            self._made[task.step].append(task)

    async def run(self, plan: Plan, step: Step, progress: Mapping[str, Progress]) -> None:
        """Have a step done, and note in `progress` what became of it."""
        state = progress[step.id]
        avoid: list[str] = []
        number = failures = 0
        while True:
            task = await self.attempt(plan, step, progress, number + 1, avoid=avoid, again=failures > 0)
            if isinstance(task, str):
                why = task
                avoid += [step.agent] if step.agent and step.agent not in avoid else []
            elif task.state == "completed":
                state.result = msgspec.json.decode(task.result) if task.result else None
                state.status = "completed"
                return
            elif task.state == "cancelled":
                state.status, state.error = "cancelled", task.error or "it was cancelled"
                return
            else:
                number += 1
                why = why_failed(task)
                state.failures.append({"agent": task.agent, "error": why[:MAX_ERROR_CHARACTERS]})
                avoid += [task.agent] if task.agent and task.agent not in avoid else []
            failures += 1
            if failures > step.retries:
                state.status, state.error = "failed", why
                return
            RETRIES.inc()
            log.info("a step is tried again: %s", why[:200], extra={"task": self._claim.task_id, "step": step.id})

    async def attempt(
        self,
        plan: Plan,
        step: Step,
        progress: Mapping[str, Progress],
        number: int,
        *,
        avoid: list[str] | tuple[str, ...] = (),
        again: bool = False,
    ) -> StepTask | str:
        """One try of a step: its task once that has ended, or why there is none.

        Args:
            plan: What it is a step of.
            step: The step.
            progress: Of all steps.
            number: How many tasks there are for it with this one.
            avoid: Agents that have failed.
            again: Somebody has failed: whom the requester named is not asked again unless there is nobody else.
        """
        state = progress[step.id]
        made = self._made[step.id]
        fresh = number > len(made)
        if fresh:
            try:
                created = await self._create(plan, step, progress, number, avoid, again=again)
            except AicpError as error:
                return str(error)
            if created.unroutable is not None:
                return f"no agent for it: {created.unroutable.reason}"
            fresh, state.task_id, state.agent = created.created, created.task_id, created.agent or state.agent
        else:
            state.task_id, state.agent = made[number - 1].task_id, made[number - 1].agent or state.agent
        state.tries = number

        def asks(task: StepTask) -> None:
            state.agent = task.agent or state.agent
            if state.question != task.question:
                state.question = task.question
                self._changed()

        task = await self._around.watch.ended(self._tenant, state.task_id, asks, fresh=fresh)
        state.agent, state.question = task.agent or state.agent, ""
        return task

    async def call_off(self, task_id: str) -> None:
        """End a task that is not wanted any more."""
        try:
            await patiently(
                lambda: self._router.cancel(
                    self._tenant, self._traceparent, task_id, "the collaboration has what it needs"
                )
            )
        except (NotFound, Conflict) as error:
            log.debug("a step had ended before it was called off: %s", error)

    async def _read(self, **which: Any) -> list[StepTask]:
        return await self._router.read_steps(self._tenant, self._traceparent, **which)

    async def _create(
        self,
        plan: Plan,
        step: Step,
        progress: Mapping[str, Progress],
        number: int,
        avoid: list[str] | tuple[str, ...],
        *,
        again: bool,
    ) -> Created:
        fields: dict[str, Any] = {
            "message": message_of(plan, step),
            "parent": self._claim.task_id,
            "step": step.id,
            "idempotency_key": f"{self._claim.task_id}/{step.id}/{number}",
        }
        if step.capabilities:
            fields["target_capabilities"] = step.capabilities
        context = context_of(plan, step, progress)
        if context is not None:
            fields["context"] = context
        if not again:
            return await self._ask(fields | ({"agent": step.agent} if step.agent else {}), step)
        # One after the other, so that no two steps find the same agent that is still free.
        async with self._standing_in:
            taken: set[str] = set()
            if plan.pattern in EACH_FOR_ITSELF:
                others = [other for other in plan.steps if other.id != step.id]
                # Those that are asked, and those that have stepped in for them.
                taken = {name for other in others for name in (other.agent, progress[other.id].agent) if name}
                # And those whom the worker before has found for them.
                taken |= {made[-1].agent for other in others if (made := self._made.get(other.id)) and made[-1].agent}
            created = await self._ask(fields | {"exclude_agents": sorted({*avoid, *taken})}, step)
            progress[step.id].agent = created.agent or progress[step.id].agent
        if created.unroutable is None or not avoid:
            return created
        # Nobody else: better the same again than nobody.
        return await self._ask(fields | {"agent": avoid[-1]}, step)

    async def _ask(self, fields: dict[str, Any], step: Step) -> Created:
        requester = self._claim.requester(self._tenant)

        async def create() -> Created:
            async with self._around.turnstile.turn((self._tenant, requester.agent)):
                # Anew each time: it may have waited long.
                limits = {"deadline_s": self._deadline_s(step)}
                return await self._router.create(requester, self._traceparent, fields | limits)

        return await patiently(create)

    def _deadline_s(self, step: Step) -> float:
        until = datetime.datetime.fromisoformat(self._claim.deadline)
        left_s = (until - datetime.datetime.now(datetime.UTC)).total_seconds()
        whole_s = left_s - min(HEAD_START_S, left_s * 0.4)
        if step.id == PLAN_STEP:
            whole_s *= PLANNING_SHARE
        return max(MIN_STEP_S, min(step.timeout_s, whole_s) if step.timeout_s else whole_s)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What `call` returns, called again for as long as the router is away or full."""
    while True:
        try:
            return await call()
        except PASSING as error:
            log.info("a collaboration waits for the router: %s", error)
            await asyncio.sleep(RETRY_S)


def why_failed(task: StepTask) -> str:
    """Why a task did not complete, in the words of its agent where there are any."""
    if not task.state:
        return "its task is gone"
    said = msgspec.json.decode(task.result) if task.result else ""
    said = said if isinstance(said, str) else ""
    if not task.error_code:
        return said or "it failed"
    return f"{task.error_code}: {said or task.error}"
