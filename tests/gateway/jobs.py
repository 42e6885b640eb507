"""Tasks of the plug-in: tools that begin one and change it."""

import secrets
import time
from dataclasses import replace
from typing import Any

from aicp_common import subjects
from aicp_common.current_call import current_call
from aicp_common.envelope import Envelope
from aicp_common.errors import NotFound
from aicp_common.mcptask import CreatedTask, McpTask
from aicp_common.service import Service, Settings


def declare(service: Service[Settings], word: str) -> None:
    """Declare the tools `begin_<word>` and `end_<word>`, and the tasks, whose ids begin with the word too."""
    jobs: dict[str, tuple[str, McpTask]] = {}

    @service.raw_tool({"name": f"begin_{word}", "description": "Begin a task.", "inputSchema": {"type": "object"}})
    async def begin(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any] | CreatedTask:
        if not current_call().can("tasks"):
            return {"content": [{"type": "text", "text": "done without a task"}]}
        now = time.time()
        task = McpTask(f"{word}-{secrets.token_hex(6)}", "working", now, now)
        jobs[task.task_id] = (envelope.principal.agent, task)
        return CreatedTask(task)

    @service.raw_tool({"name": f"end_{word}", "description": "End a task.", "inputSchema": {"type": "object"}})
    async def finish(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        agent, task = jobs[arguments["task_id"]]
        result = {"content": [{"type": "text", "text": "done"}]}
        jobs[task.task_id] = agent, replace(task, status="completed", result=result, updated_at=time.time())
        await service.bus.publish(subjects.task(envelope.principal.tenant, task.task_id), b"{}")
        return result

    def find(envelope: Envelope, task_id: str) -> McpTask:
        agent, task = jobs.get(task_id, ("", None))
        if task is None or agent != envelope.principal.agent:
            raise NotFound(f"there is no task {task_id!r}")
        return task

    async def get(envelope: Envelope, task_id: str) -> McpTask:
        return find(envelope, task_id)

    async def update(envelope: Envelope, task_id: str, answers: dict[str, Any]) -> None:
        find(envelope, task_id)

    async def cancel(envelope: Envelope, task_id: str) -> None:
        jobs[task_id] = envelope.principal.agent, replace(find(envelope, task_id), status="cancelled")
        await service.bus.publish(subjects.task(envelope.principal.tenant, task_id), b"{}")

    async def watch(envelope: Envelope, task_id: str) -> str:
        find(envelope, task_id)
        return subjects.task(envelope.principal.tenant, task_id)

    service.tasks(f"{word}-", get=get, update=update, cancel=cancel, watch=watch)
