"""Runs in an environment of its own, with the official SDK 1.x: Alice and Bob over its WebSocket client.

Prints what they saw as a line of JSON.
"""

import asyncio
import json
import secrets
import sys
from typing import Any

from mcp import ClientSession
from mcp.client.websocket import websocket_client
from mcp.types import ResourceUpdatedNotification, ServerNotification, TextResourceContents
from pydantic import AnyUrl

updated: asyncio.Queue[str] = asyncio.Queue()


async def on_message(message: Any) -> None:
    if isinstance(message, ServerNotification) and isinstance(message.root, ResourceUpdatedNotification):
        await updated.put(str(message.root.params.uri))


async def call(session: ClientSession, tool: str, **arguments: Any) -> Any:
    result = await session.call_tool(tool, arguments)
    if result.isError:
        raise SystemExit(f"{tool}: {result.content}")
    return result.structuredContent


async def bob_works(bob: ClientSession) -> None:
    inbox = await call(bob, "receive_tasks", wait_s=20)
    task = inbox["tasks"][0]
    await call(
        bob,
        "submit_result",
        task_id=task["task_id"],
        attempt=task["attempt"],
        status="completed",
        result={"trend": "up"},
    )


async def main(url: str) -> None:
    run = secrets.token_hex(3)
    async with (
        websocket_client(f"{url}?agent=alice-{run}") as (alice_read, alice_write),
        websocket_client(f"{url}?agent=bob-{run}") as (bob_read, bob_write),
        ClientSession(alice_read, alice_write) as alice,
        ClientSession(bob_read, bob_write, message_handler=on_message) as bob,
    ):
        shake = await alice.initialize()
        await bob.initialize()
        skill = f"analysis-{run}"
        await call(bob, "register_agent", capabilities=[skill], description="Analyses data.")
        key = f"status-{run}"
        uri = f"aicp://context/{key}"
        await bob.subscribe_resource(AnyUrl(uri))
        await call(alice, "share_context", context_key=key, context_value={"phase": "development", "progress": 75})
        told = await asyncio.wait_for(updated.get(), 10)
        read = await bob.read_resource(AnyUrl(uri))
        [content] = read.contents
        assert isinstance(content, TextResourceContents)
        working = asyncio.create_task(bob_works(bob))
        routed = await call(alice, "route_to_agent", message="analyse this", target_capabilities=[skill], wait_s=20)
        await working
        seen = {
            "revision": shake.protocolVersion,
            "status": routed["status"],
            "result": routed["result"],
            "context": json.loads(content.text)["value"],
            "updated": told,
            "uri": uri,
        }
        print(json.dumps(seen))


asyncio.run(main(sys.argv[1]))
