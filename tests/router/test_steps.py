"""Many steps at once: read together, kept together, and shown with the whole."""

import json
from typing import Any

import pytest

from aicp_router.tasks.steps import MAX_READ, MAX_RESULTS_BYTES, MAX_SHOWN_BYTES, StepTask
from tests.router.conftest import Network, refused
from tests.router.test_collaboration import opened

PLAN: dict[str, Any] = {
    "steps": [
        {"id": "draft", "agent": "bob", "task": "x"},
        {"id": "check", "depends_on": ["draft"], "timeout_s": 5},
    ],
    "closing": {"id": "answer", "agent": "erin", "depends_on": ["draft", "check"]},
}


async def step(net: Network, whole: dict[str, Any], name: str = "a", agent: str = "bob", **more: Any) -> str:
    """Open a step; the id of its task."""
    made = await net.method(
        "alice", "create_task", message="part", agent=agent, parent=whole["task_id"], step=name, **more
    )
    task_id: str = made["task_id"]
    return task_id


async def planned(net: Network, plan: Any) -> dict[str, Any]:
    """A collaboration with a plan, that an orchestrator has claimed."""
    made = await net.method("alice", "create_task", message="build it", kind="collaboration", input=plan)
    task = await net.claim("orchestrator")
    assert task["task_id"] == made["task_id"]
    return task


async def read(net: Network, **which: Any) -> list[StepTask]:
    """What read_steps answers."""
    return [StepTask(*row) for row in (await net.method("orchestrator", "read_steps", **which))["tasks"]]


async def shown(net: Network, task_id: str, agent: str = "alice") -> list[dict[str, Any]]:
    """The steps that get_task shows."""
    steps: list[dict[str, Any]] = (await net.get(agent, task_id))["steps"]
    return steps


# read_steps


async def test_the_steps_of_a_collaboration_are_read_in_the_order_in_which_they_were_made(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=100)
    whole = await opened(net)
    ids = [await step(net, whole, f"s{number}") for number in range(12)]
    done = await net.claim("bob")
    await net.submit("bob", done, {"made": 1})
    found = await read(net, parent=whole["task_id"])
    assert [(task.task_id, task.step) for task in sorted(found, key=lambda task: ids.index(task.task_id))] == [
        (id, f"s{number}") for number, id in enumerate(ids)
    ]
    assert [task.created_ms for task in found] == sorted(task.created_ms for task in found)
    first = next(task for task in found if task.task_id == done["task_id"])
    assert (first.state, first.agent, first.attempt) == ("completed", "bob", 1)
    assert (json.loads(first.result), first.result_bytes) == ({"made": 1}, len(first.result))
    assert first.created_ms <= first.claimed_ms <= first.ended_ms
    other = next(task for task in found if task.task_id != done["task_id"])
    assert (other.state, other.attempt, other.claimed_ms, other.ended_ms) == ("submitted", 0, 0, 0)
    assert (other.result, other.result_bytes, other.error_code, other.question) == ("", 0, "", "")


async def test_a_collaboration_without_steps_or_that_is_not_there_has_none(net: Network) -> None:
    whole = await opened(net)
    assert await read(net, parent=whole["task_id"]) == []
    assert await read(net, parent="t-none") == []
    assert await read(net) == []


async def test_tasks_are_read_by_their_ids_and_those_that_are_gone_have_no_state(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=10)
    whole = await opened(net)
    ids = [await step(net, whole, name) for name in ("a", "b")]
    found = {task.task_id: task for task in await read(net, task_ids=[*ids, "t-gone"])}
    assert {id: task.state for id, task in found.items()} == {ids[0]: "submitted", ids[1]: "submitted", "t-gone": ""}


