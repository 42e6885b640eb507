"""Attempts: a task is done under one name at a time, and ends exactly once."""

import asyncio
from typing import Any

import pytest

from aicp_common import subjects
from tests.router.conftest import Network, refused


async def silent(net: Network, requester: str, worker: str | None, lease_s: float = 0.3, **more: Any) -> dict[str, Any]:
    """A task with a short lease."""
    named = {"agent": worker} if worker else {}
    return await net.method(requester, "create_task", message="be quick", lease_s=lease_s, **named, **more)


async def test_a_declined_task_goes_to_another_agent_and_the_first_may_not_submit(net: Network) -> None:
    await net.register("bob", "analysis")
    await net.register("carol", "analysis")
    routed = await net.route("alice", target_capabilities=["analysis"])
    first = routed["agent"]
    second = "carol" if first == "bob" else "bob"
    task = await net.claim(first)
    declined = await net.submit(first, task, "not mine", "declined")
    assert declined["state"] == "submitted"
    assert (await net.tool(first, "receive_tasks"))["tasks"] == []
    again = await net.claim(second)
    assert (again["task_id"], again["attempt"]) == (task["task_id"], 2)
    error = await refused(net.submit(first, task, "after all"))
    assert error.code == "conflict"
    assert f"attempt 2 is the current one, {second} has it" in error.message
    assert (await net.submit(second, again, "done"))["state"] == "completed"
    seen = await net.get("alice", task["task_id"])
    assert seen["result"] == "done"
    assert [step["what"] for step in seen["history"]] == [
        *("created", "claimed", "declined", "assigned", "claimed", "completed")
    ]
    assert next(step for step in seen["history"] if step["what"] == "declined")["note"] == "not mine"


async def test_a_task_that_nobody_else_can_do_fails_when_it_is_declined(net: Network) -> None:
    await net.register("bob", "analysis")
    await net.register("dave", "cooking")
    await net.route("alice", target_capabilities=["analysis"])
    task = await net.claim("bob")
    assert (await net.submit("bob", task, "no time", "declined"))["state"] in ("submitted", "failed")
    seen = await net.get("alice", task["task_id"], wait_s=10)
    assert seen["state"] == "failed"
    assert seen["error"] == {"code": "declined", "message": "bob declined it: no time; and nobody else fits"}


async def test_a_named_agent_that_declines_ends_the_task(net: Network) -> None:
    await net.register("carol", "work")
    task = await net.handed_over("alice", "bob")
    assert (await net.submit("bob", task, "no", "declined"))["state"] == "failed"
    seen = await net.get("alice", task["task_id"])
    assert seen["error"] == {"code": "declined", "message": "bob declined it: no"}


async def test_a_lapsed_lease_moves_the_task_to_another_agent(net: Network) -> None:
    await net.register("bob", "analysis")
    await net.register("carol", "analysis")
    created = await silent(net, "alice", None, target_capabilities=["analysis"])
    first = created["agent"]
    second = "carol" if first == "bob" else "bob"
    old = await net.claim(first)
    assert old["lease_s"] == 0.3
    new = await net.claim(second)
    assert (new["task_id"], new["attempt"]) == (old["task_id"], 2)
    error = await refused(net.submit(first, old, "too late"))
    assert error.code == "conflict"
    assert "attempt 2" in error.message
    error = await refused(net.tool(first, "update_task", task_id=old["task_id"], attempt=1, progress=0.5))
    assert error.code == "conflict"
    await net.submit(second, new, "mine")
    assert (await net.get("alice", old["task_id"]))["result"] == "mine"


