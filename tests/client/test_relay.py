"""What the bridge does with the messages of a client and a hub, while the connection holds and when it breaks."""

import json
from typing import Any

import pytest

from aicp.connect.backlog import Limits
from tests.client.between import REVISION, Between, methods

VERSION = "io.modelcontextprotocol/protocolVersion"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


@pytest.fixture
def both() -> Between:
    """A client and a hub, not yet connected."""
    return Between()


@pytest.fixture
def shaken(both: Between) -> Between:
    """Both after the handshake."""
    both.initialize()
    return both


def test_messages_pass_letter_for_letter_in_both_directions(both: Between) -> None:
    both.open()
    odd = '{ "jsonrpc":"2.0","id" : "가\\u00e9\\ud800" , "method":"x/y", "params":{"n":1.50e+300,"big":%s}}'
    odd = odd.replace("%s", "12345678901234567890")
    both.say(odd)
    assert both.relay.next_frame(both.now) == odd
    answer = '{"id":"가\\u00e9\\ud800","result" :{ "x": 1e5 },"jsonrpc":"2.0"}'
    both.tell(answer)
    assert both.relay.take_lines() == [answer]


def test_a_message_of_the_hub_with_line_ends_becomes_one_line(both: Between) -> None:
    both.open()
    both.tell('{"jsonrpc":"2.0",\r\n "method":"notifications/x",\n "params":{"text":"a\\nb"}}\n')
    (line,) = both.relay.take_lines()
    assert "\n" not in line
    assert json.loads(line)["params"] == {"text": "a\nb"}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("nonsense", -32700),
        ('{"jsonrpc":"2.0","id":1,"method":"a"} trailing', -32700),
        ('{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":NaN}}', -32700),
        ("[" * 100_000, -32700),
        ("1", -32600),
        ("[]", -32600),
        ("[[]]", -32600),
        ('{"id":1,"method":"a"}', -32600),
        ('{"jsonrpc":"2.0","id":null,"method":"a"}', -32600),
        ('{"jsonrpc":"2.0","id":1.5,"method":"a"}', -32600),
        ('{"jsonrpc":"2.0","id":true,"method":"a"}', -32600),
        ('{"jsonrpc":"2.0","id":"%s","method":"a"}' % ("x" * 255), -32600),
        ('{"jsonrpc":"2.0","id":1,"method":2}', -32600),
        ('{"jsonrpc":"2.0","id":1}', -32600),
    ],
)
def test_what_is_no_message_is_answered_and_not_passed_on(both: Between, line: str, code: int) -> None:
    both.open()
    both.say(line)
    (answer,) = both.heard()
    assert answer["error"]["code"] == code
    assert both.came() == []


def test_an_error_about_a_message_goes_to_its_id_if_it_has_one(both: Between) -> None:
    both.say('{"id":7,"method":"a"}')
    assert both.heard()[0]["id"] == 7
    both.say("nonsense")
    assert "id" not in both.heard()[0]


