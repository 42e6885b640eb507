"""Requests in flight: each id once, so many at a time, until they are finished or cancelled."""

from typing import Any

import pytest

from aicp_common.errors import Unavailable
from aicp_gateway.protocol.actions import Call, Cancel, Listen
from aicp_gateway.protocol.revisions import HANDSHAKE, STATELESS, SUPPORTED
from tests.gateway.engine.peer import Peer, notification, request


def cancelled(id: Any) -> dict[str, Any]:
    """The notification that this request's answer is no longer wanted."""
    return notification("notifications/cancelled", {"requestId": id, "reason": "changed my mind"})


@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_second_request_with_an_id_under_way_is_refused_until_the_first_has_its_answer(revision: str) -> None:
    peer = Peer(revision)
    echo = peer.message("tools/call", {"name": "echo"}, id=5)
    [call] = peer.receive(echo)
    assert isinstance(call, Call)
    error = peer.told(echo)["error"]
    assert (error["code"], "still under way" in error["message"]) == (-32600, True)
    call.exchange.fail(call, Unavailable("away"))  # the answer is made, and has not reached the client
    assert "still under way" in peer.told(echo)["error"]["message"]
    peer.conversation.finish(call)
    assert isinstance(peer.receive(echo)[0], Call)


def test_an_id_under_way_holds_up_no_request_that_is_answered_at_once() -> None:
    peer = Peer("2025-11-25")
    peer.call("tools/call", {"name": "echo"}, id=5)
    assert "result" in peer.told(request("ping", id=5))


def test_a_number_and_its_text_are_two_ids() -> None:
    peer = Peer("2025-11-25")
    assert peer.call("tools/call", {"name": "echo"}, id=5).id == b"5"
    assert peer.call("tools/call", {"name": "echo"}, id="5").id == b'"5"'


@pytest.mark.parametrize("revision", SUPPORTED)
def test_more_requests_in_flight_than_allowed_are_refused(revision: str) -> None:
    peer = Peer(revision)
    for id in range(3):
        peer.call("tools/call", {"name": "echo"}, id=id)
    error = peer.answer("resources/read", {"uri": "fixture://still"}, id=9)["error"]
    assert (error["code"], "3 requests are in flight" in error["message"]) == (429, True)
    assert "result" in peer.answer("tools/list", id=10)


def test_an_open_subscription_is_in_flight() -> None:
    peer = Peer(STATELESS, max_in_flight=1)
    listen = peer.listen({"toolsListChanged": True}, id="s")
    assert peer.answer("tools/call", {"name": "echo"}, id=2)["error"]["code"] == 429
    peer.conversation.finish(listen)
    assert isinstance(peer.call("tools/call", {"name": "echo"}, id=2), Call)


@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_cancelled_call_frees_its_place(revision: str) -> None:
    peer = Peer(revision, max_in_flight=1)
    first = peer.call("tools/call", {"name": "echo"}, id="a")
    assert peer.receive(cancelled("a")) == [Cancel(b'"a"')]
    second = peer.call("tools/call", {"name": "echo"}, id="a")
    peer.conversation.finish(first)
    assert peer.answer("tools/call", {"name": "echo"}, id="b")["error"]["code"] == 429
    peer.conversation.finish(second)
    assert isinstance(peer.call("tools/call", {"name": "echo"}, id="b"), Call)


def test_a_cancelled_subscription_frees_its_place() -> None:
    peer = Peer(STATELESS, max_in_flight=1)
    assert isinstance(peer.listen({}, id=7), Listen)
    assert peer.receive(cancelled(7)) == [Cancel(b"7")]
    assert isinstance(peer.listen({}, id=7), Listen)


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_a_request_that_is_not_known_is_cancelled_all_the_same(revision: str) -> None:
    # It may be under way in another conversation of the session.
    assert Peer(revision).receive(cancelled(77)) == [Cancel(b"77")]


@pytest.mark.parametrize("params", [None, {}, {"reason": "no id"}, {"id": 5}])
def test_a_cancellation_that_names_no_request_is_ignored(params: dict[str, Any] | None) -> None:
    assert Peer("2025-11-25").receive(notification("notifications/cancelled", params)) == []


@pytest.mark.parametrize("id", [None, 1.5, True, [], {}, {"a": [1]}, "x" * 300])
def test_a_cancellation_of_what_is_no_id_is_ignored(id: Any) -> None:
    assert Peer("2025-11-25").receive(cancelled(id)) == []


def test_finishing_twice_does_not_free_the_place_of_another() -> None:
    peer = Peer("2025-11-25", max_in_flight=1)
    first = peer.call("tools/call", {"name": "echo"})
    peer.conversation.finish(first)
    second = peer.call("tools/call", {"name": "echo"})
    peer.conversation.finish(first)
    assert peer.conversation._in_flight == {b"1": second}
