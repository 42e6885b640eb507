"""The tasks extension: handles instead of results, and what can be done with one.

Source: the specification of `io.modelcontextprotocol/tasks`.
"""

import itertools
import json
from typing import Any

import pytest

from aicp_common.errors import NotFound
from aicp_gateway.protocol.revisions import HANDSHAKE, STATELESS
from tests.gateway.engine.oracle import check_send
from tests.gateway.engine.peer import SERVER_INFO_KEY, TASKS, Peer

TASK = {"taskId": "task-1", "status": "working", "createdAt": "2026-07-28T00:00:00Z", "ttlMs": 60000}

METHODS: list[tuple[str, dict[str, Any], str]] = [
    ("tasks/get", {"taskId": "task-1"}, "mcp_task_get"),
    ("tasks/cancel", {"taskId": "task-1"}, "mcp_task_cancel"),
    ("tasks/update", {"taskId": "task-1", "inputResponses": {"k": {"action": "accept"}}}, "mcp_task_update"),
]


def client() -> Peer:
    return Peer(STATELESS, capabilities=TASKS)


def test_a_tool_may_be_answered_with_a_handle() -> None:
    peer = client()
    result = peer.concluded(peer.call("tools/call", {"name": "echo"}), TASK, "task")["result"]
    assert result.pop("_meta")[SERVER_INFO_KEY]["name"] == "aicp"
    assert result == {**TASK, "resultType": "task"}


@pytest.mark.parametrize("revision", [STATELESS, *HANDSHAKE])
def test_a_client_without_the_extension_never_gets_a_handle(revision: str) -> None:
    capabilities = {} if revision == STATELESS else TASKS
    peer = Peer(revision, capabilities=capabilities)
    result = peer.concluded(peer.call("tools/call", {"name": "echo"}), TASK, "task")["result"]
    assert result["isError"]
    assert "taskId" not in result


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("prompts/get", {"name": "greet"}),
        ("resources/read", {"uri": "fixture://still"}),
        ("tasks/get", {"taskId": "task-1"}),
    ],
)
def test_nothing_but_a_tool_is_answered_with_a_handle(method: str, params: dict[str, Any]) -> None:
    peer = client()
    assert peer.concluded(peer.call(method, params), TASK, "task")["error"]["code"] == -32603


@pytest.mark.parametrize(("method", "params", "called"), METHODS)
def test_a_task_is_asked_for_where_its_id_leads(method: str, params: dict[str, Any], called: str) -> None:
    peer = client()
    call = peer.call(method, params, id=1)
    assert (call.service, call.method, call.kind, call.label) == ("fixture", called, "task", method)
    assert json.loads(call.body) == params
    assert peer.call(method, {**params, "taskId": "task-other-9"}, id=2).service == "other"


@pytest.mark.parametrize(("method", "params", "called"), METHODS)
def test_a_task_that_nobody_has_is_a_wrong_parameter(method: str, params: dict[str, Any], called: str) -> None:
    for unknown in ("", "nobody's", "TASK-1", "x" * 5000):
        error = client().error(method, {**params, "taskId": unknown})
        assert (error["code"], len(error["message"]) < 300) == (-32602, True)
    call = client().call(method, params)
    assert check_send(call.exchange.fail(call, NotFound("no such task")), call.id)["error"]["code"] == -32602


@pytest.mark.parametrize(("method", "params", "called"), METHODS)
@pytest.mark.parametrize("task_id", [None, 5, [], {}])
def test_a_task_id_is_a_text(method: str, params: dict[str, Any], called: str, task_id: Any) -> None:
    error = client().error(method, {**params, "taskId": task_id})
    assert (error["code"], "taskId" in error["message"]) == (-32602, True)


@pytest.mark.parametrize(("method", "params", "called"), METHODS)
def test_tasks_are_only_for_clients_with_the_extension(method: str, params: dict[str, Any], called: str) -> None:
    few: list[dict[str, Any]] = [
        {},
        {"tasks": {}},
        {"extensions": {}},
        {"extensions": {"io.modelcontextprotocol/tasks": True}},
    ]
    for capabilities, task_id in itertools.product(few, ("task-1", "nobody's")):
        peer = Peer(STATELESS, capabilities=capabilities)
        sent = peer.sent(peer.message(method, {**params, "taskId": task_id}))
        error = check_send(sent, b"1")["error"]
        assert (error["code"], sent.status, error["data"]) == (-32021, 400, {"requiredCapabilities": TASKS})


@pytest.mark.parametrize("responses", [None, 5, [], "x"])
def test_an_update_has_answers(responses: Any) -> None:
    error = client().error("tasks/update", {"taskId": "task-1", "inputResponses": responses})
    assert (error["code"], "inputResponses" in error["message"]) == (-32602, True)
    assert client().error("tasks/update", {"taskId": "task-1"})["code"] == -32602


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"status": "completed", "result": {"content": [], "isError": False, "_meta": {"a": 1}, "resultType": "x"}},
        {"status": "failed", "error": {"code": -32603, "message": "m"}},
        {"status": "input_required", "inputRequests": {"k": {"method": "roots/list"}}},
        {"ttlMs": None, "pollIntervalMs": 5, "statusMessage": '"_meta"'},
    ],
)
def test_asking_for_a_task_is_a_plain_result(extra: dict[str, Any]) -> None:
    peer = client()
    result = peer.concluded(peer.call("tasks/get", {"taskId": "task-1"}), {**TASK, **extra})["result"]
    assert result.pop("_meta")[SERVER_INFO_KEY]["name"] == "aicp"
    assert result == {**TASK, **extra, "resultType": "complete"}


@pytest.mark.parametrize("method", ["tasks/update", "tasks/cancel"])
def test_an_update_and_a_cancellation_are_acknowledged_with_nothing(method: str) -> None:
    peer = client()
    result = peer.concluded(peer.call(method, {"taskId": "task-1", "inputResponses": {}}), {})["result"]
    assert result.keys() == {"resultType", "_meta"}
