"""Planning by an agent: what is read as a plan, what is said of one that cannot be run, and what comes of it."""

import asyncio
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_orchestrator.collaborations.handover import message_of
from aicp_orchestrator.collaborations.patterns import closing, side_by_side
from aicp_orchestrator.collaborations.plan import MAX_STEPS, PLAN_STEP, Plan, Planner, Step, checked
from aicp_orchestrator.collaborations.planning import MAX_TRIES, Refused, plan_step, steps_of
from tests.orchestrator.network import Network, parts

PLANNER = Planner("pat", ("bob", "carol"), "Who is in the network now: bob, carol", "fail_fast")

DRAFT: dict[str, Any] = {"id": "draft", "task": "Write it", "agent": "bob"}
CHECK: dict[str, Any] = {"id": "check", "task": "Check it", "capabilities": ["law"], "depends_on": ["draft"]}
STEPS = (
    Step("draft", "Write it", "bob"),
    Step("check", "Check it", capabilities=("law",), depends_on=("draft",), retries=1),
)
TEXT = json.dumps({"steps": [DRAFT, CHECK]})


@pytest.mark.parametrize(
    "result",
    [
        {"steps": [DRAFT, CHECK]},
        {"steps": [DRAFT, CHECK], "why": "two are enough"},
        [DRAFT, CHECK],
        TEXT,
        json.dumps([DRAFT, CHECK]),
        f"Here is the plan:\n```json\n{TEXT}\n```\nGood luck!",
        f"```\n{TEXT}\n```",
        f"I would do {TEXT}, if you ask me.",
        f"Like this: {json.dumps([DRAFT, CHECK])}.",
        f"```python\nplan()\n```\nthat is\n```json\n{TEXT}\n```",
    ],
)
def test_a_plan_is_read_however_a_planner_writes_it(result: Any) -> None:
    assert steps_of(result, PLANNER) == STEPS


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("I have no plan", r'it is no JSON object; expected \{"steps": \[...\]\}'),
        (None, "it is no JSON object"),
        (7, "it is no JSON object"),
        ("{broken", "it is no JSON object"),
        ({"plan": []}, "steps: missing"),
        ({"steps": []}, "steps: .*at least 1"),
        ([DRAFT, "check it"], "steps.1: each step is an object, this was 'check it'"),
        ([{"id": "a"}], "steps.0.task: missing"),
        ([DRAFT | {"who": "bob"}], "steps.0.who: a step has no such field"),
        ([DRAFT | {"id": "Draft 1"}], "steps.0.id: should be 1 to 64 characters .*, was 'Draft 1'"),
        ([DRAFT | {"retries": "once"}], "steps.0.retries: "),
        ([DRAFT, DRAFT], "the id 'draft' is there more than once"),
        ([DRAFT | {"id": "plan"}], "the id 'plan' is one that the hub uses.*'plan-1'"),
        ([DRAFT | {"id": "answer"}], "the id 'answer' is one that the hub uses"),
        ([DRAFT, CHECK | {"depends_on": ["outline"]}], "'check' depends on 'outline', which is no step"),
        ([DRAFT | {"depends_on": ["check"]}, CHECK], "could never start: draft -> check -> draft"),
        ([DRAFT | {"agent": "mallory"}], "steps.0.agent: 'mallory' is none of the agents; expected one of bob, carol"),
        ([DRAFT | {"id": f"s{number}"} for number in range(MAX_STEPS + 1)], f"steps: .*at most {MAX_STEPS}"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused_with_a_reason_to_act_on(result: Any, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        steps_of(result, PLANNER)


ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(max_size=10) | st.sampled_from(["bob", "a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["steps", "id", "task", "agent", "depends_on", "x"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(ANYTHING | st.text(max_size=60))
def test_whatever_a_planner_submits_is_a_plan_that_can_be_run_or_is_refused(result: Any) -> None:
    try:
        steps = steps_of(result, PLANNER)
    except Refused:
        return
    assert checked(steps) == steps
    assert {step.agent for step in steps} <= {"", *PLANNER.agents}


def test_a_planner_is_told_the_task_the_form_of_a_plan_who_is_there_and_what_was_wrong() -> None:
    whole = Plan("Found a company", "planned", "continue", side_by_side(["bob"]), planner=PLANNER)
    first, second = (plan_step(whole, PLANNER, reason) for reason in ("", "steps: missing"))
    assert (first.id, first.agent) == (PLAN_STEP, "pat")
    message = message_of(whole, first)
    assert "<task>\nFound a company\n</task>" in message
    assert '{"steps": [...]}' in message
    assert PLANNER.roster in message
    assert "cannot be run" not in message
    assert message_of(whole, second).startswith(message)
    assert "cannot be run: steps: missing\nSubmit a whole plan again." in message_of(whole, second)


def test_the_example_in_the_question_is_a_plan_itself() -> None:
    text = plan_step(Plan("t", "planned", "continue", (), planner=PLANNER), PLANNER, "").task
    example = next(line for line in text.splitlines() if line.startswith('{"steps": [{"id"'))
    assert [step.id for step in steps_of(example, PLANNER)] == ["draft", "check"]


def test_what_closes_over_a_plan_names_no_step_before_there_is_one() -> None:
    steps = side_by_side(["bob", "carol"])
    plan = Plan("t", "planned", "continue", steps, planner=PLANNER, closing=closing("planned", "erin", ("step-1",)))
    assert PLAN_STEP not in {step.id for step in plan.all_steps}


# Against the services


async def plan_of_pat(network: Network, *agents: str) -> None:
    """A network in which pat makes plans."""
    await network.join("alice", *agents)
    await network.join("pat", capabilities=("Planning",))


async def test_an_agent_that_offers_planning_makes_the_plan(network: Network) -> None:
    await plan_of_pat(network, "bob", "carol")
    waiting = asyncio.create_task(network.collaborate(task="Write a law", context={"for": "Eve"}, wait_s=30))
    planning = await network.receive("pat")
    assert planning["step"] == PLAN_STEP
    assert planning["from"]["agent"] == "alice"
    assert "<task>\nWrite a law\n</task>" in planning["message"]
    assert "- bob (online)" in planning["message"]
    assert "alice" not in planning["message"]
    assert planning["context"] == {"for": "Eve"}
    whole = await network.tool("alice", "get_task", task_id=planning["parent"])
    plan = whole["steps"][0]
    assert (plan["id"], plan["state"], plan["agent"]) == (PLAN_STEP, "working", "pat")

    steps = [DRAFT, {"id": "check", "task": "Check it", "agent": "carol", "depends_on": ["draft"]}]
    await network.submit("pat", planning, f"```json\n{json.dumps({'steps': steps})}\n```")
    draft = await network.serve("bob", "§ 1")
    assert draft["message"] == "Write it"
    assert draft["context"] == {"for": "Eve", "part_of": "Write a law"}
    check = await network.serve("carol", "well said")
    assert check["context"]["input_from"] == {"draft": "§ 1"}
    answer = await waiting
    assert answer["status"] == "completed"
    assert answer["result"]["note"] == "pat made the plan"
    assert {id: part["result"] for id, part in parts(answer["result"]).items()} == {
        "draft": "§ 1",
        "check": "well said",
    }
    whole = await network.tool("alice", "get_task", task_id=planning["parent"])
    assert [(step["id"], step["state"]) for step in whole["steps"]] == [
        (PLAN_STEP, "completed"),
        ("draft", "completed"),
        ("check", "completed"),
    ]


async def test_a_plan_that_is_refused_twice_with_reasons_is_taken_when_it_can_be_run(network: Network) -> None:
    await plan_of_pat(network, "bob", "carol")
    waiting = asyncio.create_task(network.collaborate(task="t", wait_s=30))
    await network.serve("pat", {"steps": [DRAFT | {"agent": "mallory"}]})
    second = await network.receive("pat")
    assert "cannot be run: steps.0.agent: 'mallory' is none of the agents; expected one of " in second["message"]
    assert {"bob", "carol"} <= set(second["message"].split("expected one of ")[1].split(", or")[0].split(", "))
    circle = [DRAFT | {"depends_on": ["check"]}, CHECK]
    await network.submit("pat", second, {"steps": circle})
    third = await network.receive("pat")
    assert "cannot be run: " in third["message"]
    assert "draft -> check -> draft" in third["message"]
    assert "mallory" not in third["message"]
    await network.submit("pat", third, {"steps": [DRAFT]})
    await network.serve("bob", "written")
    answer = await waiting
    assert answer["status"] == "completed"
    assert answer["result"]["note"] == "pat made the plan"
    assert parts(answer["result"]) == {"draft": {"status": "completed", "agent": "bob", "result": "written"}}


async def test_after_the_last_plan_that_cannot_be_run_the_agents_are_asked_all_at_once(network: Network) -> None:
    await plan_of_pat(network, "bob", "carol")
    waiting = asyncio.create_task(network.collaborate(task="t", agents=["bob", "carol", "pat"], wait_s=30))
    for _ in range(MAX_TRIES):
        await network.serve("pat", "I am still thinking")
    await network.serve("bob", "one")
    await network.serve("carol", "two")
    answer = await waiting
    assert answer["status"] == "completed"
    assert [part["step"] for part in answer["result"]["parts"]] == ["step-1", "step-2"]
    assert f"none of its {MAX_TRIES} plans could be run; the last one: it is no JSON object" in answer["result"]["note"]
    assert answer["result"]["note"].endswith("the agents were asked all at once")


@pytest.mark.parametrize("status", ["declined", "failed"])
async def test_when_the_planner_makes_no_plan_the_agents_are_asked_all_at_once(network: Network, status: str) -> None:
    await plan_of_pat(network, "bob", "carol")
    waiting = asyncio.create_task(network.collaborate(task="How?", agents=["bob", "carol", "pat"], wait_s=30))
    await network.serve("pat", "not my field", status=status)
    for name in ("bob", "carol"):
        task = await network.serve(name, f"{name} knows")
        assert task["message"].startswith("How?\n\n(You are one of 2 agents")
    answer = await waiting
    assert answer["status"] == "completed"
    assert "not my field" in answer["result"]["note"]
    assert answer["result"]["note"].startswith("pat was asked for a plan and gave none (")
    assert {part["agent"] for part in answer["result"]["parts"]} == {"bob", "carol"}


async def test_a_plan_may_only_name_whom_the_requester_named(network: Network) -> None:
    await plan_of_pat(network, "bob", "carol", "dave")
    begun = await network.collaborate(task="t", agents=["bob", "carol", "pat"], wait_s=0)
    first = await network.serve("pat", {"steps": [DRAFT | {"agent": "dave"}]})
    assert "- dave" not in first["message"]
    second = await network.receive("pat")
    assert "'dave' is none of the agents; expected one of bob, carol, pat, or" in second["message"]
    await network.submit("pat", second, {"steps": [DRAFT]})
    await network.serve("bob", "done")
    assert (await network.ended(begun["task_id"]))["state"] == "completed"


async def test_of_a_plan_the_parts_that_nothing_depends_on_go_to_the_synthesizer(network: Network) -> None:
    await plan_of_pat(network, "bob", "carol", "erin")
    begun = await network.collaborate(task="t", synthesizer="erin", wait_s=0)
    steps = [DRAFT, {"id": "x", "task": "x", "agent": "carol", "depends_on": ["draft"]}, DRAFT | {"id": "y"}]
    await network.serve("pat", {"steps": steps})
    for _ in range(2):
        await network.serve("bob", lambda task: task["step"])
    await network.serve("carol", "x")
    closing_task = await network.serve("erin", "all in all")
    assert closing_task["context"]["input_from"] == {"x": "x", "y": "y"}
    assert (await network.ended(begun["task_id"]))["result"]["answer"] == "all in all"


async def test_a_plan_needs_as_many_ends_as_results_are_wanted(network: Network) -> None:
    await plan_of_pat(network, "bob", "carol")
    begun = await network.collaborate(task="t", agents=["bob", "carol", "pat"], quorum=2, wait_s=0)
    await network.serve("pat", {"steps": [DRAFT]})
    second = await network.receive("pat")
    assert (
        "2 results are wanted; expected at least so many steps that no other step depends on, these were draft"
        in (second["message"])
    )
    await network.submit("pat", second, {"steps": [DRAFT, DRAFT | {"id": "too", "agent": "carol"}]})
    await network.serve("bob", "one")
    await network.serve("carol", "two")
    assert (await network.ended(begun["task_id"]))["state"] == "completed"


async def test_a_question_of_the_planner_reaches_the_requester(network: Network) -> None:
    await plan_of_pat(network, "bob")
    waiting = asyncio.create_task(network.collaborate(task="t", agents=["bob", "pat"], wait_s=30))
    planning = await network.receive("pat")
    await network.ask("pat", planning, "By when?")
    answer = await waiting
    assert answer["status"] == "input_required"
    assert [(step["id"], step["question"]) for step in answer["steps"]] == [(PLAN_STEP, "By when?")]
    await network.tool("alice", "answer_task", task_id=answer["task_id"], answer="tomorrow")
    again = await network.receive("pat")
    assert again["questions"][0]["answer"] == "tomorrow"
    await network.submit("pat", again, {"steps": [DRAFT]})
    await network.serve("bob", "done")
    assert (await network.ended(answer["task_id"]))["state"] == "completed"


async def test_cancelling_while_the_plan_is_made_ends_that_too(network: Network) -> None:
    await plan_of_pat(network, "bob")
    begun = await network.collaborate(task="t", agents=["bob", "pat"], wait_s=0)
    planning = await network.receive("pat")
    await network.tool("alice", "cancel_task", task_id=begun["task_id"])
    assert (await network.ended(planning["task_id"]))["state"] == "cancelled"
    assert (await network.tool("bob", "receive_tasks"))["tasks"] == []


@pytest.mark.parametrize("arguments", [{"agents": ["bob"], "pattern": "parallel"}, {"steps": [DRAFT]}])
async def test_nobody_plans_where_the_requester_has_said_how_it_is_to_be_done(
    network: Network, arguments: dict[str, Any]
) -> None:
    await plan_of_pat(network, "bob")
    begun = await network.collaborate(task="t", wait_s=0, **arguments)
    await network.serve("bob", "done")
    answer = await network.ended(begun["task_id"])
    assert answer["state"] == "completed"
    assert "note" not in answer["result"]
    assert (await network.tool("pat", "receive_tasks"))["tasks"] == []


async def test_who_asks_does_not_plan_for_itself(network: Network) -> None:
    await plan_of_pat(network, "bob")
    begun = await network.collaborate("pat", task="t", agents=["bob"], wait_s=0)
    await network.serve("bob", "done")
    assert (await network.ended(begun["task_id"], "pat"))["state"] == "completed"


async def test_who_asked_sees_the_tasks_of_the_plan_that_was_made(network: Network) -> None:
    await network.join("alice", "bob")
    await network.join("pat", capabilities=("planning",))
    waiting = asyncio.create_task(network.collaborate(task="The whole", wait_s=30))
    await network.serve("pat", {"steps": [{"id": "draft", "task": "Write a draft", "agent": "bob"}]})
    await network.serve("bob", "a draft")
    assert {"step": "draft", "agent": "bob", "task": "Write a draft"} in (await waiting)["assignments"]


@pytest.mark.parametrize("text", ["```" + "\n" * 130_000, "[" * 100_000, '{"a":' * 40_000, "```json\n" * 20_000])
def test_a_hostile_text_is_refused_at_once(text: str) -> None:
    began = time.process_time()
    with pytest.raises(Refused):
        steps_of(text, PLANNER)
    assert time.process_time() - began < 1
