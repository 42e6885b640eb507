"""Tasks as MCP clients see them: the wire form of the extension `io.modelcontextprotocol/tasks`.

A service that has tasks announces what their ids begin with, and has four methods, all with `{"taskId"}` in:
`mcp_task_get` (a `McpTask` out), `mcp_task_update` (with `inputResponses` in, nothing out), `mcp_task_cancel` (nothing
out) and `mcp_task_watch` (`{"subject"}` out: a message on that NATS subject says that the task has changed). A tool
whose client can take a handle (`current_call().can("tasks")`) returns `CreatedTask` instead of its result.
Source: the extension's specification, "Tasks".
"""

import datetime
from dataclasses import dataclass
from typing import Any, Literal

from aicp_common.envelope import encode_json

EXTENSION = "io.modelcontextprotocol/tasks"

Status = Literal["working", "input_required", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class McpTask:
    """A task and, by its status, what belongs to it."""

    task_id: str
    status: Status
    created_at: float
    """Seconds since the epoch."""
    updated_at: float
    """Seconds since the epoch."""
    ttl_ms: int | None = None
    """How long from its creation it can be asked for; None: for ever."""
    poll_interval_ms: int | None = None
    status_message: str = ""
    input_requests: dict[str, Any] | None = None
    """Of `input_required`: what the client is to answer with `tasks/update`."""
    result: dict[str, Any] | None = None
    """Of `completed`: the `CallToolResult`."""
    error: dict[str, Any] | None = None
    """Of `failed`: the JSON-RPC error."""

    def fields(self) -> dict[str, Any]:
        """Its JSON object."""
        fields: dict[str, Any] = {
            "taskId": self.task_id,
            "status": self.status,
            "createdAt": _timestamp(self.created_at),
            "lastUpdatedAt": _timestamp(self.updated_at),
            "ttlMs": self.ttl_ms,
        }
        optional = {
            "pollIntervalMs": self.poll_interval_ms,
            "statusMessage": self.status_message or None,
            "inputRequests": self.input_requests,
            "result": self.result,
            "error": self.error,
        }
        return fields | {name: value for name, value in optional.items() if value is not None}

    def encode(self) -> bytes:
        """Its JSON."""
        return encode_json(self.fields())


@dataclass(frozen=True, slots=True)
class CreatedTask:
    """What a tool returns instead of its result. The task must be there already when it does."""

    task: McpTask


def _timestamp(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
