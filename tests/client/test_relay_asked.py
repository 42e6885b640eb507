"""Requests of the hub to the client, and what the client says of them."""

import json

from tests.client.between import Between


def test_a_request_of_the_hub_and_its_answer_pass(both: Between) -> None:
    both.open()
    both.tell('{"jsonrpc":"2.0","id":"\\u0061","method":"sampling/createMessage","params":{"x":1e2}}')
    (line,) = both.relay.take_lines()
    request = json.loads(line)
    assert line == '{"jsonrpc":"2.0","id":"%s","method":"sampling/createMessage","params":{"x":1e2}}'.replace(
        "%s", request["id"]
    )
    both.say({"jsonrpc": "2.0", "id": request["id"], "result": {"y": 2}})
    assert both.relay.next_frame(both.now) == '{"jsonrpc": "2.0", "id": "\\u0061", "result": {"y": 2}}'


def test_a_request_of_the_hub_is_cancelled_when_the_connection_breaks_and_a_late_answer_dropped(both: Between) -> None:
    both.open()
    both.tell({"jsonrpc": "2.0", "id": 5, "method": "elicitation/create", "params": {}})
    (request,) = both.heard()
    both.lose()
    (cancelled,) = both.heard()
    assert cancelled["method"] == "notifications/cancelled"
    assert cancelled["params"]["requestId"] == request["id"]
    both.open()
    # The new connection uses the same id again: the late answer is not for that one.
    both.tell({"jsonrpc": "2.0", "id": 5, "method": "elicitation/create", "params": {}})
    (second,) = both.heard()
    both.say({"jsonrpc": "2.0", "id": request["id"], "result": {"action": "accept"}})
    assert both.came() == []
    both.say({"jsonrpc": "2.0", "id": second["id"], "error": {"code": 1, "message": "no"}})
    assert both.came_one()["error"] == {"code": 1, "message": "no"}


def test_an_answer_to_the_hub_that_was_not_sent_before_the_break_is_dropped(both: Between) -> None:
    both.open()
    both.tell({"jsonrpc": "2.0", "id": 5, "method": "roots/list"})
    (request,) = both.heard()
    both.say({"jsonrpc": "2.0", "id": request["id"], "result": {}})
    both.lose()
    both.open()
    assert both.came() == []


def test_a_cancellation_of_the_hub_names_the_id_that_the_client_knows(both: Between) -> None:
    both.open()
    both.tell({"jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage"})
    (request,) = both.heard()
    both.inform("notifications/cancelled", requestId=5, reason="late")
    (cancelled,) = both.heard()
    assert cancelled["params"] == {"requestId": request["id"], "reason": "late"}
    both.say({"jsonrpc": "2.0", "id": request["id"], "result": {}})
    assert both.came() == []


def test_a_hub_that_asks_without_end_is_told_so(both: Between) -> None:
    both.open()
    for number in range(1001):
        both.tell({"jsonrpc": "2.0", "id": number, "method": "ping"})
    assert len(both.heard()) == 1000
    assert both.came_one()["error"]["code"] == 429


def test_an_answer_of_the_client_to_nothing_is_dropped(both: Between) -> None:
    both.open()
    for id in (1, "x", None, [1]):
        both.say({"jsonrpc": "2.0", "id": id, "result": {}})
    assert both.came() == []


def test_progress_for_a_request_of_the_hub_is_not_kept_over_a_break(both: Between) -> None:
    both.note("notifications/progress", progressToken=1, progress=1)
    both.note("notifications/roots/list_changed")
    both.note("notifications/acme")
    both.open()
    assert both.came_one()["method"] == "notifications/acme"
