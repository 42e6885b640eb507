"""One question, two agents, both answers back to the one who asked. Start a hub first: `make run`.

.venv/bin/python examples/collaboration.py [--url http://localhost:8080/mcp]
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


async def work(who: Client, name: str, thought: str) -> None:
    """Take the part that comes, and answer it."""
    inbox = await call(who, "receive_tasks", wait_s=30)
    if not inbox["tasks"]:
        raise RuntimeError(f"nothing came for {name} within 30 s")
    task = inbox["tasks"][0]
    print(f"{name:7} got a part: {task['message']!r}")
    # Here the LLM of this person would think.
    await call(
        who, "submit_result", task_id=task["task_id"], attempt=task["attempt"], status="completed", result=thought
    )
    print(f"{name:7} answered")


async def main(url: str) -> None:
    """The story."""
    # Names of their own for each run, so that it can be run again and again on the same hub.
    run = secrets.token_hex(3)
    names = [f"bob-{run}", f"carol-{run}"]
    async with (
        Client(f"{url}?agent=alice-{run}") as alice,
        Client(f"{url}?agent={names[0]}") as bob,
        Client(f"{url}?agent={names[1]}") as carol,
        joined(bob, capabilities=["opinions"], description="Bob has a view on releases."),
        joined(carol, capabilities=["opinions"], description="Carol has a view on releases."),
    ):
        print("Bob     joined the network")
        print("Carol   joined the network")
        async with asyncio.TaskGroup() as group:
            group.create_task(work(bob, "Bob", "Ship on Friday: the tests are green."))
            group.create_task(work(carol, "Carol", "Ship on Monday: nobody repairs things on Saturday."))
            print("Alice   asks both at once ...")
            answer = await call(
                alice,
                "orchestrate_collaboration",
                task="When should we ship?",
                agents=names,
                pattern="parallel",
                wait_s=30,
            )
        print(f"Alice   the collaboration {answer['task_id']} is {answer['status']}")
        for assignment in answer["assignments"]:
            print(f"        {assignment['agent']} had the step {assignment['step']}")
        for part in answer["result"]["parts"]:
            print(f"Alice   {part['agent']} says: {json.dumps(part['result'], ensure_ascii=False)}")


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
    parser = argparse.ArgumentParser(description="Two agents work on one question.")
    parser.add_argument("--url", default="http://localhost:8080/mcp", help="where the hub is")
    where = parser.parse_args().url
    must_answer(where)
    try:
        asyncio.run(main(where))
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None
