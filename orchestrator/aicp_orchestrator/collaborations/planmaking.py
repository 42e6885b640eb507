"""A collaboration for which an agent makes the plan: asking it, and what comes of its answer."""

import logging
from collections.abc import Mapping

import msgspec

from aicp_common.errors import InvalidArgument
from aicp_orchestrator.collaborations.handover import Progress
from aicp_orchestrator.collaborations.hands import Hands, why_failed
from aicp_orchestrator.collaborations.plan import Plan, Planner, Step, sinks
from aicp_orchestrator.collaborations.planning import MAX_TRIES, Refused, plan_step, steps_of
from aicp_orchestrator.collaborations.request import check_plan

log = logging.getLogger(__name__)


async def made_plan(plan: Plan, planner: Planner, hands: Hands, progress: Mapping[str, Progress]) -> Plan:
    """The plan with the steps that its planner has made, or with those that it has if no plan comes of it.

    A plan that cannot be run goes back to the planner with the reason, `MAX_TRIES` times in all.

    Args:
        plan: With a planner.
        planner: Who makes it.
        hands: For the tasks of the planner.
        progress: Where the step `PLAN_STEP` stands.
    """
    refusal = ""
    for number in range(1, MAX_TRIES + 1):
        step = plan_step(plan, planner, refusal)
        task = await hands.attempt(plan, step, progress, number)
        if isinstance(task, str):
            return _without(plan, planner, task)
        if task.state != "completed":
            return _without(plan, planner, why_failed(task))
        try:
            steps = steps_of(msgspec.json.decode(task.result) if task.result else None, planner)
            return _with(plan, planner, steps)
        except Refused as refused:
            refusal = str(refused)
            log.info("a plan was refused: %s", refusal, extra={"agent": planner.agent})
    return _without(plan, planner, f"none of its {MAX_TRIES} plans could be run; the last one: {refusal}")


def _with(plan: Plan, planner: Planner, steps: tuple[Step, ...]) -> Plan:
    targets = sinks(steps)
    if planner.on_failure == "quorum" and len(targets) < plan.quorum:
        raise Refused(
            f"{plan.quorum} results are wanted; expected at least so many steps that no other step depends on, these "
            f"were {', '.join(targets)}"
        )
    closing = plan.closing and msgspec.structs.replace(plan.closing, depends_on=targets)
    made = msgspec.structs.replace(
        plan,
        steps=steps,
        closing=closing,
        on_failure=planner.on_failure,
        planner=None,
        note=f"{planner.agent} made the plan",
    )
    try:
        check_plan(made)
    except InvalidArgument as error:
        raise Refused(str(error)) from error
    return made


def _without(plan: Plan, planner: Planner, why: str) -> Plan:
    note = f"{planner.agent} was asked for a plan and gave none ({why[:500]}): the agents were asked all at once"
    return msgspec.structs.replace(plan, planner=None, pattern="parallel", note=note)
