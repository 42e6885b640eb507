"""An MCP client as services see it behind the gateway: it takes handles, can be asked, and hears of progress."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aicp_common.bus import TASK, Bus
from aicp_common.current_call import PROGRESS
from aicp_common.envelope import Client, encode_json
from tests.conftest import envelope

Json = dict[str, Any]


@dataclass
class McpClient:
    """The client of one agent."""

    bus: Bus
    tenant: str
    agent: str = "alice"
    can: tuple[str, ...] = ("tasks", "elicitation")
    progress: bool = False
    scopes: tuple[str, ...] = ("*",)
    heard: list[Json] = field(default_factory=list)
    """Progress notifications, in their order."""
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    async def reply(self, method: str, arguments: Json, service: str = "router") -> Any:
        """Call a tool or a method; what the bus gives back."""
        call = envelope(self.tenant, self.agent, deadline_s=45, scopes=self.scopes)
        call = msgspec.structs.replace(call, client=Client(can=self.can, progress=self.progress))
        return await self.bus.call(service, method, call, encode_json(arguments), on_interim=self._hear)

    def _hear(self, kind: str, body: bytes) -> None:
        assert kind == PROGRESS
        self.heard.append(json.loads(body))
        self._came.set()

    async def hears(self, words: str, patience_s: float = 10) -> Json:
        """The first notification with these words in it, once it is there."""
        async with asyncio.timeout(patience_s):
            while True:
                self._came.clear()
                for one in self.heard:
                    if words in one["message"]:
                        return one
                await self._came.wait()

    async def result(self, tool: str, service: str = "router", **arguments: Any) -> Json:
        """A tool's result, which is no handle."""
        reply = await self.reply(tool, arguments, service)
        assert reply.kind != TASK, reply.body
        result: Json = json.loads(reply.body)
        return result

    async def handle(self, tool: str, service: str = "router", **arguments: Any) -> Json:
        """The handle that a tool answers with."""
        reply = await self.reply(tool, arguments, service)
        assert reply.kind == TASK, reply.body
        handle: Json = json.loads(reply.body)
        return handle

    async def get(self, task_id: str) -> Json:
        """`tasks/get`."""
        task: Json = json.loads((await self.reply("mcp_task_get", {"taskId": task_id})).body)
        return task

    async def update(self, task_id: str, **responses: Any) -> None:
        """`tasks/update`, by the keys of the input requests."""
        reply = await self.reply("mcp_task_update", {"taskId": task_id, "inputResponses": responses})
        assert reply.body == b"{}"

    async def answer(self, task_id: str, key: str, answer: str) -> None:
        """`tasks/update` with the answer that the person gave."""
        await self.update(task_id, **{key: {"action": "accept", "content": {"answer": answer}}})

    async def cancel(self, task_id: str) -> None:
        """`tasks/cancel`."""
        assert (await self.reply("mcp_task_cancel", {"taskId": task_id})).body == b"{}"

    async def watch(self, task_id: str) -> str:
        """The subject on which changes are told."""
        subject: str = json.loads((await self.reply("mcp_task_watch", {"taskId": task_id})).body)["subject"]
        return subject

    async def prompt(self, name: str, service: str = "router", /, **arguments: str) -> str:
        """The text of a prompt."""
        reply = await self.reply("prompt_get", {"name": name, "arguments": arguments}, service)
        prompt = json.loads(reply.body)
        assert prompt["description"]
        (message,) = prompt["messages"]
        assert message["role"] == "user"
        text: str = message["content"]["text"]
        return text

    async def complete(self, argument: str, typed: str, service: str = "router", **ref: str) -> list[str]:
        """What could stand in an argument of a prompt, or with `uri` of a resource template."""
        whole = {"type": "ref/resource", **ref} if "uri" in ref else {"type": "ref/prompt", "name": "any", **ref}
        body = {"ref": whole, "argument": {"name": argument, "value": typed}}
        completion = json.loads((await self.reply("complete", body, service)).body)["completion"]
        values: list[str] = completion["values"]
        assert completion["total"] >= len(values)
        return values
