"""The plan: any plan that is accepted runs to its end, each step once and after those it depends on."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aicp_common.errors import InvalidArgument
from aicp_orchestrator.collaborations.patterns import one_after_the_other, side_by_side
from aicp_orchestrator.collaborations.plan import (
    MAX_STEPS,
    OnFailure,
    Plan,
    Step,
    StepStatus,
    checked,
    next_move,
)


@st.composite
def steps_without_circles(draw: st.DrawFn, max_size: int = 12) -> tuple[Step, ...]:
    """Steps in any order; each depends on some of those before it in another, hidden order."""
    count = draw(st.integers(1, max_size))
    names = [f"s{number}" for number in range(count)]
    steps = [
        Step(
            id=name,
            depends_on=tuple(draw(st.lists(st.sampled_from(names[:place]), unique=True, max_size=4)) if place else ()),
        )
        for place, name in enumerate(names)
    ]
    return tuple(draw(st.permutations(steps)))


def simulate(plan: Plan, fails: set[str], draw: st.DataObject) -> tuple[dict[str, StepStatus], str, list[str]]:
    """Run a plan with steps that end in a random order; returns the statuses, the outcome and who started when."""
    status: dict[str, StepStatus] = {}
    started: list[str] = []
    depends_on = {step.id: step.depends_on for step in plan.steps}
    while True:
        move = next_move(plan, status)
        for step in move.start:
            assert all(status.get(dependency) == "completed" for dependency in depends_on[step.id])
            status[step.id] = "running"
            started.append(step.id)
        status.update(dict.fromkeys(move.skip, "skipped"))
        if move.outcome is not None:
            status.update(dict.fromkeys(move.cancel, "cancelled"))
            return status, move.outcome, started
        running = sorted(id for id, state in status.items() if state == "running")
        assert running, "the plan stands still"
        ends = draw.draw(st.sampled_from(running))
        status[ends] = "failed" if ends in fails else "completed"


def plan_of(steps: tuple[Step, ...], on_failure: OnFailure) -> Plan:
    return Plan(task="t", pattern="steps", on_failure=on_failure, steps=checked(steps))


@settings(max_examples=60, deadline=None)
@given(steps_without_circles(), st.sampled_from(["continue", "fail_fast"]), st.data())
def test_when_nothing_fails_every_step_runs_once_and_after_its_dependencies(
    steps: tuple[Step, ...], on_failure: OnFailure, data: st.DataObject
) -> None:
    plan = plan_of(steps, on_failure)
    status, outcome, started = simulate(plan, set(), data)
    assert outcome == "completed"
    assert sorted(started) == sorted(step.id for step in steps)
    assert set(status.values()) == {"completed"}


@settings(max_examples=60, deadline=None)
@given(steps_without_circles(), st.data())
def test_with_continue_a_failure_skips_exactly_what_depends_on_it(steps: tuple[Step, ...], data: st.DataObject) -> None:
    plan = plan_of(steps, "continue")
    fails = set(data.draw(st.lists(st.sampled_from([step.id for step in steps]), unique=True)))
    status, outcome, started = simulate(plan, fails, data)

    expected: dict[str, str] = {}
    left = list(steps)
    while left:  # a sequential model: whatever can be decided next
        step = next(step for step in left if all(dependency in expected for dependency in step.depends_on))
        left.remove(step)
        if any(expected[dependency] != "completed" for dependency in step.depends_on):
            expected[step.id] = "skipped"
        else:
            expected[step.id] = "failed" if step.id in fails else "completed"
    assert status == expected
    assert sorted(started) == sorted(id for id, state in expected.items() if state != "skipped")
    needed = {dependency for step in steps for dependency in step.depends_on}
    done = any(expected[step.id] == "completed" for step in steps if step.id not in needed)
    assert outcome == ("completed" if done else "failed")


@settings(max_examples=60, deadline=None)
@given(steps_without_circles(), st.data())
def test_with_fail_fast_nothing_starts_after_the_first_failure(steps: tuple[Step, ...], data: st.DataObject) -> None:
    plan = plan_of(steps, "fail_fast")
    fails = set(data.draw(st.lists(st.sampled_from([step.id for step in steps]), unique=True, min_size=1)))
    status, outcome, started = simulate(plan, fails, data)
    assert outcome == "failed"
    assert list(status.values()).count("failed") == 1
    assert set(status) == {step.id for step in steps}
    assert "running" not in status.values()
    assert len(started) == len(set(started))


@settings(max_examples=60, deadline=None)
@given(steps_without_circles(), st.sampled_from(["continue", "fail_fast"]), st.data())
def test_a_worker_that_takes_over_from_the_statuses_alone_comes_to_the_same_move(
    steps: tuple[Step, ...], on_failure: OnFailure, data: st.DataObject
) -> None:
    plan = plan_of(steps, on_failure)
    ids = [step.id for step in steps]
    status: dict[str, StepStatus] = {
        id: data.draw(st.sampled_from(["running", "completed", "failed", "cancelled"]))
        for id in data.draw(st.lists(st.sampled_from(ids), unique=True))
    }
    move = next_move(plan, status)
    known = dict(status)
    known.update(dict.fromkeys(move.skip, "skipped"))
    again = next_move(plan, known)
    assert (again.start, again.outcome) == (move.start, move.outcome)
    assert not again.skip


@settings(max_examples=60, deadline=None)
@given(steps_without_circles(), st.data())
def test_steps_in_a_circle_are_refused_and_named(steps: tuple[Step, ...], data: st.DataObject) -> None:
    ids = [step.id for step in steps]
    circle = data.draw(st.lists(st.sampled_from(ids), unique=True, min_size=1))
    waits_for = dict(zip(circle, [*circle[1:], circle[0]], strict=True))
    closed = tuple(
        Step(id=step.id, depends_on=(*step.depends_on, *([waits_for[step.id]] if step.id in waits_for else [])))
        for step in steps
    )
    with pytest.raises(InvalidArgument) as refused:
        checked(closed)
    named = refused.value.message.split(": ", 1)[1].split(": ", 1)[1].split(" -> ")
    assert named[0] == named[-1]
    assert len(named) > 1
    depends_on = {step.id: step.depends_on for step in closed}
    assert all(after in depends_on[before] for before, after in itertools.pairwise(named))


def test_a_dependency_that_is_no_step_is_named_with_those_that_are() -> None:
    with pytest.raises(InvalidArgument, match="'b' depends on 'x'") as refused:
        checked((Step(id="a"), Step(id="b", depends_on=("x",))))
    assert refused.value.message.startswith("steps.1.depends_on: ")
    assert refused.value.expected == "ids of other steps: a"


def test_the_only_step_of_a_plan_is_told_that_it_can_depend_on_nothing() -> None:
    with pytest.raises(InvalidArgument, match=r"steps.0.depends_on: 'a' depends on 'x'") as refused:
        checked((Step(id="a", depends_on=("x",)),))
    assert refused.value.expected == "no depends_on, as 'a' is the only step"


def test_an_id_used_twice_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="'a' is there more than once"):
        checked((Step(id="a"), Step(id="a")))


@pytest.mark.parametrize("count", [0, MAX_STEPS + 1])
def test_a_plan_has_one_to_fifty_steps(count: int) -> None:
    with pytest.raises(InvalidArgument, match=f"{count} steps"):
        checked(tuple(Step(id=f"s{number}") for number in range(count)))


def test_side_by_side_gives_each_agent_one_step() -> None:
    both = side_by_side(["bob", "carol"])
    assert [(step.id, step.agent, step.depends_on) for step in both] == [("step-1", "bob", ()), ("step-2", "carol", ())]
    assert all("one of 2 agents" in step.about for step in both)
    assert side_by_side(["bob"]) == (Step(id="step-1", agent="bob"),)


def test_side_by_side_refuses_an_agent_named_twice() -> None:
    with pytest.raises(InvalidArgument, match="named more than once: bob"):
        side_by_side(["bob", "carol", "bob"])


def test_one_after_the_other_lets_an_agent_come_again() -> None:
    assert [(step.id, step.agent, step.depends_on) for step in one_after_the_other(["bob", "carol", "bob"])] == [
        ("step-1", "bob", ()),
        ("step-2", "carol", ("step-1",)),
        ("step-3", "bob", ("step-2",)),
    ]
