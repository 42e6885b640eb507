"""What became of a scenario, held against what the model says and against what its agents saw."""

from typing import Any

from aicp_orchestrator.collaborations.plan import CLOSING_STEP, Step
from tests.orchestrator.scenario import Scenario, expected, run_of
from tests.orchestrator.seen import Delivery, Seen


def check(
    scenario: Scenario, seen: Seen, whole: dict[str, Any], tasks: list[dict[str, Any]], *, steady: bool = True
) -> None:
    """Hold everything against everything.

    Args:
        scenario: What was to happen.
        seen: What its agents saw.
        whole: The collaboration once it has ended.
        tasks: Of its steps, each once it has ended.
        steady: Only the orchestrator was killed: no agent was asked twice for want of a router.
    """
    model = expected(scenario)
    assert whole["state"] == model.state, whole.get("result")
    parts = whole["result"]["parts"]
    # Each step once, in the order of the plan.
    assert [part["step"] for part in parts] == [step.id for step in scenario.plan.all_steps]
    by_step = {part["step"]: part for part in parts}
    became = {id: part["status"] for id, part in by_step.items()}
    surprising = {id: status for id, status in became.items() if status not in model.statuses[id]}
    assert surprising == {}, model.statuses
    assert sum(became[id] == "completed" for id in scenario.plan.targets) >= model.least
    assert "failed" in became.values() or not model.some_failed
    _closing(scenario, seen, whole, model.closes_over, by_step)
    for step in scenario.plan.all_steps:
        _step(scenario, seen, step, by_step[step.id], [task for task in tasks if task["step"] == step.id])
        if steady:
            _elsewhere(scenario, step, by_step[step.id], seen.deliveries.get(step.id, []))


def _closing(
    scenario: Scenario,
    seen: Seen,
    whole: dict[str, Any],
    over: frozenset[str] | None,
    parts: dict[str, dict[str, Any]],
) -> None:
    """The closing step gets the results that there are, and what it makes of them is the answer."""
    if scenario.plan.closing is None or parts[CLOSING_STEP]["status"] == "skipped":
        assert CLOSING_STEP not in seen.deliveries
        return
    assert ("answer" in whole["result"]) == (parts[CLOSING_STEP]["status"] == "completed")
    if "answer" in whole["result"]:
        assert whole["result"]["answer"] == seen.results[CLOSING_STEP][0][1]
    before: set[str] = set()
    for delivery in seen.deliveries[CLOSING_STEP]:
        assert delivery.fed is not None
        if over is None:
            assert len(delivery.fed) >= scenario.plan.quorum
            # Whoever takes over from a worker that died before it called off the rest may find more of it completed.
            assert before <= delivery.fed.keys() <= set(scenario.plan.targets)
        else:
            assert delivery.fed.keys() == over
        assert delivery.fed == {id: seen.results[id][0][1] for id in delivery.fed}
        before = set(delivery.fed)


def _step(scenario: Scenario, seen: Seen, step: Step, part: dict[str, Any], tasks: list[dict[str, Any]]) -> None:
    """A step was done once, with the results of those that it is fed by, and its own is the one in the parts."""
    deliveries, results = seen.deliveries.get(step.id, []), seen.results.get(step.id, [])
    assert len(results) <= 1, f"{step.id} completed more than once"
    claims = [(delivery.task_id, delivery.attempt) for delivery in deliveries]
    assert len(set(claims)) == len(claims), f"an attempt of {step.id} was handed out twice"
    made = seen.tries(step.id)
    assert set(made) <= {task["task_id"] for task in tasks}
    if results:
        # Whoever was asked after that was asked for nothing.
        assert deliveries[-1].task_id == results[0][0]
    if step.id != CLOSING_STEP:
        for delivery in deliveries:
            assert (delivery.fed or {}) == {id: seen.results[id][0][1] for id in step.fed_by if seen.results.get(id)}
    run = run_of(scenario, step)
    if part["status"] in ("completed", "failed"):
        assert part["status"] == ("completed" if run.completed else "failed")
        assert (len(tasks), len(made)) == (run.tries, run.tries)
        assert part.get("tries", 1) == run.tries
        assert (part["task_id"], part["agent"]) == (deliveries[-1].task_id, deliveries[-1].agent)
        assert [task["state"] for task in sorted(tasks, key=lambda task: made.index(task["task_id"]))] == [
            *["failed"] * (run.tries - run.completed),
            *["completed"] * run.completed,
        ]
    else:
        assert len(tasks) <= run.tries
    if part["status"] == "skipped":
        assert "task_id" not in part
    if step.id != CLOSING_STEP and part["status"] == "completed":
        assert part["result"] == results[0][1]
    else:
        assert "result" not in part


def _elsewhere(scenario: Scenario, step: Step, part: dict[str, Any], deliveries: list[Delivery]) -> None:
    """Nobody is asked more often than needed; who has failed is not asked again, and one task goes to nobody twice."""
    needed = run_of(scenario, step).deliveries
    assert len(deliveries) == needed if part["status"] in ("completed", "failed") else len(deliveries) <= needed
    failed: set[str] = set()
    last: dict[str, str] = {}
    held: dict[str, set[str]] = {}
    for delivery in deliveries:
        for task_id, agent in last.items():
            if task_id != delivery.task_id:
                failed.add(agent)
        assert delivery.agent not in failed
        assert delivery.agent not in held.setdefault(delivery.task_id, set())
        held[delivery.task_id].add(delivery.agent)
        last[delivery.task_id] = delivery.agent
