"""The tool of the orchestrator, and its result for those who hold the handle of a collaboration."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from aicp_common import subjects
from aicp_common.current_call import current_call
from aicp_common.envelope import Envelope
from aicp_common.errors import DeadlineExceeded, Forbidden, Unavailable
from aicp_common.ids import digest, new_id
from aicp_common.mcptask import CreatedTask
from aicp_common.news import News
from aicp_common.service import Raw, Service
from aicp_common.tool import Arguments, encode_result
from aicp_common.waiting import Waiters
from aicp_orchestrator.collaborations.answer import CollaborationResult, answer_of
from aicp_orchestrator.collaborations.arguments import MAX_DEADLINE_S, CollaborationArguments
from aicp_orchestrator.collaborations.plan import Plan
from aicp_orchestrator.collaborations.request import plan_of
from aicp_orchestrator.collaborations.standing import NOT_BEGUN, in_words
from aicp_orchestrator.router_client import ORCHESTRATOR, Created, RouterClient, TaskView
from aicp_orchestrator.settings import OrchestratorSettings

ROOMS = "rooms:write"
"""The scope without which nothing is said in rooms."""

Members = Callable[[str, str, str], Awaitable[tuple[int, list[str]]]]

MARGIN_S = 4.0
"""Before the caller's deadline: time to answer with the task id, even if the router goes away now."""

RETRY_S = 0.5


class EndedArguments(Arguments):
    """For the method `collaboration_result`."""

    task_id: str
    plan: Any = None
    """As it was recorded with the task."""


def declare_tools(service: Service[OrchestratorSettings], router: RouterClient, members: Members) -> None:
    """Declare the tool of collaborations. `members`: when a room was opened and who is in it, for tenant, room and one
    of them."""

    @service.tool(
        title="Work on a task with several agents",
        scope="tasks:request",
        arguments=CollaborationArguments,
        result=CollaborationResult,
    )
    async def orchestrate_collaboration(
        envelope: Envelope, arguments: CollaborationArguments
    ) -> CollaborationResult | CreatedTask:
        """Give one task to several agents: all at once (pattern parallel), one after the other (pipeline), in rounds of
        answers and critique (debate), by majority (vote), for each of many inputs (map_reduce), or by a plan of your
        own (steps with depends_on). Use it when a task needs several views, skills or stages; for one agent use
        route_to_agent. It waits up to wait_s seconds; if the status is then "running", call get_task with the task_id:
        it shows every step. With the status "input_required" the agent of a step asks you something: answer_task with
        that step's task_id. When it has completed, do as `instruction` in the result says. It goes on when you
        disconnect, until its deadline; cancel_task ends it and all of its steps.
        """
        takes_handle = current_call().can("tasks")
        in_room: list[str] = []
        opened_ms = 0
        if arguments.room is not None:
            if not envelope.principal.may(ROOMS):
                raise Forbidden(f"room: needs the scope {ROOMS!r}, which {envelope.principal.agent!r} lacks")
            opened_ms, in_room = await members(envelope.principal.tenant, arguments.room, envelope.principal.agent)
        plan = await plan_of(router, envelope, arguments, in_room)
        plan = msgspec.structs.replace(plan, room_opened_ms=opened_ms)
        created = await _create(
            router, envelope, _collaboration(plan, arguments, service.settings.collaboration_lease_s)
        )
        # A client with a handle does the waiting itself, unless its LLM wants it otherwise.
        wait_s = arguments.wait_s if "wait_s" in arguments.model_fields_set or not takes_handle else 0.0
        whole = await _wait(router, service.waiters, envelope, created.task_id, wait_s)
        if takes_handle and not (whole is not None and whole.ended):
            handle = await router.handle_if_reachable(envelope, created.task_id)
            if handle is not None and handle.status in ("working", "input_required"):
                return CreatedTask(handle)
            if handle is not None:
                whole = await _wait(router, service.waiters, envelope, created.task_id, 0.0)
        known: Plan | None = plan
        if not created.created or plan.planner is not None:
            # A key seen before gives the collaboration of then, and a planner may have made its plan by now.
            known = read_plan(
                await router.input_if_reachable(envelope.principal, envelope.traceparent, created.task_id)
            )
        return await answer_of(router, envelope, plan.task, known, created.task_id, whole)

    @service.method(EndedArguments)
    async def collaboration_result(envelope: Envelope, asked: EndedArguments) -> Raw:
        """The `CallToolResult` of a collaboration that has ended, for the router, which serves its handle."""
        whole = await router.task_if_reachable(envelope.principal, envelope.traceparent, asked.task_id)
        if whole is None:
            raise Unavailable("the router is away", hint="try again in a few seconds")
        plan = read_plan(asked.plan)
        task = plan.task if plan is not None else whole.message
        return Raw(encode_result(await answer_of(router, envelope, task, plan, asked.task_id, whole)))


def read_plan(plan: Any) -> Plan | None:
    """The plan of a collaboration as it was recorded; None when it is none, and nothing could be run by it."""
    try:
        return msgspec.convert(plan, Plan)
    except msgspec.ValidationError:
        return None


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
        "fingerprint": digest(arguments.model_dump_json(exclude={"idempotency_key", "wait_s"})),
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
    news = News(NOT_BEGUN)

    async def look() -> TaskView | None:
        nonlocal last
        last = await router.task_if_reachable(requester, envelope.traceparent, task_id) or last
        if last is not None and (last.ended or last.asking):
            return last
        await news.tell(in_words(last))
        return None

    patience_s = min(wait_s, envelope.remaining_s() - MARGIN_S)
    return await waiters.until(subjects.task(requester.tenant, task_id), look, patience_s) or last
