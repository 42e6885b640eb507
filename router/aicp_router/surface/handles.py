"""Handles: the router's tasks, under the same ids, as clients see them that know MCP's tasks extension.

Its states are fewer than ours. One that is queued, or goes to another agent, is `working`; one that failed is
`completed` with a tool result that says so, since `failed` is for faults of the protocol alone. A question is an input
request; in a collaboration each step may have one, and whoever holds the handle of the whole answers it there.
Source: the extension's specification, "Task Status", "Task Update Requests" and "Task Execution Errors".
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from aicp_common import subjects
from aicp_common.asking import elicitation
from aicp_common.envelope import Client, Envelope, decode_json, encode_json
from aicp_common.errors import Forbidden, InvalidArgument
from aicp_common.ids import is_id
from aicp_common.mcptask import CreatedTask, McpTask, Status
from aicp_common.service import Service
from aicp_common.tool import encode_result
from aicp_router.settings import RouterSettings
from aicp_router.surface.route_result import ended
from aicp_router.surface.standing import in_words
from aicp_router.tasks.dispatch import ORCHESTRATOR, Dispatch
from aicp_router.tasks.record import ID_PREFIX, Priority, Record, no_such_task

RESULT_S = 10.0
"""How long the orchestrator may take to put a collaboration's result together."""

POLL_MS: dict[Priority, int] = {"interactive": 1_000, "normal": 2_000, "batch": 10_000}
"""How often a client should ask. Those who listen are told at once."""

_SHOWN_CHARS = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """What a worker waits for, as an input request."""

    task_id: str
    """Of the task that the answer goes to: that of the handle, or a step of it."""
    place: int
    """In that task's dialog, counted from 1: tells one question from every other of the task."""
    agent: str
    text: str

    def request(self) -> dict[str, Any]:
        """The `ElicitRequest`."""
        field = {"type": "string", "title": "Answer", "description": f"{self.agent} gets it as it stands."}
        schema = {"type": "object", "properties": {"answer": field}, "required": ["answer"]}
        return elicitation(f"{self.agent} asks: {self.text}", schema)


def questions_of(record: Record) -> dict[str, Asked]:
    """What is asked now, by keys that never come again in the life of the task."""
    if record.ended:
        return {}
    asked: dict[str, Asked] = {}
    if record.state == "input_required":
        place = len(record.dialog)
        asked[f"question-{place}"] = Asked(record.task_id, place, record.agent, record.fields["question"])
    for step in record.asking:
        place = record.asking_places[step.task_id]
        asked[f"{step.task_id}-question-{place}"] = Asked(step.task_id, place, step.agent, step.question)
    return asked


def answer_in(key: str, response: Any, requester: str) -> str:
    """What the worker gets to hear of the client's response to one input request.

    Raises:
        InvalidArgument: it is no `ElicitResult` for the form that was asked for.
    """
    match response:
        case {"action": "accept", "content": {"answer": str(answer)}}:
            return answer
        case {"action": "accept"}:
            raise InvalidArgument(f"inputResponses.{key[:80]}: no answer", expected="content with a text as `answer`")
        case {"action": "decline"}:
            what = "declined to answer"
        case {"action": "cancel"}:
            what = "closed the question without an answer"
        case _:
            raise InvalidArgument(
                f"inputResponses.{key[:80]}: no response to a form", expected="an object with action and content"
            )
    return (
        f"({requester} {what}. Go on without it if you can; otherwise submit_result with status failed, and say what "
        "is missing.)"
    )


def handle_of(record: Record, client: Client | None, retention_ms: int, note: str = "") -> McpTask:
    """A task as its handle, without what belongs to one state alone.

    Args:
        record: The task.
        client: Who is told; None when that is not known.
        retention_ms: How long an ended task is kept.
        note: What else the client should know.
    """
    asked = questions_of(record)
    said = [_message(record, asked, client), note]
    return McpTask(
        task_id=record.task_id,
        status=_status(record, asked, client),
        created_at=int(record.fields["created_ms"]) / 1000,
        updated_at=int(record.fields["updated_ms"]) / 1000,
        ttl_ms=_ttl_ms(record, retention_ms),
        poll_interval_ms=POLL_MS[record.priority],
        status_message=". ".join(filter(None, said)),
    )


def detailed(record: Record, client: Client | None, retention_ms: int, result: dict[str, Any] | None) -> McpTask:
    """A task as `tasks/get` tells it; `result` is the `CallToolResult` of one that has completed or failed."""
    handle = handle_of(record, client, retention_ms)
    requests = {key: question.request() for key, question in questions_of(record).items()}
    return dataclasses.replace(
        handle,
        input_requests=requests if handle.status == "input_required" else None,
        result=result if handle.status == "completed" else None,
    )


