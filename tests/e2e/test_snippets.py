"""The three messages of the documentation, verbatim, from a plain `websockets` script."""

import json
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from tests.support.processes import GatewayProcess

INITIALIZE = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"clientInfo":{"name":"test","version":"1.0"}}}'
ROUTE = (
    '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"route_to_agent","arguments":'
    '{"message":"복잡한 데이터 분석이 필요합니다","target_capabilities":["analysis","reasoning"]}}}'
)
SHARE = (
    '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"share_context","arguments":'
    '{"context_key":"project_status","context_value":{"phase":"development","progress":75}}}}'
)


async def heard(socket: ClientConnection) -> dict[str, Any]:
    """The next answer. Notifications may come at any time: a service that came or went changes the lists of tools."""
    while True:
        message: dict[str, Any] = json.loads(await socket.recv())
        if "method" not in message:
            return message
        assert message["method"].endswith("/list_changed"), message


async def test_the_three_snippets_work_verbatim(hub: GatewayProcess) -> None:
    async with websockets.connect(hub.ws_url) as socket:
        await socket.send(INITIALIZE)
        answer = await heard(socket)
        assert answer["id"] == 1
        assert answer["result"]["protocolVersion"] == "2025-11-25"

        # No `notifications/initialized` in between.
        await socket.send(ROUTE)
        answer = await heard(socket)
        assert answer["id"] == 2
        assert not answer["result"]["isError"], answer
        routed = answer["result"]["structuredContent"]
        assert routed["status"] in ("unroutable", "routed", "queued")
        assert routed["intent"]["language"] == "ko"
        assert json.loads(answer["result"]["content"][0]["text"]) == routed

        await socket.send(SHARE)
        answer = await heard(socket)
        assert answer["id"] == 3
        shared = answer["result"]["structuredContent"]
        assert (shared["status"], shared["key"]) == ("stored", "project_status")
        assert shared["version"] >= 1
