"""Handles: tasks as clients of MCP's tasks extension see them."""

import asyncio
import datetime
from typing import Any

import pytest

from aicp_common.errors import Forbidden, InvalidArgument, NotFound
from aicp_router.surface.route_result import RouteResult
from tests.router.conftest import Network
from tests.router.mcp_client import McpClient
from tests.router.test_collaboration import opened
from tests.router.test_questions import ask, step_of

FIELDS = {"taskId", "status", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs", "statusMessage"}
WEEK_MS = 7 * 86_400_000


@pytest.fixture
def alice(net: Network) -> McpClient:
    """A client of alice that can do everything."""
    return McpClient(net.bus, net.tenant)


async def handed_over(net: Network, alice: McpClient, **more: Any) -> tuple[str, dict[str, Any]]:
    """The id of a task that alice has a handle of, and the task as bob has claimed it."""
    await net.register("bob", "work")
    handle = await alice.handle("route_to_agent", message="please", agent="bob", **more)
    return handle["taskId"], await net.claim("bob")


def seconds(timestamp: str) -> float:
    return datetime.datetime.fromisoformat(timestamp).timestamp()


async def test_a_client_that_can_take_a_handle_gets_one_at_once(net: Network, alice: McpClient) -> None:
    await net.register("bob", "work")
    handle = await asyncio.wait_for(alice.handle("route_to_agent", message="please", agent="bob"), 5)
    assert handle.keys() == FIELDS
    assert handle["status"] == "working"
    assert handle["statusMessage"] == "waits for bob to take it. bob was named and is online."
    assert handle["ttlMs"] == WEEK_MS
    assert handle["pollIntervalMs"] == 2000
    assert handle["createdAt"].endswith("Z")
    # It is the task that our own tools know.
    assert (await net.get("alice", handle["taskId"]))["state"] == "submitted"
    assert (await alice.get(handle["taskId"]))["taskId"] == handle["taskId"]


async def test_a_client_without_the_extension_never_gets_a_handle(net: Network) -> None:
    await net.register("bob", "work")
    plain = McpClient(net.bus, net.tenant, can=("elicitation",))
    result = await plain.result("route_to_agent", message="please", agent="bob", wait_s=0)
    assert result["structuredContent"]["status"] == "routed"


async def test_a_handle_says_which_keys_of_the_context_are_missing(net: Network, alice: McpClient) -> None:
    await net.register("bob", "work")
    handle = await alice.handle("route_to_agent", message="please", agent="bob", context="plan")
    assert "share what is missing (plan) with share_context" in handle["statusMessage"]


async def test_what_nobody_can_do_is_a_plain_result_and_no_task(net: Network, alice: McpClient) -> None:
    result = await alice.result("route_to_agent", message="please", target_capabilities=["flying"])
    assert result["structuredContent"]["status"] == "unroutable"
    assert result["isError"] is False
    refused = await alice.result("route_to_agent", message="please", agent="nobody")
    assert refused["isError"] is True


async def test_a_task_for_an_agent_that_is_away_is_a_handle_too(net: Network, alice: McpClient) -> None:
    await net.register("bob", "work")
    await net.bus.publish("aicp.v1.presence", b'{"left":[["%b","bob"]]}' % net.tenant.encode())
    async with asyncio.timeout(20):
        while (await net.tool("alice", "list_agents"))["agents"][0]["online"]:
            await asyncio.sleep(0.05)
    handle = await alice.handle("route_to_agent", message="please", agent="bob")
    assert "is not online now" in handle["statusMessage"]


async def test_who_asks_to_wait_gets_the_result_if_it_comes_in_time_and_the_handle_if_not(
    net: Network, alice: McpClient
) -> None:
    await net.register("bob", "work")
    asking = asyncio.create_task(alice.result("route_to_agent", message="please", agent="bob", wait_s=20))
    await net.submit("bob", await net.claim("bob"), "in time")
    assert (await asking)["structuredContent"]["result"] == "in time"
    handle = await alice.handle("route_to_agent", message="please", agent="bob", wait_s=0.2)
    assert handle["status"] == "working"


async def test_the_same_idempotency_key_brings_the_same_handle_and_then_the_result(
    net: Network, alice: McpClient
) -> None:
    about = {"message": "please", "agent": "bob", "idempotency_key": "k"}
    task_id, task = await handed_over(net, alice, idempotency_key="k")
    again = await alice.handle("route_to_agent", **about)
    assert again["taskId"] == task_id
    await net.submit("bob", task, "done")
    assert (await alice.result("route_to_agent", **about))["structuredContent"]["task_id"] == task_id


async def test_a_handle_follows_the_task_to_its_result(net: Network, alice: McpClient) -> None:
    task_id, task = await handed_over(net, alice, target_capabilities=["work"])
    working = await alice.get(task_id)
    assert working.keys() == FIELDS
    assert (working["status"], working["statusMessage"]) == ("working", "bob works on it")
    await net.tool(
        "bob", "update_task", task_id=task_id, attempt=task["attempt"], progress=0.5, message="two of four files read"
    )
    told = await alice.get(task_id)
    assert told["statusMessage"] == "bob works on it: two of four files read (50%)"
    assert seconds(told["lastUpdatedAt"]) >= seconds(working["lastUpdatedAt"])
    await net.submit("bob", task, {"files": [1, None]})
    done = await alice.get(task_id)
    assert done["status"] == "completed"
    assert "inputRequests" not in done
    result = done["result"]
    assert result["isError"] is False
    content = result["structuredContent"]
    assert (content["status"], content["task_id"], content["agent"]) == ("completed", task_id, "bob")
    assert content["result"] == {"files": [1, None]}
    assert (content["intent"]["language"], content["intent"]["capabilities"]) == ("en", ["work"])
    assert "judge it" in content["next"]
    RouteResult.model_validate(content)
    # However often it is asked, and by the clock of the task, not of the question.
    assert await alice.get(task_id) == done
    assert content["timestamp"] == done["lastUpdatedAt"]
    # From its creation to the moment when the router forgets it.
    kept_ms = 1000 * (seconds(done["lastUpdatedAt"]) - seconds(done["createdAt"])) + WEEK_MS
    assert done["ttlMs"] == pytest.approx(kept_ms, abs=2)


async def test_work_that_failed_is_a_result_with_an_error_and_no_fault_of_the_protocol(
    net: Network, alice: McpClient
) -> None:
    task_id, task = await handed_over(net, alice)
    await net.submit("bob", task, "no such file", "failed")
    task_seen = await alice.get(task_id)
    assert task_seen["status"] == "completed"
    assert task_seen["statusMessage"] == "bob could not do it: no such file"
    assert "error" not in task_seen
    assert task_seen["result"]["isError"] is True
    assert task_seen["result"]["structuredContent"]["error"]["code"] == "failed"
    assert "no such file" in task_seen["result"]["content"][0]["text"]
    # Clients hold it against the tool's schema even when it is an error.
    RouteResult.model_validate(task_seen["result"]["structuredContent"])


async def test_a_task_that_waits_for_another_agent_goes_on_working(net: Network, alice: McpClient) -> None:
    for agent in ("bob", "carol"):
        await net.register(agent, "work")
    handle = await alice.handle("route_to_agent", message="please", target_capabilities=["work"])
    first = (await net.get("alice", handle["taskId"]))["agent"]
    await net.submit(first, await net.claim(first), "not mine", "declined")
    other = "carol" if first == "bob" else "bob"
    seen = await alice.get(handle["taskId"])
    assert (seen["status"], seen["statusMessage"]) == ("working", f"waits for {other} to take it")


async def test_a_client_cancels_its_task(net: Network, alice: McpClient) -> None:
    task_id, task = await handed_over(net, alice)
    await alice.cancel(task_id)
    seen = await alice.get(task_id)
    assert (seen["status"], seen["statusMessage"]) == ("cancelled", "alice cancelled it")
    assert "result" not in seen
    await alice.cancel(task_id)  # it has ended already: acknowledged all the same
    assert (await net.get("bob", task["task_id"]))["state"] == "cancelled"


async def test_cancelling_what_has_ended_leaves_its_result(net: Network, alice: McpClient) -> None:
    task_id, task = await handed_over(net, alice)
    await net.submit("bob", task, "done")
    await alice.cancel(task_id)
    assert (await alice.get(task_id))["result"]["structuredContent"]["result"] == "done"


async def test_a_question_is_an_input_request_and_its_answer_reaches_the_worker(net: Network, alice: McpClient) -> None:
    task_id, task = await handed_over(net, alice)
    await ask(net, "bob", task, "Which year?")
    seen = await alice.get(task_id)
    assert seen["status"] == "input_required"
    assert seen["statusMessage"] == "bob asks: Which year?"
    ((key, request),) = seen["inputRequests"].items()
    assert key.startswith("question-")
    assert request["method"] == "elicitation/create"
    assert request["params"]["mode"] == "form"
    assert request["params"]["message"] == "bob asks: Which year?"
    schema = request["params"]["requestedSchema"]
    assert schema["properties"]["answer"]["type"] == "string"
    assert schema["required"] == ["answer"]
    await alice.answer(task_id, key, "2026")
    assert (await alice.get(task_id))["status"] == "working"
    again = await net.claim("bob")
    assert [one["answer"] for one in again["questions"]] == ["2026"]


async def test_each_question_has_a_key_of_its_own_and_old_answers_are_ignored(net: Network, alice: McpClient) -> None:
    task_id, task = await handed_over(net, alice)
    keys = []
    for number in range(3):
        await ask(net, "bob", task, "Which year?")
        (key,) = (await alice.get(task_id))["inputRequests"]
        keys.append(key)
        for old in keys[:-1]:
            await alice.answer(task_id, old, "too late")
        await alice.update(task_id, unknown={"action": "accept", "content": {"answer": "x"}})
        assert (await alice.get(task_id))["status"] == "input_required"
        await alice.answer(task_id, key, f"answer {number}")
        await alice.answer(task_id, key, "twice")
        task = await net.claim("bob")
    assert len(set(keys)) == 3
    assert [one["answer"] for one in task["questions"]] == ["answer 0", "answer 1", "answer 2"]


async def test_a_question_that_joins_another_is_not_answered_with_that_alone(net: Network, alice: McpClient) -> None:
    task_id, task = await handed_over(net, alice)
    await ask(net, "bob", task, "Which year?")
    (first,) = (await alice.get(task_id))["inputRequests"]
    await ask(net, "bob", task, "Which month?")
    ((second, request),) = (await alice.get(task_id))["inputRequests"].items()
    assert first != second
    assert "Which year?\n\nWhich month?" in request["params"]["message"]
    await alice.answer(task_id, first, "2026")
    assert (await alice.get(task_id))["status"] == "input_required"
    await alice.answer(task_id, second, "May 2026")
    assert [one["answer"] for one in (await net.claim("bob"))["questions"]] == ["May 2026", "May 2026"]


@pytest.mark.parametrize(("action", "said"), [("decline", "declined to answer"), ("cancel", "closed the question")])
async def test_the_worker_learns_that_nobody_answers(net: Network, alice: McpClient, action: str, said: str) -> None:
    task_id, task = await handed_over(net, alice)
    await ask(net, "bob", task)
    (key,) = (await alice.get(task_id))["inputRequests"]
    await alice.update(task_id, **{key: {"action": action}})
    (question,) = (await net.claim("bob"))["questions"]
    assert f"alice {said}" in question["answer"]
    assert "submit_result with status failed" in question["answer"]


@pytest.mark.parametrize(
    "response",
    ["yes", {}, {"action": "accept"}, {"action": "accept", "content": {"answer": 5}}, {"action": "maybe"}],
)
async def test_what_is_no_answer_to_the_form_is_refused(net: Network, alice: McpClient, response: Any) -> None:
    task_id, task = await handed_over(net, alice)
    await ask(net, "bob", task)
    (key,) = (await alice.get(task_id))["inputRequests"]
    with pytest.raises(InvalidArgument, match=f"inputResponses.{key}"):
        await alice.update(task_id, **{key: response})
    assert (await alice.get(task_id))["status"] == "input_required"


async def test_a_client_that_cannot_be_asked_is_pointed_to_the_tool(net: Network, alice: McpClient) -> None:
    task_id, task = await handed_over(net, alice)
    await ask(net, "bob", task, "Which year?")
    seen = await McpClient(net.bus, net.tenant, can=("tasks",)).get(task_id)
    assert seen["status"] == "working"
    assert "inputRequests" not in seen
    assert seen["statusMessage"] == f"bob asks: Which year? (answer_task with task_id {task_id} answers)"


async def test_questions_of_steps_are_input_requests_of_the_whole(net: Network, alice: McpClient) -> None:
    whole = await opened(net)
    steps = {agent: await step_of(net, whole, agent) for agent in ("bob", "carol")}
    assert (await alice.get(whole["task_id"]))["status"] == "working"
    for agent, step in steps.items():
        await ask(net, agent, step, f"What about {agent}?")
    seen = await alice.get(whole["task_id"])
    assert seen["status"] == "input_required"
    messages = {request["params"]["message"]: key for key, request in seen["inputRequests"].items()}
    assert messages.keys() == {"bob asks: What about bob?", "carol asks: What about carol?"}
    await alice.answer(whole["task_id"], messages["bob asks: What about bob?"], "nothing")
    (left,) = (await alice.get(whole["task_id"]))["inputRequests"]
    assert left == messages["carol asks: What about carol?"]
    await alice.answer(whole["task_id"], left, "much")
    assert (await alice.get(whole["task_id"]))["status"] == "working"
    for agent, answer in (("bob", "nothing"), ("carol", "much")):
        (question,) = (await net.claim(agent))["questions"]
        assert question["answer"] == answer


async def test_only_the_requester_knows_of_the_handle(net: Network, alice: McpClient) -> None:
    task_id, task = await handed_over(net, alice)
    await ask(net, "bob", task)
    (key,) = (await alice.get(task_id))["inputRequests"]
    others = [
        McpClient(net.bus, net.tenant, "bob"),  # who works on it has his own tools
        McpClient(net.bus, net.tenant, "carol"),
        McpClient(net.bus, net.tenant + "x", "alice"),
    ]
    for other in others:
        calls = (other.get(task_id), other.answer(task_id, key, "x"), other.cancel(task_id), other.watch(task_id))
        for call in calls:
            with pytest.raises(NotFound):
                await call
    assert (await alice.get(task_id))["status"] == "input_required"


@pytest.mark.parametrize("task_id", ["t-none", "t-", "t-../x", "t-a b", "t-" + "x" * 200])
async def test_an_unknown_task_is_not_found(alice: McpClient, task_id: str) -> None:
    for call in (alice.get(task_id), alice.update(task_id), alice.cancel(task_id), alice.watch(task_id)):
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.jsonrpc_code == -32602


async def test_handles_need_a_scope(net: Network, alice: McpClient) -> None:
    task_id, _ = await handed_over(net, alice)
    reader = McpClient(net.bus, net.tenant, scopes=("tasks:read",))
    assert (await reader.get(task_id))["status"] == "working"
    assert await reader.watch(task_id)
    with pytest.raises(Forbidden, match="tasks:request"):
        await reader.cancel(task_id)
    stranger = McpClient(net.bus, net.tenant, scopes=("context:read",))
    with pytest.raises(Forbidden):
        await stranger.get(task_id)


async def test_each_change_is_told_on_the_subject_of_the_handle(net: Network, alice: McpClient) -> None:
    await net.register("bob", "work")
    task_id = (await alice.handle("route_to_agent", message="please", agent="bob"))["taskId"]
    heard: asyncio.Queue[None] = asyncio.Queue()

    async def hear(_: Any) -> None:
        heard.put_nowait(None)

    await net.bus.subscribe(await alice.watch(task_id), hear)
    await net.bus.flush()

    async def told() -> dict[str, Any]:
        await asyncio.wait_for(heard.get(), 5)
        return await alice.get(task_id)

    task = await net.claim("bob")
    assert (await told())["statusMessage"] == "bob works on it"
    await net.tool("bob", "update_task", task_id=task_id, attempt=1, progress=0.25)
    assert (await told())["statusMessage"] == "bob works on it (25%)"
    await ask(net, "bob", task)
    (key,) = (await told())["inputRequests"]
    await alice.answer(task_id, key, "x")
    assert (await told())["status"] == "working"
    await net.claim("bob")
    await told()
    await net.submit("bob", task, "done")
    assert (await told())["status"] == "completed"


async def test_an_answer_to_a_step_is_told_on_the_subject_of_the_whole(net: Network, alice: McpClient) -> None:
    whole = await opened(net)
    step = await step_of(net, whole, "bob")
    heard = asyncio.Event()

    async def hear(_: Any) -> None:
        heard.set()

    await net.bus.subscribe(await alice.watch(whole["task_id"]), hear)
    await net.bus.flush()
    await ask(net, "bob", step)
    await asyncio.wait_for(heard.wait(), 5)
    (key,) = (await alice.get(whole["task_id"]))["inputRequests"]
    heard.clear()
    await alice.answer(whole["task_id"], key, "x")
    await asyncio.wait_for(heard.wait(), 5)
    assert (await alice.get(whole["task_id"]))["status"] == "working"


async def test_how_often_to_ask_follows_the_priority(net: Network, alice: McpClient) -> None:
    await net.register("bob", "work")
    for priority, interval_ms in (("interactive", 1_000), ("normal", 2_000), ("batch", 10_000)):
        handle = await alice.handle("route_to_agent", message="please", agent="bob", priority=priority)
        assert handle["pollIntervalMs"] == interval_ms