async def test_settled_are_those_that_have_ended_ask_something_or_are_gone(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=10)
    whole = await opened(net)
    ids = {name: await step(net, whole, name) for name in ("ended", "asks", "works", "waits")}
    for name in ("ended", "asks", "works"):
        task = await net.claim("bob")
        assert task["step"] == name
        if name == "ended":
            await net.submit("bob", task, "no", status="failed")
        elif name == "asks":
            await net.tool("bob", "update_task", task_id=task["task_id"], attempt=task["attempt"], question="Which?")
    found = {task.task_id: task for task in await read(net, task_ids=[*ids.values(), "t-gone"], settled=True)}
    assert set(found) == {ids["ended"], ids["asks"], "t-gone"}
    assert (found[ids["asks"]].state, found[ids["asks"]].question) == ("input_required", "Which?")
    assert (found[ids["ended"]].state, found[ids["ended"]].error_code) == ("failed", "failed")
    assert {task.step for task in await read(net, parent=whole["task_id"], settled=True)} == {"ended", "asks"}


async def test_results_that_do_not_fit_together_are_left_out_and_read_one_by_one(net: Network) -> None:
    await net.register("bob", "work", max_concurrency=10)
    whole = await opened(net)
    ids = [await step(net, whole, name) for name in ("a", "b", "c")]
    size = MAX_RESULTS_BYTES // 2 - 2
    for _ in ids:
        await net.submit("bob", await net.claim("bob"), "x" * size)
    found = await read(net, task_ids=ids)
    assert [task.result_bytes for task in found] == [size + 2] * 3
    assert sorted(len(task.result) for task in found) == [0, size + 2, size + 2]
    (left_out,) = [task for task in found if not task.result]
    (alone,) = await read(net, task_ids=[left_out.task_id])
    assert len(alone.result) == size + 2


async def test_nobody_reads_the_steps_of_another_tenant(net: Network) -> None:
    await net.register("bob", "work")
    whole = await opened(net)
    id = await step(net, whole)
    stranger = Network(net.bus, f"{net.tenant}x")
    assert await read(stranger, parent=whole["task_id"]) == []
    assert [task.state for task in await read(stranger, task_ids=[id])] == [""]
    assert (await stranger.method("orchestrator", "keep_tasks", tasks=[{"task_id": id, "attempt": 1}]))["lost"] == [id]


async def test_one_call_reads_a_bounded_number_of_tasks(net: Network) -> None:
    assert len(await read(net, task_ids=[f"t-{number}" for number in range(MAX_READ)])) == MAX_READ
    too_many = [f"t-{number}" for number in range(MAX_READ + 1)]
    assert (await refused(read(net, task_ids=too_many))).code == "invalid_argument"


# keep_tasks


async def test_keeping_extends_the_leases_of_all_that_are_held_and_names_those_that_are_lost(net: Network) -> None:
    kept, cancelled = await opened(net, lease_s=3600), await opened(net, lease_s=3600)
    await net.tool("alice", "cancel_task", task_id=cancelled["task_id"])
    before = (await net.get("alice", kept["task_id"]))["lease_until"]
    held = [{"task_id": task["task_id"], "attempt": task["attempt"]} for task in (kept, cancelled)]
    held.append({"task_id": "t-gone", "attempt": 1})
    lost = (await net.method("orchestrator", "keep_tasks", tasks=held))["lost"]
    assert lost == [cancelled["task_id"], "t-gone"]
    assert (await net.get("alice", kept["task_id"]))["lease_until"] > before


async def test_an_older_attempt_and_another_agent_keep_nothing(net: Network) -> None:
    await opened(net, lease_s=0.3)
    # Its lease lapses, and another worker has it.
    again = await net.claim("orchestrator")
    assert again["attempt"] == 2
    old = {"task_id": again["task_id"], "attempt": 1}
    assert (await net.method("orchestrator", "keep_tasks", tasks=[old]))["lost"] == [again["task_id"]]
    mine = {"task_id": again["task_id"], "attempt": 2}
    assert (await net.method("statehub", "keep_tasks", tasks=[mine]))["lost"] == [again["task_id"]]