def _status(record: Record, asked: Mapping[str, Asked], client: Client | None) -> Status:
    if record.ended:
        return "cancelled" if record.state == "cancelled" else "completed"
    return "input_required" if asked and _elicits(client) else "working"


def _elicits(client: Client | None) -> bool:
    """Whether a question may go to this client; a client that cannot be asked has the tool `answer_task` still.

    Source: MCP 2026-07-28, basic/patterns/mrtr, "Server Requirements".
    """
    return client is None or "elicitation" in client.can


def _message(record: Record, asked: Mapping[str, Asked], client: Client | None) -> str:
    error = record.error()
    if record.ended:
        return error.message if error else ""
    if not asked:
        fields = record.fields
        return in_words(record.state, record.agent, fields.get("progress", ""), fields.get("progress_message", ""))
    how = "" if _elicits(client) else " (answer_task with task_id {} answers)"
    return "; ".join(
        f"{question.agent} asks: {question.text[:_SHOWN_CHARS]}{how.format(question.task_id)}"
        for question in asked.values()
    )


def _ttl_ms(record: Record, retention_ms: int) -> int:
    """How long from its creation the task is there for certain: it is kept for the retention after its end, and ends
    no sooner than it changed last."""
    created, updated, deadline = (int(record.fields[name]) for name in ("created_ms", "updated_ms", "deadline_ms"))
    until = updated + retention_ms
    return (until if record.ended else max(until, deadline)) - created


def declare(service: Service[RouterSettings], dispatch: Dispatch) -> None:
    """Serve the tasks to clients."""

    async def mine(envelope: Envelope, task_id: str, *scopes: str) -> Record:
        """The task, which the caller asked for.

        Raises:
            Forbidden: the caller has none of the `scopes`.
            NotFound: it is not there, or somebody else's.
        """
        who = envelope.principal
        if not any(who.may(scope) for scope in scopes):
            raise Forbidden(f"this needs the scope {scopes[0]!r}, which {who.agent!r} lacks")
        await dispatch.registry.see(who.tenant, who.agent)
        record = await dispatch.read(who.tenant, task_id) if is_id(task_id) else None
        if record is None or record.requester != who.agent:
            raise no_such_task(task_id)
        return record

    async def result_of(envelope: Envelope, record: Record) -> dict[str, Any] | None:
        """The `CallToolResult` that the call would have had which made the task."""
        if record.state not in ("completed", "failed"):
            return None
        if record.kind == "collaboration":
            # Its tool is the orchestrator's, and so is the form of its result.
            call = service.envelope(envelope.principal, deadline_s=RESULT_S, parent=envelope)
            plan = msgspec.Raw(record.fields["input"].encode() or b"null")
            body = encode_json({"task_id": record.task_id, "plan": plan})
            found = await service.bus.call(ORCHESTRATOR, "collaboration_result", call, body)
            result: dict[str, Any] = decode_json(found.body)
        else:
            result = decode_json(encode_result(ended(record)))
        return result | {"isError": record.state == "failed"}

    async def get(envelope: Envelope, task_id: str) -> McpTask:
        record = await mine(envelope, task_id, "tasks:request", "tasks:read")
        result = await result_of(envelope, record)
        return detailed(record, envelope.client, dispatch.retention_ms, result)

    async def update(envelope: Envelope, task_id: str, responses: dict[str, Any]) -> None:
        record = await mine(envelope, task_id, "tasks:request")
        me = envelope.principal.agent
        asked = questions_of(record)
        # What nobody asks, any more or at all, is left out: the extension's specification, "Task Update Requests".
        answers = {key: answer_in(key, response, me) for key, response in responses.items() if key in asked}
        for key, answer in answers.items():
            question = asked[key]
            inner = question.task_id != task_id
            asking = await dispatch.read(envelope.principal.tenant, question.task_id) if inner else record
            if asking is not None:
                await dispatch.answer(envelope, asking, answer, place=question.place)

    async def cancel(envelope: Envelope, task_id: str) -> None:
        record = await mine(envelope, task_id, "tasks:request")
        who = envelope.principal
        await dispatch.cancel(who.tenant, record, by=who.agent, reason="", traceparent=envelope.traceparent)

    async def watch(envelope: Envelope, task_id: str) -> str:
        record = await mine(envelope, task_id, "tasks:request", "tasks:read")
        return subjects.task(envelope.principal.tenant, record.task_id)

    service.tasks(ID_PREFIX, get=get, update=update, cancel=cancel, watch=watch)


def created(record: Record, client: Client | None, retention_ms: int, note: str = "") -> CreatedTask:
    """What a tool returns for a task that goes on."""
    return CreatedTask(handle_of(record, client, retention_ms, note))
