"""A circle of agents that talk in rooms, as a test plays them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.msg import Msg

from aicp_common.bus import Bus
from tests.conftest import envelope
from tests.orchestrator.network import Refused

Json = dict[str, Any]


class Circle:
    """The agents of one tenant."""

    def __init__(self, bus: Bus, tenant: str) -> None:
        self.bus = bus
        self.tenant = tenant

    async def tool(self, agent: str, tool: str, /, **arguments: Any) -> Json:
        """Call a tool of the orchestrator; its structured result."""
        return await self._call("orchestrator", agent, tool, arguments)

    async def router(self, agent: str, tool: str, /, **arguments: Any) -> Json:
        """Call a tool of the router."""
        return await self._call("router", agent, tool, arguments)

    async def _call(self, service: str, agent: str, tool: str, arguments: Json) -> Json:
        who = envelope(self.tenant, agent, deadline_s=45)
        result = json.loads((await self.bus.call(service, tool, who, json.dumps(arguments).encode())).body)
        if result["isError"]:
            raise Refused(result["content"][0]["text"])
        structured: Json = result["structuredContent"]
        return structured

    async def method(
        self, agent: str, method: str, /, scopes: tuple[str, ...] = ("*",), service: str = "orchestrator", **fields: Any
    ) -> Json:
        """Call a method that is no tool."""
        who = envelope(self.tenant, agent, scopes=scopes)
        answer: Json = json.loads((await self.bus.call(service, method, who, json.dumps(fields).encode())).body)
        return answer

    async def resource(self, agent: str, uri: str) -> Json:
        """A resource's content."""
        answer = await self.method(agent, "resource_read", uri=uri)
        content: Json = json.loads(answer["contents"][0]["text"])
        return content

    async def open(self, room: str, opener: str, *others: str, **more: Any) -> None:
        """A room in which all of these are."""
        await self.tool(opener, "open_room", room=room, topic=f"About {room}", members=list(others), **more)
        for other in others:
            await self.tool(other, "join_room", room=room)

    async def post(self, room: str, agent: str, text: str, **more: Any) -> int:
        """Say something; its number."""
        number: int = (await self.tool(agent, "post_message", room=room, text=text, **more))["number"]
        return number

    async def read(self, room: str, agent: str, **more: Any) -> Json:
        """Read a room."""
        return await self.tool(agent, "read_room", room=room, **more)

    async def said(self, room: str, agent: str, **more: Any) -> list[str]:
        """The texts that `agent` reads."""
        messages = (await self.read(room, agent, **more))["messages"]
        return [message["text"] for message in messages if message["kind"] == "message"]

    @asynccontextmanager
    async def listening(self, subject: str) -> AsyncIterator["asyncio.Queue[bytes]"]:
        """What comes on a subject."""
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def hear(message: Msg) -> None:
            heard.put_nowait(message.data)

        subscription = await self.bus.subscribe(subject, hear)
        await self.bus.flush()
        try:
            yield heard
        finally:
            await subscription.unsubscribe()


def kinds(read: Json) -> list[str]:
    """The kinds of the messages that were read, with their numbers."""
    return [f"{message['number']} {message['kind']}" for message in read["messages"]]