async def test_what_is_kept_outlives_its_lease_and_what_is_not_goes_to_another_worker(net: Network) -> None:
    whole = await opened(net, lease_s=1)
    other = await opened(net, lease_s=1)
    held = [{"task_id": whole["task_id"], "attempt": 1}]
    lost: list[str] = []
    while (await net.get("alice", other["task_id"]))["attempt"] == 1:
        lost += (await net.method("orchestrator", "keep_tasks", tasks=held))["lost"]
        again = (await net.tool("orchestrator", "receive_tasks", wait_s=0.2))["tasks"]
        assert {task["task_id"] for task in again} <= {other["task_id"]}
    assert lost == []
    assert (await net.get("alice", whole["task_id"]))["attempt"] == 1


# record_input


async def test_a_plan_that_is_recorded_is_what_the_next_worker_gets(net: Network) -> None:
    task = await opened(net, lease_s=0.5)
    recorded = await net.method(
        "orchestrator", "record_input", task_id=task["task_id"], attempt=task["attempt"], input=PLAN
    )
    assert recorded == {"held": True}
    again = await net.claim("orchestrator")
    assert (again["task_id"], again["attempt"], again["input"]) == (task["task_id"], 2, PLAN)


async def test_only_who_holds_it_now_records_a_plan(net: Network) -> None:
    task = await planned(net, PLAN)
    for agent, task_id, attempt in (
        ("statehub", task["task_id"], 1),
        ("orchestrator", task["task_id"], 2),
        ("orchestrator", "t-gone", 1),
    ):
        answer = await net.method(agent, "record_input", task_id=task_id, attempt=attempt, input={"steps": []})
        assert answer == {"held": False}
    assert [one["id"] for one in await shown(net, task["task_id"])] == ["draft", "check", "answer"]
    await net.tool("alice", "cancel_task", task_id=task["task_id"])
    answer = await net.method("orchestrator", "record_input", task_id=task["task_id"], attempt=1, input=PLAN)
    assert answer == {"held": False}


async def test_a_plan_that_is_too_large_is_not_recorded(net: Network) -> None:
    task = await planned(net, PLAN)
    call = net.method("orchestrator", "record_input", task_id=task["task_id"], attempt=1, input="x" * 300_000)
    assert (await refused(call)).code == "too_large"
    assert len(await shown(net, task["task_id"])) == 3


# `steps` of get_task


async def test_steps_are_shown_in_the_order_of_the_plan_those_without_a_task_too(net: Network) -> None:
    await net.register("bob", "work")
    await net.register("carol", "work")
    whole = await planned(net, PLAN)
    assert await shown(net, whole["task_id"]) == [
        {"id": "draft", "state": "waiting", "agent": "bob", "tries": 0},
        {"id": "check", "state": "waiting", "tries": 0, "depends_on": ["draft"]},
        {"id": "answer", "state": "waiting", "agent": "erin", "tries": 0, "depends_on": ["draft", "check"]},
    ]
    draft = await step(net, whole, "draft")
    check = await step(net, whole, "check", "carol")
    task = await net.claim("bob")
    await net.submit("bob", task, {"pages": [1, 2]})
    first, second, third = await shown(net, whole["task_id"])
    assert (first["state"], first["task_id"], first["output"]) == ("completed", draft, {"pages": [1, 2]})
    assert first["created"] <= first["claimed"] <= first["ended"]
    assert {"output_bytes", "error", "question", "depends_on"}.isdisjoint(first)
    assert (second["state"], second["task_id"], second["agent"]) == ("submitted", check, "carol")
    assert second["depends_on"] == ["draft"]
    assert {"claimed", "ended", "output"}.isdisjoint(second)
    assert (third["id"], third["state"]) == ("answer", "waiting")