async def test_a_silent_agent_gets_its_task_again_when_there_is_nobody_else_and_fails_after_three_attempts(
    net: Network,
) -> None:
    await net.register("bob", "analysis")
    created = await silent(net, "alice", "bob")
    for attempt in (1, 2, 3):
        assert (await net.claim("bob"))["attempt"] == attempt
    seen = await net.get("alice", created["task_id"], wait_s=10)
    assert seen["state"] == "failed"
    assert seen["error"]["code"] == "attempts"
    assert "attempt 3 of 3" in seen["error"]["message"]
    assert [step["what"] for step in seen["history"]].count("lease_lapsed") == 3
    error = await refused(net.submit("bob", {"task_id": created["task_id"], "attempt": 3}))
    assert error.code == "conflict"
    assert "has ended as failed" in error.message


async def test_a_worker_that_says_something_keeps_its_task(net: Network) -> None:
    await net.register("bob", "analysis")
    created = await silent(net, "alice", "bob", lease_s=1.5)
    task = await net.claim("bob")
    for number in range(6):
        await asyncio.sleep(0.5)
        said = await net.tool(
            "bob", "update_task", task_id=task["task_id"], attempt=1, progress=number / 10, message=f"step {number}"
        )
        assert said["state"] == "working"
    seen = await net.get("alice", created["task_id"])
    assert (seen["state"], seen["attempt"], seen["progress"]) == ("working", 1, 0.5)
    assert seen["progress_message"] == "step 5"


async def test_a_sign_of_life_keeps_a_task_and_tells_nobody_anything(net: Network) -> None:
    await net.register("bob", "analysis")
    created = await silent(net, "alice", "bob", lease_s=1.5)
    task = await net.claim("bob")
    heard: list[bytes] = []

    async def hear(message: Any) -> None:
        heard.append(message.data)

    await net.tool("bob", "update_task", task_id=task["task_id"], attempt=1, progress=0.5)
    subscription = await net.bus.subscribe(subjects.task(net.tenant, task["task_id"]), hear)
    await net.bus.flush()
    before = await net.get("alice", created["task_id"])
    until = ""
    for _ in range(5):
        await asyncio.sleep(0.5)
        said = await net.tool("bob", "update_task", task_id=task["task_id"], attempt=1)
        assert said["state"] == "working"
        assert said["lease_until"] > until
        until = said["lease_until"]
    await net.bus.flush()
    after = await net.get("alice", created["task_id"])
    assert after.pop("lease_until") == until > before.pop("lease_until")
    assert after == before
    assert heard == []
    await subscription.unsubscribe()


