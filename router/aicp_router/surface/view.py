"""A task as `get_task` and its resource show it, with what the reader can do about it."""

from collections.abc import Sequence

from aicp_common.envelope import Principal
from aicp_router.surface.route_result import JUDGE, next_of
from aicp_router.tasks import notes
from aicp_router.tasks.dispatch import Dispatch
from aicp_router.tasks.inbox import has_reached, is_here
from aicp_router.tasks.record import Asking, Record, StepView, TaskView, at, shown
from aicp_router.tasks.steps import read_steps, step_views, waiting_for

_SHOWN_CHARS = 200
"""Of a question where it stands beside others in a sentence."""


async def view_of(dispatch: Dispatch, who: Principal, record: Record) -> TaskView:
    """A task as `who`, who may see it, is shown it now."""
    reached = await has_reached(dispatch, who, record)
    works = record.state == "working" and record.agent != who.agent
    away = works and not await is_here(dispatch, who, record.agent)
    steps = None
    if record.kind == "collaboration" and record.owned_by(who):
        tasks = await read_steps(dispatch.redis, who.tenant, parent=record.task_id)
        awaited, online_ms = waiting_for(tasks), int(dispatch.settings.online_s * 1000)
        here = await notes.online(dispatch.redis, who.tenant, awaited, online_ms=online_ms) if awaited else []
        steps = step_views(record, tasks, here)
    hint = next_step(record, who, reached=reached, away=away)
    return record.view(who, hint + _absent(steps or ()), reached=reached, steps=steps)


def _absent(steps: Sequence[StepView]) -> str:
    """Whom a collaboration waits for in vain, as things are."""
    away = [f"{step.agent} ({step.id})" for step in steps if step.agent_online is False and step.state == "submitted"]
    if not away:
        return ""
    return f"; not online: {', '.join(away[:5])}: their steps wait for them until the deadline, cancel_task ends it"


def next_step(record: Record, who: Principal, *, reached: bool, away: bool) -> str:
    """What `who` can do about a task.

    Args:
        record: The task.
        who: The reader.
        reached: See `Record.delivery`.
        away: Whether the agent that works on it is not online.
    """
    mine, steps = record.owned_by(who), record.asking_for(who)
    if mine and steps:
        return (
            f"a step asks something: {'; '.join(map(introduced, steps))}. Answer with answer_task and the task_id of "
            f"the step, then call get_task again; {JUDGE}"
        )
    if mine and record.kind == "collaboration" and record.state == "completed":
        return "do as `instruction` in the result says; rate_task of a step says how good it was"
    said = next_of(
        record.state,
        record.agent,
        online=record.delivery(reached=reached) != "queued",
        mine=mine,
        rated="rating" in record.fields,
    )
    return f"{said}: {_without(record)}" if away else said


def introduced(step: Asking) -> str:
    """A step that asks something, in a sentence."""
    return f"{step.task_id} ({step.agent}{', ' + step.step if step.step else ''}): {shown(step.question, _SHOWN_CHARS)}"


def _without(record: Record) -> str:
    """What becomes of a task whose worker does not come back."""
    fields = record.fields
    until = at(fields["lease_until_ms"])[11:19]
    if record.attempt >= int(fields["attempts"]):
        what = "the task fails"
    elif record.named:
        what = f"the task waits for {record.agent} anew"
    else:
        what = "another agent gets it"
    return f"{record.agent} is not online; unless it comes back {what} at {until} UTC"
