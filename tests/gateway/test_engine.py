"""The protocol engine, without a network."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_common.announcement import AnnouncedResource, AnnouncedTool, Announcement
from aicp_common.envelope import Principal
from aicp_common.errors import NotFound, Unavailable
from aicp_gateway.catalogue import Catalogue
from aicp_gateway.protocol.engine import Call, Cancel, Conversation, Send, Unwatch

LIMIT = 1024 * 1024
TOOL = {"name": "echo", "description": "d", "inputSchema": {"type": "object"}}
SECRET_TOOL = {"name": "secret", "description": "d", "inputSchema": {"type": "object"}}


def catalogue() -> Catalogue:
    made = Catalogue()
    made.hear(
        Announcement(
            service="fixture",
            version="1.0.0",
            instructions="The fixture echoes.",
            tools=(AnnouncedTool("say", TOOL, "fixture:echo"), AnnouncedTool("secret", SECRET_TOOL, "fixture:secret")),
            resources=(AnnouncedResource({"uri": "fixture://still", "name": "still"}),),
            resource_templates=(
                AnnouncedResource({"uriTemplate": "fixture://things/{name}", "name": "t"}, "", watchable=True),
            ),
        ),
        now=0.0,
    )
    return made


def conversation(*, initialized: bool = True, scopes: tuple[str, ...] = ("fixture:echo",)) -> Conversation:
    made = Conversation(Principal("default", "alice", "alice", scopes), catalogue(), max_in_flight=3)
    if initialized:
        receive(made, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}})
    return made


def receive(made: Conversation, message: Any) -> Any:
    """What the engine does with a message: the answer as an object, or the actions."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    actions = made.receive(data, LIMIT)
    if len(actions) == 1 and isinstance(actions[0], Send):
        return json.loads(actions[0].message)
    return actions


def request(method: str, params: Any = None, id: Any = 1) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": id, "method": method}
    if params is not None:
        message["params"] = params
    return message


@pytest.mark.parametrize(
    ("wanted", "given"),
    [("2025-06-18", "2025-06-18"), ("2025-11-25", "2025-11-25"), ("1999-01-01", "2025-11-25"), (None, "2025-11-25")],
)
def test_initialize_agrees_on_a_revision(wanted: str | None, given: str) -> None:
    params = {} if wanted is None else {"protocolVersion": wanted}
    answer = receive(conversation(initialized=False), request("initialize", params))
    assert answer["result"]["protocolVersion"] == given
    assert "The fixture echoes." in answer["result"]["instructions"]
    assert "'alice'" in answer["result"]["instructions"]


def test_nothing_but_ping_goes_before_initialize() -> None:
    made = conversation(initialized=False)
    assert receive(made, request("ping"))["result"] == {}
    answer = receive(made, request("tools/list"))
    assert answer["error"]["code"] == -32600
    assert "initialize" in answer["error"]["message"]


def test_a_tool_call_goes_to_the_service_with_its_arguments_untouched() -> None:
    arguments = b'{"text": "\xed\x95\x9c\xea\xb5\xad",  "n": 12345678901234567890.0001 }'
    message = b'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"echo","arguments":%b}}' % arguments
    [call] = receive(conversation(), message)
    assert isinstance(call, Call)
    assert (call.service, call.method, call.body, call.kind) == ("fixture", "say", arguments, "tool")


@pytest.mark.parametrize("id", [0, -1, 2**62, 10**30, "", "a", "日本", 'quote"and\\slash', " "])
def test_an_id_comes_back_as_it_was(id: Any) -> None:
    made = conversation()
    assert receive(made, request("ping", id=id))["id"] == id
    [call] = receive(made, request("tools/call", {"name": "echo"}, id=id))
    assert json.loads(made.answer(call, b'{"content":[]}')) == {"jsonrpc": "2.0", "id": id, "result": {"content": []}}


@pytest.mark.parametrize("id", [None, 1.5, True, [], {}, "x" * 300, 10**50])
def test_an_id_of_another_kind_is_refused_with_what_is_expected(id: Any) -> None:
    answer = receive(conversation(), request("ping", id=id))
    assert answer["id"] is None
    assert answer["error"]["code"] == -32600
    assert "string or an integer" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        (b"", -32700, "JSON"),
        (b"{", -32700, "JSON"),
        (b'{"jsonrpc":"2.0"', -32700, "JSON"),
        (b"\xff\xfe", -32700, "JSON"),
        (b"[" * 100_000, -32600, "batch"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 100_000, -32700, "deep"),
        (b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}', -32600, "string or an integer"),
        (b"[]", -32600, "batch"),
        (b"5", -32600, "object"),
        (b'"text"', -32600, "object"),
        (b"null", -32600, "object"),
        (b"{}", -32600, "jsonrpc"),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600, "2.0"),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600, "method"),
        (b'{"jsonrpc":"2.0","id":1}', -32600, "neither method"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32602, "object"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}', -32602, "object"),
        (b'{"jsonrpc":"2.0","id":1,"method":"no/such"}', -32601, "no/such"),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}', -32602, "name"),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}', -32602, "name"),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":[]}}', -32602, "object"),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"no"}}', -32602, "the tools are: echo"),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}', -32602, "cursor"),
        (b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"no://x"}}', -32002, "no://x"),
        (b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"fixture://things/"}}', -32002, "things"),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"fixture://still"}}',
            -32602,
            "still",
        ),
    ],
)
def test_a_wrong_message_is_answered_with_what_is_wrong(message: bytes, code: int, says: str) -> None:
    answer = receive(conversation(), message)
    assert answer["error"]["code"] == code
    assert says in answer["error"]["message"]


