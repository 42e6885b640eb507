"""The router as the orchestrator sees it: its methods and tools as typed functions. Nothing else here calls it."""

import datetime
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from aicp_common.bus import Bus
from aicp_common.envelope import ALL_SCOPES, Envelope, Principal, encode_json
from aicp_common.errors import AicpError, Busy, DeadlineExceeded, Internal, Unavailable, decode_error
from aicp_common.logs import current_request_id
from aicp_common.mcptask import McpTask, Status
from aicp_common.surface import Complete, Completions

ORCHESTRATOR = "orchestrator"
"""The reserved agent whose work collaborations are."""

MAX_AT_ONCE = 200
"""Tasks that one call reads or keeps."""

CALL_S = 5.0
"""The deadline of a call; none of them waits for anything but the router itself."""

CLAIM_S = 10.0
"""The same for a claim. What was claimed and not heard of stands still until its lease lapses."""

READ_S = 2.0
"""The same for a read, which is repeated without a thought when the router was killed in the middle of it."""

COURTESY_S = 1.0
"""The same for what is left out when the router does not answer at once."""

PASSING = (Unavailable, DeadlineExceeded, Busy)
"""Errors of a router that is away or full. Each call here may be repeated: the same may work a little later."""

TaskState = Literal["submitted", "working", "input_required", "completed", "failed", "cancelled"]
ENDED: frozenset[TaskState] = frozenset({"completed", "failed", "cancelled"})


class Asker(msgspec.Struct, frozen=True):
    """Who asked for a task."""

    agent: str
    user: str


class Claim(msgspec.Struct, frozen=True, rename={"asker": "from"}):
    """A task that this worker has claimed."""

    task_id: str
    attempt: int
    kind: str
    asker: Asker
    deadline: str
    """ISO 8601."""
    lease_s: float
    input: msgspec.Raw = msgspec.Raw(b"null")
    scopes: tuple[str, ...] = ()

    def requester(self, tenant: str) -> Principal:
        """The principal in whose name its steps are made."""
        return Principal(tenant, self.asker.agent, self.asker.user, self.scopes)


class Unroutable(msgspec.Struct, frozen=True):
    """Why the router found no agent."""

    reason: str


class Created(msgspec.Struct, frozen=True):
    """A task that was made, or that was there already under its idempotency key; or why there is none."""

    created: bool
    task_id: str = ""
    state: TaskState = "submitted"
    agent: str = ""
    unroutable: Unroutable | None = None


class TaskError(msgspec.Struct, frozen=True):
    """Why a task did not complete."""

    code: str
    message: str


class Asking(msgspec.Struct, frozen=True):
    """A step whose agent waits for an answer of the requester."""

    task_id: str