def test_a_line_that_is_not_utf_8_is_answered(both: Between) -> None:
    both.relay.line(b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', both.now)
    assert both.heard()[0]["error"]["code"] == -32700


def test_empty_lines_mean_nothing(both: Between) -> None:
    both.open()
    both.relay.line(b"  \r", both.now)
    assert both.heard() == both.came() == []


def test_what_the_hub_sends_that_is_no_message_never_reaches_the_client(both: Between) -> None:
    both.open()
    for frame in ("nonsense", "1", "[]", '{"jsonrpc":"2.0"}', '{"jsonrpc":"2.0","method":"x","params":Infinity}'):
        both.tell(frame)
    assert both.heard() == []


def test_a_batch_of_the_client_becomes_single_messages(both: Between) -> None:
    both.open()
    both.say('[{"jsonrpc":"2.0","id":1,"method":"ping"}, 5 ,{"jsonrpc":"2.0","method":"notifications/x"}]')
    assert methods(both.came()) == ["ping", "notifications/x"]
    assert both.heard()[0]["error"]["code"] == -32600


def test_a_batch_of_the_hub_becomes_single_lines(both: Between) -> None:
    both.open()
    both.ask(1, "ping")
    both.came()
    both.tell('[{"jsonrpc":"2.0","id":1,"result":{}},\n{"jsonrpc":"2.0","method":"notifications/x"}]')
    assert methods(both.heard()) == ["", "notifications/x"]


def test_a_message_that_is_too_long_is_answered_under_its_id(both: Between) -> None:
    both = Between(limits=Limits(message_bytes=200))
    both.open()
    both.ask(1, "tools/call", name="act", arguments={"text": "가" * 100})
    (answer,) = both.heard()
    assert (answer["id"], answer["error"]["code"]) == (1, -32600)
    assert "200 bytes" in answer["error"]["message"]
    assert both.came() == []


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


@pytest.mark.parametrize(
    "method",
    [
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "tasks/get",
        "subscriptions/listen",
    ],
)
def test_a_request_that_only_reads_is_sent_again_when_the_connection_broke(both: Between, method: str) -> None:
    both.open()
    both.ask(1, method, uri="x")
    first = both.came_one()
    both.lose()
    assert both.heard() == both.came() == []
    both.open()
    assert both.came_one() == first
    both.answer(first)
    assert both.heard()[0]["id"] == 1


@pytest.mark.parametrize("method", ["tools/call", "tasks/update", "tasks/cancel", "acme/unknown"])
def test_a_request_that_may_have_been_done_is_answered_and_not_sent_again(both: Between, method: str) -> None:
    both.open()
    both.ask(1, method, name="act")
    both.came()
    both.lose()
    (answer,) = both.heard()
    assert answer["id"] == 1
    assert answer["error"]["code"] == 503
    assert "may or may not have been done" in answer["error"]["message"]
    both.open()
    assert both.came() == []


def test_a_call_that_was_not_sent_yet_is_sent_after_the_reconnect(both: Between) -> None:
    both.open()
    both.call(1, "act")
    both.lose()
    assert both.heard() == []
    both.open()
    assert both.came_one()["id"] == 1


@pytest.mark.parametrize(
    ("tool", "again"), [("look", True), ("put", True), ("act", False), ("plain", False), ("new", False)]
)
def test_a_tool_that_says_so_is_called_again(both: Between, tool: str, again: bool) -> None:
    both.open()
    both.learn_tools()
    both.call(1, tool)
    both.came()
    both.lose()
    assert bool(both.heard()) is not again
    both.open()
    assert bool(both.came()) is again


def test_a_tool_that_no_longer_says_so_is_not_called_again(both: Between) -> None:
    both.open()
    both.learn_tools()
    both.ask(1, "tools/list")
    both.answer(both.came_one(), {"tools": [{"name": "look"}]})
    both.call(2, "look")
    both.came()
    both.heard()
    both.lose()
    assert "may or may not" in both.heard()[0]["error"]["message"]


@pytest.mark.parametrize(
    "listed", [{}, {"tools": None}, {"tools": [None, {}, {"name": 5}, {"name": "x", "annotations": 1}]}]
)
def test_a_list_of_tools_that_is_none_is_passed_on(both: Between, listed: dict[str, Any]) -> None:
    both.open()
    both.ask(1, "tools/list")
    both.answer(both.came_one(), listed)
    assert both.heard()[0]["result"] == listed


def test_what_is_sent_again_comes_before_what_waits_and_in_the_old_order(both: Between) -> None:
    both.open()
    for number in (1, 2, 3):
        both.ask(number, "ping")
    both.came()
    both.lose()
    both.ask(4, "ping")
    both.open()
    assert [frame["id"] for frame in both.came()] == [1, 2, 3, 4]


def test_a_request_over_which_the_hub_falls_each_time_is_given_up(both: Between) -> None:
    for _ in range(3):
        both.open()
        both.ask(1, "resources/read") if not both.relay.waiting else None
        assert both.came_one()["id"] == 1
        both.lose()
    assert "3 times" in both.heard()[0]["error"]["message"]
    both.open()
    assert both.came() == []


def test_a_request_waits_anew_from_the_moment_the_connection_broke(both: Between) -> None:
    both.open()
    both.ask(1, "resources/read", uri="x")
    both.came()
    both.wait(100)
    both.lose()
    both.wait(44)
    assert both.heard() == []
    both.wait(1)
    assert both.heard()[0]["error"]["code"] == 503


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


def test_an_error_of_the_hub_that_is_about_no_known_request_passes(both: Between) -> None:
    both.open()
    both.tell({"jsonrpc": "2.0", "error": {"code": -32700, "message": "what?"}})
    assert both.heard()[0]["error"]["message"] == "what?"


def test_an_end_answers_all_that_waits(both: Between) -> None:
    both.call(1, "act")
    both.open()
    both.came()
    both.ask(2, "ping")
    both.relay.give_up("the hub refuses the token")
    assert [(answer["id"], answer["error"]["message"]) for answer in both.heard()] == [
        (1, "the hub refuses the token"),
        (2, "the hub refuses the token"),
    ]


# ------------------------------------------------------------------------------------------------- the handshake era


def test_the_handshake_is_replayed_and_the_client_does_not_notice(shaken: Between) -> None:
    shaken.lose()
    shaken.call(1, "act")
    shaken.open()
    again = shaken.came_one()
    assert again["method"] == "initialize"
    assert again["params"]["clientInfo"]["name"] == "test"
    assert str(again["id"]).startswith("aicp-connect-")
    shaken.answer(again, {"protocolVersion": REVISION, "capabilities": {}})
    assert methods(shaken.came()) == ["notifications/initialized", "tools/call"]
    assert shaken.heard() == []


def test_the_replay_asks_for_the_revision_that_the_client_was_told(both: Between) -> None:
    both.open()
    both.ask(1, "initialize", protocolVersion="2099-01-01", capabilities={"roots": {}})
    both.answer(both.came_one(), {"protocolVersion": "2025-06-18"})
    both.lose()
    both.open()
    assert both.came_one()["params"] == {"protocolVersion": "2025-06-18", "capabilities": {"roots": {}}}


def test_a_hub_that_speaks_another_revision_now_ends_the_conversation(shaken: Between) -> None:
    shaken.lose()
    shaken.open()
    shaken.answer(shaken.came_one(), {"protocolVersion": "2024-11-05"})
    assert shaken.relay.failure is not None
    assert "2024-11-05" in shaken.relay.failure


def test_a_hub_that_refuses_the_replay_ends_the_conversation(shaken: Between) -> None:
    shaken.lose()
    shaken.open()
    shaken.refuse(shaken.came_one())
    assert "no such thing" in str(shaken.relay.failure)


def test_an_initialize_that_was_not_answered_is_the_clients_own_again(both: Between) -> None:
    both.open()
    both.ask(1, "initialize", protocolVersion=REVISION)
    both.came()
    both.lose()
    both.open()
    again = both.came_one()
    assert again["id"] == 1
    both.answer(again, {"protocolVersion": REVISION})
    assert both.heard()[0]["id"] == 1


def test_an_initialize_that_was_refused_is_not_replayed(both: Between) -> None:
    both.open()
    both.ask(1, "initialize")
    both.refuse(both.came_one())
    both.lose()
    both.open()
    assert both.came() == []


def test_initialized_follows_only_when_the_client_has_said_it(both: Between) -> None:
    both.open()
    both.ask(1, "initialize", protocolVersion=REVISION)
    both.answer(both.came_one(), {"protocolVersion": REVISION})
    both.lose()
    both.open()
    both.answer(both.came_one(), {"protocolVersion": REVISION})
    assert both.came() == []
    both.note("notifications/initialized")
    assert both.came_one()["method"] == "notifications/initialized"


def test_a_client_that_says_all_at_once_is_understood_over_a_break(both: Between) -> None:
    both.ask(1, "initialize", protocolVersion=REVISION)
    both.note("notifications/initialized")
    both.ask(2, "tools/list")
    both.open()
    assert methods(both.came()) == ["initialize", "tools/list"]
    both.lose()
    both.open()
    first, _ = both.came()
    both.answer(first, {"protocolVersion": REVISION})
    assert both.came_one()["method"] == "notifications/initialized"


def test_the_log_level_is_set_again(shaken: Between) -> None:
    shaken.ask(1, "logging/setLevel", level="debug")
    shaken.answer(shaken.came_one())
    shaken.lose()
    (level,) = shaken.resume()
    assert (level["method"], level["params"]) == ("logging/setLevel", {"level": "debug"})
    shaken.heard()
    shaken.answer(level)
    assert shaken.heard() == []


def test_subscriptions_are_made_again_and_a_change_may_have_been_missed(shaken: Between) -> None:
    for number, uri in enumerate(("a:1", "a:2", "a:3")):
        shaken.ask(number, "resources/subscribe", uri=uri)
        shaken.answer(shaken.came_one())
    shaken.ask(9, "resources/unsubscribe", uri="a:2")
    shaken.answer(shaken.came_one())
    shaken.heard()
    shaken.lose()
    again = shaken.resume()
    assert [(frame["method"], frame["params"]["uri"]) for frame in again] == [
        ("resources/subscribe", "a:1"),
        ("resources/subscribe", "a:3"),
    ]
    assert shaken.heard() == []
    for frame in again:
        shaken.answer(frame)
    told = shaken.heard()
    assert methods(told) == ["notifications/resources/updated"] * 2
    assert [message["params"] for message in told] == [{"uri": "a:1"}, {"uri": "a:3"}]


def test_a_refused_subscription_is_not_made_again(shaken: Between) -> None:
    shaken.ask(1, "resources/subscribe", uri="a:1")
    shaken.refuse(shaken.came_one())
    shaken.lose()
    assert shaken.resume() == []


def test_many_subscriptions_are_made_again_a_few_at_a_time(shaken: Between) -> None:
    for number in range(50):
        shaken.ask(number, "resources/subscribe", uri=f"a:{number}")
        shaken.answer(shaken.came_one())
    shaken.heard()
    shaken.lose()
    shaken.ask("x", "ping")
    asked = shaken.resume()
    seen = []
    while asked:
        assert sum(frame["method"] == "resources/subscribe" for frame in asked) <= 16
        for frame in asked:
            seen.append(frame["params"].get("uri"))
            shaken.answer(frame)
        asked = shaken.came()
    assert sorted(filter(None, seen)) == sorted(f"a:{number}" for number in range(50))
    assert len(shaken.heard()) == 51


def test_a_subscription_that_a_starting_hub_does_not_know_yet_is_tried_again(shaken: Between) -> None:
    shaken.ask(1, "resources/subscribe", uri="a:1")
    shaken.answer(shaken.came_one())
    shaken.heard()
    shaken.lose()
    (again,) = shaken.resume()
    shaken.refuse(again)
    assert shaken.came() == []
    shaken.wait(0.5)
    shaken.refuse(shaken.came_one())
    shaken.wait(1)
    shaken.answer(shaken.came_one())
    assert shaken.heard()[0]["params"] == {"uri": "a:1"}


def test_a_subscription_that_the_hub_goes_on_refusing_is_over_and_the_client_learns_of_it(shaken: Between) -> None:
    shaken.ask(1, "resources/subscribe", uri="a:1")
    shaken.answer(shaken.came_one())
    shaken.heard()
    shaken.lose()
    (again,) = shaken.resume()
    shaken.refuse(again)
    for _ in range(6):
        shaken.wait(16)
        shaken.refuse(shaken.came_one())
    assert shaken.heard()[0]["params"] == {"uri": "a:1"}
    shaken.wait(100)
    assert shaken.came() == []
    shaken.lose()
    assert shaken.resume() == []


def test_lists_that_may_have_changed_are_to_be_looked_at_again(both: Between) -> None:
    both.initialize(tools={"listChanged": True}, prompts={}, resources={"listChanged": True, "subscribe": True})
    both.lose()
    both.resume()
    assert methods(both.heard()) == ["notifications/tools/list_changed", "notifications/resources/list_changed"]


def test_nothing_is_sent_before_the_replayed_handshake_is_answered(shaken: Between) -> None:
    shaken.lose()
    shaken.open()
    shaken.came()
    shaken.ask(1, "ping")
    shaken.note("notifications/x")
    assert shaken.came() == []
    shaken.wait(45)
    assert shaken.heard()[0]["error"]["code"] == 503


def test_a_break_in_the_middle_of_the_replay_begins_it_anew(shaken: Between) -> None:
    shaken.ask(1, "resources/subscribe", uri="a:1")
    shaken.answer(shaken.came_one())
    shaken.heard()
    for _ in range(3):
        shaken.lose()
        shaken.open()
        assert shaken.came_one()["method"] == "initialize"
    shaken.lose()
    assert methods(shaken.resume()) == ["resources/subscribe"]
    assert shaken.heard() == []


# ------------------------------------------------------------------------------------------------- the stateless era


def stateless(both: Between, id: int, method: str, **params: Any) -> None:
    both.ask(id, method, _meta={VERSION: "2026-07-28"}, **params)


def acknowledge(both: Between, id: int, **notifications: Any) -> None:
    both.inform("notifications/subscriptions/acknowledged", _meta={SUBSCRIPTION: id}, notifications=notifications)


def test_a_client_without_a_handshake_goes_on_without_one(both: Between) -> None:
    both.open()
    stateless(both, 1, "server/discover")
    both.answer(both.came_one(), {"supportedVersions": ["2026-07-28"]})
    both.lose()
    stateless(both, 2, "tools/list")
    both.open()
    assert both.came_one()["id"] == 2


def test_an_open_listen_is_sent_again_and_its_second_acknowledgement_swallowed(both: Between) -> None:
    both.open()
    stateless(
        both, 1, "subscriptions/listen", notifications={"toolsListChanged": True, "resourceSubscriptions": ["a:1"]}
    )
    first = both.came_one()
    acknowledge(both, 1, toolsListChanged=True, resourceSubscriptions=["a:1"])
    assert methods(both.heard()) == ["notifications/subscriptions/acknowledged"]
    for _ in range(5):  # more often than a request is sent that has shown no effect
        both.lose()
        both.wait(3600)
        both.open()
        assert both.came_one() == first
        assert both.heard() == []
        acknowledge(both, 1, toolsListChanged=True, resourceSubscriptions=["a:1"])
        told = both.heard()
        assert methods(told) == ["notifications/tools/list_changed", "notifications/resources/updated"]
        assert {message["params"]["_meta"][SUBSCRIPTION] for message in told} == {1}
        assert told[1]["params"]["uri"] == "a:1"


def test_a_listen_that_was_not_acknowledged_yet_is_acknowledged_once(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    both.came()
    both.lose()
    both.open()
    both.came()
    acknowledge(both, 1)
    assert methods(both.heard()) == ["notifications/subscriptions/acknowledged"]


def test_a_listen_that_the_client_has_cancelled_is_not_sent_again(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    both.came()
    acknowledge(both, 1)
    both.note("notifications/cancelled", requestId=1)
    assert methods(both.came()) == ["notifications/cancelled"]
    both.lose()
    both.open()
    assert both.came() == []


def test_a_listen_that_is_cancelled_while_the_hub_is_away_is_not_sent_again(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    both.came()
    acknowledge(both, 1)
    both.lose()
    both.note("notifications/cancelled", requestId=1)
    both.open()
    assert both.came() == []


def test_a_listen_that_the_hub_has_ended_is_not_sent_again(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    listen = both.came_one()
    acknowledge(both, 1)
    both.heard()
    both.inform("notifications/cancelled", requestId=1)
    both.answer(listen, {"resultType": "complete"})
    assert both.heard() == []
    both.wait(5)
    assert methods(both.heard()) == ["notifications/cancelled", ""]
    both.lose()
    both.open()
    assert both.came() == both.heard() == []


def test_the_id_of_a_listen_that_the_hub_has_ended_can_be_used_again(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    both.came()
    acknowledge(both, 1)
    both.heard()
    both.inform("notifications/cancelled", requestId=1)
    stateless(both, 1, "subscriptions/listen", notifications={})
    assert both.came_one()["id"] == 1
    assert methods(both.heard()) == ["notifications/cancelled"]
    acknowledge(both, 1)
    assert methods(both.heard()) == ["notifications/subscriptions/acknowledged"]


def test_a_listen_that_a_hub_ends_because_it_stops_is_taken_up_again(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={"promptsListChanged": True})
    listen = both.came_one()
    acknowledge(both, 1, promptsListChanged=True)
    both.heard()
    both.answer(listen, {"resultType": "complete"})
    both.wait(2)
    both.lose()
    both.wait(10)
    assert both.heard() == []
    both.open()
    assert both.came_one() == listen
    acknowledge(both, 1, promptsListChanged=True)
    assert methods(both.heard()) == ["notifications/prompts/list_changed"]


def test_a_listen_that_the_hub_refuses_the_second_time_is_over(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    both.came()
    acknowledge(both, 1)
    both.heard()
    both.lose()
    both.open()
    both.refuse(both.came_one())
    assert both.heard()[0]["id"] == 1
    both.lose()
    both.open()
    assert both.came() == []


def test_several_listens_are_told_apart(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={"promptsListChanged": True})
    stateless(both, 2, "subscriptions/listen", notifications={"resourcesListChanged": True})
    both.came()
    acknowledge(both, 2, resourcesListChanged=True)
    both.heard()
    both.lose()
    both.open()
    assert [frame["id"] for frame in both.came()] == [1, 2]
    acknowledge(both, 1, promptsListChanged=True)
    acknowledge(both, 2, resourcesListChanged=True)
    told = both.heard()
    assert methods(told) == ["notifications/subscriptions/acknowledged", "notifications/resources/list_changed"]
