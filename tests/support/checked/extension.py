"""The messages of the Tasks extension, `io.modelcontextprotocol/tasks`, which `mcp-types` does not have.

Source: the extension's specification, "Tasks": "Task Creation", "Task Polling", "Task Status Notifications".
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import mcp_types._v2026_07_28 as v2026
from pydantic import AfterValidator, BaseModel, Field

TASKS = "io.modelcontextprotocol/tasks"
"""The name of the extension among the capabilities."""


def _iso_8601(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Timestamp = Annotated[str, AfterValidator(_iso_8601)]


class CompletedCall(BaseModel):
    """What `tools/call` would have answered. Inside a task it needs no `resultType`."""

    content: list[v2026.ContentBlock]
    is_error: Annotated[bool | None, Field(alias="isError")] = None
    structured_content: Annotated[Any, Field(alias="structuredContent")] = None


class Task(BaseModel):
    """A task, whatever its status; as it stands, also the result that answers a call with a task."""

    task_id: Annotated[str, Field(alias="taskId")]
    status: Literal["working", "input_required", "completed", "failed", "cancelled"]
    status_message: Annotated[str | None, Field(alias="statusMessage")] = None
    created_at: Annotated[Timestamp, Field(alias="createdAt")]
    last_updated_at: Annotated[Timestamp, Field(alias="lastUpdatedAt")]
    ttl_ms: Annotated[int | None, Field(alias="ttlMs", ge=0)]
    poll_interval_ms: Annotated[int | None, Field(alias="pollIntervalMs", ge=0)] = None
    meta: Annotated[v2026.MetaObject | None, Field(alias="_meta")] = None


class OpenTask(Task):
    """Without anything beside the task itself."""

    status: Literal["working", "cancelled"]


class InputRequiredTask(Task):
    """Waits for its requester."""

    status: Literal["input_required"]
    input_requests: Annotated[v2026.InputRequests, Field(alias="inputRequests")]


class CompletedTask(Task):
    """Has a result."""

    status: Literal["completed"]
    result: CompletedCall


class FailedTask(Task):
    """Ended with a JSON-RPC error."""

    status: Literal["failed"]
    error: v2026.Error


DetailedTask = Annotated[OpenTask | InputRequiredTask | CompletedTask | FailedTask, Field(discriminator="status")]


class TaskStatusNotification(BaseModel):
    """`notifications/tasks`."""

    jsonrpc: Literal["2.0"]
    method: Literal["notifications/tasks"]
    params: DetailedTask


RESULTS: Mapping[str, Any] = {"tasks/get": DetailedTask, "tasks/update": v2026.Result, "tasks/cancel": v2026.Result}
"""Of the requests that the extension adds; `resultType` says `complete` in each."""
