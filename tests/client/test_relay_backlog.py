"""Requests of the client that wait for the hub, are cancelled, or have no hub any more."""

from aicp.connect.backlog import Limits
from tests.client.between import REVISION, Between


def test_a_second_request_under_an_id_that_is_under_way_is_refused(both: Between) -> None:
    both.open()
    both.ask(1, "ping")
    both.ask(1, "ping")
    both.ask("1", "ping")
    assert [frame["id"] for frame in both.came()] == [1, "1"]
    assert both.heard()[0]["error"]["code"] == -32600


def test_requests_wait_for_a_hub_that_is_not_there_yet(both: Between) -> None:
    both.relay.connection_lost(both.now, "connection refused")
    both.ask(1, "initialize", protocolVersion=REVISION)
    both.wait(44)
    assert both.came() == both.heard() == []
    both.open()
    assert both.came_one()["id"] == 1


def test_a_request_that_waited_too_long_is_answered_with_the_reason(both: Between) -> None:
    both.relay.connection_lost(both.now, "connection refused")
    both.call(1, "act")
    both.wait(44)
    assert both.heard() == []
    both.wait(1)
    (answer,) = both.heard()
    assert answer["error"]["code"] == 503
    assert answer["error"]["data"]["code"] == "unavailable"
    assert "45 s" in answer["error"]["message"]
    assert "has not been done" in answer["error"]["message"]
    assert "connection refused" in answer["error"]["message"]
    both.open()
    assert both.came() == []


def test_a_call_that_was_sent_and_waited_too_long_is_not_said_to_be_undone(both: Between) -> None:
    both.open()
    both.learn_tools()
    both.call(1, "put")
    both.came()
    both.lose()
    both.wait(45)
    message = both.heard()[0]["error"]["message"]
    assert "may or may not have been done" in message
    assert "has not been done" not in message


def test_what_waits_is_bounded_in_number(both: Between) -> None:
    both = Between(limits=Limits(messages=3))
    for number in range(5):
        both.ask(number, "ping")
    answers = both.heard()
    assert [answer["id"] for answer in answers] == [3, 4]
    assert {answer["error"]["code"] for answer in answers} == {429}
    both.open()
    assert [frame["id"] for frame in both.came()] == [0, 1, 2]


def test_what_waits_is_bounded_in_size(both: Between) -> None:
    both = Between(limits=Limits(bytes=1000))
    both.ask(1, "tools/call", text="x" * 2000)
    both.ask(2, "ping")
    assert [answer["id"] for answer in both.heard()] == [2]
    both.note("notifications/cancelled", requestId=1)
    both.ask(3, "ping")
    both.open()
    assert both.came_one()["id"] == 3


def test_a_cancelled_request_that_waits_is_never_sent(both: Between) -> None:
    both.call(1, "act")
    both.note("notifications/cancelled", requestId=1)
    both.open()
    assert both.came() == both.heard() == []
    both.call(1, "act")
    assert both.came_one()["id"] == 1


def test_a_cancelled_request_under_way_is_cancelled_at_the_hub_and_its_late_answer_dropped(both: Between) -> None:
    both.open()
    both.call(1, "act")
    call = both.came_one()
    both.note("notifications/cancelled", requestId=1, reason="enough")
    assert both.came_one()["params"] == {"requestId": 1, "reason": "enough"}
    both.answer(call)
    assert both.heard() == []
    both.lose()
    assert both.heard() == []


def test_a_cancellation_of_nothing_is_not_passed_on(both: Between) -> None:
    both.open()
    both.note("notifications/cancelled", requestId=9)
    both.note("notifications/cancelled")
    assert both.came() == []


def test_an_end_answers_all_that_waits(both: Between) -> None:
    both.ask(1, "ping")
    both.open()
    both.came()
    both.call(2, "act")
    both.relay.give_up("the hub refuses the token", 401)
    data = {"code": "unauthenticated", "message": "the hub refuses the token"}
    assert both.heard() == [
        {"jsonrpc": "2.0", "id": id, "error": {"code": 401, "message": "the hub refuses the token", "data": data}}
        for id in (1, 2)
    ]


def test_an_end_does_not_say_that_a_call_under_way_was_not_done(both: Between) -> None:
    both.call(1, "act")
    both.open()
    both.came()
    both.relay.give_up("the hub refuses the token", 401)
    (answer,) = both.heard()
    assert answer["error"]["code"] == 401
    assert answer["error"]["message"].startswith("the hub refuses the token; ")
    assert "may or may not have been done" in answer["error"]["message"]


def test_after_the_end_requests_are_answered_at_once(both: Between) -> None:
    both.relay.give_up("the hub refuses the token", 401)
    both.note("notifications/initialized")
    both.ask(1, "initialize")
    both.ask(1, "ping")
    assert [(answer["id"], answer["error"]["code"]) for answer in both.heard()] == [(1, 401), (1, 401)]