class TaskView(msgspec.Struct, frozen=True):
    """A task as it is now."""

    task_id: str
    state: TaskState
    attempt: int
    agent: str = ""
    step: str = ""
    question: str = ""
    message: str = ""
    """How it begins."""
    progress: float = 0.0
    progress_message: str = ""
    result: Any = None
    error: TaskError | None = None
    children: tuple[str, ...] = ()
    asking: tuple[Asking, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.state in ENDED


class StepTask(msgspec.Struct, frozen=True, array_like=True):
    """A task that is a step, as the router's `read_steps` tells it."""

    task_id: str
    state: TaskState | Literal[""]
    """Empty when there is no such task any more."""
    step: str
    agent: str
    attempt: int
    created_ms: int
    claimed_ms: int
    ended_ms: int
    question: str
    error_code: str
    error: str
    result_bytes: int
    result: str
    """JSON; empty when there is none, or when it did not fit beside the others."""

    @property
    def whole(self) -> bool:
        """Whether its result, if it has one, is here."""
        return bool(self.result) or not self.result_bytes


class ListedAgent(msgspec.Struct, frozen=True):
    """An agent of the tenant."""

    agent: str
    online: bool
    capabilities: tuple[str, ...] = ()
    """In that agent's words."""
    accepts_you: bool = True
    """Whether it takes work from who asked for the list."""

    def offers(self, capability: str) -> bool:
        """Whether it says in so many words that it can do this."""
        return capability in (own.strip().casefold() for own in self.capabilities)


class _Steps(msgspec.Struct, frozen=True):
    tasks: list[StepTask]


class _Lost(msgspec.Struct, frozen=True):
    lost: list[str]


class _Input(msgspec.Struct, frozen=True):
    input: Any = None


class _Recorded(msgspec.Struct, frozen=True):
    held: bool


class _Claims(msgspec.Struct, frozen=True):
    tasks: tuple[Claim, ...]


class Agents(msgspec.Struct, frozen=True):
    """Some agents of a tenant."""

    agents: tuple[ListedAgent, ...]
    total: int
    """How many there are, those beyond the limit included."""

    @property
    def names(self) -> list[str]:
        """Their names, best fitting first when something was asked for."""
        return [agent.agent for agent in self.agents]


class _Handle(msgspec.Struct, frozen=True, rename="camel"):
    task_id: str
    status: Status
    created_at: datetime.datetime
    last_updated_at: datetime.datetime
    ttl_ms: int | None
    poll_interval_ms: int | None = None
    status_message: str = ""


class _Completion(msgspec.Struct, frozen=True, rename={"has_more": "hasMore"}):
    values: list[str]
    has_more: bool = False
    total: int | None = None


class _Completed(msgspec.Struct, frozen=True):
    completion: _Completion


class _Online(msgspec.Struct, frozen=True):
    online: tuple[str, ...]


class _Unknown(msgspec.Struct, frozen=True):
    unknown: list[str]


class _Anything(msgspec.Struct, frozen=True):
    pass


class _Meta(msgspec.Struct, frozen=True, rename={"error": "aicp/error"}):
    error: msgspec.Raw = msgspec.Raw(b"{}")


T = TypeVar("T")


class _ToolResult(msgspec.Struct, frozen=True):
    structured: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"null"), name="structuredContent")
    is_error: bool = msgspec.field(default=False, name="isError")
    meta: _Meta = msgspec.field(default=_Meta(), name="_meta")


