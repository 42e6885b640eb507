"""What the bridge takes for a message, and how it passes it on."""

import json

import pytest

from aicp.connect.backlog import Limits
from tests.client.between import Between, methods


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


def test_an_error_of_the_hub_that_is_about_no_known_request_passes(both: Between) -> None:
    both.open()
    both.tell({"jsonrpc": "2.0", "error": {"code": -32700, "message": "what?"}})
    assert both.heard()[0]["error"]["message"] == "what?"
