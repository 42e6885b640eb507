"""A collaboration that is started in a room: its members hear how it goes, each thing once."""

import asyncio
from typing import Any

import pytest

from tests.orchestrator.network import Network, Refused

STEPS: list[dict[str, Any]] = [
    {"id": "draft", "task": "Write a draft", "agent": "bob"},
    {"id": "check", "task": "Check the draft", "agent": "carol", "depends_on": ["draft"]},
]


@pytest.fixture
async def launch(network: Network) -> Network:
    """A room of alice and dave; bob and carol work."""
    await network.join("alice", "bob", "carol", "dave")
    await network.tool("alice", "open_room", "orchestrator", room="launch", topic="The launch", members=["dave"])
    await network.tool("dave", "join_room", "orchestrator", room="launch")
    return network


async def heard(network: Network, last: str = "") -> list[tuple[str, str]]:
    """What dave reads of collaborations, as data's status with the step, and the text; once `last` is among it."""
    async with asyncio.timeout(20):
        while True:
            read = await network.tool("dave", "read_room", "orchestrator", room="launch", after=0, wait_s=0, limit=200)
            told = [message for message in read["messages"] if message["kind"] == "collaboration"]
            found = [
                (" ".join(filter(None, (told_["data"].get("step"), told_["data"]["status"]))), told_["text"])
                for told_ in told
            ]
            if not last or last in [what for what, _ in found]:
                return found
            await network.tool("dave", "read_room", "orchestrator", room="launch", after=read["last"], wait_s=5)


async def test_the_room_hears_the_steps_and_the_result(launch: Network) -> None:
    answer = await launch.collaborate(task="Announce it", steps=STEPS, room="launch", wait_s=0)
    await launch.serve("bob", "a draft of two lines")
    await launch.serve("carol", "the draft is fine")
    await launch.ended(answer["task_id"])
    found = await heard(launch, "completed")
    assert [what for what, _ in found] == ["running", "draft completed", "check completed", "completed"]
    texts = [text for _, text in found]
    assert texts[0] == "alice has started a collaboration (steps, 2 steps, with bob, carol): Announce it"
    assert texts[1] == "bob has done draft: a draft of two lines"
    assert texts[3].startswith("The collaboration has completed: Announce it\n\n")
    assert texts[3].endswith("the draft is fine")


async def test_the_room_hears_one_answer_where_there_is_one(launch: Network) -> None:
    answer = await launch.collaborate(
        task="Shall we?", agents=["bob", "carol"], choices=["yes", "no"], room="launch", wait_s=0
    )
    await asyncio.gather(launch.serve("bob", {"choice": "yes"}), launch.serve("carol", "Yes, of course."))
    await launch.ended(answer["task_id"])
    (_, text) = (await heard(launch, "completed"))[-1]
    assert text == "The collaboration has completed: Shall we?\n\nyes\n\nyes: bob, carol"


async def test_the_room_hears_that_a_step_failed_and_why(launch: Network) -> None:
    answer = await launch.collaborate(task="Announce it", steps=STEPS, room="launch", wait_s=0)
    await launch.serve("bob", "out of ink", status="failed")
    await launch.ended(answer["task_id"])
    found = await heard(launch, "failed")
    assert [what for what, _ in found] == ["running", "draft failed", "failed"]
    assert "out of ink" in found[1][1]
    assert "steps that failed: draft" in found[2][1]


async def test_the_room_hears_that_it_was_cancelled(launch: Network) -> None:
    answer = await launch.collaborate(task="Announce it", steps=STEPS, room="launch", wait_s=0)
    await launch.receive("bob")
    await heard(launch, "running")
    await launch.tool("alice", "cancel_task", task_id=answer["task_id"], reason="not today")
    (_, text) = (await heard(launch, "cancelled"))[-1]
    assert text.startswith("The collaboration has been cancelled: Announce it")
    assert "not today" in text


async def test_members_of_the_room_are_asked_when_nobody_is_named(launch: Network) -> None:
    answer = await launch.collaborate(task="Say something", pattern="parallel", room="launch", wait_s=0)
    assert [assignment["agent"] for assignment in answer["assignments"]] == ["dave"]


async def test_only_a_member_starts_something_in_a_room(launch: Network) -> None:
    with pytest.raises(Refused, match="there is no room 'launch' that you are in"):
        await launch.collaborate("bob", task="t", agents=["carol"], room="launch")
    with pytest.raises(Refused, match="there is no room 'attic' that you are in"):
        await launch.collaborate(task="t", agents=["carol"], room="attic")


async def test_a_collaboration_goes_on_when_its_room_is_closed(launch: Network) -> None:
    answer = await launch.collaborate(task="Announce it", steps=STEPS, room="launch", wait_s=0)
    await launch.serve("bob", "a draft")
    await heard(launch, "draft completed")
    await launch.tool("alice", "close_room", "orchestrator", room="launch")
    await launch.serve("carol", "fine")
    whole = await launch.ended(answer["task_id"])
    assert whole["state"] == "completed"
    assert whole["result"]["note"] == "the room launch did not hear all of it: it is closed, or you are not in it"


async def test_a_room_that_is_opened_later_under_the_name_hears_nothing_of_it(launch: Network) -> None:
    answer = await launch.collaborate(task="Announce it", steps=STEPS, room="launch", wait_s=0)
    await launch.serve("bob", "a draft")
    await heard(launch, "draft completed")
    for agent in ("alice", "dave"):
        await launch.tool(agent, "leave_room", "orchestrator", room="launch")
    await launch.tool("alice", "open_room", "orchestrator", room="launch", topic="Another", members=["dave"])
    await launch.tool("dave", "join_room", "orchestrator", room="launch")
    await launch.serve("carol", "fine")
    assert (await launch.ended(answer["task_id"]))["state"] == "completed"
    assert await heard(launch) == []