class RouterClient:
    """Calls to the router over the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def create(self, requester: Principal, traceparent: str, fields: dict[str, Any]) -> Created:
        """Make a task in the name of `requester`.

        Raises:
            NotFound: there is no such agent.
            Conflict: the parent has ended.
            Forbidden: the agent does not accept the requester.
            Busy: the agent's queue is full.
        """
        return await self._method("create_task", requester, traceparent, fields, Created)

    async def claim(self, tenant: str, most: int, not_from: Sequence[str] = ()) -> tuple[Claim, ...]:
        """Claim up to `most` collaborations of a tenant, of other requesters than `not_from`; none, if none waits."""
        fields = {"max": most, "not_from": not_from}
        return (await self._method("claim_tasks", hub(tenant), "", fields, _Claims, CLAIM_S)).tasks

    async def task_if_reachable(self, reader: Principal, traceparent: str, task_id: str) -> TaskView | None:
        """A task as it is now; None while the router is away, for those who look again anyway.

        Args:
            reader: Its requester, or the orchestrator, which may read every task.

        Raises:
            NotFound: there is none.
        """
        # Who may ask for a collaboration may learn what becomes of it.
        who = msgspec.structs.replace(reader, scopes=(ALL_SCOPES,))
        try:
            return await self._tool("get_task", who, traceparent, {"task_id": task_id}, TaskView, READ_S)
        except PASSING:
            return None

    async def handle_if_reachable(self, asking: Envelope, task_id: str) -> McpTask | None:
        """A task's handle for the client that asks for it, who is its requester; None while the router is away.

        Raises:
            NotFound: there is none.
        """
        envelope = msgspec.structs.replace(
            _envelope(asking.principal, asking.traceparent, READ_S), client=asking.client
        )
        try:
            reply = await self._bus.call("router", "mcp_task_get", envelope, encode_json({"taskId": task_id}))
        except PASSING:
            return None
        found = _decode("mcp_task_get", reply.body, _Handle)
        return McpTask(
            task_id=found.task_id,
            status=found.status,
            created_at=found.created_at.timestamp(),
            updated_at=found.last_updated_at.timestamp(),
            ttl_ms=found.ttl_ms,
            poll_interval_ms=found.poll_interval_ms,
            status_message=found.status_message,
        )

    async def completion(self, requester: Principal, traceparent: str, wanted: Complete) -> Completions:
        """What could stand in an argument, as far as the router knows: names of agents.

        Raises:
            Unavailable: the router is away.
        """
        fields = wanted.model_dump()
        found = (await self._method("complete", requester, traceparent, fields, _Completed)).completion
        return Completions(found.values, more=found.has_more, total=found.total)

    async def update(self, tenant: str, traceparent: str, task_id: str, attempt: int, news: dict[str, Any]) -> None:
        """Extend the lease and, if there are `news` (`progress`, `message`), say how far it is.

        Raises:
            Conflict: the task has ended, or somebody else has it now.
        """
        fields = {"task_id": task_id, "attempt": attempt, **news}
        await self._tool("update_task", hub(tenant), traceparent, fields, _Anything)

    async def submit(
        self,
        tenant: str,
        traceparent: str,
        task_id: str,
        attempt: int,
        *,
        status: Literal["completed", "failed"],
        result: Any,
    ) -> None:
        """End a task that this worker has claimed.

        Raises:
            Conflict: the task has ended, or somebody else has it now.
        """
        fields = {"task_id": task_id, "attempt": attempt, "status": status, "result": result}
        await self._tool("submit_result", hub(tenant), traceparent, fields, _Anything)

    async def read_steps(
        self,
        tenant: str,
        traceparent: str,
        *,
        parent: str = "",
        task_ids: Sequence[str] = (),
        settled: bool = False,
        deadline_s: float = READ_S,
    ) -> list[StepTask]:
        """Tasks that are steps, in the order in which they were made: all of `parent`, or those with these ids.

        Results that do not fit beside the others are left out.

        Args:
            tenant: Whose.
            traceparent: Of the caller.
            parent: A collaboration.
            task_ids: At most `MAX_AT_ONCE`.
            settled: Only those that have ended, ask something or are gone.
            deadline_s: For the answer.

        Raises:
            Unavailable: the router is away.
        """
        fields = {"parent": parent} if parent else {"task_ids": task_ids, "settled": settled}
        return (await self._method("read_steps", hub(tenant), traceparent, fields, _Steps, deadline_s)).tasks

    async def keep(self, tenant: str, claims: Iterable[Claim]) -> list[str]:
        """Extend the leases of these claims, at most `MAX_AT_ONCE`; the ids of those that are lost.

        Raises:
            Unavailable: the router is away.
        """
        held = [{"task_id": claim.task_id, "attempt": claim.attempt} for claim in claims]
        return (await self._method("keep_tasks", hub(tenant), "", {"tasks": held}, _Lost)).lost

    async def record(self, tenant: str, traceparent: str, claim: Claim, plan: Any) -> bool:
        """Write anew what a collaboration is to be done by; False when this worker has it no more.

        Raises:
            Unavailable: the router is away.
        """
        fields = {"task_id": claim.task_id, "attempt": claim.attempt, "input": plan}
        return (await self._method("record_input", hub(tenant), traceparent, fields, _Recorded)).held

    async def input_if_reachable(self, requester: Principal, traceparent: str, task_id: str) -> Any:
        """What a collaboration is to be done by, as it is recorded; None while the router is away.

        Raises:
            NotFound: there is no such task of `requester`.
        """
        try:
            return (
                await self._method("task_input", requester, traceparent, {"task_id": task_id}, _Input, READ_S)
            ).input
        except PASSING:
            return None

    async def cancel(self, tenant: str, traceparent: str, task_id: str, reason: str) -> None:
        """End a step that is not wanted any more.

        Raises:
            Unavailable: the router is away.
            NotFound: there is none.
        """
        fields = {"task_id": task_id, "reason": reason}
        await self._tool("cancel_task", hub(tenant), traceparent, fields, _Anything)

    async def agents(
        self,
        requester: Principal,
        traceparent: str,
        *,
        query: str = "",
        capabilities: Sequence[str] = (),
        online_only: bool = False,
        limit: int,
    ) -> Agents:
        """The agents that are registered, `requester` included; with a `query` those that fit best first."""
        # Who may ask for a collaboration may learn who could take part in it.
        asker = msgspec.structs.replace(requester, scopes=(ALL_SCOPES,))
        fields: dict[str, Any] = {"online_only": online_only, "limit": limit}
        if query:
            fields["query"] = query[:4000]
        if capabilities:
            fields["capabilities"] = list(capabilities)
        return await self._tool("list_agents", asker, traceparent, fields, Agents)

    async def _method(
        self,
        method: str,
        principal: Principal,
        traceparent: str,
        fields: dict[str, Any],
        kind: type[T],
        deadline_s: float = CALL_S,
    ) -> T:
        envelope = _envelope(principal, traceparent, deadline_s)
        reply = await self._bus.call("router", method, envelope, encode_json(fields))
        return _decode(method, reply.body, kind)

    async def _tool(
        self,
        tool: str,
        principal: Principal,
        traceparent: str,
        arguments: dict[str, Any],
        kind: type[T],
        deadline_s: float = CALL_S,
    ) -> T:
        envelope = _envelope(principal, traceparent, deadline_s)
        reply = await self._bus.call("router", tool, envelope, encode_json(arguments))
        result = _decode(tool, reply.body, _ToolResult)
        if result.is_error:
            raise decode_error(bytes(result.meta.error))
        return _decode(tool, bytes(result.structured), kind)

    async def online_if_reachable(self, tenant: str, traceparent: str, agents: Sequence[str]) -> set[str] | None:
        """Which of up to 1,000 agents are here now, registered or not; None while the router is away."""
        try:
            return set((await self._soon("who_is_online", tenant, traceparent, {"agents": agents}, _Online)).online)
        except AicpError:
            return None

    async def unknown_if_reachable(self, tenant: str, traceparent: str, agents: Sequence[str]) -> list[str]:
        """Under which of up to 1,000 names nobody has registered and nobody is here; none while the router is away."""
        try:
            return (await self._soon("who_is_unknown", tenant, traceparent, {"agents": agents}, _Unknown)).unknown
        except AicpError:
            return []

    async def leave_note(
        self, tenant: str, traceparent: str, *, agents: Sequence[str], kind: str, room: str, by: str
    ) -> None:
        """Let up to 1,000 agents know that `by` invited them to a room, mentioned them there, or took them out.

        Args:
            kind: `invited`, `mentioned` or `removed`.

        Raises:
            AicpError: the router did not do it.
        """
        fields = {"agents": agents, "kind": kind, "room": room, "by": by}
        await self._soon("tell_agents", tenant, traceparent, fields, _Anything)

    async def drop_notes(self, tenant: str, traceparent: str, *, agents: Sequence[str], room: str) -> None:
        """Up to 1,000 agents need not hear any more what is new about a room.

        Raises:
            AicpError: the router did not do it.
        """
        await self._soon("drop_notes", tenant, traceparent, {"agents": agents, "room": room}, _Anything)

    async def _soon(self, method: str, tenant: str, traceparent: str, fields: dict[str, Any], kind: type[T]) -> T:
        """For courtesies, which nobody waits for long."""
        envelope = _envelope(hub(tenant), traceparent, COURTESY_S)
        reply = await self._bus.call("router", method, envelope, encode_json(fields))
        return _decode(method, reply.body, kind)


def hub(tenant: str) -> Principal:
    """The orchestrator itself, as an agent of a tenant."""
    return Principal(tenant, ORCHESTRATOR, ORCHESTRATOR, (ALL_SCOPES,))


def _envelope(principal: Principal, traceparent: str, deadline_s: float) -> Envelope:
    deadline_ms = int((time.time() + deadline_s) * 1000)
    return Envelope(principal, deadline_ms, traceparent, current_request_id.get())


def _decode(method: str, body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Internal(f"the router's answer to {method} cannot be read: {error}") from error
