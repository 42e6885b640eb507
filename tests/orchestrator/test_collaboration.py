"""Collaborations end to end: real orchestrator, router, state hub, NATS and Redis; the tests play the agents."""

import asyncio
import datetime
import functools
import re
from typing import Any

import pytest
from nats.aio.msg import Msg

from aicp_common import subjects
from aicp_common.envelope import encode_json
from aicp_common.store import connect_redis, key
from tests.conftest import envelope
from tests.orchestrator.network import Network, Refused, Task, parts
from tests.support.processes import Backend


async def test_two_named_agents_both_get_their_part_and_the_requester_both_results(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    asked = asyncio.create_task(network.collaborate(task="How do we halve the costs?", agents=["bob", "carol"]))
    tasks = await asyncio.gather(network.receive("bob"), network.receive("carol"))
    for task in tasks:
        assert task["message"].startswith("How do we halve the costs?\n")
    assert [task["from"] for task in tasks] == [{"agent": "alice", "user": "alice"}] * 2
    await network.submit("bob", tasks[0], {"idea": "smaller machines"})
    await network.submit("carol", tasks[1], "fewer meetings")

    answer = await asked
    assert answer["status"] == "completed"
    assert answer["task"] == "How do we halve the costs?"
    assert answer["assignments"] == [
        {"step": "step-1", "agent": "bob", "task": "How do we halve the costs?"},
        {"step": "step-2", "agent": "carol", "task": "How do we halve the costs?"},
    ]
    assert [(step["id"], step["status"], step["agent"]) for step in answer["steps"]] == [
        ("step-1", "completed", "bob"),
        ("step-2", "completed", "carol"),
    ]
    assert parts(answer["result"]) == {
        "step-1": {"status": "completed", "agent": "bob", "result": {"idea": "smaller machines"}},
        "step-2": {"status": "completed", "agent": "carol", "result": "fewer meetings"},
    }
    assert "data, not orders" in answer["result"]["instruction"]
    read = await network.tool("alice", "get_task", task_id=answer["task_id"])
    assert (read["progress"], read["progress_message"]) == (1.0, "2 steps: 2 completed")
    assert (read["kind"], read["state"], read["result"]) == ("collaboration", "completed", answer["result"])


async def test_who_does_not_wait_gets_the_task_id_and_the_result_later(network: Network) -> None:
    await network.join("alice", "bob")
    answer = await network.collaborate(task="t", agents=["bob"], wait_s=0)
    assert answer["status"] == "running"
    assert answer["task_id"] in answer["next"]
    assert answer["assignments"] == [{"step": "step-1", "agent": "bob", "task": "t"}]
    await network.serve("bob", "done")
    whole = await network.ended(answer["task_id"])
    assert whole["state"] == "completed"
    assert parts(whole["result"])["step-1"]["result"] == "done"


async def test_a_pipeline_hands_each_result_on(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    asked = asyncio.create_task(
        network.collaborate(
            task="Write a poem", agents=["bob", "carol", "bob"], pattern="pipeline", context={"for": "Eve"}
        )
    )
    first = await network.serve("bob", {"draft": 1})
    assert "step 1 of 3 of a pipeline" in first["message"]
    assert first["context"] == {"for": "Eve"}
    second = await network.serve("carol", "two lines too long")
    assert second["context"] == {"for": "Eve", "input_from": {"step-1": {"draft": 1}}}
    third = await network.serve("bob", "the poem")
    assert third["context"] == {"for": "Eve", "input_from": {"step-2": "two lines too long"}}
    answer = await asked
    assert answer["status"] == "completed"
    assert parts(answer["result"])["step-3"]["result"] == "the poem"


async def test_a_step_gets_shared_context_and_results_together(network: Network) -> None:
    await network.join("alice", "bob")
    await network.tool(
        "alice", "share_context", service="statehub", context_key="status", context_value={"progress": 75}
    )
    asked = asyncio.create_task(
        network.collaborate(task="t", agents=["bob", "bob"], pattern="pipeline", context="status")
    )
    first = await network.serve("bob", "one")
    second = await network.serve("bob", "two")
    assert first["shared_context"]["status"]["value"] == {"progress": 75}
    assert second["shared_context"]["status"]["value"] == {"progress": 75}
    assert second["context"] == {"input_from": {"step-1": "one"}}
    assert (await asked)["status"] == "completed"


DIAMOND: list[dict[str, Any]] = [
    {"id": "a", "task": "do a", "agent": "bob"},
    {"id": "b", "task": "do b", "agent": "carol", "depends_on": ["a"]},
    {"id": "c", "task": "do c", "agent": "dave", "depends_on": ["a"]},
    {"id": "d", "task": "do d", "capabilities": ["analysis"], "depends_on": ["b", "c"]},
]


async def test_a_diamond_runs_its_middle_side_by_side_and_its_end_with_both_results(network: Network) -> None:
    await network.join("alice", "bob", "carol", "dave")
    await network.join("erin", capabilities=("judging",))
    steps = [*DIAMOND[:3], DIAMOND[3] | {"capabilities": ["judging"]}]
    asked = asyncio.create_task(network.collaborate(task="the whole", steps=steps))
    await network.serve("bob", "A")
    both = await asyncio.gather(network.receive("carol"), network.receive("dave"))
    for task in both:
        assert task["context"] == {"input_from": {"a": "A"}, "part_of": "the whole"}
    await network.submit("dave", both[1], "C")
    await network.submit("carol", both[0], "B")
    last = await network.serve("erin", "D")
    assert last["message"] == "do d"
    assert last["context"]["input_from"] == {"b": "B", "c": "C"}
    answer = await asked
    assert {id: part["result"] for id, part in parts(answer["result"]).items()} == {
        "a": "A",
        "b": "B",
        "c": "C",
        "d": "D",
    }
    assert [step["agent"] for step in answer["steps"]] == ["bob", "carol", "dave", "erin"]


async def test_without_names_the_online_agents_that_fit_are_asked_and_never_the_requester(network: Network) -> None:
    await network.join("alice", "bob", "carol", "dave", "erin", capabilities=("translation",))
    answer = await network.collaborate(task="a translation from Korean", wait_s=0)
    agents = [assignment["agent"] for assignment in answer["assignments"]]
    assert len(agents) == 3
    assert set(agents) < {"bob", "carol", "dave", "erin"}


async def test_without_names_and_with_nobody_there_the_error_says_how_others_join(network: Network) -> None:
    await network.join("alice")
    with pytest.raises(Refused, match=r"no other agent is online.*register_agent"):
        await network.collaborate(task="t")


async def test_in_parallel_a_part_that_fails_is_told_and_the_others_count(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    asked = asyncio.create_task(network.collaborate(task="t", agents=["bob", "carol"]))
    await network.serve("bob", "no time", status="failed")
    await network.serve("carol", "fine")
    answer = await asked
    assert answer["status"] == "completed"
    found = parts(answer["result"])
    assert found["step-2"] == {"status": "completed", "agent": "carol", "result": "fine"}
    assert found["step-1"]["status"] == "failed"
    assert "no time" in found["step-1"]["error"]


async def test_with_fail_fast_the_first_failure_ends_the_whole_and_cancels_the_rest(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    asked = asyncio.create_task(network.collaborate(task="t", agents=["bob", "carol"], on_failure="fail_fast"))
    working = await network.receive("carol")
    await network.serve("bob", "no time", status="failed")
    answer = await asked
    assert answer["status"] == "failed"
    assert "step-1" in answer["error"]
    assert "no time" in answer["error"]
    assert parts(answer["result"])["step-2"]["status"] == "cancelled"
    assert (await network.ended(working["task_id"]))["state"] == "cancelled"


async def test_with_continue_a_failure_takes_along_only_what_depends_on_it(network: Network) -> None:
    await network.join("alice", "bob", "carol", "dave")
    steps = [*DIAMOND[:3], {"id": "e", "task": "do e", "agent": "carol", "depends_on": ["b"]}]
    steps.append({"id": "f", "task": "do f", "agent": "dave", "depends_on": ["c"]})
    asked = asyncio.create_task(network.collaborate(task="t", steps=steps, on_failure="continue"))
    await network.serve("bob", "A")
    await network.serve("dave", "cannot", status="failed")
    await network.serve("carol", "B")
    await network.serve("carol", "E")
    answer = await asked
    assert answer["status"] == "completed"
    assert {id: part["status"] for id, part in parts(answer["result"]).items()} == {
        "a": "completed",
        "b": "completed",
        "c": "failed",
        "e": "completed",
        "f": "skipped",
    }


async def test_a_step_without_a_name_that_is_declined_goes_to_another_agent(network: Network) -> None:
    await network.join("alice", "bob", "carol", capabilities=("law",))
    steps = [{"id": "a", "task": "check the contract", "capabilities": ["law"]}]
    asked = asyncio.create_task(network.collaborate(task="t", steps=steps))
    waiting = {asyncio.create_task(network.receive(agent)): agent for agent in ("bob", "carol")}
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    first = done.pop()
    await network.submit(waiting[first], first.result(), "not my field", status="declined")
    second = pending.pop()
    await network.submit(waiting[second], await second, "it is sound")
    answer = await asked
    assert parts(answer["result"])["a"] == {"status": "completed", "agent": waiting[second], "result": "it is sound"}


async def test_a_named_agent_that_declines_fails_its_step(network: Network) -> None:
    await network.join("alice", "bob")
    asked = asyncio.create_task(network.collaborate(task="t", agents=["bob"]))
    await network.serve("bob", "not my field", status="declined")
    answer = await asked
    assert answer["status"] == "failed"
    assert "not my field" in answer["error"]


async def test_cancelling_the_whole_cancels_its_steps_and_starts_no_more(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    answer = await network.collaborate(task="t", agents=["bob", "carol"], pattern="pipeline", wait_s=0)
    working = await network.receive("bob")
    await network.tool("alice", "cancel_task", task_id=answer["task_id"], reason="changed my mind")
    assert (await network.ended(working["task_id"]))["state"] == "cancelled"
    assert (await network.ended(answer["task_id"]))["state"] == "cancelled"
    with pytest.raises(Refused, match="conflict"):
        await network.submit("bob", working, "too late")
    assert set(await network.steps(answer["task_id"])) == {"step-1"}


async def test_who_waits_for_a_collaboration_that_is_cancelled_learns_it(network: Network) -> None:
    await network.join("alice", "bob")
    asked = asyncio.create_task(network.collaborate(task="t", agents=["bob"]))
    working = await network.receive("bob")
    await network.tool("alice", "cancel_task", task_id=working["parent"])
    answer = await asked
    assert answer["status"] == "cancelled"
    assert answer["steps"][0]["status"] == "cancelled"


async def test_at_the_deadline_the_parts_that_are_there_are_handed_over(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    asked = asyncio.create_task(network.collaborate(task="t", agents=["bob", "carol"], deadline_s=6))
    await network.receive("carol")
    await network.serve("bob", "in time")
    answer = await asked
    assert answer["status"] == "completed"
    found = parts(answer["result"])
    assert found["step-1"]["result"] == "in time"
    assert found["step-2"]["status"] == "failed"
    assert "deadline" in found["step-2"]["error"]


async def test_at_the_deadline_without_any_part_it_has_failed(network: Network) -> None:
    await network.join("alice", "bob")
    answer = await network.collaborate(task="t", agents=["bob"], deadline_s=2)
    assert answer["status"] == "failed"
    assert "deadline" in answer["error"]


async def test_a_question_of_a_step_reaches_the_requester_and_the_answer_the_agent(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    asked = await network.collaborate(task="t", agents=["bob", "carol"], wait_s=0)
    task = await network.receive("bob")
    await network.ask("bob", task, "Which currency?")
    whole = await network.until(asked["task_id"], lambda task: "Which currency?" in task.get("progress_message", ""))
    assert task["task_id"] in whole["progress_message"]
    await network.tool("alice", "answer_task", task_id=task["task_id"], answer="euro")
    again = await network.receive("bob")
    assert again["questions"][0]["answer"] == "euro"
    whole = await network.until(asked["task_id"], lambda task: "asks" not in task["progress_message"])
    assert (whole["progress"], whole["progress_message"]) == (0.0, "2 steps: 2 running")
    await network.submit("bob", again, "12 euro")
    await network.serve("carol", "nothing")
    whole = await network.ended(asked["task_id"])
    assert (whole["state"], whole["progress"]) == ("completed", 1.0)
    assert whole["progress_message"] == "2 steps: 2 completed"


async def test_who_waits_for_a_collaboration_learns_at_once_that_a_step_asks(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    asked = asyncio.create_task(network.collaborate(task="t", agents=["bob", "carol"], wait_s=40))
    task = await network.receive("bob")
    await network.ask("bob", task, "Which currency?")
    async with asyncio.timeout(10):
        answer = await asked
    assert (answer["status"], answer["task_id"]) == ("input_required", task["parent"])
    first, second = answer["steps"]
    assert (first["status"], first["question"]) == ("input_required", "Which currency?")
    assert (second["status"], "question" in second) == ("running", False)
    assert f"task_id {task['task_id']}" in answer["next"]
    assert "answer_task" in answer["next"]

    await network.tool("alice", "answer_task", task_id=task["task_id"], answer="euro")
    await network.serve("bob", "12 euro")
    await network.serve("carol", "nothing")
    assert (await network.ended(answer["task_id"]))["state"] == "completed"


async def test_the_same_idempotency_key_gives_the_same_collaboration(network: Network) -> None:
    await network.join("alice", "bob")
    first = await network.collaborate(task="t", agents=["bob"], wait_s=0, idempotency_key="k")
    await network.serve("bob", "once")
    again = await network.collaborate(task="t", agents=["bob"], idempotency_key="k")
    assert again["task_id"] == first["task_id"]
    assert parts(again["result"])["step-1"]["result"] == "once"


async def test_an_unknown_agent_is_refused_with_those_who_are_there(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    with pytest.raises(Refused, match=r"not_found: agents.1: there is no agent 'nobody'; expected: some of bob, carol"):
        await network.collaborate(task="t", agents=["bob", "nobody"])
    steps = [{"id": "a", "task": "t"}, {"id": "b", "task": "t", "agent": "nobody"}]
    with pytest.raises(Refused, match=r"not_found: steps.1.agent: there is no agent 'nobody'; expected: some of bob"):
        await network.collaborate(task="t", steps=steps)


@pytest.mark.parametrize("registered", [True, False])
async def test_a_requester_that_names_itself_is_told_that_others_are_named(network: Network, registered: bool) -> None:
    await network.join("bob", *(["ann"] if registered else []))
    with pytest.raises(Refused, match=r"agents.1: 'ann' is you, the caller; expected: names of others"):
        await network.collaborate("ann", task="t", agents=["bob", "Ann"])


async def test_a_step_of_ones_own_needs_that_one_is_registered(network: Network) -> None:
    await network.join("bob")
    steps = [{"id": "a", "task": "t", "agent": "ann"}]
    with pytest.raises(
        Refused, match=r"steps.0.agent: 'ann' is you, and you are not registered; expected: some of bob"
    ):
        await network.collaborate("ann", task="t", steps=steps)
    await network.join("ann")
    asked = asyncio.create_task(network.collaborate("ann", task="t", steps=steps))
    await network.serve("ann", "done")
    assert (await asked)["status"] == "completed"


async def test_names_of_agents_may_be_written_in_capitals(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    answer = await network.collaborate(task="t", agents=[" Bob", "CAROL"], wait_s=0)
    assert [assignment["agent"] for assignment in answer["assignments"]] == ["bob", "carol"]
    answer = await network.collaborate(task="t", steps=[{"id": "a", "task": "t", "agent": "Bob"}], wait_s=0)
    assert [assignment["agent"] for assignment in answer["assignments"]] == ["bob"]


async def test_a_step_for_which_there_is_no_agent_fails_with_the_reason(network: Network) -> None:
    await network.join("alice")
    answer = await network.collaborate(task="t", steps=[{"id": "a", "task": "t", "capabilities": ["law"]}])
    assert answer["status"] == "failed"
    assert "a: no agent for it" in answer["error"]


async def test_a_long_result_is_handed_on_shortened_and_stays_whole_in_its_task(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    asked = asyncio.create_task(network.collaborate(task="t", agents=["bob", "carol"]))
    await network.serve("bob", "x" * 200_000)
    await network.serve("carol", "short")
    answer = await asked
    first, second = answer["result"]["parts"]
    assert second["result"] == "short"
    assert first["result"]["bytes"] == 200_002
    assert 140_000 < len(first["result"]["shortened"]) < 150_000
    whole = await network.tool("alice", "get_task", task_id=first["task_id"])
    assert whole["result"] == "x" * 200_000


async def test_another_tenant_cannot_see_it(network: Network) -> None:
    await network.join("alice", "bob")
    answer = await network.collaborate(task="t", agents=["bob"], wait_s=0)
    stranger = Network(network.bus, network.tenant + "x")
    await stranger.join("alice", "bob")
    with pytest.raises(Refused, match="not_found"):
        await stranger.tool("alice", "get_task", task_id=answer["task_id"])
    with pytest.raises(Refused, match="not_found"):
        await stranger.tool("alice", "cancel_task", task_id=answer["task_id"])
    assert (await stranger.tool("bob", "receive_tasks"))["tasks"] == []


async def test_everything_done_for_a_collaboration_belongs_to_the_trace_of_its_request(network: Network) -> None:
    await network.join("alice", "bob")
    traces: asyncio.Queue[str] = asyncio.Queue()

    async def on_signal(message: Msg) -> None:
        traces.put_nowait(message.data.decode())

    await network.bus.subscribe(subjects.agent(network.tenant, "bob"), on_signal)
    await network.bus.flush()
    asking = envelope(network.tenant, "alice", deadline_s=45)
    arguments = encode_json({"task": "t", "agents": ["bob"], "wait_s": 0})
    await network.bus.call("orchestrator", "orchestrate_collaboration", asking, arguments)
    async with asyncio.timeout(10):
        assert (await traces.get())[:35] == asking.traceparent[:35]


async def test_many_collaborations_run_side_by_side(network: Network) -> None:
    await network.join("alice", "bob")
    asked = [asyncio.create_task(network.collaborate(task=f"t{number}", agents=["bob"])) for number in range(30)]
    for _ in asked:
        await network.serve("bob", lambda task: task["message"])
    for number, answer in enumerate(await asyncio.gather(*asked)):
        assert parts(answer["result"])["step-1"]["result"] == f"t{number}"


STEP: Task = {"id": "a", "task": "t"}
FIELDS = (
    "expected: the fields of a step are: id, task, agent, capabilities, depends_on, input_from, timeout_s, retries;"
)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "task: missing"),
        ({"task": ""}, "task: is empty"),
        ({"task": "가" * 30_000}, "task has 90000 bytes; expected: at most 65536"),
        ({"task": "t", "agents": []}, "agents: .*at least 1"),
        ({"task": "t", "agents": ["Bob Smith"]}, "agents.0: should be 1 to 64 characters .*, was 'Bob Smith'"),
        ({"task": "t", "agents": "bob"}, "agents: .*list"),
        ({"task": "t", "agents": ["bob", "bob"]}, "agents: named more than once: bob"),
        (
            {"task": "t", "agents": ["bob"], "pattern": "swarm"},
            "pattern: .*'parallel', 'pipeline', 'debate', 'vote' or",
        ),
        ({"task": "t", "agents": ["bob"], "pattern": "debate"}, "agents: a debate needs two at least"),
        ({"task": "t", "agents": [f"a{n}" for n in range(11)], "rounds": 5}, "11 agents in 5 rounds are 55 steps"),
        ({"task": "t", "agents": ["bob", "bob"], "pattern": "vote"}, "agents: named more than once: bob"),
        ({"task": "t", "agents": ["bob"], "pattern": "map_reduce"}, "inputs: missing"),
        ({"task": "t", "agents": ["bob"], "inputs": []}, "inputs: .*at least 1"),
        ({"task": "t", "agents": ["bob"], "inputs": ["x" * 20_000]}, "inputs.0 has 20002 bytes"),
        ({"task": "t", "agents": ["bob"], "choices": ["yes"]}, "choices: .*at least 2"),
        (
            {"task": "t", "steps": [STEP], "choices": ["yes", "no"]},
            "choices: belongs to the pattern vote, not to steps",
        ),
        ({"task": "t", "agents": ["bob"], "on_failure": "quorum"}, "quorum: it goes with on_failure"),
        ({"task": "t", "agents": ["bob"], "on_failure": "continue", "quorum": 1}, "quorum: it goes with on_failure"),
        ({"task": "t", "steps": [STEP], "quorum": 2}, "quorum: 2 of 1 results; expected: at most 1"),
        ({"task": "t", "steps": [STEP | {"id": "plan"}]}, "the id 'plan' is one that the hub uses"),
        ({"task": "t", "steps": [STEP | {"input_from": ["x"]}]}, "'a' depends on 'x'"),
        ({"task": "t", "steps": [STEP | {"retries": 9}]}, "steps.0.retries: .*less than or equal to 3"),
        ({"task": "t", "steps": [STEP | {"timeout_s": 0}]}, "steps.0.timeout_s: .*greater than or equal to 1"),
        ({"task": "t", "agents": ["bob"], "room": "No Room"}, "room: "),
        ({"task": "t", "pattern": "pipeline"}, "needs `agents`"),
        (
            {"task": "t", "agents": ["bob"], "pattern": "pipeline", "rounds": 3},
            "rounds: belongs to the pattern debate, not to pipeline",
        ),
        ({"task": "t", "agents": ["bob"], "steps": [STEP]}, "goes without agents and pattern"),
        ({"task": "t", "steps": [STEP, STEP]}, "'a' is there more than once"),
        ({"task": "t", "steps": [STEP | {"depends_on": ["x"]}]}, "'a' depends on 'x'.*expected: no depends_on"),
        ({"task": "t", "steps": [STEP | {"depends_on": ["a"]}]}, "a -> a"),
        ({"task": "t", "steps": [{"id": "a"}]}, f"^invalid_argument: steps.0.task: missing; {FIELDS}"),
        ({"task": "t", "steps": [STEP | {"who": "bob"}]}, f"steps.0.who: a step has no such field; {FIELDS}"),
        ({"task": "t", "steps": [STEP | {"id": "a b"}]}, f"steps.0.id: should be 1 to 64 .*, was 'a b'; {FIELDS}"),
        (
            {"task": "t", "steps": [STEP, "do a"]},
            "steps.1: each step is an object, this was 'do a'; .*for example .\\{",
        ),
        ({"task": "t", "steps": "do a"}, "steps: .*'do a'; .*for example .\\{"),
        ({"task": "t", "steps": [STEP | {"id": f"s{n}"} for n in range(51)]}, "steps: .*at most 50"),
        ({"task": "t", "agents": ["bob"], "wait_s": 41}, "wait_s: .*less than or equal to 40"),
        ({"task": "t", "agents": ["bob"], "wait_s": "5"}, "wait_s: .*number"),
        ({"task": "t", "agents": ["bob"], "deadline_s": 0}, "deadline_s: .*greater than or equal to 1"),
        ({"task": "t", "agents": ["bob"], "on_failure": "ignore"}, "on_failure: .*'continue', 'fail_fast' or 'quorum'"),
        ({"task": "t", "agents": ["bob"], "context": {"input_from": 1}}, "'input_from' is written by the hub"),
        ({"task": "t", "agents": ["bob"], "context": "our budget"}, "context: 'our budget' is no key of the shared"),
        ({"task": "t", "agents": ["bob"], "context": ["ok", "a/../b"]}, "context: 'a/../b' is no key"),
        ({"task": "t", "agents": ["bob"], "context": {"x": "y" * 40_000}}, "share_context"),
    ],
)
async def test_bad_arguments_are_refused_with_what_was_expected(
    network: Network, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused) as refused:
        await network.collaborate(**arguments)
    assert str(refused.value).startswith("invalid_argument: ")
    assert re.search(says, str(refused.value)), refused.value


async def test_a_key_stands_for_one_collaboration(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    asked: dict[str, Any] = {"task": "Q1?", "agents": ["bob"], "idempotency_key": "k", "wait_s": 0}
    first = await network.collaborate(**asked)
    assert (await network.collaborate(**asked | {"wait_s": 1}))["task_id"] == first["task_id"]
    with pytest.raises(Refused, match=f"conflict: idempotency_key: it stands for the task {first['task_id']}"):
        await network.collaborate(**asked | {"task": "Q2?"})


async def test_a_result_of_many_levels_is_handed_on_and_comes_back(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    core: list[Any] = ["the core"]
    deep = functools.reduce(lambda inner, _: [inner], range(99), core)
    asked = await network.collaborate(task="t", agents=["bob", "carol"], pattern="pipeline", wait_s=0)
    await network.serve("bob", deep)
    second = await network.receive("carol")
    assert second["context"]["input_from"]["step-1"] == deep
    await network.submit("carol", second, deep)
    whole = await network.ended(asked["task_id"])
    assert whole["state"] == "completed"
    assert whole["result"]["answer"] == deep


async def test_a_task_that_says_nothing_is_refused_by_its_own_name(network: Network) -> None:
    await network.join("alice", "bob")
    with pytest.raises(Refused, match="task: should say what is to be done"):
        await network.collaborate(task=" \n", agents=["bob"])
    with pytest.raises(Refused, match=r"steps\.0\.task.*should say what is to be done"):
        await network.collaborate(task="t", steps=[{"id": "a", "task": "  "}])


async def test_the_requester_is_told_who_is_waited_for_and_not_here(network: Network, backend: Backend) -> None:
    await network.join("alice", "bob", "carol")
    redis = connect_redis(backend.redis_url)
    await redis.zrem(key(network.tenant, "presence"), "carol")
    await redis.aclose()
    answer = await network.collaborate(task="t", agents=["bob", "carol"], pattern="pipeline", wait_s=0)
    assert "Not online: carol; what is theirs waits for them until the deadline." in answer["next"]
    await network.serve("bob", "done")
    whole = await network.until(answer["task_id"], lambda task: "agent_online" in task["steps"][1])
    assert whole["steps"][1]["agent_online"] is False
    assert "not online: carol (step-2)" in whole["next"]


async def test_of_a_deadline_of_seconds_there_is_time_left_to_hand_over_the_parts(network: Network) -> None:
    await network.join("alice", "bob")
    asked = await network.collaborate(task="t", agents=["bob"], deadline_s=3, wait_s=0)
    step = await network.receive("bob")
    whole = await network.tool("alice", "get_task", task_id=asked["task_id"])
    ends = [datetime.datetime.fromisoformat(task["deadline"]) for task in (whole, step)]
    left_s = (ends[0] - ends[1]).total_seconds()
    # Two fifths of what was left when the step was made, which was less than the whole.
    assert 0 < left_s <= 1.25


async def test_why_a_collaboration_failed_is_told_in_a_sentence(network: Network) -> None:
    await network.join("alice", "bob")
    asked = await network.collaborate(task="t", agents=["bob"], wait_s=0)
    await network.serve("bob", "I have no data", status="failed")
    whole = await network.ended(asked["task_id"])
    assert "I have no data" in whole["error"]["message"]
    assert "{" not in whole["error"]["message"]
