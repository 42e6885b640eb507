"""What an agent is told of its inbox without looking: once per change, and nothing else."""

import asyncio
from typing import Any

import pytest

from aicp_common.envelope import encode_json
from aicp_router.tasks.holding import Desk
from aicp_router.tasks.inbox import greeting, hint, still_waiting
from aicp_router.tasks.inbox_scripts import LOOKED_AT, Waiting
from tests.conftest import envelope
from tests.router.conftest import Network


async def said(net: Network, agent: str = "bob", **arguments: Any) -> str:
    """What a gateway would tell the agent now."""
    text: str = (await net.method(agent, "inbox_hint", **arguments))["text"]
    return text


async def test_an_agent_is_told_once_what_waits(net: Network) -> None:
    await net.register("bob", "work")
    assert await said(net) == ""
    await net.route("alice", agent="bob")
    assert await said(net) == "inbox: 1 waiting (from alice; receive_tasks brings it)"
    assert await said(net) == ""


async def test_it_is_told_again_when_more_comes(net: Network) -> None:
    await net.register("bob", "work")
    await net.route("alice", agent="bob")
    await said(net)
    await net.route("carol", agent="bob")
    assert await said(net) == "inbox: 2 waiting (from alice, carol; receive_tasks brings them)"
    assert await said(net) == ""


async def test_as_much_as_before_is_a_change_when_it_is_something_else(net: Network) -> None:
    await net.register("bob", "work")
    await net.route("alice", agent="bob")
    await said(net)
    await net.submit("bob", await net.claim("bob"))
    await net.route("alice", agent="bob")
    assert (await said(net)).startswith("inbox: 1 waiting")


async def test_what_was_claimed_or_cancelled_is_no_longer_told(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=5)
    await net.route("alice", agent="bob")
    await net.claim("bob")
    assert await said(net) == ""
    routed = await net.route("alice", agent="bob")
    await net.tool("alice", "cancel_task", task_id=routed["task_id"])
    assert await said(net) == ""


async def test_fewer_than_before_is_no_news(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=5)
    for _ in range(3):
        await net.route("alice", agent="bob")
    await said(net)
    await net.claim("bob")
    assert await said(net) == ""


async def test_of_many_who_ask_at_once_one_is_told(net: Network) -> None:
    await net.register("bob", "work")
    await net.route("alice", agent="bob")
    answers = await asyncio.gather(*(said(net) for _ in range(20)))
    assert len([answer for answer in answers if answer]) == 1


async def test_others_are_not_told(net: Network) -> None:
    await net.register("bob", "work")
    await net.route("alice", agent="bob")
    assert await said(net, "alice") == ""
    assert await said(Network(net.bus, f"{net.tenant}-other"), "bob") == ""
    assert await said(net)


async def test_who_may_not_work_and_who_belongs_to_the_hub_is_told_nothing(net: Network) -> None:
    await net.register("bob", "work")
    await net.route("alice", agent="bob")
    about = envelope(net.tenant, "bob", scopes=("tasks:request",))
    for who in (about, envelope(net.tenant, "orchestrator")):
        reply = await net.bus.call("router", "inbox_hint", who, encode_json({"greeting": True}))
        assert reply.body == b'{"text":""}'