async def test_who_has_a_task_under_another_attempt_is_told_which(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    for call in (
        net.tool("bob", "update_task", task_id=task["task_id"], attempt=2, progress=0.5),
        net.submit("bob", {"task_id": task["task_id"], "attempt": 7}),
    ):
        error = await refused(call)
        assert error.code == "conflict"
        assert "attempt 1 is the current one and it is yours" in error.message
        assert error.hint == "use attempt 1"
    assert (await net.submit("bob", task))["state"] == "completed"


async def test_a_task_ends_at_its_deadline_whatever_it_is_in(net: Network) -> None:
    await net.register("bob", "analysis")
    waiting = await net.route("alice", "nobody claims this", agent="bob", deadline_s=1)
    await net.register("carol", "analysis")
    working = await net.route("alice", "nobody ends this", agent="carol", deadline_s=1)
    task = await net.claim("carol")
    for task_id, word in ((waiting["task_id"], "waited for an agent"), (working["task_id"], "carol worked on it")):
        seen = await net.get("alice", task_id, wait_s=10)
        assert (seen["state"], seen["error"]["code"]) == ("failed", "deadline")
        assert word in seen["error"]["message"]
    assert (await net.tool("bob", "receive_tasks"))["tasks"] == []
    error = await refused(net.submit("carol", task))
    assert error.code == "conflict"
    assert "deadline" in error.message


@pytest.mark.parametrize("status", ["completed", "failed", "declined"])
async def test_a_retry_of_submit_result_answers_the_same(net: Network, status: str) -> None:
    task = await net.handed_over("alice", "bob")
    first = await net.submit("bob", task, "r", status)
    again = await asyncio.gather(*(net.submit("bob", task, "r", status) for _ in range(5)))
    assert all(one == first for one in again)
    other = "failed" if status == "completed" else "completed"
    error = await refused(net.submit("bob", task, "r", other))
    assert error.code == "conflict"


async def test_only_one_of_many_results_counts(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    answers = await asyncio.gather(*(net.submit("bob", task, number) for number in range(20)))
    assert all(one["state"] == "completed" for one in answers)
    seen = await net.get("alice", task["task_id"])
    assert seen["state"] == "completed"
    assert [step["what"] for step in seen["history"]] == ["created", "claimed", "completed"]


async def test_nobody_submits_what_they_have_not_claimed(net: Network) -> None:
    await net.register("bob", "analysis")
    routed = await net.route("alice", agent="bob")
    error = await refused(net.submit("bob", {"task_id": routed["task_id"], "attempt": 1}))
    assert error.code == "conflict"
    assert "receive_tasks" in error.message
    error = await refused(net.submit("mallory", {"task_id": routed["task_id"], "attempt": 1}))
    assert error.code == "not_found"


async def test_a_question_wakes_the_requester_and_the_answer_the_worker(net: Network) -> None:
    await net.register("bob", "analysis")
    asking = asyncio.create_task(net.tool("alice", "route_to_agent", message="paint it", agent="bob", wait_s=20))
    task = await net.claim("bob")
    said = await net.tool("bob", "update_task", task_id=task["task_id"], attempt=1, question="Which colour?")
    assert said["state"] == "input_required"
    assert "lease_until" not in said
    routed = await asking
    assert (routed["status"], routed["question"]) == ("input_required", "Which colour?")
    assert "answer_task" in routed["next"]
    waiting = asyncio.create_task(net.tool("bob", "receive_tasks", wait_s=20))
    looking = asyncio.create_task(net.get("bob", task["task_id"], wait_s=20))
    answered = await net.tool("alice", "answer_task", task_id=task["task_id"], answer={"colour": "blue"})
    assert answered["state"] == "working"
    (again,) = (await waiting)["tasks"]
    assert (again["task_id"], again["attempt"], again["answered"]) == (task["task_id"], 1, True)
    (question,) = again["questions"]
    assert (question["question"], question["answer"]) == ("Which colour?", {"colour": "blue"})
    assert (await looking)["state"] == "working"
    await net.submit("bob", again, "painted blue")
    assert (await net.get("alice", task["task_id"]))["result"] == "painted blue"


async def test_an_answer_is_delivered_before_new_work_and_to_an_agent_whose_desk_is_full(net: Network) -> None:
    await net.register("bob", "analysis", max_concurrency=1)
    first = await net.route("alice", "first", agent="bob")
    await net.route("alice", "second", agent="bob", priority="interactive")
    urgent = await net.claim("bob")
    await net.tool("bob", "update_task", task_id=urgent["task_id"], attempt=1, question="which?")
    other = await net.claim("bob")  # a task that waits for an answer takes no room
    assert other["task_id"] == first["task_id"]
    await net.tool("alice", "answer_task", task_id=urgent["task_id"], answer="this one")
    again = await net.claim("bob")
    assert (again["task_id"], again["attempt"]) == (urgent["task_id"], 1)


async def test_an_answer_is_taken_once(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    error = await refused(net.tool("alice", "answer_task", task_id=task["task_id"], answer="unasked"))
    assert error.code == "conflict"
    await net.tool("bob", "update_task", task_id=task["task_id"], attempt=1, question="which?")
    for _ in range(2):
        assert (await net.tool("alice", "answer_task", task_id=task["task_id"], answer="this"))["state"] == "working"
    error = await refused(net.tool("alice", "answer_task", task_id=task["task_id"], answer="that"))
    assert error.code == "conflict"
    again = await net.claim("bob")
    assert [one["answer"] for one in again["questions"]] == ["this"]


async def test_a_lease_that_lapses_after_the_answer_hands_the_dialog_to_the_next_agent(net: Network) -> None:
    await net.register("bob", "analysis")
    created = await silent(net, "alice", "bob")
    task = await net.claim("bob")
    await net.tool("bob", "update_task", task_id=task["task_id"], attempt=1, question="which?")
    await net.tool("alice", "answer_task", task_id=task["task_id"], answer="this")
    await net.until("alice", created["task_id"], lambda seen: seen["state"] == "submitted" and "agent" in seen)
    again = await net.claim("bob")
    assert again["attempt"] == 2
    assert "answered" not in again
    assert again["questions"][0]["answer"] == "this"


async def test_a_worker_may_end_a_task_without_waiting_for_the_answer(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    await net.tool("bob", "update_task", task_id=task["task_id"], attempt=1, question="which?")
    await net.submit("bob", task, "never mind")
    seen = await net.get("alice", task["task_id"])
    assert (seen["state"], seen["result"]) == ("completed", "never mind")
    assert "question" not in seen


async def test_a_task_may_ask_twenty_questions(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    for number in range(20):
        await net.tool("bob", "update_task", task_id=task["task_id"], attempt=1, question=f"{number}?")
        await net.tool("alice", "answer_task", task_id=task["task_id"], answer=number)
    error = await refused(net.tool("bob", "update_task", task_id=task["task_id"], attempt=1, question="one more?"))
    assert error.code == "busy"


@pytest.mark.parametrize("state", ["submitted", "working", "input_required", "answered"])
async def test_a_task_can_be_cancelled_in_every_state_and_its_worker_is_refused(net: Network, state: str) -> None:
    await net.register("bob", "work")
    task_id = (await net.route("alice", agent="bob"))["task_id"]
    if state != "submitted":
        await net.claim("bob")
    if state in ("input_required", "answered"):
        await net.tool("bob", "update_task", task_id=task_id, attempt=1, question="which?")
    if state == "answered":
        await net.tool("alice", "answer_task", task_id=task_id, answer="this")
    looking = asyncio.create_task(net.get("alice", task_id, wait_s=20)) if state != "input_required" else None
    cancelled = await net.tool("alice", "cancel_task", task_id=task_id, reason="changed my mind")
    assert (cancelled["state"], cancelled["cancelled"]) == ("cancelled", True)
    if looking is not None:
        assert (await looking)["state"] == "cancelled"
    again = await net.tool("alice", "cancel_task", task_id=task_id)
    assert (again["state"], again["cancelled"]) == ("cancelled", False)
    assert (await net.tool("bob", "receive_tasks"))["tasks"] == []
    for call in (
        net.submit("bob", {"task_id": task_id, "attempt": 1}),
        net.tool("bob", "update_task", task_id=task_id, attempt=1, progress=1),
    ):
        error = await refused(call)
        assert error.code == "conflict"
        assert "alice cancelled it: changed my mind" in error.message
    assert (await net.tool("bob", "list_agents"))["agents"][0]["load"] == 0


async def test_an_ended_task_is_not_cancelled(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    await net.submit("bob", task)
    cancelled = await net.tool("alice", "cancel_task", task_id=task["task_id"])
    assert (cancelled["state"], cancelled["cancelled"]) == ("completed", False)
    assert (await net.get("alice", task["task_id"]))["result"] == "done"


async def test_a_result_and_a_cancellation_at_the_same_moment_have_one_outcome(net: Network) -> None:
    for _ in range(10):
        task = await net.handed_over("alice", "bob")
        submitted, cancelled = await asyncio.gather(
            net.submit("bob", task),
            net.tool("alice", "cancel_task", task_id=task["task_id"]),
            return_exceptions=True,
        )
        seen = await net.get("alice", task["task_id"])
        assert isinstance(cancelled, dict)
        assert cancelled["cancelled"] == (seen["state"] == "cancelled") == isinstance(submitted, Exception)
