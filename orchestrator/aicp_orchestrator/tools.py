"""The tool of the orchestrator."""

import asyncio
from typing import Any

from aicp_common import subjects
from aicp_common.envelope import Envelope
from aicp_common.errors import DeadlineExceeded, Unavailable
from aicp_common.ids import new_id
from aicp_common.service import Service
from aicp_common.waiting import Waiters
from aicp_orchestrator.answer import CollaborationResult, answer_of
from aicp_orchestrator.plan import Plan
from aicp_orchestrator.request import MAX_DEADLINE_S, CollaborationArguments, plan_of
from aicp_orchestrator.router_client import ORCHESTRATOR, Created, RouterClient, TaskView
from aicp_orchestrator.settings import OrchestratorSettings

MARGIN_S = 4.0
"""Before the caller's deadline: time to answer with the task id, even if the router goes away now."""

RETRY_S = 0.5


def declare_tools(service: Service[OrchestratorSettings], router: RouterClient) -> None:
    """Declare the tools of the orchestrator."""

    @service.tool(
        title="Work on a task with several agents",
        scope="tasks:request",
        arguments=CollaborationArguments,
        result=CollaborationResult,
    )
    async def orchestrate_collaboration(envelope: Envelope, arguments: CollaborationArguments) -> CollaborationResult:
        """Give one task to several agents: all at once (pattern parallel), one after the other (pipeline), or by a
        plan of your own (steps with depends_on). Use it when a task needs several views, skills or stages; for one
        agent use route_to_agent. It waits up to wait_s seconds; if the status is then "running", call get_task with
        the task_id. With the status "input_required" the agent of a step asks you something: answer_task with that
        step's task_id. When it has completed, combine the parts in the result yourself. It goes on when you disconnect,
        until its deadline; cancel_task ends it and all of its steps.
        """
        plan = await plan_of(router, envelope, arguments)
        created = await _create(
            router, envelope, _collaboration(plan, arguments, service.settings.collaboration_lease_s)
        )
        whole = await _wait(router, service.waiters, envelope, created.task_id, arguments.wait_s)
        # A key seen before gives the collaboration of then, whose agents may not be those found now.
        known = plan if created.created or arguments.agents or arguments.steps else None
        return await answer_of(router, envelope, plan.task, known, created.task_id, whole)


def _collaboration(plan: Plan, arguments: CollaborationArguments, lease_s: float) -> dict[str, Any]:
    return {
        "kind": "collaboration",
        "agent": ORCHESTRATOR,
        "message": plan.task,
        "input": plan,
        "lease_s": lease_s,
        "deadline_s": arguments.deadline_s or MAX_DEADLINE_S,
        # Without a key of the requester it gets one all the same, so that this call may be repeated below.
        "idempotency_key": f"collaboration/{arguments.idempotency_key or new_id('call')}",
    }


async def _create(router: RouterClient, envelope: Envelope, fields: dict[str, Any]) -> Created:
    while True:
        try:
            return await router.create(envelope.principal, envelope.traceparent, fields)
        except (Unavailable, DeadlineExceeded):
            # It may or may not have been made. The same call again tells, and makes no second one.
            if envelope.remaining_s() < MARGIN_S + RETRY_S:
                raise
            await asyncio.sleep(RETRY_S)


async def _wait(
    router: RouterClient, waiters: Waiters, envelope: Envelope, task_id: str, wait_s: float
) -> TaskView | None:
    """The collaboration once it has ended or a step asks, or as it is after `wait_s`; None while the router is away."""
    requester = envelope.principal
    last: TaskView | None = None

    async def look() -> TaskView | None:
        nonlocal last
        last = await router.task_if_reachable(requester, envelope.traceparent, task_id) or last
        return last if last is not None and (last.ended or last.asking) else None

    patience_s = min(wait_s, envelope.remaining_s() - MARGIN_S)
    return await waiters.until(subjects.task(requester.tenant, task_id), look, patience_s) or last
