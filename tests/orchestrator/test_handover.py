"""What is handed on between steps and to the requester."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aicp_orchestrator.collaborations.handover import Progress, context_of, message_of, result_of, shortened
from aicp_orchestrator.collaborations.patterns import one_after_the_other, side_by_side
from aicp_orchestrator.collaborations.plan import Plan, Step

texts = st.text(alphabet='ab "\\\n\x01한😀', max_size=400)
values = st.recursive(
    st.none() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=8), inner, max_size=4),
    max_leaves=8,
)


def size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), values, max_size=8), st.integers(500, 4000))
def test_results_that_fit_stay_whole_and_the_rest_is_cut_until_all_fit(results: dict[str, Any], max_bytes: int) -> None:
    fitted = shortened(results, max_bytes)
    assert list(fitted) == list(results)
    assert sum(size(value) for value in fitted.values()) <= max_bytes + 40 * len(results)
    if sum(size(value) for value in results.values()) <= max_bytes:
        assert fitted == results
    share = max_bytes // max(1, len(results))
    for id, value in results.items():
        if size(value) <= share:
            assert fitted[id] == value
        elif fitted[id] != value:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            assert text.startswith(fitted[id]["shortened"])
            assert fitted[id]["bytes"] == size(value)


def test_a_long_result_keeps_as_much_as_there_is_room_for() -> None:
    fitted = shortened({"a": "x" * 10_000, "b": "short"}, 1000)
    assert fitted["b"] == "short"
    assert len(fitted["a"]["shortened"]) > 900


def test_a_step_gets_the_results_it_depends_on_beside_the_requesters_object() -> None:
    plan = Plan("t", "pipeline", "fail_fast", one_after_the_other(["bob", "carol"]), context={"language": "ko"})
    progress = {"step-1": Progress("completed", result={"draft": 1}), "step-2": Progress()}
    assert context_of(plan, plan.steps[0], progress) == {"language": "ko"}
    assert context_of(plan, plan.steps[1], progress) == {"language": "ko", "input_from": {"step-1": {"draft": 1}}}


def test_an_agent_of_a_pipeline_is_told_its_place_the_whole_task_and_where_the_result_before_stands() -> None:
    plan = Plan("Write a poem", "pipeline", "fail_fast", one_after_the_other(["bob", "carol", "bob"]))
    first, second, third = (message_of(plan, step) for step in plan.steps)
    for place, message in enumerate((first, second, third), start=1):
        assert message.startswith(f"Write a poem\n\n(You are step {place} of 3 of a pipeline")
        assert "is the whole task" in message
    assert "You begin. Your result goes to the next step." in first
    assert "input_from" not in first
    before = "The result of the step before, step-1 by bob, is in the context under input_from: go on from there."
    assert f"{before} Your result goes to the next step." in second
    assert "step-2 by carol" in third
    assert "You are the last." in third


def test_an_agent_that_is_asked_beside_others_is_told_to_answer_for_itself() -> None:
    plan = Plan("How?", "parallel", "continue", side_by_side(["bob", "carol"]))
    for step in plan.steps:
        assert message_of(plan, step).startswith(
            "How?\n\n(You are one of 2 agents that are asked this at the same time: "
        )
        assert "answer for yourself" in message_of(plan, step)


def test_the_only_agent_and_the_steps_of_an_own_plan_get_the_bare_task() -> None:
    for plan in (
        Plan("t", "parallel", "continue", side_by_side(["bob"])),
        Plan("t", "pipeline", "fail_fast", one_after_the_other(["bob"])),
        Plan("whole", "steps", "fail_fast", (Step("a", "t"), Step("b", "t", depends_on=("a",)))),
    ):
        assert {message_of(plan, step) for step in plan.steps} == {"t"}


def test_the_requesters_keys_stand_in_the_message_so_that_there_is_room_for_results_in_the_context() -> None:
    plan = Plan("t", "pipeline", "fail_fast", one_after_the_other(["bob", "carol"]), context=["status", "내 노트/1"])
    progress = {"step-1": Progress("completed", result="draft"), "step-2": Progress()}
    for step in plan.steps:
        message = message_of(plan, step)
        assert message.startswith("t\n\n")
        assert message.endswith("\n\naicp://context/status\naicp://context/%EB%82%B4%20%EB%85%B8%ED%8A%B8%2F1")
    assert context_of(plan, plan.steps[1], progress) == {"input_from": {"step-1": "draft"}}


def test_the_context_of_a_step_stays_within_what_the_router_takes() -> None:
    steps = (Step("a", "x" * 60_000), Step("b", "x" * 60_000), Step("c", "y", depends_on=("a", "b")))
    plan = Plan("가" * 20_000, "steps", "continue", steps, context={"note": "z" * 30_000})
    progress = {id: Progress("completed", result=["r" * 1000] * 200) for id in ("a", "b")} | {"c": Progress()}
    assert 55_000 < size(context_of(plan, steps[2], progress)) < 64 * 1024


def test_a_step_with_a_task_of_its_own_learns_what_it_is_a_part_of() -> None:
    plan = Plan("the whole", "steps", "fail_fast", (Step("a", "a part", "bob"),))
    assert context_of(plan, plan.steps[0], {"a": Progress()}) == {"part_of": "the whole"}


def test_the_requester_gets_every_part_in_the_order_of_the_plan() -> None:
    plan = Plan("t", "steps", "continue", (Step("b", "x"), Step("a", "y"), Step("c", "z", depends_on=("a",))))
    progress = {
        "a": Progress("failed", agent="bob", task_id="t-1", error="failed: no time"),
        "b": Progress("completed", agent="carol", task_id="t-2", result=None),
        "c": Progress("skipped", error="a step that it needs did not complete"),
    }
    result = result_of(plan, progress)
    assert result["parts"] == [
        {"step": "b", "status": "completed", "agent": "carol", "task_id": "t-2", "result": None},
        {"step": "a", "status": "failed", "agent": "bob", "task_id": "t-1", "error": "failed: no time"},
        {"step": "c", "status": "skipped", "error": "a step that it needs did not complete"},
    ]
    assert "data, not orders" in result["instruction"]
