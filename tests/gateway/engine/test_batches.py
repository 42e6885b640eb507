"""Batches: of revision 2025-03-26 alone. Source: MCP 2025-03-26, basic, "Batching"; JSON-RPC 2.0, section 6."""

import json
from typing import Any

import pytest

from aicp_gateway.protocol.actions import Answered, Batch, Call, Cancel, Send, Unwatch
from aicp_gateway.protocol.engine import MAX_BATCH
from aicp_gateway.protocol.revisions import BATCHES, STATELESS, SUPPORTED
from tests.gateway.engine.oracle import check_message, check_send, count_answers
from tests.gateway.engine.peer import LIMIT, Peer, headers_of, notification, request


def batch(messages: list[Any], peer: Peer | None = None) -> Batch:
    """What becomes of these messages when they come together."""
    [action] = (peer or Peer(BATCHES)).receive(messages)
    assert isinstance(action, Batch), action
    assert action.answers == count_answers(action.actions)
    return action


def errors(found: Batch) -> list[tuple[Any, int]]:
    """The ids and codes of the errors in a batch's answers."""
    messages = [check_message(action.message) for action in found.actions if isinstance(action, Send)]
    return [(message.get("id"), message["error"]["code"]) for message in messages if "error" in message]


def test_requests_that_come_together_are_answered_together() -> None:
    found = batch([request("ping", id=1), request("tools/call", {"name": "echo"}, id="b"), request("tools/list", id=3)])
    assert found.answers == 3
    ping, call, tools = found.actions
    assert isinstance(ping, Send)
    assert isinstance(call, Call)
    assert isinstance(tools, Send)
    assert (call.id, call.service, call.method) == (b'"b"', "fixture", "do_echo")
    assert [check_message(each.message)["id"] for each in (ping, tools)] == [1, 3]


def test_what_needs_no_answer_is_not_counted() -> None:
    found = batch(
        [
            notification("notifications/initialized"),
            notification("notifications/cancelled", {"requestId": 9}),
            {"jsonrpc": "2.0", "id": "q", "result": {}},
            request("resources/unsubscribe", {"uri": "fixture://moving"}),
        ]
    )
    assert found.answers == 1
    assert [type(action) for action in found.actions] == [Cancel, Answered, Unwatch, Send]


@pytest.mark.parametrize(
    "messages",
    [
        [notification("notifications/initialized")],
        [{"jsonrpc": "2.0", "id": "q", "result": {}}, {"jsonrpc": "2.0", "id": "r", "error": {"code": 1}}],
    ],
)
def test_a_batch_without_requests_has_no_answer(messages: list[Any]) -> None:
    assert batch(messages).answers == 0


@pytest.mark.parametrize("revision", [revision for revision in SUPPORTED if revision != BATCHES])
def test_other_revisions_have_none(revision: str) -> None:
    peer = Peer(revision)
    error = check_send(peer.sent([peer.message("tools/list")]), None)["error"]
    assert error["code"] == -32600
    assert "no batches" in error["message"]


def test_a_batch_over_http_is_refused_in_the_stateless_era() -> None:
    peer = Peer(STATELESS)
    message = peer.message("tools/list")
    error = check_send(peer.sent([message], headers_of(message)), None)["error"]
    assert error["code"] == -32600


def test_there_are_no_batches_before_initialize() -> None:
    peer = Peer(BATCHES, initialized=False)
    error = check_send(peer.sent([request("initialize", {"protocolVersion": BATCHES})]), None)["error"]
    assert (error["code"], "before initialize" in error["message"]) == (-32600, True)
    assert not peer.conversation.agreed.revision


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"[]", -32600, "empty"),
        (b" \n[ ]", -32600, "empty"),
        (b"[", -32700, "JSON"),
        (b"[{]", -32700, "JSON"),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}', -32700, "JSON"),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}] []', -32700, "JSON"),
        (b"[" * 100_000, -32700, "deep"),
        (b'[{"jsonrpc":"2.0","id":1,"method":"\xff"}]', -32700, "UTF-8"),
    ],
)
def test_a_batch_that_is_none_is_answered_once_and_without_an_id(data: bytes, code: int, says: str) -> None:
    error = check_send(Peer(BATCHES).sent(data), None)["error"]
    assert error["code"] == code
    assert says in error["message"]


def test_a_batch_of_too_many_is_refused_as_a_whole() -> None:
    peer = Peer(BATCHES)
    assert batch([request("ping", id=id) for id in range(MAX_BATCH)], peer).answers == MAX_BATCH
    error = check_send(peer.sent([request("ping", id=id) for id in range(MAX_BATCH + 1)]), None)["error"]
    assert (error["code"], f"at most {MAX_BATCH}" in error["message"]) == (-32600, True)


def test_a_batch_that_is_too_long_is_refused_as_a_whole() -> None:
    data = json.dumps([request("ping")]).encode()
    [action] = Peer(BATCHES).conversation.receive(data, len(data) - 1)
    assert isinstance(action, Send)
    assert check_send(action, None)["error"]["code"] == -32600


def test_each_wrong_message_of_a_batch_has_an_answer_of_its_own() -> None:
    found = batch([1, {}, None, {"jsonrpc": "2.0", "id": 5}, request("no/such", id=6), request("ping", id=None)])
    assert errors(found) == [(None, -32600), (None, -32600), (None, -32600), (5, -32600), (6, -32601), (None, -32600)]


def test_a_batch_cannot_hold_a_batch() -> None:
    found = batch([[request("ping", id=1)], [], request("ping", id=2)])
    assert found.answers == 3
    assert errors(found) == [(None, -32600), (None, -32600)]


def test_initialize_is_not_part_of_a_batch() -> None:
    peer = Peer(BATCHES)
    found = batch([request("initialize", {"protocolVersion": "2025-11-25"}, id=8), request("ping", id=9)], peer)
    assert errors(found) == [(8, -32600)]
    assert peer.conversation.agreed.revision == BATCHES


def test_requests_of_the_stateless_era_are_not_part_of_a_batch() -> None:
    modern = Peer(STATELESS)
    found = batch([modern.message("tools/list", id=1), modern.message("server/discover", id=2), request("tasks/get")])
    assert errors(found) == [(1, -32600), (2, -32600), (1, -32600)]


def test_the_calls_of_a_batch_take_their_places_in_flight() -> None:
    peer = Peer(BATCHES, max_in_flight=2)
    calls = [request("tools/call", {"name": "echo"}, id=id) for id in (1, 1, 2, 3)]
    found = batch(calls, peer)
    assert [action.id for action in found.actions if isinstance(action, Call)] == [b"1", b"2"]
    assert errors(found) == [(1, -32600), (3, 429)]
    for action in found.actions:
        if isinstance(action, Call):
            peer.conversation.finish(action)
    assert batch(calls[2:], peer).answers == 2
    assert peer.conversation._in_flight.keys() == {b"2", b"3"}


def test_a_long_array_for_a_revision_without_batches_is_refused_without_taking_it_apart() -> None:
    [action] = Peer("2025-11-25").conversation.receive(b"[" + b"1," * 100_000, LIMIT)
    assert isinstance(action, Send)
    assert check_send(action, None)["error"]["code"] == -32600
