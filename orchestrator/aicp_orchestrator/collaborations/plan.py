"""The plan of a collaboration: its steps, which of them may start now, and how it ends. Pure functions.

A plan is recorded before anything is done by it. Where a collaboration stands follows from the plan and from the tasks
of its steps alone, which is why any worker can go on with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from aicp_common.errors import InvalidArgument

MAX_STEPS = 50
MAX_RETRIES = 3

Pattern = Literal["parallel", "pipeline", "debate", "vote", "map_reduce", "planned", "steps"]
"""`steps`: a plan of the requester's own; `planned`: one that an agent makes, or `parallel` when it makes none."""
OnFailure = Literal["continue", "fail_fast", "quorum"]
StepStatus = Literal["waiting", "running", "completed", "failed", "cancelled", "skipped"]
"""`waiting`: for others; `skipped`: it will never start, because of one that did not complete."""

FINAL: frozenset[StepStatus] = frozenset({"completed", "failed", "cancelled", "skipped"})
BROKEN: frozenset[StepStatus] = FINAL - {"completed"}

PLAN_STEP = "plan"
"""The step in which an agent makes the plan. No other step may have this name."""
CLOSING_STEP = "answer"
"""The step that makes one answer of all the others: a synthesis, or the word of a judge."""


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step: what one agent is asked to do."""

    id: str
    task: str = ""
    """Empty: the task of the whole."""
    agent: str = ""
    """Empty: the router finds one when the step starts."""
    capabilities: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    """Steps that must have ended before, and completed as far as `needs` says."""
    input_from: tuple[str, ...] | None = None
    """Those of them whose results are handed to this one; None: all."""
    needs: int = 0
    """How many of `depends_on` must have completed; 0: all of them."""
    timeout_s: float = 0.0
    """How long one try may take; 0: as long as the whole."""
    retries: int = 0
    """How often it is tried again, by another agent, when it fails."""
    about: str = ""
    """What its agent has to know of the others; follows the task."""
    input: Any = None
    """Its own piece of the work, any JSON."""

    @property
    def fed_by(self) -> tuple[str, ...]:
        """Steps whose results it gets."""
        return self.depends_on if self.input_from is None else self.input_from

    @property
    def needed(self) -> int:
        """How many of the steps that it depends on must have completed."""
        return self.needs or len(self.depends_on)


class Planner(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who makes the plan, and out of what."""

    agent: str
    agents: tuple[str, ...]
    """Whom the plan may name."""
    roster: str
    """What the planner is told of them, as lines."""
    on_failure: OnFailure
    """What the plan goes by."""


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that a worker needs to know to run a collaboration from any point on."""

    task: str
    pattern: Pattern
    on_failure: OnFailure
    steps: tuple[Step, ...]
    context: dict[str, Any] | list[str] | None = None
    """Handed to each step: keys of shared contexts, or an object."""
    traceparent: str = ""
    """The call that asked for it: whatever is done for it belongs to that trace."""
    quorum: int = 0
    """With `on_failure` quorum: how many of the targets are enough."""
    closing: Step | None = None
    """Begins when the other steps are over; its result is the answer. Without it the requester makes the answer."""
    choices: tuple[str, ...] = ()
    """Of a vote: what may be chosen; empty: anything."""
    planner: Planner | None = None
    """Until the plan is made; `steps` are what is done when it is not."""
    note: str = ""
    """What the requester is to be told of how the plan came about."""
    room: str = ""
    """The room that hears how it goes."""
    room_opened_ms: int = 0
    """When that was opened: a room that is opened later under its name is another one."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The steps that the others are for: what is closed over, or those that nothing depends on."""
        if self.closing is not None:
            return self.closing.depends_on
        return sinks(self.steps)

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """With the closing one."""
        return self.steps if self.closing is None else (*self.steps, self.closing)


class Move(msgspec.Struct, frozen=True):
    """What to do next. With an outcome there is nothing left to do but to cancel and to end."""

    start: tuple[Step, ...] = ()
    cancel: tuple[str, ...] = ()
    """Ids of steps that run and are not wanted any more."""
    skip: frozenset[str] = frozenset()
    """Ids of steps that have not started and never will."""
    outcome: Literal["completed", "failed"] | None = None


def sinks(steps: Sequence[Step]) -> tuple[str, ...]:
    """The ids of the steps that nothing depends on."""
    needed = {dependency for step in steps for dependency in step.depends_on}
    return tuple(step.id for step in steps if step.id not in needed)


