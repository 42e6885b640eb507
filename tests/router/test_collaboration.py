"""What other services of the hub do with the router: open tasks for others, and work as a hub agent."""

import asyncio
from typing import Any

from aicp_common import subjects
from tests.router.conftest import Network, refused


async def opened(net: Network, requester: str = "alice", **more: Any) -> dict[str, Any]:
    """A collaboration that an orchestrator has claimed."""
    made = await net.method(
        requester, "create_task", message="build it", kind="collaboration", input={"steps": [1, None]}, **more
    )
    task = await net.claim("orchestrator")
    assert task["task_id"] == made["task_id"]
    return task


async def test_a_collaboration_is_a_task_of_the_orchestrator(net: Network) -> None:
    task = await opened(net)
    assert task["kind"] == "collaboration"
    assert task["input"] == {"steps": [1, None]}
    assert task["scopes"] == ["*"]
    await net.submit("orchestrator", task, {"parts": 2})
    seen = await net.get("alice", task["task_id"])
    assert (seen["kind"], seen["state"], seen["result"]) == ("collaboration", "completed", {"parts": 2})


async def test_an_orchestrator_may_have_as_many_collaborations_as_there_are(net: Network) -> None:
    for _ in range(10):
        await opened(net)


async def test_steps_are_opened_in_the_name_of_the_requester_and_seen_by_both(net: Network) -> None:
    await net.register("bob", "work")
    whole = await opened(net)
    step = await net.method(
        "alice", "create_task", message="part one", agent="bob", parent=whole["task_id"], step="one", input="hidden"
    )
    assert step["created"] is True
    assert step["status"] == "routed"
    task = await net.claim("bob")
    assert (task["parent"], task["step"]) == (whole["task_id"], "one")
    assert task["from"]["agent"] == "alice"
    assert "input" not in task
    assert "scopes" not in task
    await net.submit("bob", task, "first part")
    for agent in ("alice", "orchestrator"):
        assert (await net.get(agent, step["task_id"]))["result"] == "first part"
    assert (await net.get("alice", whole["task_id"]))["children"] == [step["task_id"]]


async def test_a_step_that_is_opened_again_is_the_same_step(net: Network) -> None:
    await net.register("bob", "work")
    whole = await opened(net)
    about = {"agent": "bob", "parent": whole["task_id"], "step": "one", "idempotency_key": f"{whole['task_id']}:one"}
    first = await net.method("alice", "create_task", message="part one", **about)
    again = await net.method("alice", "create_task", message="part one, told anew", **about)
    assert again["created"] is False
    assert again["task_id"] == first["task_id"]
    assert again["state"] == "submitted"


async def test_who_asked_for_a_collaboration_may_be_given_a_step_of_it(net: Network) -> None:
    await net.register("alice", "work")
    whole = await opened(net)
    step = await net.method("alice", "create_task", message="yours", agent="alice", parent=whole["task_id"])
    assert step["agent"] == "alice"
    found = await net.method("alice", "create_task", message="x", target_capabilities=["work"], parent=whole["task_id"])
    assert found["created"] is False
    assert "no other agent" in found["unroutable"]["reason"]


async def test_excluded_agents_are_passed_by(net: Network) -> None:
    for agent in ("bob", "carol"):
        await net.register(agent, "work")
    made = await net.method("alice", "create_task", message="x", target_capabilities=["work"], exclude_agents=["bob"])
    assert made["agent"] == "carol"
    made = await net.method(
        "alice", "create_task", message="x", target_capabilities=["work"], exclude_agents=["bob", "carol"]
    )
    assert "task_id" not in made


async def test_cancelling_a_collaboration_cancels_its_steps(net: Network) -> None:
    await net.register("bob", "work")
    whole = await opened(net)
    steps = [
        await net.method("alice", "create_task", message="part", agent="bob", parent=whole["task_id"]) for _ in range(3)
    ]
    done = await net.claim("bob")
    await net.submit("bob", done, "was quick")
    await net.tool("alice", "cancel_task", task_id=whole["task_id"])
    states = {step["task_id"]: (await net.get("alice", step["task_id"]))["state"] for step in steps}
    assert states.pop(done["task_id"]) == "completed"
    assert set(states.values()) == {"cancelled"}
    error = await refused(net.method("alice", "create_task", message="x", agent="bob", parent=whole["task_id"]))
    assert error.code == "conflict"
    error = await refused(net.submit("orchestrator", whole))
    assert error.code == "conflict"


async def test_steps_end_with_their_collaboration_however_it_ends(net: Network) -> None:
    await net.register("bob", "work")
    whole = await opened(net)
    step = await net.method("alice", "create_task", message="part", agent="bob", parent=whole["task_id"])
    await net.submit("orchestrator", whole, "enough")
    seen = await net.get("alice", step["task_id"], wait_s=10)
    assert seen["state"] == "cancelled"
    assert whole["task_id"] in seen["error"]["message"]


async def test_a_step_ends_no_later_than_its_collaboration(net: Network) -> None:
    await net.register("bob", "work")
    whole = await opened(net, deadline_s=60)
    step = await net.method("alice", "create_task", message="part", agent="bob", parent=whole["task_id"])
    assert (await net.get("alice", step["task_id"]))["deadline"] == whole["deadline"]


async def test_a_lost_signal_to_the_orchestrator_is_said_again(net: Network) -> None:
    heard: asyncio.Queue[None] = asyncio.Queue()

    async def hear(_: Any) -> None:
        heard.put_nowait(None)

    await net.method("alice", "create_task", message="build it", kind="collaboration")
    await net.bus.subscribe(subjects.agent(net.tenant, "orchestrator"), hear)
    await net.bus.flush()
    await asyncio.wait_for(heard.get(), 5)


async def test_another_orchestrator_takes_a_collaboration_over_when_the_first_is_silent(net: Network) -> None:
    whole = await opened(net, lease_s=0.3)
    again = await net.claim("orchestrator")
    assert (again["task_id"], again["attempt"]) == (whole["task_id"], 2)
    assert again["input"] == whole["input"]
    error = await refused(net.submit("orchestrator", whole))
    assert error.code == "conflict"


async def test_no_client_reaches_a_part_of_the_hub_by_its_name(net: Network) -> None:
    for name in ("orchestrator", "statehub"):
        assert (await refused(net.route("alice", agent=name))).code == "not_found"
    assert (await refused(net.register("system", "everything"))).code == "forbidden"


async def test_a_step_of_an_unknown_task_is_refused(net: Network) -> None:
    await net.register("bob", "work")
    error = await refused(net.method("alice", "create_task", message="x", agent="bob", parent="t-none"))
    assert error.code == "not_found"