def test_a_message_that_is_too_long_is_answered_under_its_id() -> None:
    [action] = conversation().receive(json.dumps(request("ping", {"x": "y" * 200}, id=9)).encode(), 100)
    assert isinstance(action, Send)
    answer = json.loads(action.message)
    assert answer["id"] == 9
    assert "at most 100" in answer["error"]["message"]


def test_a_tool_out_of_scope_is_neither_listed_nor_called() -> None:
    made = conversation()
    assert [tool["name"] for tool in receive(made, request("tools/list"))["result"]["tools"]] == ["echo"]
    answer = receive(made, request("tools/call", {"name": "secret"}))
    assert answer["error"]["code"] == 403
    assert "'fixture:secret'" in answer["error"]["message"]
    assert [
        tool["name"] for tool in receive(conversation(scopes=("*",)), request("tools/list"))["result"]["tools"]
    ] == [
        "echo",
        "secret",
    ]


def test_a_second_request_with_an_id_under_way_is_refused_until_the_first_has_its_answer() -> None:
    made = conversation()
    call_echo = request("tools/call", {"name": "echo"}, id=5)
    [call] = receive(made, call_echo)
    assert "still under way" in receive(made, call_echo)["error"]["message"]
    made.answer(call, b"{}")
    assert "still under way" in receive(made, call_echo)["error"]["message"]
    made.finish(call)
    assert isinstance(receive(made, call_echo)[0], Call)


def test_more_requests_in_flight_than_allowed_are_refused() -> None:
    made = conversation()
    for id in range(3):
        receive(made, request("tools/call", {"name": "echo"}, id=id))
    answer = receive(made, request("tools/call", {"name": "echo"}, id=9))
    assert "3 requests are in flight" in answer["error"]["message"]
    assert receive(made, request("ping", id=10))["result"] == {}


def test_a_cancelled_call_frees_its_place() -> None:
    made = conversation()
    receive(made, request("tools/call", {"name": "echo"}, id="a"))
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a"}}
    assert receive(made, cancelled) == [Cancel(b'"a"')]
    assert isinstance(receive(made, request("tools/call", {"name": "echo"}, id="a"))[0], Call)


def test_a_failed_tool_is_a_result_and_a_failed_read_is_an_error() -> None:
    made = conversation()
    [tool] = receive(made, request("tools/call", {"name": "echo"}))
    failed = json.loads(made.fail(tool, Unavailable("no router", hint="wait")))
    assert failed["result"]["isError"] is True
    assert "no router" in failed["result"]["content"][0]["text"]
    assert "structuredContent" not in failed["result"]
    made.finish(tool)
    [read] = receive(made, request("resources/read", {"uri": "fixture://things/a"}))
    assert json.loads(made.fail(read, NotFound("no a")))["error"]["code"] == -32002
    made.finish(read)
    [read] = receive(made, request("resources/read", {"uri": "fixture://things/a"}))
    assert json.loads(made.fail(read, Unavailable("away")))["error"]["data"]["code"] == "unavailable"


def test_subscribing_and_unsubscribing() -> None:
    made = conversation()
    [watch] = receive(made, request("resources/subscribe", {"uri": "fixture://things/a"}))
    assert (watch.method, watch.kind, watch.uri) == ("resource_watch", "watch", "fixture://things/a")
    assert json.loads(made.answer(watch, b'{"subject":"internal"}'))["result"] == {}
    unwatch, answer = receive(made, request("resources/unsubscribe", {"uri": "fixture://things/a"}))
    assert unwatch == Unwatch("fixture://things/a")
    assert json.loads(answer.message)["result"] == {}


@pytest.mark.parametrize("method", ["notifications/initialized", "notifications/whatever", "notifications/cancelled"])
def test_notifications_are_never_answered(method: str) -> None:
    assert receive(conversation(), {"jsonrpc": "2.0", "method": method}) == []


def test_the_callers_trace_is_taken_from_meta_if_it_is_one() -> None:
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    [call] = receive(conversation(), request("tools/call", {"name": "echo", "_meta": {"traceparent": trace}}))
    assert call.traceparent == trace
    [call] = receive(conversation(), request("tools/call", {"name": "echo", "_meta": {"traceparent": "junk"}}))
    assert call.traceparent == ""


@given(st.binary(max_size=400))
def test_no_bytes_whatever_raise(data: bytes) -> None:
    for action in conversation().receive(data, LIMIT):
        if isinstance(action, Send):
            json.loads(action.message)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_methods = st.sampled_from(
    ["initialize", "ping", "tools/call", "tools/list", "resources/read", "resources/subscribe", "resources/unsubscribe"]
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "jsonrpc": st.just("2.0") | _json,
            "id": _json,
            "method": _methods | _json,
            "params": st.fixed_dictionaries(
                {}, optional={"name": st.just("echo") | _json, "arguments": _json, "uri": _json, "_meta": _json}
            )
            | _json,
            "result": _json,
            "error": _json,
        },
    )
)
def test_no_message_whatever_raises_and_each_request_has_one_answer_or_one_call(message: dict[str, Any]) -> None:
    actions = conversation().receive(json.dumps(message).encode(), LIMIT)
    answers = [action for action in actions if isinstance(action, Send | Call)]
    for action in actions:
        if isinstance(action, Send):
            answer = json.loads(action.message)
            assert answer["jsonrpc"] == "2.0"
            assert ("result" in answer) != ("error" in answer)
    if message.get("jsonrpc") == "2.0" and isinstance(message.get("method"), str) and "id" in message:
        assert len(answers) == 1
