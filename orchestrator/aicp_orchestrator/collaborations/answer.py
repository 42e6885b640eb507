"""The answer to a request for a collaboration: where it and each of its steps stand."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from pydantic import Field

from aicp_common.envelope import Envelope
from aicp_common.tool import Result
from aicp_orchestrator.collaborations.plan import Plan, Step, StepStatus
from aicp_orchestrator.router_client import PASSING, RouterClient, StepTask, TaskState, TaskView

SHOWN_CHARACTERS = 1000
"""How much of a task's text is repeated in the answer."""


CollaborationStatus = Literal["running", "input_required", "completed", "failed", "cancelled"]


class Assignment(Result):
    """Who does what."""

    step: str
    agent: str | None = None
    task: str


class StepState(Result):
    """Where a step stands."""

    id: str
    status: StepStatus | Literal["input_required"]
    agent: str | None = None
    task_id: str | None = None
    result: Any = None
    question: str | None = Field(None, description="What its agent asks you: answer_task with this step's task_id.")
    error: str | None = None


class CollaborationResult(Result):
    """What orchestrate_collaboration answers."""

    status: CollaborationStatus = Field(description="input_required: a step waits for your answer.")
    task_id: str
    task: str
    assignments: list[Assignment]
    steps: list[StepState]
    result: dict[str, Any] | None = None
    error: str | None = None
    next: str


async def answer_of(
    router: RouterClient, envelope: Envelope, task: str, plan: Plan | None, task_id: str, whole: TaskView | None
) -> CollaborationResult:
    """What the requester is told.

    Args:
        task: The task of the whole.
        plan: None if it is not known; then only the steps that have a task are in the answer.
        whole: The collaboration as it was read last; None if it could not be read.
    """
    found = await _steps(router, envelope, task_id) if whole is not None and whole.children else {}
    planned = {step.id: step for step in plan.all_steps} if plan is not None and plan.planner is None else {}
    status = _status(whole.state if whole is not None else "submitted")
    if status == "running" and any(child.question for child in found.values()):
        status = "input_required"
    result = whole.result if whole is not None and isinstance(whole.result, dict) else None
    parts = {part["step"]: part for part in (result or {}).get("parts", ())}
    steps = [
        _step_state(id, planned.get(id), found.get(id), parts.get(id), status)
        for id in dict.fromkeys([*(id for id in found if id not in planned), *planned])
    ]
    absent = await _absent(router, envelope, found, planned) if status == "running" else []
    return CollaborationResult(
        status=status,
        task_id=task_id,
        task=_shown(task),
        assignments=[
            Assignment(
                step=step.id,
                agent=step.agent,
                task=_shown(planned[step.id].task or task if step.id in planned else task),
            )
            for step in steps
        ],
        steps=steps,
        result=result,
        error=(result or {}).get("reason") or (whole.error.message if whole is not None and whole.error else None),
        next=_next(status, task_id, steps, absent),
    )


async def _steps(router: RouterClient, envelope: Envelope, task_id: str) -> dict[str, StepTask]:
    """The last task of each step; none while the router is away."""
    try:
        made = await router.read_steps(envelope.principal.tenant, envelope.traceparent, parent=task_id)
    except PASSING:
        return {}
    return {task.step: task for task in made}


async def _absent(
    router: RouterClient, envelope: Envelope, found: Mapping[str, StepTask], planned: Mapping[str, Step]
) -> list[str]:
    """Agents that have work of it, or will have, and are not here to begin with it."""
    names = [task.agent for task in found.values() if task.state == "submitted"]
    names += [step.agent for id, step in planned.items() if id not in found]
    awaited = list(dict.fromkeys(filter(None, names)))
    if not awaited:
        return []
    online = await router.online_if_reachable(envelope.principal.tenant, envelope.traceparent, awaited)
    return [] if online is None else [name for name in awaited if name not in online]


def _step_state(
    id: str, step: Step | None, task: StepTask | None, part: dict[str, Any] | None, whole: CollaborationStatus
) -> StepState:
    agent = (task.agent if task is not None else "") or (step.agent if step is not None else "")
    if part is not None:
        # The whole has ended, and its result has the parts: this tells what became of each, in short.
        return StepState(
            id=id,
            status=part["status"],
            agent=agent or None,
            task_id=part.get("task_id"),
            error=part.get("error"),
        )
    if task is None:
        return StepState(
            id=id, status="waiting" if whole in ("running", "input_required") else "cancelled", agent=agent or None
        )
    return StepState(
        id=id,
        status="input_required" if task.question else _status(task.state),
        agent=agent or None,
        task_id=task.task_id,
        result=msgspec.json.decode(task.result) if task.result else None,
        question=task.question or None,
        error=task.error or None,
    )


def _status(state: TaskState | Literal[""]) -> CollaborationStatus:
    match state:
        case "completed" | "failed" | "cancelled":
            return state
        case _:
            return "running"


def _next(status: CollaborationStatus, task_id: str, steps: list[StepState], absent: list[str]) -> str:
    match status:
        case "input_required":
            asking = [f"{step.agent} (step {step.id}, task_id {step.task_id})" for step in steps if step.question]
            return (
                f"A step waits for you: call answer_task with its task_id to answer the question of "
                f"{' and that of '.join(asking)}, then call get_task (task_id {task_id}, wait_s 30) for the whole."
            )
        case "running":
            away = f"Not online: {', '.join(absent[:5])}; what is theirs waits for them until the deadline. "
            return f"It runs. {away if absent else ''}Call get_task (task_id {task_id}, wait_s 30) until it has ended."
        case "completed":
            return "Do as `instruction` in `result` says."
        case "failed":
            return "See `error`, and in `result` what each step did; change the plan and call again."
        case _:
            return "It was cancelled, and its steps with it."


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
