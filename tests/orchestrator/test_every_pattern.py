"""Every pattern end to end: real orchestrator, router, state hub, NATS and Redis; the tests play the agents."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.orchestrator.network import Network, Refused, Task, parts

Answer = dict[str, Any]


@contextlib.asynccontextmanager
async def asked(network: Network, **arguments: Any) -> "AsyncIterator[asyncio.Task[Answer]]":
    """A collaboration that alice waits for; its answer. It is here to be awaited within."""
    waiting = asyncio.create_task(network.collaborate(**{"task": "t", "wait_s": 30, **arguments}))
    try:
        yield waiting
    finally:
        waiting.cancel()
        await asyncio.wait({waiting})


def states(answer: Answer) -> dict[str, str]:
    """The status of each part, by step."""
    return {part["step"]: part["status"] for part in answer["result"]["parts"]}


async def seen(network: Network, task_id: str) -> dict[str, dict[str, Any]]:
    """What get_task shows alice of each step."""
    whole = await network.tool("alice", "get_task", task_id=task_id)
    assert whole["kind"] == "collaboration"
    return {step["id"]: step for step in whole["steps"]}


# Debate


async def test_in_a_debate_each_hears_the_others_and_the_judge_hears_the_last_round(network: Network) -> None:
    await network.join("alice", "bob", "carol", "judy")
    async with asked(network, agents=["bob", "carol"], pattern="debate", synthesizer="judy") as waiting:
        for name in ("bob", "carol"):
            first = await network.serve(name, f"{name} thinks so")
            assert "This is round 1" in first["message"]
            assert first.get("context") is None
        for name in ("bob", "carol"):
            second = await network.serve(name, f"{name} still thinks so")
            assert "This is round 2" in second["message"]
            assert second["context"]["input_from"] == {
                "round-1-bob": "bob thinks so",
                "round-1-carol": "carol thinks so",
            }
        judged = await network.serve("judy", {"right": "carol"})
        assert "you are the judge" in judged["message"]
        assert judged["context"]["input_from"] == {
            "round-2-bob": "bob still thinks so",
            "round-2-carol": "carol still thinks so",
        }
        answer = await waiting
    assert answer["status"] == "completed"
    assert answer["result"]["answer"] == {"right": "carol"}
    assert answer["result"]["instruction"].startswith("Give your user the `answer`")
    assert set(states(answer).values()) == {"completed"}
    assert [step["agent"] for step in answer["steps"]] == ["bob", "carol", "bob", "carol", "judy"]


async def test_without_a_judge_the_requester_judges(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    async with asked(network, agents=["bob", "carol"], rounds=1) as waiting:
        await network.serve("bob", "yes")
        await network.serve("carol", "no")
        answer = await waiting
    assert states(answer) == {"round-1-bob": "completed", "round-1-carol": "completed"}
    assert "You are the judge" in answer["result"]["instruction"]
    assert "answer" not in answer["result"]


async def test_a_debate_goes_on_without_the_answer_of_one_that_failed(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    async with asked(network, agents=["bob", "carol"], pattern="debate") as waiting:
        await network.serve("bob", "no idea yet", status="failed")
        await network.serve("carol", "so it is")
        for name in ("bob", "carol"):
            second = await network.serve(name, f"{name} agrees")
            assert second["context"]["input_from"] == {"round-1-carol": "so it is"}
        answer = await waiting
    assert answer["status"] == "completed"
    assert states(answer) == {
        "round-1-bob": "failed",
        "round-1-carol": "completed",
        "round-2-bob": "completed",
        "round-2-carol": "completed",
    }


# Vote


async def test_the_majority_decides_a_vote_and_nobody_has_to_judge(network: Network) -> None:
    await network.join("alice", "bob", "carol", "dave", "judy")
    voters = ["bob", "carol", "dave"]
    async with asked(network, agents=voters, choices=["now", "later"], synthesizer="judy") as waiting:
        ballot = await network.serve("bob", {"choice": "Later", "why": "it is late"})
        assert "Choose one of: now, later." in ballot["message"]
        await network.serve("carol", "now, of course")
        await network.serve("dave", '{"choice": "later"}')
        answer = await waiting
    assert answer["result"]["answer"] == "later"
    assert answer["result"]["vote"] == {
        "winner": "later",
        "votes": {"later": ["bob", "dave"], "now": ["carol"]},
        "asked": 3,
    }
    closing = parts(answer["result"])["answer"]
    assert closing == {"status": "skipped", "agent": "judy", "error": "it was not needed any more"}
    assert answer["result"]["instruction"].startswith("Tell your user the choice of the majority")
    assert (await network.tool("judy", "receive_tasks"))["tasks"] == []


async def test_a_majority_in_spite_of_a_voter_that_failed_needs_no_judge_either(network: Network) -> None:
    await network.join("alice", "bob", "carol", "dave", "judy")
    async with asked(network, agents=["bob", "carol", "dave"], pattern="vote", synthesizer="judy") as waiting:
        await network.serve("bob", "no time", status="failed")
        await network.serve("carol", "now")
        await network.serve("dave", "Now")
        answer = await waiting
    assert answer["result"]["answer"].casefold() == "now"
    assert parts(answer["result"])["answer"]["error"] == "it was not needed any more"


async def test_a_tie_is_for_the_judge_who_sees_the_votes(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    await network.join("judy", capabilities=("synthesis",))
    async with asked(network, agents=["bob", "carol"], choices=["a", "b"], synthesizer="auto") as waiting:
        await network.serve("bob", {"choice": "a", "why": "cheap"})
        await network.serve("carol", {"choice": "b", "why": "fast"})
        decided = await network.serve("judy", "b: it is fast")
        assert "none of the choices has a majority" in decided["message"]
        assert decided["context"]["input_from"] == {
            "step-1": {"choice": "a", "why": "cheap"},
            "step-2": {"choice": "b", "why": "fast"},
        }
        answer = await waiting
    assert answer["result"]["answer"] == "b: it is fast"
    assert answer["result"]["vote"]["winner"] is None
    assert parts(answer["result"])["answer"]["agent"] == "judy"


async def test_a_tie_without_a_judge_is_told_to_the_requester(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    async with asked(network, agents=["bob", "carol"], choices=["a", "b"]) as waiting:
        await network.serve("bob", "a")
        await network.serve("carol", "b")
        answer = await waiting
    assert answer["status"] == "completed"
    assert answer["result"]["vote"] == {"winner": None, "votes": {"a": ["bob"], "b": ["carol"]}, "asked": 2}
    assert "answer" not in answer["result"]
    assert answer["result"]["instruction"].startswith("No choice has a majority;")


async def test_votes_that_choose_nothing_are_told_and_count_for_nobody(network: Network) -> None:
    await network.join("alice", "bob", "carol", "dave")
    async with asked(network, agents=["bob", "carol", "dave"], choices=["a", "b"]) as waiting:
        await network.serve("bob", "a")
        await network.serve("carol", "both have their merits")
        await network.serve("dave", ["a", "b"])
        answer = await waiting
    assert answer["result"]["vote"] == {
        "winner": None,
        "votes": {"a": ["bob"]},
        "asked": 3,
        "unclear": ["carol", "dave"],
    }


async def test_a_vote_with_a_quorum_is_over_when_enough_have_voted(network: Network) -> None:
    await network.join("alice", "bob", "carol", "dave")
    async with asked(network, agents=["bob", "carol", "dave"], choices=["a", "b"], quorum=2) as waiting:
        late = await network.receive("dave")
        await network.serve("bob", "a")
        await network.serve("carol", "a")
        answer = await waiting
    assert answer["result"]["answer"] == "a"
    assert answer["result"]["vote"]["asked"] == 2
    assert states(answer)["step-3"] == "cancelled"
    assert (await network.ended(late["task_id"]))["state"] == "cancelled"


# Map and reduce


async def test_each_input_is_done_by_itself_and_the_results_are_put_together(network: Network) -> None:
    await network.join("alice", "bob", "carol", "erin")
    inputs = [{"page": 1}, "page two", 3]
    async with asked(
        network, task="Sum it up", agents=["bob", "carol"], inputs=inputs, synthesizer="erin", context={"in": "Korean"}
    ) as waiting:
        for name in ("bob", "carol", "bob"):
            task = await network.serve(name, lambda task: {"of": task["context"]["input"]})
            number = int(task["step"].removeprefix("input-"))
            assert task["context"] == {"in": "Korean", "input": inputs[number - 1]}
            assert task["message"].startswith("Sum it up\n")
        reduced = await network.serve("erin", "all of it")
        assert reduced["context"]["input_from"] == {f"input-{n}": {"of": inputs[n - 1]} for n in (1, 2, 3)}
        answer = await waiting
    assert answer["result"]["answer"] == "all of it"
    assert [part["agent"] for part in answer["result"]["parts"]] == ["bob", "carol", "bob", "erin"]


async def test_inputs_go_to_whom_the_router_finds_and_the_requester_puts_the_results_together(
    network: Network,
) -> None:
    await network.join("alice", "bob")
    async with asked(network, task="An analysis", pattern="map_reduce", inputs=[1, 2]) as waiting:
        for _ in range(2):
            await network.serve("bob", lambda task: task["context"]["input"] * 10)
        answer = await waiting
    found = parts(answer["result"])
    assert [found[step]["result"] for step in ("input-1", "input-2")] == [10, 20]
    assert answer["result"]["instruction"].startswith("These are the results for each input.")


async def test_an_input_that_fails_is_missing_and_the_others_are_put_together(network: Network) -> None:
    await network.join("alice", "bob", "erin")
    async with asked(network, agents=["bob"], inputs=["a", "b"], synthesizer="erin") as waiting:
        for _ in range(2):
            task = await network.receive("bob")
            await network.submit("bob", task, "x", "failed" if task["step"] == "input-1" else "completed")
        reduced = await network.serve("erin", "half of it")
        assert reduced["context"]["input_from"] == {"input-2": "x"}
        answer = await waiting
    assert answer["status"] == "completed"
    assert states(answer) == {"input-1": "failed", "input-2": "completed", "answer": "completed"}


# The closing step


async def test_a_named_agent_makes_one_answer_of_the_parts(network: Network) -> None:
    await network.join("alice", "bob", "carol", "erin")
    async with asked(network, task="How?", agents=["bob", "carol"], synthesizer="erin") as waiting:
        await network.serve("carol", "slowly")
        await network.serve("bob", "quickly")
        closing = await network.serve("erin", "at the right pace")
        assert closing["message"].startswith("How?\n")
        assert closing["context"]["input_from"] == {"step-1": "quickly", "step-2": "slowly"}
        answer = await waiting
    assert answer["result"]["answer"] == "at the right pace"
    assert states(answer) == {"step-1": "completed", "step-2": "completed", "answer": "completed"}
    assert "result" not in parts(answer["result"])["answer"]


async def test_of_a_pipeline_the_closer_gets_the_last_result(network: Network) -> None:
    await network.join("alice", "bob", "carol", "erin")
    async with asked(network, agents=["bob", "carol"], pattern="pipeline", synthesizer="erin") as waiting:
        await network.serve("bob", "draft")
        await network.serve("carol", "final")
        closing = await network.serve("erin", "polished")
        assert closing["context"]["input_from"] == {"step-2": "final"}
        answer = await waiting
    assert answer["result"]["answer"] == "polished"


async def test_the_hub_finds_who_offers_synthesis_and_another_one_when_that_fails(network: Network) -> None:
    await network.join("alice", "bob")
    await network.join("erin", "fred", capabilities=("synthesis",))
    async with asked(network, agents=["bob"], synthesizer="auto") as waiting:
        await network.serve("bob", "part")
        first = await first_of(network, "erin", "fred")
        await network.submit(first[0], first[1], "no time", "failed")
        other = "fred" if first[0] == "erin" else "erin"
        await network.serve(other, "the answer")
        answer = await waiting
    assert answer["result"]["answer"] == "the answer"
    closing = parts(answer["result"])["answer"]
    assert closing.pop("failed_before") == [{"agent": first[0], "error": "failed: no time"}]
    assert closing == {"status": "completed", "agent": other, "tries": 2}


async def first_of(network: Network, *agents: str) -> tuple[str, Task]:
    """Who of these gets a task first, and that task."""
    waiting = {asyncio.create_task(network.tool(agent, "receive_tasks", wait_s=15)): agent for agent in agents}
    done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    (first,) = done
    for task in rest:
        task.cancel()
    await asyncio.wait(rest)
    (found,) = first.result()["tasks"]
    network.delivered.append((waiting[first], found["step"]))
    return waiting[first], found


async def test_without_anybody_who_makes_an_answer_the_requester_gets_the_parts(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    async with asked(network, agents=["bob", "carol"], synthesizer="auto") as waiting:
        await network.serve("bob", "one")
        await network.serve("carol", "two")
        answer = await waiting
    assert answer["status"] == "completed"
    assert "answer" not in answer["result"]
    closing = parts(answer["result"])["answer"]
    assert closing["status"] == "failed"
    assert closing["error"].startswith("no agent for it: ")
    assert answer["result"]["instruction"].startswith("These are the parts that the agents gave.")


@pytest.mark.parametrize(("on_failure", "status"), [("continue", "completed"), ("fail_fast", "failed")])
async def test_when_the_closing_step_fails_the_parts_are_there_all_the_same(
    network: Network, on_failure: str, status: str
) -> None:
    await network.join("alice", "bob", "erin")
    async with asked(network, agents=["bob"], synthesizer="erin", on_failure=on_failure) as waiting:
        await network.serve("bob", "part")
        await network.serve("erin", "I cannot say", status="failed")
        answer = await waiting
    assert answer["status"] == status
    found = parts(answer["result"])
    assert found["step-1"]["result"] == "part"
    assert "I cannot say" in found["answer"]["error"]
    assert "answer" not in answer["result"]


async def test_nobody_is_asked_for_an_answer_when_there_is_nothing_to_make_it_of(network: Network) -> None:
    await network.join("alice", "bob", "erin")
    async with asked(network, agents=["bob"], synthesizer="erin") as waiting:
        await network.serve("bob", "no time", status="failed")
        answer = await waiting
    assert answer["status"] == "failed"
    found = parts(answer["result"])["answer"]
    assert found == {"status": "skipped", "agent": "erin", "error": "a step that it needs did not complete"}


async def test_whoever_asks_may_be_the_one_who_makes_the_answer(network: Network) -> None:
    await network.join("alice", "bob")
    async with asked(network, agents=["bob"], synthesizer="alice") as waiting:
        await network.serve("bob", "part")
        answer = await waiting
    assert list(states(answer)) == ["step-1"]
    assert (answer["result"]["answer"], answer["result"]["answer_by"]) == ("part", "bob")


async def test_an_unknown_synthesizer_is_refused(network: Network) -> None:
    await network.join("alice", "bob")
    with pytest.raises(Refused, match=r"not_found: synthesizer: there is no agent 'nobody'; expected: some of bob"):
        await network.collaborate(task="t", agents=["bob"], synthesizer="nobody")


# Quorum


async def test_a_quorum_that_is_reached_ends_it_and_cancels_the_rest(network: Network) -> None:
    await network.join("alice", "bob", "carol", "dave")
    async with asked(network, agents=["bob", "carol", "dave"], quorum=2) as waiting:
        working = await network.receive("bob")
        await network.serve("carol", "two")
        await network.serve("dave", "three")
        answer = await waiting
    assert answer["status"] == "completed"
    found = parts(answer["result"])
    assert found["step-1"] == {"status": "cancelled", "agent": "bob", "error": "it was not needed any more"}
    assert {found[step]["result"] for step in ("step-2", "step-3")} == {"two", "three"}
    assert (await network.ended(working["task_id"]))["state"] == "cancelled"
    with pytest.raises(Refused, match="conflict"):
        await network.submit("bob", working, "one")


async def test_when_the_quorum_is_closed_by_an_agent_the_rest_is_cancelled_before_that(network: Network) -> None:
    await network.join("alice", "bob", "carol", "erin")
    async with asked(network, agents=["bob", "carol"], quorum=1, synthesizer="erin") as waiting:
        working = await network.receive("bob")
        await network.serve("carol", "enough")
        closing = await network.receive("erin")
        assert closing["context"]["input_from"] == {"step-2": "enough"}
        cancelled = await network.ended(working["task_id"])
        assert cancelled["state"] == "cancelled"
        assert "the collaboration has what it needs" in cancelled["error"]["message"]
        await network.submit("erin", closing, "so it is")
        answer = await waiting
    assert answer["result"]["answer"] == "so it is"


async def test_a_quorum_that_cannot_be_reached_any_more_ends_it_at_once(network: Network) -> None:
    await network.join("alice", "bob", "carol", "dave")
    async with asked(network, agents=["bob", "carol", "dave"], quorum=2) as waiting:
        working = await network.receive("dave")
        await network.serve("bob", "no time", status="failed")
        await network.serve("carol", "no idea", status="failed")
        answer = await waiting
    assert answer["status"] == "failed"
    assert answer["error"].startswith("0 of the 2 results that were to be enough; steps that failed: ")
    assert "step-1: failed: no time" in answer["error"]
    assert states(answer) == {"step-1": "failed", "step-2": "failed", "step-3": "cancelled"}
    assert (await network.ended(working["task_id"]))["state"] == "cancelled"


# Timeouts


async def test_a_step_that_takes_too_long_fails_and_the_others_count(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    async with asked(network, agents=["bob", "carol"], step_timeout_s=2) as waiting:
        slow = await network.receive("bob")
        await network.serve("carol", "in time")
        answer = await waiting
    assert answer["status"] == "completed"
    found = parts(answer["result"])
    assert found["step-2"]["result"] == "in time"
    assert found["step-1"]["status"] == "failed"
    assert "deadline" in found["step-1"]["error"]
    ended = await network.ended(slow["task_id"])
    assert (ended["state"], ended["error"]["code"]) == ("failed", "deadline")


async def test_a_step_of_an_own_plan_has_its_own_time_and_goes_to_another_agent_when_it_is_over(
    network: Network,
) -> None:
    await network.join("alice")
    await network.join("bob", "carol", capabilities=("law",))
    steps = [{"id": "a", "task": "do a", "capabilities": ["law"], "timeout_s": 1.5}]
    async with asked(network, steps=steps) as waiting:
        slow, _ = await first_of(network, "bob", "carol")
        other = "carol" if slow == "bob" else "bob"
        again = await network.receive(other)
        # Each try has the whole time.
        left = datetime.datetime.fromisoformat(again["deadline"]) - datetime.datetime.now(datetime.UTC)
        assert left.total_seconds() > 0.5
        await network.submit(other, again, "done")
        answer = await waiting
    part = parts(answer["result"])["a"]
    assert [(before["agent"], before["error"].partition(":")[0]) for before in part.pop("failed_before")] == [
        (slow, "deadline")
    ]
    assert part == {"status": "completed", "agent": other, "tries": 2, "result": "done"}


# Tries elsewhere


async def test_a_step_that_fails_is_tried_by_another_agent(network: Network) -> None:
    await network.join("alice")
    await network.join("bob", "carol", capabilities=("law",))
    async with asked(network, steps=[{"id": "a", "task": "do a", "capabilities": ["law"]}]) as waiting:
        first, task = await first_of(network, "bob", "carol")
        await network.submit(first, task, "not today", "failed")
        second = "carol" if first == "bob" else "bob"
        again = await network.serve(second, "done")
        answer = await waiting
    assert again["task_id"] != task["task_id"]
    assert again["message"] == task["message"]
    assert again["context"]["failed_before"] == parts(answer["result"])["a"]["failed_before"]
    part = parts(answer["result"])["a"]
    assert [before["agent"] for before in part.pop("failed_before")] == [first]
    assert part == {"status": "completed", "agent": second, "tries": 2, "result": "done"}


async def test_a_step_goes_to_the_same_agent_again_when_there_is_nobody_else(network: Network) -> None:
    await network.join("alice")
    await network.join("bob", capabilities=("law",))
    async with asked(network, steps=[{"id": "a", "task": "do a", "capabilities": ["law"], "retries": 2}]) as waiting:
        for _ in range(2):
            await network.serve("bob", "not yet", status="failed")
        await network.serve("bob", "now")
        answer = await waiting
    part = parts(answer["result"])["a"]
    assert [before["agent"] for before in part.pop("failed_before")] == ["bob", "bob"]
    assert part == {"status": "completed", "agent": "bob", "tries": 3, "result": "now"}


async def test_when_all_tries_fail_the_step_fails_with_the_last_reason(network: Network) -> None:
    await network.join("alice")
    await network.join("bob", "carol", capabilities=("law",))
    async with asked(network, steps=[{"id": "a", "task": "do a", "capabilities": ["law"]}]) as waiting:
        first, task = await first_of(network, "bob", "carol")
        await network.submit(first, task, "not today", "failed")
        second = "carol" if first == "bob" else "bob"
        await network.serve(second, "nor tomorrow", status="failed")
        answer = await waiting
    assert answer["status"] == "failed"
    found = parts(answer["result"])["a"]
    assert (found["status"], found["agent"], found["tries"]) == ("failed", second, 2)
    assert found["error"] == "failed: nor tomorrow"


async def test_a_named_agent_is_meant_and_nobody_tries_in_its_place(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    async with asked(network, agents=["bob"]) as waiting:
        await network.serve("bob", "no", status="failed")
        answer = await waiting
    assert answer["status"] == "failed"
    assert set(network.delivered) == {("bob", "step-1")}


async def test_with_retries_another_agent_tries_in_place_of_a_named_one(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    async with asked(network, task="An analysis", agents=["bob"], retries=1) as waiting:
        await network.serve("bob", "no", status="declined")
        await network.serve("carol", "yes")
        answer = await waiting
    part = parts(answer["result"])["step-1"]
    assert [before["agent"] for before in part.pop("failed_before")] == ["bob"]
    assert part == {"status": "completed", "agent": "carol", "tries": 2, "result": "yes"}


async def test_a_named_agent_tries_again_when_there_is_nobody_else(network: Network) -> None:
    await network.join("alice", "bob")
    async with asked(network, agents=["bob"], retries=1) as waiting:
        await network.serve("bob", "no", status="failed")
        await network.serve("bob", "yes")
        answer = await waiting
    assert parts(answer["result"])["step-1"]["result"] == "yes"


async def test_where_each_speaks_for_itself_nobody_speaks_for_another_one_too(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    async with asked(network, task="An analysis", agents=["bob", "carol"], pattern="vote", retries=1) as waiting:
        await network.serve("bob", "not yet", status="failed")
        # Carol has a vote of her own; so it is bob again.
        await network.serve("bob", "a")
        await network.serve("carol", "a")
        answer = await waiting
    assert sorted(network.delivered) == [("bob", "step-1"), ("bob", "step-1"), ("carol", "step-2")]
    assert answer["result"]["answer"] == "a"


async def test_whom_the_hub_chose_it_replaces_when_it_fails(network: Network) -> None:
    everybody = ("bob", "carol", "dave", "erin")
    await network.join("alice", *everybody)
    begun = await network.collaborate(task="An analysis", pattern="parallel", wait_s=0)
    chosen = [assignment["agent"] for assignment in begun["assignments"]]
    (spare,) = set(everybody) - set(chosen)
    await network.serve(chosen[0], "no time", status="failed")
    again = await network.serve(spare, f"from {spare}")
    assert again["step"] == "step-1"
    for agent in chosen[1:]:
        await network.serve(agent, f"from {agent}")
    answer = await network.ended(begun["task_id"])
    assert [part["agent"] for part in answer["result"]["parts"]] == [spare, *chosen[1:]]
    assert [part["result"] for part in answer["result"]["parts"]] == [f"from {name}" for name in (spare, *chosen[1:])]


# Cancelling


async def test_cancelling_ends_every_step_the_closing_one_too(network: Network) -> None:
    await network.join("alice", "bob", "carol", "erin")
    async with asked(network, agents=["bob", "carol"], synthesizer="erin") as waiting:
        await network.serve("bob", "one")
        await network.serve("carol", "two")
        closing = await network.receive("erin")
        await network.tool("alice", "cancel_task", task_id=closing["parent"], reason="changed my mind")
        answer = await waiting
    assert answer["status"] == "cancelled"
    assert (await network.ended(closing["task_id"]))["state"] == "cancelled"
    found = await seen(network, closing["parent"])
    assert {id: step["state"] for id, step in found.items()} == {
        "step-1": "completed",
        "step-2": "completed",
        "answer": "cancelled",
    }


async def test_a_step_that_waits_in_a_queue_is_cancelled_with_the_whole(network: Network) -> None:
    await network.join("alice", "bob")
    begun = await network.collaborate(task="t", agents=["bob"], wait_s=0)
    await network.until(begun["task_id"], lambda task: bool(task.get("children")))
    await network.tool("alice", "cancel_task", task_id=begun["task_id"])
    (step,) = (await network.steps(begun["task_id"])).values()
    assert (await network.ended(step["task_id"]))["state"] == "cancelled"
    assert (await network.tool("bob", "receive_tasks"))["tasks"] == []


async def test_a_step_that_the_requester_cancels_is_not_tried_again(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    async with asked(network, agents=["bob", "carol"], retries=2) as waiting:
        unwanted = await network.receive("bob")
        await network.tool("alice", "cancel_task", task_id=unwanted["task_id"], reason="not this one")
        await network.serve("carol", "fine")
        answer = await waiting
    assert answer["status"] == "completed"
    found = parts(answer["result"])
    assert (found["step-1"]["status"], found["step-2"]["status"]) == ("cancelled", "completed")
    assert "not this one" in found["step-1"]["error"]


# What is shown of the steps


STEPS: list[dict[str, Any]] = [
    {"id": "a", "task": "do a", "agent": "bob"},
    {"id": "b", "task": "do b", "agent": "carol", "depends_on": ["a"]},
    {"id": "c", "task": "do c", "agent": "dave", "depends_on": ["b"]},
]


async def test_get_task_shows_where_each_step_stands(network: Network) -> None:
    await network.join("alice", "bob", "carol", "dave")
    begun = await network.collaborate(task="t", steps=STEPS, wait_s=0)
    task_id = begun["task_id"]
    first = await network.receive("bob")
    found = await seen(network, task_id)
    assert list(found) == ["a", "b", "c"]
    a = found["a"]
    assert (a["state"], a["agent"], a["task_id"], a["tries"]) == ("working", "bob", first["task_id"], 1)
    assert a["created"] <= a["claimed"]
    assert "ended" not in a
    assert found["b"] == {"id": "b", "state": "waiting", "agent": "carol", "tries": 0, "depends_on": ["a"]}
    assert found["c"] == {"id": "c", "state": "waiting", "agent": "dave", "tries": 0, "depends_on": ["b"]}

    await network.submit("bob", first, {"made": "A"})
    second = await network.receive("carol")
    found = await seen(network, task_id)
    a = found["a"]
    assert (a["state"], a["output"]) == ("completed", {"made": "A"})
    assert a["created"] <= a["claimed"] <= a["ended"]
    assert (found["b"]["state"], found["b"]["task_id"]) == ("working", second["task_id"])

    await network.ask("carol", second, "Which one?")
    whole = await network.until(task_id, lambda task: bool(task.get("asking")))
    b = {step["id"]: step for step in whole["steps"]}["b"]
    assert (b["state"], b["question"]) == ("input_required", "Which one?")
    await network.tool("alice", "answer_task", task_id=b["task_id"], answer="that one")
    again = await network.receive("carol")
    await network.submit("carol", again, "I give up", "failed")
    assert (await network.ended(task_id))["state"] == "failed"
    found = await seen(network, task_id)
    assert (found["b"]["state"], found["b"]["error"]["code"]) == ("failed", "failed")
    assert "question" not in found["b"]
    assert found["c"] == {"id": "c", "state": "skipped", "agent": "dave", "tries": 0, "depends_on": ["b"]}


async def test_get_task_shows_the_last_try_of_a_step_and_how_many_there_were(network: Network) -> None:
    await network.join("alice")
    await network.join("bob", "carol", capabilities=("law",))
    begun = await network.collaborate(task="t", steps=[{"id": "a", "task": "do a", "capabilities": ["law"]}], wait_s=0)
    first, task = await first_of(network, "bob", "carol")
    await network.submit(first, task, "no", "failed")
    second = "carol" if first == "bob" else "bob"
    again = await network.receive(second)
    a = (await seen(network, begun["task_id"]))["a"]
    assert (a["state"], a["agent"], a["tries"], a["task_id"]) == ("working", second, 2, again["task_id"])


async def test_get_task_shows_the_closing_step_and_the_inputs_of_each(network: Network) -> None:
    await network.join("alice", "bob", "erin")
    begun = await network.collaborate(task="t", agents=["bob"], inputs=[1, 2], synthesizer="erin", wait_s=0)
    for _ in range(2):
        await network.serve("bob", "x" * 5000)
    closing = await network.receive("erin")
    found = await seen(network, begun["task_id"])
    assert found["answer"]["depends_on"] == ["input-1", "input-2"]
    assert (found["answer"]["state"], found["answer"]["task_id"]) == ("working", closing["task_id"])
    for id in ("input-1", "input-2"):
        # Of a long output only the beginning.
        assert found[id]["output_bytes"] == 5002
        assert 3900 < len(found[id]["output"]) <= 4000


async def test_a_question_of_the_closing_step_reaches_the_requester_too(network: Network) -> None:
    await network.join("alice", "bob", "erin")
    async with asked(network, agents=["bob"], synthesizer="erin") as waiting:
        await network.serve("bob", "part")
        closing = await network.receive("erin")
        await network.ask("erin", closing, "For whom?")
        answer = await waiting
    assert answer["status"] == "input_required"
    assert {step["id"]: step.get("question") for step in answer["steps"]} == {"step-1": None, "answer": "For whom?"}
    await network.tool("alice", "answer_task", task_id=answer["task_id"], answer="for children")
    again = await network.receive("erin")
    assert again["questions"][0]["answer"] == "for children"
    await network.submit("erin", again, "a tale")
    assert (await network.ended(answer["task_id"]))["result"]["answer"] == "a tale"
