"""Runs in an environment of its own: the official SDK 1.x through a load balancer, before and after a gateway dies.

Prints a line of JSON when the first half is done, waits for a line, and prints one for the second half.
"""

import asyncio
import json
import secrets
import sys
from typing import Any

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.context import RequestContext
from mcp.types import ElicitRequestParams, ElicitResult, ResourceUpdatedNotification, ServerNotification
from pydantic import AnyUrl

updated: asyncio.Queue[str] = asyncio.Queue()
climbed: list[float] = []


async def on_message(message: Any) -> None:
    if isinstance(message, ServerNotification) and isinstance(message.root, ResourceUpdatedNotification):
        await updated.put(str(message.root.params.uri))


async def on_question(context: RequestContext[ClientSession, Any], params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Ann"})


async def on_progress(progress: float, total: float | None, message: str | None) -> None:
    climbed.append(progress)


async def call(session: ClientSession, tool: str, arguments: dict[str, Any]) -> Any:
    result = await session.call_tool(tool, arguments, progress_callback=on_progress)
    if result.isError:
        raise SystemExit(f"{tool}: {result.content}")
    return result.structuredContent


async def half(session: ClientSession, name: str) -> dict[str, Any]:
    climbed.clear()
    steps = [["progress", 1], ["ask", {"it": "form"}], ["end_stream"], ["progress", 2], ["sleep", 0.2], ["progress", 3]]
    played = await call(session, "play", {"steps": steps})
    await call(session, "change", {"name": name})
    told = await asyncio.wait_for(updated.get(), 20)
    return {"answers": played["answers"], "agent": played["agent"], "climbed": climbed, "told": told}


async def main(url: str) -> None:
    name = secrets.token_hex(4)
    async with (
        streamablehttp_client(url) as (read, write, _),
        ClientSession(read, write, elicitation_callback=on_question, message_handler=on_message) as session,
    ):
        shake = await session.initialize()
        await session.subscribe_resource(AnyUrl(f"fixture://things/{name}"))
        first = await half(session, name)
        print(json.dumps({"revision": shake.protocolVersion, "uri": f"fixture://things/{name}", **first}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await half(session, name)), flush=True)


asyncio.run(main(sys.argv[1]))
