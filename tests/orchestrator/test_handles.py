"""Collaborations as clients of MCP's tasks extension see them: a handle at once, and the tool's result at the end."""

import asyncio
from typing import Any

import pytest

from aicp_common.errors import NotFound
from aicp_orchestrator.collaborations.answer import CollaborationResult
from tests.orchestrator.network import Network, parts
from tests.router.mcp_client import McpClient

TOOL = ("orchestrate_collaboration", "orchestrator")


@pytest.fixture
def alice(network: Network) -> McpClient:
    """A client of alice that can do everything."""
    return McpClient(network.bus, network.tenant)


async def ended(network: Network, alice: McpClient, task_id: str) -> dict[str, Any]:
    """The handle of a collaboration that has ended; its result fits the tool's schema."""
    await network.ended(task_id)
    task = await alice.get(task_id)
    assert task["status"] == "completed"
    CollaborationResult.model_validate(task["result"]["structuredContent"])
    return task


async def test_a_collaboration_is_a_handle_whose_result_is_that_of_the_tool(network: Network, alice: McpClient) -> None:
    await network.join("alice", "bob", "carol")
    about: dict[str, Any] = {"task": "How do we halve the costs?", "agents": ["bob", "carol"], "idempotency_key": "k"}
    handle = await asyncio.wait_for(alice.handle(*TOOL, **about), 10)
    assert handle["status"] == "working"
    assert handle["pollIntervalMs"] == 2000
    assert "inputRequests" not in handle
    await network.serve("bob", {"idea": "smaller machines"})
    told = await network.until(handle["taskId"], lambda task: task.get("progress") == 0.5)
    assert told["progress_message"] == "2 steps: 1 completed, 1 running"
    working = await alice.get(handle["taskId"])
    assert working["statusMessage"] == "the orchestrator works on it: 2 steps: 1 completed, 1 running (50%)"
    await network.serve("carol", "fewer meetings")
    result = (await ended(network, alice, handle["taskId"]))["result"]
    assert result["isError"] is False
    # As the call itself would have answered; the same key brings that answer.
    again = await alice.result(*TOOL, **about)
    assert again["structuredContent"] == result["structuredContent"]
    content = result["structuredContent"]
    assert (content["status"], content["task_id"]) == ("completed", handle["taskId"])
    assert content["task"] == "How do we halve the costs?"
    assert parts(content["result"])["step-1"]["result"] == {"idea": "smaller machines"}


async def test_a_client_without_the_extension_waits_as_ever(network: Network) -> None:
    await network.join("alice", "bob")
    plain = McpClient(network.bus, network.tenant, can=())
    result = await plain.result(*TOOL, task="t", agents=["bob"], wait_s=0)
    assert result["structuredContent"]["status"] == "running"


async def test_who_asks_to_wait_gets_the_result_if_it_comes_in_time(network: Network, alice: McpClient) -> None:
    await network.join("alice", "bob")
    asking = asyncio.create_task(alice.result(*TOOL, task="t", agents=["bob"], wait_s=30))
    await network.serve("bob", "done")
    assert (await asking)["structuredContent"]["status"] == "completed"
    handle = await alice.handle(*TOOL, task="t", agents=["bob"], wait_s=0.2)
    assert handle["status"] == "working"


async def test_a_collaboration_that_fails_is_a_result_with_an_error_and_all_steps(
    network: Network, alice: McpClient
) -> None:
    await network.join("alice", "bob", "carol")
    steps = [
        {"id": "draft", "task": "write", "agent": "bob"},
        {"id": "check", "task": "check it", "agent": "carol", "depends_on": ["draft"]},
    ]
    handle = await alice.handle(*TOOL, task="the whole", steps=steps)
    await network.serve("bob", "no ink", "failed")
    task = await ended(network, alice, handle["taskId"])
    assert task["result"]["isError"] is True
    content = task["result"]["structuredContent"]
    assert content["status"] == "failed"
    assert "no ink" in content["error"]
    # Also the one that never began and has no task.
    assert [(step["id"], step["status"]) for step in content["steps"]] == [("draft", "failed"), ("check", "skipped")]
    assert content["assignments"][1] == {"step": "check", "agent": "carol", "task": "check it"}


async def test_a_collaboration_whose_time_is_over_has_a_result_too(network: Network, alice: McpClient) -> None:
    await network.join("alice", "bob")
    handle = await alice.handle(*TOOL, task="t", agents=["bob"], deadline_s=1)
    task = await ended(network, alice, handle["taskId"])
    assert task["result"]["isError"] is True
    assert task["result"]["structuredContent"]["steps"][0]["agent"] == "bob"


async def test_the_question_of_a_step_is_answered_with_the_handle_of_the_whole(
    network: Network, alice: McpClient
) -> None:
    await network.join("alice", "bob")
    task_id = (await alice.handle(*TOOL, task="t", agents=["bob"]))["taskId"]
    step = await network.receive("bob")
    await network.ask("bob", step, "Which year?")
    await network.until(task_id, lambda task: bool(task.get("asking")))
    task = await alice.get(task_id)
    assert task["status"] == "input_required"
    ((key, request),) = task["inputRequests"].items()
    assert request["params"]["message"] == "bob asks: Which year?"
    await alice.answer(task_id, key, "2026")
    again = await network.receive("bob")
    assert again["questions"][0]["answer"] == "2026"
    await network.submit("bob", again, "done")
    assert (await ended(network, alice, task_id))["result"]["isError"] is False


async def test_cancelling_the_handle_ends_the_steps(network: Network, alice: McpClient) -> None:
    await network.join("alice", "bob")
    task_id = (await alice.handle(*TOOL, task="t", agents=["bob"]))["taskId"]
    step = await network.receive("bob")
    await alice.cancel(task_id)
    task = await alice.get(task_id)
    assert task["status"] == "cancelled"
    assert "result" not in task
    assert (await network.ended(step["task_id"]))["state"] == "cancelled"


async def test_what_cannot_be_planned_is_a_tool_error_and_no_task(network: Network, alice: McpClient) -> None:
    await network.join("alice")
    result = await alice.result(*TOOL, task="t", agents=["nobody"])
    assert result["isError"] is True


async def test_only_the_requester_knows_of_the_handle(network: Network, alice: McpClient) -> None:
    await network.join("alice", "bob")
    task_id = (await alice.handle(*TOOL, task="t", agents=["bob"]))["taskId"]
    await network.serve("bob", "done")
    await ended(network, alice, task_id)
    for other in (McpClient(network.bus, network.tenant, "carol"), McpClient(network.bus, network.tenant + "x")):
        with pytest.raises(NotFound):
            await other.get(task_id)
        # Nor does the orchestrator tell others what it tells the router.
        with pytest.raises(NotFound):
            await other.reply("collaboration_result", {"task_id": task_id}, "orchestrator")
