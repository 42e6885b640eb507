"""Two users and their LLMs talk in a room, each message with its number. Start a hub first: `make run`.

.venv/bin/python examples/talk_in_a_room.py [--url http://localhost:8080/mcp]
"""

import argparse
import asyncio
import secrets
import socket
import urllib.parse
from typing import Any

from mcp import Client


async def call(who: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool and return what it answered, as an object."""
    result = await who.call_tool(tool, arguments)
    answer = result.structured_content
    if result.is_error or not isinstance(answer, dict):
        raise RuntimeError(f"{tool} failed: {result.content}")
    return answer


async def next_message(who: Client, room: str, after: int) -> dict[str, Any]:
    """What somebody says after a number, as soon as it is said."""
    while True:
        read = await call(who, "read_room", room=room, after=after, wait_s=30)
        for message in read["messages"]:
            if message["kind"] == "message":
                found: dict[str, Any] = message
                return found
        after = read["last"]


async def bob_answers(bob: Client, room: str) -> None:
    """Come in, wait for the question, and answer it."""
    invitations = (await call(bob, "list_rooms"))["invitations"]
    print(f"Bob     is invited to {', '.join(each['room'] for each in invitations)}")
    joined = await call(bob, "join_room", room=room)
    question = await next_message(bob, room, joined["last"])
    print(f"Bob     reads number {question['number']}: {question['text']}")
    # Here Bob's LLM would think, or ask Bob.
    await call(bob, "post_message", room=room, text="40,000.", reply_to=question["number"])


async def main(url: str) -> None:
    """The story."""
    # Names of their own for each run, so that it can be run again and again on the same hub.
    run = secrets.token_hex(3)
    room, bob_name = f"launch-{run}", f"bob-{run}"
    async with Client(f"{url}?agent=alice-{run}") as alice, Client(f"{url}?agent={bob_name}") as bob:
        await call(alice, "open_room", room=room, topic="The launch of Apollo", members=[bob_name])
        print(f"Alice   opened the room {room}")
        answering = asyncio.create_task(bob_answers(bob, room))
        read: dict[str, Any] = {"member_count": 1, "last": 0}
        while read["member_count"] < 2 and not answering.done():
            read = await call(alice, "read_room", room=room, after=read["last"], wait_s=30)
        said = await call(alice, "post_message", room=room, text=f"What does it cost, @{bob_name}?")
        answer = await next_message(alice, room, said["number"])
        await answering
        print(f"Alice   reads number {answer['number']}: {answer['text']}, which answers {answer['reply_to']}")
        await call(alice, "close_room", room=room)
        print(f"Alice   closed the room {room}; its members can still read it for a day")


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
    parser = argparse.ArgumentParser(description="Two users talk in a room.")
    parser.add_argument("--url", default="http://localhost:8080/mcp", help="where the hub is")
    where = parser.parse_args().url
    must_answer(where)
    try:
        asyncio.run(main(where))
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None
