"""A network of agents that the tests play themselves, through the router."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from nats.aio.msg import Msg

from aicp_common import subjects
from aicp_common.bus import Bus
from tests.conftest import envelope

Task = dict[str, Any]


class Refused(Exception):
    """A tool result with `isError`; the text is what an LLM reads."""


class Network:
    """The agents of one tenant, as far as a test plays them."""

    def __init__(self, bus: Bus, tenant: str) -> None:
        self.bus = bus
        self.tenant = tenant
        self.delivered: list[tuple[str, str]] = []
        """Agent and step of every task that was handed out, in that order."""

    async def tool(self, agent: str, tool: str, service: str = "router", **arguments: Any) -> dict[str, Any]:
        """Call a tool as `agent`; its structured result."""
        body = json.dumps(arguments).encode()
        reply = await self.bus.call(service, tool, envelope(self.tenant, agent, deadline_s=45), body)
        result = json.loads(reply.body)
        if result["isError"]:
            raise Refused(result["content"][0]["text"])
        structured: dict[str, Any] = result["structuredContent"]
        return structured

    async def join(self, *agents: str, capabilities: tuple[str, ...] = ("analysis",)) -> None:
        """Register agents."""
        for agent in agents:
            about = f"{agent} of the tests"
            await self.tool(
                agent, "register_agent", capabilities=list(capabilities), description=about, max_concurrency=100
            )

    async def collaborate(self, requester: str = "alice", **arguments: Any) -> dict[str, Any]:
        """Call orchestrate_collaboration."""
        return await self.tool(requester, "orchestrate_collaboration", service="orchestrator", **arguments)

    async def open_collaboration(self, steps: list[dict[str, Any]], lease_s: float) -> str:
        """Open a collaboration of alice under a lease of its own; its task id."""
        plan = {"task": "t", "pattern": "steps", "on_failure": "fail_fast", "steps": steps}
        fields = {"kind": "collaboration", "message": "t", "input": plan, "lease_s": lease_s}
        body = json.dumps(fields).encode()
        reply = await self.bus.call("router", "create_task", envelope(self.tenant, "alice"), body)
        task_id: str = json.loads(reply.body)["task_id"]
        return task_id

    async def receive(self, agent: str, wait_s: float = 15) -> Task:
        """The next task of `agent`."""
        found = await self.tool(agent, "receive_tasks", wait_s=wait_s)
        assert found["tasks"], f"nothing arrived for {agent}"
        task: Task = found["tasks"][0]
        self.delivered.append((agent, task["step"]))
        # A test that starts a process next stands in the way of what is still to be sent: that the task is here.
        await self.bus.flush()
        return task

    async def submit(self, agent: str, task: Task, result: Any, status: str = "completed") -> None:
        """Hand in the result of a task."""
        await self.tool(
            agent, "submit_result", task_id=task["task_id"], attempt=task["attempt"], status=status, result=result
        )

    async def ask(self, agent: str, task: Task, question: str) -> None:
        """Ask the requester something about a task."""
        await self.tool(agent, "update_task", task_id=task["task_id"], attempt=task["attempt"], question=question)

    async def serve(self, agent: str, result: Any = None, status: str = "completed") -> Task:
        """Receive one task and hand in `result`, or what it makes of the task."""
        task = await self.receive(agent)
        await self.submit(agent, task, result(task) if callable(result) else result, status)
        return task

    async def ended(self, task_id: str, requester: str = "alice", patience_s: float = 30) -> dict[str, Any]:
        """A task once it has ended."""
        async with asyncio.timeout(patience_s):
            while True:
                task = await self.tool(requester, "get_task", task_id=task_id, wait_s=10)
                if task["state"] in ("completed", "failed", "cancelled"):
                    return task

    async def steps(self, task_id: str, requester: str = "alice") -> dict[str, dict[str, Any]]:
        """The tasks of a collaboration's steps, by step."""
        whole = await self.tool(requester, "get_task", task_id=task_id)
        tasks = [await self.tool(requester, "get_task", task_id=child) for child in whole.get("children", ())]
        return {task["step"]: task for task in tasks}

    async def until(
        self, task_id: str, holds: Callable[[dict[str, Any]], bool], requester: str = "alice", patience_s: float = 15
    ) -> dict[str, Any]:
        """A task once `holds` is true of it; it is read again at each of its signals."""
        changed = asyncio.Event()

        async def on_signal(message: Msg) -> None:
            changed.set()

        subscription = await self.bus.subscribe(subjects.task(self.tenant, task_id), on_signal)
        await self.bus.flush()
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    changed.clear()
                    task = await self.tool(requester, "get_task", task_id=task_id)
                    if holds(task):
                        return task
                    await changed.wait()
        finally:
            await subscription.unsubscribe()


def parts(result: dict[str, Any]) -> dict[str, Any]:
    """Each part of a collaboration's result by its step, without the ids that differ each time."""
    return {
        part["step"]: {name: value for name, value in part.items() if name not in ("step", "task_id")}
        for part in result["parts"]
    }