async def test_an_answer_to_a_question_waits_too(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    about = {"task_id": task["task_id"], "attempt": task["attempt"]}
    await net.tool("bob", "update_task", question="which year?", **about)
    assert await said(net) == ""
    await net.tool("alice", "answer_task", task_id=task["task_id"], answer="this one")
    assert (await said(net)).startswith("inbox: 1 waiting")
    assert await said(net) == ""


async def test_who_gets_a_task_that_another_one_declined_is_told(net: Network) -> None:
    for agent in ("bob", "carol"):
        await net.register(agent, "work")
    routed = await net.route("alice", target_capabilities=["work"])
    first, second = ("bob", "carol") if routed["agent"] == "bob" else ("carol", "bob")
    assert await said(net, first)
    await net.submit(first, await net.claim(first), "not mine", "declined")
    assert await said(net, second)
    assert await said(net, first) == ""


async def test_more_tasks_than_are_looked_at_are_told_by_their_number(net: Network) -> None:
    await net.register("bob", "work")
    for _ in range(LOOKED_AT):
        await net.route("alice", agent="bob")
    assert await said(net) == f"inbox: {LOOKED_AT} waiting (from alice; receive_tasks brings them)"
    for _ in range(2):
        await net.route("carol", agent="bob", priority="batch")
    first = f"the first {LOOKED_AT} from alice"
    assert await said(net) == f"inbox: {LOOKED_AT + 2} waiting ({first}; receive_tasks brings them)"
    assert await said(net) == ""
    await net.route("carol", agent="bob", priority="batch")
    assert await said(net) == f"inbox: {LOOKED_AT + 3} waiting ({first}; receive_tasks brings them)"
    assert await said(net) == ""
    assert f"{LOOKED_AT + 3} tasks wait for you ({first}): " in await said(net, greeting=True)


async def test_who_connects_is_told_what_waits_whether_it_knows_or_not(net: Network) -> None:
    await net.register("bob", "work")
    assert await said(net, greeting=True) == ""
    await net.route("alice", agent="bob")
    await net.route("carol", agent="bob")
    text = "2 tasks wait for you (from alice, carol): receive_tasks brings them."
    assert [await said(net, greeting=True) for _ in range(2)] == [text, text]
    assert await said(net) == ""


async def test_who_has_read_its_inbox_is_not_told(net: Network) -> None:
    await net.register("bob", "work")
    routed = await net.route("alice", agent="bob")
    inbox = await net.read("bob", "aicp://inbox")
    assert (inbox["waiting"], [head["task_id"] for head in inbox["tasks"]]) == (1, [routed["task_id"]])
    assert await said(net) == ""


async def test_who_hands_in_a_result_learns_what_waits(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=5)
    for _ in range(4):
        await net.route("alice", agent="bob")
    nexts = [(await net.submit("bob", await net.claim("bob")))["next"] for _ in range(4)]
    stem = "receive_tasks brings the next one"
    assert nexts == [f"{stem}: 3 wait", f"{stem}: 2 wait", f"{stem}: 1 waits", stem]


async def test_a_result_that_is_handed_in_again_says_it_too(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    await net.route("alice", agent="bob")
    answers = [await net.submit("bob", task) for _ in range(2)]
    assert [answer["next"] for answer in answers] == ["receive_tasks brings the next one: 1 waits"] * 2


@pytest.mark.parametrize(
    ("count", "listed", "names", "line", "sentence"),
    [
        (
            1,
            1,
            ["a"],
            "1 waiting (from a; receive_tasks brings it)",
            "1 task waits for you (from a): receive_tasks brings it.",
        ),
        (
            9,
            9,
            ["a", "b", "c", "d"],
            "9 waiting (from a, b, c and others; receive_tasks brings them)",
            "9 tasks wait for you (from a, b, c and others): receive_tasks brings them.",
        ),
        (
            40,
            32,
            ["a", "b", "c", "d"],
            "40 waiting (the first 32 from a, b, c and others; receive_tasks brings them)",
            "40 tasks wait for you (the first 32 from a, b, c and others): receive_tasks brings them.",
        ),
        (
            2,
            0,
            [],
            "2 waiting (from others; receive_tasks brings them)",
            "2 tasks wait for you (from others): receive_tasks brings them.",
        ),
    ],
)
def test_it_is_one_short_line(count: int, listed: int, names: list[str], line: str, sentence: str) -> None:
    found = Waiting(count, [f"t-{n}" for n in range(listed)], names, count, [], "")
    assert hint(found) == f"inbox: {line}"
    assert greeting(found, Desk(waiting=count, count=0, held=[])) == sentence
    assert still_waiting(0) == "receive_tasks brings the next one"
