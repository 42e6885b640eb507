"""The plan of a collaboration: how it is expanded, which steps may start now, and how it ends. Pure functions.

A plan does not change once it is made. Where a collaboration stands follows from the plan and from the status of each
step's task alone, which is why any worker can go on with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from aicp_common.errors import InvalidArgument

MAX_STEPS = 50

Pattern = Literal["parallel", "pipeline", "steps"]
OnFailure = Literal["continue", "fail_fast"]
StepStatus = Literal["waiting", "running", "completed", "failed", "cancelled", "skipped"]
"""`waiting`: for others; `skipped`: it will never start, because of one that did not complete."""

FINAL: frozenset[StepStatus] = frozenset({"completed", "failed", "cancelled", "skipped"})


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step: what one agent is asked to do."""

    id: str
    task: str = ""
    """Empty: the task of the whole."""
    agent: str = ""
    """Empty: the router finds one when the step starts."""
    capabilities: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    """Steps that must have completed before; their results are handed to this one."""


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


class Move(msgspec.Struct, frozen=True):
    """What to do next. With an outcome there is nothing left to do but to cancel and to end."""

    start: tuple[Step, ...] = ()
    cancel: tuple[str, ...] = ()
    """Ids of steps that run and are not wanted any more."""
    skip: frozenset[str] = frozenset()
    """Ids of steps that have not started and never will."""
    outcome: Literal["completed", "failed"] | None = None


def side_by_side(agents: Sequence[str]) -> tuple[Step, ...]:
    """The steps of the pattern `parallel`: each agent works on the whole task.

    Raises:
        InvalidArgument: an agent is named twice, or there are too many.
    """
    twice = sorted({name for name in agents if agents.count(name) > 1})
    if twice:
        raise InvalidArgument(
            f"agents: named more than once: {', '.join(twice)}",
            expected="each agent once; for several parts by one agent write them as `steps`",
        )
    return checked(tuple(Step(id=f"step-{number}", agent=name) for number, name in enumerate(agents, start=1)))


def one_after_the_other(agents: Sequence[str]) -> tuple[Step, ...]:
    """The steps of the pattern `pipeline`: each agent builds on the result of the one before. One may come again.

    Raises:
        InvalidArgument: there are too many.
    """
    return checked(
        tuple(
            Step(id=f"step-{number}", agent=name, depends_on=(f"step-{number - 1}",) if number > 1 else ())
            for number, name in enumerate(agents, start=1)
        )
    )


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


def next_move(plan: Plan, status: Mapping[str, StepStatus]) -> Move:
    """What to do now.

    Args:
        status: Of each step that is not `waiting`, by id.

    With `continue`, a step that did not complete takes with it only what depends on it, and the whole completes if one
    of its last steps does (those that nothing depends on). With `fail_fast` it ends the whole.
    """
    now: dict[str, StepStatus] = {step.id: status.get(step.id, "waiting") for step in plan.steps}
    broken = any(state in ("failed", "cancelled", "skipped") for state in now.values())
    if broken and plan.on_failure == "fail_fast":
        return Move(
            cancel=tuple(id for id, state in now.items() if state == "running"),
            skip=frozenset(id for id, state in now.items() if state == "waiting"),
            outcome="failed",
        )
    skip = _unreachable(plan.steps, now)
    start = tuple(
        step
        for step in plan.steps
        if now[step.id] == "waiting" and all(now[dependency] == "completed" for dependency in step.depends_on)
    )
    if start or any(state == "running" for state in now.values()):
        return Move(start=start, skip=skip)
    needed = {dependency for step in plan.steps for dependency in step.depends_on}
    done = any(now[step.id] == "completed" for step in plan.steps if step.id not in needed)
    return Move(skip=skip, outcome="completed" if done else "failed")


def _unreachable(steps: Sequence[Step], now: Mapping[str, StepStatus]) -> frozenset[str]:
    lost = {id for id, state in now.items() if state in ("failed", "cancelled", "skipped")}
    skip: set[str] = set()
    while True:
        more = {
            step.id
            for step in steps
            if now[step.id] == "waiting" and step.id not in skip and not lost.isdisjoint(step.depends_on)
        }
        if not more:
            return frozenset(skip)
        skip |= more
        lost |= more