async def test_what_was_done_before_there_was_a_plan_is_shown_before_it(net: Network) -> None:
    await net.register("pat", "plans")
    await net.register("bob", "work")
    whole = await planned(net, PLAN)
    await step(net, whole, "plan", "pat")
    await step(net, whole, "draft")
    assert [one["id"] for one in await shown(net, whole["task_id"])] == ["plan", "draft", "check", "answer"]


async def test_of_a_step_that_was_tried_again_the_last_task_is_shown(net: Network) -> None:
    for agent in ("bob", "carol"):
        await net.register(agent, "work")
    whole = await planned(net, PLAN)
    await step(net, whole, "draft")
    await net.submit("bob", await net.claim("bob"), "no time", status="failed")
    (first, *_) = await shown(net, whole["task_id"])
    assert (first["state"], first["tries"], first["agent"]) == ("failed", 1, "bob")
    assert first["error"]["code"] == "failed"
    again = await step(net, whole, "draft", "carol")
    (first, *_) = await shown(net, whole["task_id"])
    assert (first["state"], first["tries"], first["agent"], first["task_id"]) == ("submitted", 2, "carol", again)
    assert "error" not in first


async def test_when_the_whole_is_over_what_never_began_is_skipped(net: Network) -> None:
    await net.register("bob", "work")
    whole = await planned(net, PLAN)
    await step(net, whole, "draft")
    await net.submit("bob", await net.claim("bob"), "done")
    await net.submit("orchestrator", whole, "enough")
    states = [one["state"] for one in await shown(net, whole["task_id"])]
    assert states == ["completed", "skipped", "skipped"]


async def test_a_question_is_shown_while_it_is_open(net: Network) -> None:
    await net.register("bob", "work")
    whole = await planned(net, PLAN)
    await step(net, whole, "draft")
    task = await net.claim("bob")
    await net.tool("bob", "update_task", task_id=task["task_id"], attempt=1, question="Which? " + "x" * 1000)
    (first, *_) = await shown(net, whole["task_id"])
    assert first["state"] == "input_required"
    assert first["question"].startswith("Which? x")
    assert len(first["question"]) == 300
    await net.tool("alice", "cancel_task", task_id=whole["task_id"])
    first = (await shown(net, whole["task_id"]))[0]
    assert first["state"] == "cancelled"
    assert "question" not in first


@pytest.mark.parametrize("output", ["x" * 6000, [{"n": number} for number in range(800)], "한" * 3000])
async def test_of_a_long_output_the_beginning_is_shown_and_how_long_it_is(net: Network, output: Any) -> None:
    await net.register("bob", "work")
    whole = await planned(net, PLAN)
    await step(net, whole, "draft")
    await net.submit("bob", await net.claim("bob"), output)
    (first, *_) = await shown(net, whole["task_id"])
    text = json.dumps(output, ensure_ascii=False, separators=(",", ":"))
    assert first["output_bytes"] == len(text.encode())
    beginning = first["output"].removesuffix("…")
    assert 0 < len(beginning.encode()) <= MAX_SHOWN_BYTES
    assert text.startswith(beginning)


async def test_a_collaboration_without_a_plan_shows_what_was_done(net: Network) -> None:
    await net.register("bob", "work")
    whole = await planned(net, None)
    await step(net, whole, "draft")
    assert [one["id"] for one in await shown(net, whole["task_id"])] == ["draft"]


async def test_steps_are_shown_to_the_requester_and_of_no_other_kind_of_task(net: Network) -> None:
    await net.register("bob", "work")
    whole = await planned(net, PLAN)
    draft = await step(net, whole, "draft")
    assert "steps" not in await net.get("alice", draft)
    assert (await refused(net.get("bob", whole["task_id"]))).code == "not_found"
    assert len(await shown(net, whole["task_id"], "orchestrator")) == 3
    resource = await net.read("alice", f"aicp://tasks/{whole['task_id']}")
    assert [one["id"] for one in resource["steps"]] == ["draft", "check", "answer"]
