"""Questions inside a collaboration: who asked for the whole sees them there and can answer them there."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from aicp_common.store import connect_redis, key
from tests.router.conftest import Network, refused
from tests.router.test_collaboration import opened
from tests.support.processes import Backend


async def step_of(net: Network, whole: dict[str, Any], agent: str, **more: Any) -> dict[str, Any]:
    """A step of a collaboration of alice that `agent` has claimed."""
    await net.register(agent, "work")
    about = {"message": "part", "parent": whole["task_id"], "step": f"{agent}s", **more}
    await net.method("alice", "create_task", agent=agent, **about)
    return await net.claim(agent)


async def ask(net: Network, agent: str, task: dict[str, Any], question: str = "Which colour?") -> None:
    """Let the worker of a task ask."""
    await net.tool(agent, "update_task", task_id=task["task_id"], attempt=task["attempt"], question=question)


async def test_a_question_of_a_step_wakes_who_waits_for_the_whole(net: Network) -> None:
    whole = await opened(net)
    step = await step_of(net, whole, "bob")
    looking = asyncio.create_task(net.get("alice", whole["task_id"], wait_s=30))
    await net.tool("alice", "list_agents")
    await ask(net, "bob", step)
    seen = await asyncio.wait_for(looking, 5)
    assert seen["state"] == "working"
    assert seen["asking"] == [{"task_id": step["task_id"], "step": "bobs", "agent": "bob", "question": "Which colour?"}]
    assert "answer_task" in seen["next"]
    assert step["task_id"] in seen["next"]
    assert (await net.read("alice", f"aicp://tasks/{whole['task_id']}"))["asking"] == seen["asking"]


async def test_the_orchestrator_waits_on_while_a_step_of_it_asks(net: Network) -> None:
    whole = await opened(net)
    step = await step_of(net, whole, "bob")
    await ask(net, "bob", step)
    looking = asyncio.create_task(net.get("orchestrator", whole["task_id"], wait_s=20))
    await asyncio.sleep(0.2)
    assert not looking.done()
    await net.submit("orchestrator", whole, "enough")
    seen = await looking
    assert seen["state"] == "completed"
    assert "asking" not in seen


async def test_an_answer_to_the_whole_reaches_the_one_step_that_asks(net: Network) -> None:
    whole = await opened(net)
    step = await step_of(net, whole, "bob")
    await step_of(net, whole, "carol")
    await ask(net, "bob", step)
    for _ in range(2):  # the second time as after a lost reply
        answered = await net.tool("alice", "answer_task", task_id=whole["task_id"], answer="blue")
        assert (answered["task_id"], answered["state"]) == (step["task_id"], "working")
        assert whole["task_id"] in answered["next"]
    again = await net.claim("bob")
    assert [one["answer"] for one in again["questions"]] == ["blue"]
    assert "asking" not in await net.get("alice", whole["task_id"])
    error = await refused(net.tool("alice", "answer_task", task_id=whole["task_id"], answer="red"))
    assert error.code == "conflict"


async def test_when_several_steps_ask_an_answer_to_the_whole_is_refused_with_all_of_them(net: Network) -> None:
    whole = await opened(net)
    steps = {agent: await step_of(net, whole, agent) for agent in ("bob", "carol")}
    for agent, step in steps.items():
        await ask(net, agent, step, f"What about {agent}?")
    seen = await net.get("alice", whole["task_id"])
    assert {one["question"] for one in seen["asking"]} == {"What about bob?", "What about carol?"}
    error = await refused(net.tool("alice", "answer_task", task_id=whole["task_id"], answer="blue"))
    assert error.code == "conflict"
    for agent, step in steps.items():
        assert f"{step['task_id']} ({agent}, {agent}s): What about {agent}?" in error.message
    await net.tool("alice", "answer_task", task_id=steps["bob"]["task_id"], answer="blue")
    (left,) = (await net.get("alice", whole["task_id"]))["asking"]
    assert left["agent"] == "carol"


@pytest.mark.parametrize("how", ["completed", "failed", "declined", "cancelled", "deadline"])
async def test_a_step_that_is_given_up_or_ends_asks_nothing_any_more(net: Network, how: str) -> None:
    whole = await opened(net)
    step = await step_of(net, whole, "bob", **({"deadline_s": 1} if how == "deadline" else {}))
    await ask(net, "bob", step)
    assert len((await net.get("alice", whole["task_id"]))["asking"]) == 1
    if how == "cancelled":
        await net.tool("alice", "cancel_task", task_id=step["task_id"])
    elif how == "deadline":
        await net.get("orchestrator", step["task_id"])
        await net.until("alice", step["task_id"], lambda seen: seen["state"] == "failed")
    else:
        await net.submit("bob", step, "never mind", how)
    assert "asking" not in await net.get("alice", whole["task_id"])


async def test_what_asks_ends_with_the_whole(net: Network, backend: Backend) -> None:
    whole = await opened(net)
    step = await step_of(net, whole, "bob")
    await ask(net, "bob", step)
    redis: Redis = connect_redis(backend.redis_url)
    name = key(net.tenant, "task", whole["task_id"], "asking")
    assert await redis.pttl(name) == -1
    await net.tool("alice", "cancel_task", task_id=whole["task_id"])
    assert not await redis.exists(name)
    await redis.aclose()
    seen = await net.get("alice", whole["task_id"])
    assert seen["state"] == "cancelled"
    assert "asking" not in seen


async def test_the_worker_is_told_that_only_the_requester_answers_and_cancels(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    await ask(net, "bob", task)
    error = await refused(net.tool("bob", "answer_task", task_id=task["task_id"], answer=1))
    assert error.code == "forbidden"
    assert "only alice" in error.message
    error = await refused(net.tool("bob", "cancel_task", task_id=task["task_id"]))
    assert error.code == "forbidden"
    assert "only alice" in error.message
    assert "submit_result with status declined" in error.hint
    assert (await net.get("alice", task["task_id"]))["state"] == "input_required"


async def test_a_second_question_joins_the_first_and_one_answer_is_for_both(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    for question in ("Which colour?", "Which size?", "Which size?"):
        await ask(net, "bob", task, question)
    assert (await net.get("alice", task["task_id"]))["question"] == "Which colour?\n\nWhich size?"
    await net.tool("alice", "answer_task", task_id=task["task_id"], answer="red, large")
    answered = await net.claim("bob")
    assert [(one["question"], one["answer"]) for one in answered["questions"]] == [
        ("Which colour?", "red, large"),
        ("Which size?", "red, large"),
    ]
    await ask(net, "bob", task, "Which wood?")
    assert (await net.get("alice", task["task_id"]))["question"] == "Which wood?"
    await net.tool("alice", "answer_task", task_id=task["task_id"], answer="oak")
    answered = await net.claim("bob")
    assert [one["answer"] for one in answered["questions"]] == ["red, large", "red, large", "oak"]


async def test_the_requester_of_the_whole_sees_both_questions_of_a_step(net: Network) -> None:
    whole = await opened(net)
    step = await step_of(net, whole, "bob")
    await ask(net, "bob", step)
    await ask(net, "bob", step, "Which size?")
    [asking] = (await net.get("alice", whole["task_id"]))["asking"]
    assert asking["question"] == "Which colour?\n\nWhich size?"


async def test_questions_that_are_too_long_together_are_refused(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    for letter in "abcd":
        await ask(net, "bob", task, letter * 15_000)
    error = await refused(ask(net, "bob", task, "e" * 15_000))
    assert (error.code, error.message.split(":")[0]) == ("too_large", "question")
    asked = (await net.get("alice", task["task_id"]))["question"]
    assert asked == "\n\n".join(letter * 15_000 for letter in "abcd")
