"""`subscriptions/listen`: filters, acknowledgements, and what carries a subscription's id.

Source: MCP 2026-07-28, basic/patterns/subscriptions.
"""

import json
from typing import Any

import pytest

from aicp_gateway.protocol.actions import Listen
from aicp_gateway.protocol.notifications import list_changed, resource_updated, tagged
from aicp_gateway.protocol.revisions import HANDSHAKE, STATELESS
from aicp_gateway.protocol.stateless import MAX_FILTER, Stateless
from tests.gateway.engine.oracle import check_answer, check_message, check_result_of_stateless, check_send
from tests.gateway.engine.peer import SUBSCRIPTION_KEY, TASKS, Peer


def acknowledged(listen: Listen, honoured: set[str] | None = None) -> dict[str, Any]:
    """The filter that the acknowledgement has when these watches are in place; by default all."""
    assert isinstance(listen.exchange, Stateless)
    message = listen.exchange.acknowledge(listen, set(listen.watches) if honoured is None else honoured)
    told = check_message(message)
    assert told["method"] == "notifications/subscriptions/acknowledged"
    assert told["params"].keys() == {"_meta", "notifications"}
    assert told["params"]["_meta"] == {SUBSCRIPTION_KEY: json.loads(listen.id)}
    accepted: dict[str, Any] = told["params"]["notifications"]
    return accepted


@pytest.mark.parametrize("id", [1, 0, "a", "", 'é"\\'])
def test_the_acknowledgement_carries_the_id_of_the_request(id: Any) -> None:
    assert acknowledged(Peer(STATELESS).listen({"toolsListChanged": True}, id)) == {"toolsListChanged": True}


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"toolsListChanged": True},
        {"promptsListChanged": True, "resourcesListChanged": True},
        {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True},
        {"resourceSubscriptions": ["fixture://moving", "fixture://things/a"]},
    ],
)
def test_what_can_be_told_is_acknowledged(wanted: dict[str, Any]) -> None:
    assert acknowledged(Peer(STATELESS).listen(wanted)) == wanted


@pytest.mark.parametrize("wanted", [{"toolsListChanged": False}, {"resourceSubscriptions": []}, {"later": True}])
def test_what_is_not_wanted_or_not_known_is_left_out(wanted: dict[str, Any]) -> None:
    assert acknowledged(Peer(STATELESS).listen(wanted)) == {}


def test_resources_that_cannot_be_watched_are_left_out() -> None:
    uris = ["fixture://moving", "fixture://still", "fixture://hidden/a", "no://such", "", "fixture://things/é"]
    listen = Peer(STATELESS).listen({"resourceSubscriptions": uris})
    assert list(listen.watches) == ["fixture://moving", "fixture://things/é"]
    assert acknowledged(listen) == {"resourceSubscriptions": ["fixture://moving", "fixture://things/é"]}


def test_resources_whose_service_does_not_watch_them_are_left_out() -> None:
    listen = Peer(STATELESS).listen({"resourceSubscriptions": ["fixture://moving", "fixture://things/a"]})
    assert acknowledged(listen, {"fixture://things/a"}) == {"resourceSubscriptions": ["fixture://things/a"]}
    assert acknowledged(listen, set()) == {}


def test_each_resource_is_watched_by_a_call_of_its_service() -> None:
    listen = Peer(STATELESS).listen({"resourceSubscriptions": ["fixture://things/a", "fixture://things/a"]}, id="s")
    [call] = listen.watches.values()
    assert (call.service, call.method, call.kind, call.id) == ("fixture", "resource_watch", "watch", b'"s"')
    assert json.loads(call.body) == {"uri": "fixture://things/a"}


def test_tasks_are_watched_by_the_service_whose_they_are() -> None:
    peer = Peer(STATELESS, capabilities=TASKS)
    listen = peer.listen({"taskIds": ["task-1", "task-other-2", "nobody's"]})
    assert {id: (call.service, call.method, call.kind) for id, call in listen.watches.items()} == {
        "task-1": ("fixture", "mcp_task_watch", "watch"),
        "task-other-2": ("other", "mcp_task_watch", "watch"),
    }
    assert json.loads(listen.watches["task-1"].body) == {"taskId": "task-1"}
    assert acknowledged(listen) == {"taskIds": ["task-1", "task-other-2"]}
    assert acknowledged(listen, {"task-1"}) == {"taskIds": ["task-1"]}


