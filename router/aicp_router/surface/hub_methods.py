"""What other services of the hub ask of the router, beside the tools: to open tasks in somebody's name, and for many
tasks at once."""

from typing import Any, Literal

import msgspec
from pydantic import BaseModel, Field

from aicp_common.envelope import Envelope
from aicp_common.service import Service
from aicp_common.tool import Arguments
from aicp_router.settings import RouterSettings
from aicp_router.surface.request_tools import count_opened
from aicp_router.tasks import steps
from aicp_router.tasks.arguments import (
    DAY_S,
    MAX_DEADLINE_S,
    MAX_RESULT_BYTES,
    AgentName,
    OrderArguments,
    TaskId,
    bounded_json,
    context_of,
)
from aicp_router.tasks.choice import Nearest, Why
from aicp_router.tasks.dispatch import ORCHESTRATOR, Dispatch, Order, idempotency_of
from aicp_router.tasks.record import Kind, no_such_task
from aicp_router.tasks.steps import MAX_READ


class CreateArguments(OrderArguments):
    """For the method `create_task`: what other services of the hub open tasks with."""

    kind: Kind = "task"
    deadline_s: float = Field(DAY_S, ge=0.05, le=MAX_DEADLINE_S)
    """A step may have less than what a requester may give: it ends before the whole."""
    agent: AgentName | None = None
    input: Any = None
    exclude_agents: list[AgentName] | None = Field(None, max_length=100)
    parent: TaskId | None = None
    step: str | None = Field(None, min_length=1, max_length=64)
    lease_s: float | None = Field(None, ge=0.2, le=3600)
    fingerprint: str = Field("", max_length=64)
    """What the idempotency key has to mean each time; empty: anything."""


class Unroutable(BaseModel):
    """Why no task was made, and who came near."""

    reason: str
    nearest: list[Nearest]


class CreateResult(BaseModel):
    """Of `create_task`."""

    created: bool
    task_id: str | None = None
    state: str | None = None
    agent: str | None = None
    status: Literal["routed", "queued"] | None = None
    why: Why | None = None
    unroutable: Unroutable | None = None


class ReadArguments(Arguments):
    """For `read_steps`."""

    parent: TaskId | None = None
    """All that are steps of this task; or"""
    task_ids: list[TaskId] = Field([], max_length=MAX_READ)
    settled: bool = False
    """Only what has ended, asks something or is gone."""


class ReadResult(BaseModel):
    """Of `read_steps`: each task as `steps.StepTask`, an array."""

    tasks: list[Any]


class Held(Arguments):
    """A task that the caller holds."""

    task_id: TaskId
    attempt: int = Field(ge=1)


class KeepArguments(Arguments):
    """For `keep_tasks`."""

    tasks: list[Held] = Field(max_length=MAX_READ)


class KeepResult(BaseModel):
    """Of `keep_tasks`."""

    lost: list[str]
    """Those that the caller holds no more."""


class InputArguments(Arguments):
    """For `task_input`."""

    task_id: TaskId


class InputResult(BaseModel):
    """Of `task_input`."""

    input: Any


class RecordArguments(Held):
    """For `record_input`."""

    input: Any


class RecordResult(BaseModel):
    """Of `record_input`."""

    held: bool
    """False: the caller does not hold that attempt, nothing was changed."""


def declare(service: Service[RouterSettings], dispatch: Dispatch) -> None:
    """Declare the methods."""

    @service.method(CreateArguments)
    async def create_task(envelope: Envelope, asked: CreateArguments) -> CreateResult:
        """Open a task in the name of the envelope's principal, for another service of the hub."""
        inline, keys = context_of(asked.context)
        agent = asked.agent or (ORCHESTRATOR if asked.kind == "collaboration" else "")
        order = Order(
            message=asked.message,
            capabilities=asked.target_capabilities or (),
            agent=agent,
            context=inline,
            keys=keys,
            priority=asked.priority,
            deadline_s=asked.deadline_s,
            kind=asked.kind,
            input="" if asked.input is None else bounded_json("input", asked.input, MAX_RESULT_BYTES),
            excluded=asked.exclude_agents or (),
            parent=asked.parent or "",
            step=asked.step or "",
            lease_s=asked.lease_s,
            idempotency=idempotency_of(envelope.principal.agent, "create_task", asked.idempotency_key),
            fingerprint=asked.fingerprint,
            may_name_itself=True,
        )
        opened = await dispatch.open(envelope, order)
        count_opened(opened)
        if not opened.task_id:
            return CreateResult(created=False, unroutable=Unroutable(reason=opened.reason, nearest=opened.nearest))
        return CreateResult(
            created=opened.created,
            task_id=opened.task_id,
            state=opened.state,
            agent=opened.agent or None,
            status="routed" if opened.online else "queued",
            why=opened.why,
        )

    @service.method(ReadArguments)
    async def read_steps(envelope: Envelope, asked: ReadArguments) -> ReadResult:
        """Many tasks as they stand."""
        found = await steps.read_steps(
            dispatch.redis,
            envelope.principal.tenant,
            parent=asked.parent or "",
            task_ids=asked.task_ids,
            settled=asked.settled,
        )
        return ReadResult.model_construct(tasks=[msgspec.structs.astuple(one) for one in found])

    @service.method(KeepArguments)
    async def keep_tasks(envelope: Envelope, asked: KeepArguments) -> KeepResult:
        """Extend the leases of many tasks that the caller holds."""
        who = envelope.principal
        held = [(one.task_id, one.attempt) for one in asked.tasks]
        return KeepResult(lost=await steps.keep(dispatch.redis, who.tenant, agent=who.agent, held=held))

    @service.method(InputArguments)
    async def task_input(envelope: Envelope, asked: InputArguments) -> InputResult:
        """What a task of the caller is to be done by."""
        who = envelope.principal
        record = await dispatch.read(who.tenant, asked.task_id)
        if record is None or not record.owned_by(who):
            raise no_such_task(asked.task_id)
        return InputResult(input=msgspec.json.decode(record.fields["input"] or "null"))

    @service.method(RecordArguments)
    async def record_input(envelope: Envelope, asked: RecordArguments) -> RecordResult:
        """Write anew what a task that the caller holds is to be done by."""
        who = envelope.principal
        held = await steps.record_input(
            dispatch.redis,
            who.tenant,
            task_id=asked.task_id,
            agent=who.agent,
            attempt=asked.attempt,
            text=bounded_json("input", asked.input, MAX_RESULT_BYTES),
        )
        return RecordResult(held=held)
