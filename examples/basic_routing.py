"""Alice hands work to whoever can do it; Bob does it. Start a hub first: `make run`.

Alice and Bob are two ordinary MCP clients. Here a script plays their LLMs; with Claude, ChatGPT, Gemini CLI or Cursor
in their place the same tools are called.

    .venv/bin/python examples/basic_routing.py [--url http://localhost:8080/mcp]
"""

import argparse
import asyncio
import json
import secrets
import socket
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp import Client


async def call(who: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool and return what it answered, as an object."""
    result = await who.call_tool(tool, arguments)
    answer = result.structured_content
    if result.is_error or not isinstance(answer, dict):
        raise RuntimeError(f"{tool} failed: {result.content}")
    return answer


@asynccontextmanager
async def joined(who: Client, **profile: Any) -> AsyncIterator[None]:
    """Be on the list of agents for as long as this runs, however it ends: nobody else shall be sent to who has gone."""
    try:
        await call(who, "register_agent", **profile)
        yield
    finally:
        await call(who, "leave_network")


async def bob_works(bob: Client) -> None:
    """Wait for one task, do it, hand in the result."""
    print("Bob     waits for work ...")
    inbox = await call(bob, "receive_tasks", wait_s=30)
    if not inbox["tasks"]:
        raise RuntimeError("nothing came for Bob within 30 s")
    task = inbox["tasks"][0]
    print(f"Bob     got: {task['message']!r}")
    print(f"        asked by {task['from']['agent']}, attempt {task['attempt']}")
    for key, shared in task.get("shared_context", {}).items():
        print(f"        with the shared context {key!r}: {json.dumps(shared['value'], ensure_ascii=False)}")
    # Here Bob's LLM would think.
    findings = {"answer": "매출은 3분기에 12% 늘었습니다", "method": "linear regression over 36 months"}
    await call(
        bob, "submit_result", task_id=task["task_id"], attempt=task["attempt"], status="completed", result=findings
    )
    print("Bob     handed in a result")


async def main(url: str) -> None:
    """The story."""
    # Names of their own for each run, so that it can be run again and again on the same hub.
    run = secrets.token_hex(3)
    skill = f"sales-analysis-{run}"
    async with (
        Client(f"{url}?agent=alice-{run}") as alice,
        Client(f"{url}?agent=bob-{run}") as bob,
        joined(
            bob,
            capabilities=[skill, "reasoning"],
            description="Analyses business data, finds trends and explains them.",
        ),
    ):
        print(f"Bob     joined the network and can do: {skill}, reasoning")

        key = f"project_status_{run}"
        stored = await call(
            alice, "share_context", context_key=key, context_value={"phase": "development", "progress": 75}
        )
        print(f"Alice   shared the context {key!r}, version {stored['version']}")

        async with asyncio.TaskGroup() as group:
            group.create_task(bob_works(bob))
            print("Alice   asks the network for help ...")
            answer = await call(
                alice,
                "route_to_agent",
                message="복잡한 데이터 분석이 필요합니다",
                target_capabilities=[skill],
                context=key,
                wait_s=30,
            )
        print(f"Alice   the hub chose {answer['agent']}: {answer['why']['reason']}")
        print(f"Alice   status {answer['status']}, result: {json.dumps(answer['result'], ensure_ascii=False)}")

        later = await call(alice, "get_task", task_id=answer["task_id"])
        print(f"Alice   can read it again at any time: task {answer['task_id']} is {later['state']}")


def must_answer(url: str) -> None:
    """End with a sentence where no hub is."""
    hub = urllib.parse.urlsplit(url)
    port = hub.port or {"https": 443}.get(hub.scheme, 80)
    try:
        socket.create_connection((hub.hostname or "", port), timeout=5).close()
    except OSError as error:
        raise SystemExit(
            f"no hub answers at {url} ({error}); start one with `make run`, or say where with --url"
        ) from None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Two MCP clients hand work to each other.")
    parser.add_argument("--url", default="http://localhost:8080/mcp", help="where the hub is")
    where = parser.parse_args().url
    must_answer(where)
    try:
        asyncio.run(main(where))
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None
