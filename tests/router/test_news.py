"""What a client hears while its call waits, when it has asked for news of progress."""

import asyncio
import itertools
from typing import Any

import pytest

from aicp_router.surface.standing import in_words
from tests.router.conftest import Network
from tests.router.mcp_client import McpClient


@pytest.fixture
def alice(net: Network) -> McpClient:
    """A client of alice that takes no handles and wants to hear of progress."""
    return McpClient(net.bus, net.tenant, can=(), progress=True)


def growing(alice: McpClient) -> bool:
    numbers = [one["progress"] for one in alice.heard]
    return all(before < after for before, after in itertools.pairwise(numbers))


async def test_who_waits_for_a_result_hears_who_took_the_task_and_how_it_goes(net: Network, alice: McpClient) -> None:
    await net.register("bob", "work")
    asking = asyncio.create_task(alice.result("route_to_agent", message="please", agent="bob", wait_s=30))
    task = await net.claim("bob")
    await alice.hears("bob works on it")
    about = {"task_id": task["task_id"], "attempt": 1}
    await net.tool("bob", "update_task", progress=0.5, message="two of four files read", **about)
    await alice.hears("bob works on it: two of four files read (50%)")
    await net.submit("bob", task, "done")
    assert (await asking)["structuredContent"]["result"] == "done"
    assert growing(alice)


async def test_who_waits_with_get_task_hears_the_same(net: Network, alice: McpClient) -> None:
    for agent in ("bob", "carol"):
        await net.register(agent, "work")
    routed = await net.route("alice", target_capabilities=["work"])
    first, other = ("bob", "carol") if routed["agent"] == "bob" else ("carol", "bob")
    task = await net.claim(first)
    looking = asyncio.create_task(alice.result("get_task", task_id=task["task_id"], wait_s=30))
    await net.tool("alice", "list_agents")  # the router has seen the call before this one
    await net.submit(first, task, "not mine", "declined")
    await alice.hears(f"waits for {other} to take it")
    await net.submit(other, await net.claim(other), "done")
    await looking
    assert growing(alice)


async def test_a_client_that_did_not_ask_hears_nothing(net: Network) -> None:
    deaf = McpClient(net.bus, net.tenant, can=(), progress=False)
    await net.register("bob", "work")
    asking = asyncio.create_task(deaf.result("route_to_agent", message="please", agent="bob", wait_s=30))
    task = await net.claim("bob")
    await net.tool("bob", "update_task", task_id=task["task_id"], attempt=1, progress=0.5)
    await net.submit("bob", task, "done")
    await asking
    assert deaf.heard == []


async def test_every_call_that_waits_gives_a_sign_within_ten_seconds(net: Network) -> None:
    clients = [McpClient(net.bus, net.tenant, agent, can=(), progress=True) for agent in ("alice", "alice", "dave")]
    await net.register("bob", "work")
    routed = await net.route("alice", agent="bob")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("route_to_agent", {"message": "please", "agent": "bob", "wait_s": 30}),
        ("get_task", {"task_id": routed["task_id"], "wait_s": 30}),
        ("receive_tasks", {"wait_s": 30}),
    ]
    waiting = [
        asyncio.create_task(client.result(tool, **arguments))
        for client, (tool, arguments) in zip(clients, calls, strict=True)
    ]
    words = ["waits for bob", "waits for bob", "no task has come yet"]
    heard = await asyncio.gather(*(client.hears(one, 12) for client, one in zip(clients, words, strict=True)))
    assert all(7 < one["progress"] <= 10.5 for one in heard), heard
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_news_that_come_in_a_flood_are_not_all_told(net: Network, alice: McpClient) -> None:
    await net.register("bob", "work")
    asking = asyncio.create_task(alice.result("route_to_agent", message="please", agent="bob", wait_s=30))
    task = await net.claim("bob")
    for number in range(50):
        await net.tool("bob", "update_task", task_id=task["task_id"], attempt=1, message=f"line {number}")
    # The last news are told, a moment later.
    await alice.hears("line 49")
    await net.submit("bob", task, "done")
    await asking
    gaps = [after["progress"] - before["progress"] for before, after in itertools.pairwise(alice.heard)]
    assert min(gaps, default=1) >= 0.099


@pytest.mark.parametrize(
    ("stands", "words"),
    [
        (("submitted", "bob"), "waits for bob to take it"),
        (("submitted", ""), "waits for another agent"),
        (("submitted", "orchestrator"), "waits for the orchestrator to take it"),
        (("working", "bob"), "bob works on it"),
        (("working", "bob", "0.123"), "bob works on it (12%)"),
        (("working", "bob", "", "reads"), "bob works on it: reads"),
        (("working", "bob", "1.0", "x" * 4000), f"bob works on it: {'x' * 500} (100%)"),
        (("input_required", "bob"), "bob waits for an answer"),
    ],
)
def test_how_a_task_stands_is_one_sentence(stands: tuple[str, ...], words: str) -> None:
    assert in_words(*stands) == words