def checked(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """`steps` unchanged, if they can be run.

    Raises:
        InvalidArgument: none or too many, an id twice, a dependency that is unknown, or steps that wait for each other
            in a circle; the message names them.
    """
    if not 1 <= len(steps) <= MAX_STEPS:
        raise InvalidArgument(f"the plan has {len(steps)} steps", expected=f"1 to {MAX_STEPS}")
    known: set[str] = set()
    for step in steps:
        if step.id in known:
            raise InvalidArgument(
                f"steps: the id {step.id!r} is there more than once", expected="each step an id of its own"
            )
        if step.id in (PLAN_STEP, CLOSING_STEP):
            raise InvalidArgument(
                f"steps: the id {step.id!r} is one that the hub uses", expected=f"another one, say {step.id + '-1'!r}"
            )
        known.add(step.id)
    for place, step in enumerate(steps):
        unknown = [dependency for dependency in step.depends_on if dependency not in known]
        if unknown:
            raise InvalidArgument(
                f"steps.{place}.depends_on: {step.id!r} depends on {unknown[0]!r}, which is no step of this plan",
                expected=f"ids of other steps: {', '.join(sorted(known - {step.id}))}"
                if len(steps) > 1
                else f"no depends_on, as {step.id!r} is the only step",
            )
    circle = _circle(steps)
    if circle:
        raise InvalidArgument(
            f"steps: these wait for each other and could never start: {' -> '.join(circle)}",
            expected="no step that depends, directly or through others, on itself",
        )
    return steps


def _circle(steps: Sequence[Step]) -> list[str]:
    """The ids of a circle, the first again at its end; empty if there is none."""
    depends_on = {step.id: step.depends_on for step in steps}
    clear: set[str] = set()
    for step in steps:
        path = [step.id]
        branches = [iter(depends_on[step.id])]
        while path:
            dependency = next(branches[-1], None)
            if dependency is None:
                branches.pop()
                clear.add(path.pop())
            elif dependency in path:
                return [*path[path.index(dependency) :], dependency]
            elif dependency not in clear:
                path.append(dependency)
                branches.append(iter(depends_on[dependency]))
    return []


def next_move(plan: Plan, status: Mapping[str, StepStatus], *, decided: bool = False) -> Move:
    """What to do now.

    Args:
        plan: The plan.
        status: Of each step that is not `waiting`, by id.
        decided: There is nothing left for the closing step to say.

    A step that did not complete takes with it what cannot do without it. Then

    - `fail_fast`: it ends the whole;
    - `continue`: the others go on, and one target that completes is enough for the whole;
    - `quorum`: as soon as `plan.quorum` targets have completed the rest is not wanted any more, and as soon as so many
      can no longer complete the whole fails.

    Then comes the closing step. When that fails the parts are handed over all the same, unless it is `fail_fast`.
    """
    now: dict[str, StepStatus] = {step.id: status.get(step.id, "waiting") for step in plan.steps}
    running = tuple(id for id, state in now.items() if state == "running")
    waiting = frozenset(id for id, state in now.items() if state == "waiting")
    closing = status.get(plan.closing.id, "waiting") if plan.closing is not None else "waiting"
    if closing == "running":
        return Move()
    if closing in FINAL:
        failed = closing != "completed" and plan.on_failure == "fail_fast"
        return Move(outcome="failed" if failed else "completed")
    if plan.on_failure == "fail_fast" and not BROKEN.isdisjoint(now.values()):
        return _fail(plan, cancel=running, skip=waiting)
    skip = unreachable(plan.steps, now)
    completed = sum(now[id] == "completed" for id in plan.targets)
    enough = plan.quorum if plan.on_failure == "quorum" else 1
    if plan.on_failure == "quorum":
        if completed >= enough:
            return _close(plan, decided=decided, cancel=running, skip=waiting)
        if sum(now[id] not in BROKEN and id not in skip for id in plan.targets) < enough:
            return _fail(plan, cancel=running, skip=waiting)
    start = tuple(step for step in plan.steps if now[step.id] == "waiting" and _may_start(step, now, skip))
    if start or running:
        return Move(start=start, skip=skip)
    if completed < enough:
        return _fail(plan, skip=skip)
    return _close(plan, decided=decided, skip=skip)


def _fail(plan: Plan, *, cancel: tuple[str, ...] = (), skip: frozenset[str]) -> Move:
    closing = () if plan.closing is None else (plan.closing.id,)
    return Move(cancel=cancel, skip=skip.union(closing), outcome="failed")


def _close(plan: Plan, *, decided: bool, cancel: tuple[str, ...] = (), skip: frozenset[str] = frozenset()) -> Move:
    if plan.closing is None:
        return Move(cancel=cancel, skip=skip, outcome="completed")
    if decided:
        return Move(cancel=cancel, skip=skip | {plan.closing.id}, outcome="completed")
    return Move(start=(plan.closing,), cancel=cancel, skip=skip)


def _may_start(step: Step, now: Mapping[str, StepStatus], skip: frozenset[str]) -> bool:
    """Whether all that it depends on is over, and it can do with what has completed."""
    return step.id not in skip and all(now[id] in FINAL or id in skip for id in step.depends_on)


def unreachable(steps: Sequence[Step], now: Mapping[str, StepStatus]) -> frozenset[str]:
    """The ids of the steps that wait for more than can still complete.

    Args:
        steps: Some or all of a plan.
        now: Of each of them.
    """
    lost = {id for id, state in now.items() if state in BROKEN}
    skip: set[str] = set()
    while True:
        more = {
            step.id
            for step in steps
            if now[step.id] == "waiting"
            and step.id not in skip
            and len(step.depends_on) - len(lost.intersection(step.depends_on)) < step.needed
        }
        if not more:
            return frozenset(skip)
        skip |= more
        lost |= more