def test_tasks_are_only_for_clients_with_the_extension() -> None:
    peer = Peer(STATELESS)
    sent = peer.sent(peer.message("subscriptions/listen", {"notifications": {"taskIds": ["task-1"]}}))
    error = check_send(sent, b"1")["error"]
    assert (error["code"], sent.status, error["data"]) == (-32021, 400, {"requiredCapabilities": TASKS})
    assert isinstance(peer.listen({"taskIds": []}), Listen)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"notifications": None},
        {"notifications": []},
        {"notifications": {"toolsListChanged": 1}},
        {"notifications": {"toolsListChanged": None}},
        {"notifications": {"resourceSubscriptions": "fixture://moving"}},
        {"notifications": {"resourceSubscriptions": [5]}},
        {"notifications": {"taskIds": {}}},
    ],
)
def test_a_filter_that_is_wrong_is_refused(params: dict[str, Any]) -> None:
    error = Peer(STATELESS).error("subscriptions/listen", params)
    assert (error["code"], "notifications" in error["message"]) == (-32602, True)


def test_a_filter_has_an_end() -> None:
    peer = Peer(STATELESS, capabilities=TASKS)
    uris = [f"fixture://things/{number}" for number in range(MAX_FILTER)]
    assert len(peer.listen({"resourceSubscriptions": uris}).watches) == MAX_FILTER
    error = peer.error(
        "subscriptions/listen", {"notifications": {"resourceSubscriptions": uris, "taskIds": ["task-1"]}}
    )
    assert (error["code"], str(MAX_FILTER) in error["message"]) == (-32602, True)


@pytest.mark.parametrize("id", [7, "s"])
def test_a_subscription_that_the_server_ends_has_its_answer(id: Any) -> None:
    listen = Peer(STATELESS).listen({}, id)
    assert isinstance(listen.exchange, Stateless)
    told = check_answer(listen.exchange.conclude_listen(listen), listen.id)
    check_result_of_stateless(told)
    assert told["result"].keys() == {"resultType", "_meta"}
    assert told["result"]["_meta"][SUBSCRIPTION_KEY] == id


def test_a_change_of_a_task_tells_all_that_asking_for_it_would() -> None:
    peer = Peer(STATELESS, capabilities=TASKS)
    listen = peer.listen({"taskIds": ["task-1"]}, id="s")
    assert isinstance(listen.exchange, Stateless)
    call = listen.exchange.get_task(listen, "task-1")
    assert (call.service, call.method, call.kind) == ("fixture", "mcp_task_get", "task")
    assert json.loads(call.body) == {"taskId": "task-1"}
    task = {"taskId": "task-1", "status": "completed", "ttlMs": None, "result": {"content": [], "_meta": {"a": 1}}}
    told = check_message(listen.exchange.task_changed(listen, json.dumps(task).encode()))
    assert told["method"] == "notifications/tasks"
    assert told["params"] == {**task, "_meta": {SUBSCRIPTION_KEY: "s"}}


@pytest.mark.parametrize("id", [b"1", b'"a\\u0022"'])
def test_notifications_carry_the_id_of_their_subscription(id: bytes) -> None:
    told = check_message(resource_updated("fixture://é", id).encode())
    assert told["method"] == "notifications/resources/updated"
    assert told["params"] == {"_meta": {SUBSCRIPTION_KEY: json.loads(id)}, "uri": "fixture://é"}
    for which in ("tools", "prompts", "resources"):
        told = check_message(list_changed(which, id).encode())
        assert told["method"] == f"notifications/{which}/list_changed"
        assert told["params"] == {"_meta": {SUBSCRIPTION_KEY: json.loads(id)}}
    assert check_message(tagged("m", b"{}", id))["params"] == {"_meta": {SUBSCRIPTION_KEY: json.loads(id)}}


def test_notifications_of_the_handshake_era_carry_none() -> None:
    assert check_message(resource_updated("fixture://é", None).encode())["params"] == {"uri": "fixture://é"}
    assert "params" not in check_message(list_changed("tools", None).encode())


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_the_handshake_era_does_not_know_it(revision: str) -> None:
    sent = Peer(revision).sent({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {}})
    assert (check_send(sent, b"1")["error"]["code"], sent.status) == (-32601, 200)
