"""The official client of the stateless era through `aicp connect`, in front of a hub that falls and rises."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.subscriptions import ResourceUpdated, ToolsListChanged
from websockets.exceptions import ConnectionClosed

from tests.client.bridge_process import HubServer, Side
from tests.support.processes import binary

VERSION = "2026-07-28"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
COMPLETE = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


class StatelessHub:
    """Speaks as much of MCP 2026-07-28 as the client here needs."""

    def __init__(self, server: HubServer) -> None:
        self.server = server
        self.listening: asyncio.Queue[tuple[Side, dict[str, Any]]] = asyncio.Queue()
        self.calls: list[str] = []
        self.read_once = asyncio.Event()
        """The first `resources/read` is never answered."""

    async def serve(self) -> None:
        """One connection after the other."""
        async with asyncio.TaskGroup() as connections:
            while True:
                connections.create_task(self._answer(await self.server.connection()))

    async def _answer(self, side: Side) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for frame in side.socket:
                await self._take(side, json.loads(frame))

    async def _take(self, side: Side, request: dict[str, Any]) -> None:
        params = request.get("params", {})
        assert params["_meta"]["io.modelcontextprotocol/protocolVersion"] == VERSION, request
        match request["method"]:
            case "server/discover":
                about = {"supportedVersions": [VERSION], "capabilities": {"tools": {"listChanged": True}}}
                await side.answer(request, {**COMPLETE, **about})
            case "tools/list":
                tools = [{"name": "act", "inputSchema": {"type": "object"}}]
                await side.answer(request, {**COMPLETE, "tools": tools})
            case "tools/call":
                self.calls.append(params["name"])
                text = [{"type": "text", "text": str(len(self.calls))}]
                await side.answer(request, {"resultType": "complete", "content": text})
            case "resources/read":
                if not self.read_once.is_set():
                    self.read_once.set()
                else:
                    contents = [{"uri": params["uri"], "text": "read"}]
                    await side.answer(request, {**COMPLETE, "contents": contents})
            case "subscriptions/listen":
                mark = {"_meta": {SUBSCRIPTION: request["id"]}}
                wanted = params["notifications"]
                await side.inform("notifications/subscriptions/acknowledged", **mark, notifications=wanted)
                await self.listening.put((side, mark))


@pytest.fixture
async def stateless_hub(own_hub: HubServer) -> AsyncIterator[StatelessHub]:
    made = StatelessHub(own_hub)
    serving = asyncio.create_task(made.serve())
    yield made
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_the_official_client_goes_on_over_a_break(stateless_hub: StatelessHub, tmp_path: Path) -> None:
    server = stateless_hub.server
    log = tmp_path / "log"
    bridge = StdioServerParameters(command=binary("aicp"), args=["connect", "--url", server.url])
    with log.open("w") as errors:
        async with asyncio.timeout(60), Client(stdio_client(bridge, errlog=errors)) as client:
            assert client.protocol_version == VERSION
            assert [tool.name for tool in (await client.list_tools()).tools] == ["act"]
            async with client.listen(tools_list_changed=True, resource_subscriptions=["a:1"]) as changes:
                side, mark = await stateless_hub.listening.get()
                await side.inform("notifications/resources/updated", **mark, uri="a:1")
                assert await anext(changes) == ResourceUpdated("a:1")
                reading = asyncio.create_task(client.read_resource("a:1"))
                await stateless_hub.read_once.wait()

                await server.fall()
                while "no connection" not in log.read_text():
                    await asyncio.sleep(0.01)
                acting = asyncio.create_task(client.call_tool("act", {}))
                await server.rise()

                # What was read is read again, what waited is done once, what may have been missed is told.
                assert (await reading).contents[0].text == "read"  # type: ignore[union-attr]
                assert (await acting).content[0].text == "1"  # type: ignore[union-attr]
                assert stateless_hub.calls == ["act"]
                assert {await anext(changes), await anext(changes)} == {ToolsListChanged(), ResourceUpdated("a:1")}
                side, mark = await stateless_hub.listening.get()
                await side.inform("notifications/tools/list_changed", **mark)
                assert await anext(changes) == ToolsListChanged()
