"""Calls: what a request of a client becomes on its way to a service, in both eras."""

import json
from typing import Any

import pytest

from aicp_common.errors import Conflict, DeadlineExceeded, Internal, NotFound, TooLarge, Unavailable
from aicp_gateway.protocol.revisions import HANDSHAKE, STATELESS, SUPPORTED
from tests.gateway.engine import announced
from tests.gateway.engine.oracle import check_send
from tests.gateway.engine.peer import CAPABILITIES_KEY, VERSION_KEY, Peer

META = b'"_meta":{"%b":"2026-07-28","%b":{}}' % (VERSION_KEY.encode(), CAPABILITIES_KEY.encode())


@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_tool_call_goes_to_the_service_with_its_arguments_untouched(revision: str) -> None:
    arguments = b'{"text": "\xed\x95\x9c\xea\xb5\xad \\u00e9",  "n": 12345678901234567890.0001, "n":1e999 }'
    meta = META if revision == STATELESS else b'"_meta":{}'
    message = b'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"echo",%b,"arguments":%b}}'
    [call] = Peer(revision).receive(message % (meta, arguments))
    assert (call.service, call.method, call.body, call.kind) == ("fixture", "do_echo", arguments, "tool")  # type: ignore[union-attr]
    assert (call.label, call.id) == ("echo", b'"a"')  # type: ignore[union-attr]


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize("params", [{"name": "echo"}, {"name": "echo", "arguments": None}, {"name": "echo", "x": 1}])
def test_a_tool_call_without_arguments_has_none(revision: str, params: dict[str, Any]) -> None:
    assert Peer(revision).call("tools/call", params).body == b"{}"


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize("arguments", [[], "x", 5, True, [{"text": "a"}]])
def test_arguments_that_are_no_object_are_refused(revision: str, arguments: Any) -> None:
    error = Peer(revision).error("tools/call", {"name": "echo", "arguments": arguments})
    assert (error["code"], error["message"]) == (-32602, "arguments is not an object")


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("tools/call", {}, "name"),
        ("tools/call", {"name": 7}, "name"),
        ("tools/call", {"name": "no"}, "the tools are: echo"),
        ("tools/call", {"name": "x" * 5000}, "unknown tool"),
        ("tools/call", None, "name"),
        ("tools/list", {"cursor": 5}, "cursor"),
        ("resources/read", {}, "uri"),
        ("resources/read", {"uri": ["fixture://still"]}, "uri"),
        ("prompts/get", {}, "name"),
        ("prompts/get", {"name": "no"}, "the prompts are: greet"),
        ("prompts/get", {"name": "greet", "arguments": {"whom": 5}}, "params.arguments"),
        ("prompts/get", {"name": "greet", "arguments": []}, "arguments"),
        ("completion/complete", {}, "ref"),
        ("completion/complete", {"ref": {"type": "ref/prompt"}}, "argument"),
        ("completion/complete", {"ref": {}, "argument": {"name": "a", "value": ""}}, "type"),
    ],
)
def test_parameters_that_are_wrong_are_answered_with_what_is_wrong(
    revision: str, method: str, params: Any, says: str
) -> None:
    error = Peer(revision).error(method, params)
    assert error["code"] == -32602
    assert says in error["message"]
    assert len(error["message"]) < 400


@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_tool_out_of_scope_is_neither_listed_nor_called(revision: str) -> None:
    peer = Peer(revision)
    assert "hidden" not in [tool["name"] for tool in peer.result("tools/list")["tools"]]
    error = peer.error("tools/call", {"name": "hidden"})
    assert (error["code"], f"'{announced.HIDDEN_SCOPE}'" in error["message"]) == (403, True)
    everything = Peer(revision, scopes=("*",))
    assert "hidden" in [tool["name"] for tool in everything.result("tools/list")["tools"]]
    assert everything.call("tools/call", {"name": "hidden"}).method == "do_hidden"


@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_name_out_of_scope_is_not_told_of_in_an_error(revision: str) -> None:
    assert "hidden" not in Peer(revision).error("tools/call", {"name": "no"})["message"]
    assert "hidden" not in Peer(revision).error("prompts/get", {"name": "no"})["message"]


@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_resource_is_read_by_the_service_that_serves_it(revision: str) -> None:
    call = Peer(revision).call("resources/read", {"uri": "fixture://things/a b/é"})
    assert (call.service, call.method, call.kind, call.label) == ("fixture", "resource_read", "read", "resources/read")
    assert json.loads(call.body) == {"uri": "fixture://things/a b/é"}
    assert call.uri == "fixture://things/a b/é"
    assert Peer(revision).call("resources/read", {"uri": "other://x"}).service == "other"


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize(
    "uri", ["", "no://x", "fixture://things/", "fixture://hidden", "fixture://hidden/a", "é" * 999]
)
def test_a_resource_that_is_not_there_for_this_client_is_not_found(revision: str, uri: str) -> None:
    error = Peer(revision).error("resources/read", {"uri": uri})
    assert error["code"] == (-32602 if revision == STATELESS else -32002)
    assert error["data"] == {"uri": uri}


def test_a_long_uri_is_not_sent_back_at_full_length() -> None:
    error = Peer("2025-11-25").error("resources/read", {"uri": "x" * 500_000})
    assert len(error["message"]) + len(error["data"]["uri"]) < 3000


@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_prompt_is_made_by_the_service_that_announced_it(revision: str) -> None:
    call = Peer(revision).call("prompts/get", {"name": "greet", "arguments": {"whom": "Ann"}})
    assert (call.service, call.method, call.kind, call.label) == ("fixture", "prompt_get", "prompt", "prompts/get")
    assert json.loads(call.body) == {"name": "greet", "arguments": {"whom": "Ann"}}
    call = Peer(revision).call("prompts/get", {"name": "plain"})
    assert (call.service, json.loads(call.body)) == ("other", {"name": "plain", "arguments": {}})


@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_prompt_out_of_scope_is_neither_listed_nor_made(revision: str) -> None:
    peer = Peer(revision)
    assert [prompt["name"] for prompt in peer.result("prompts/list")["prompts"]] == ["greet", "plain"]
    assert peer.error("prompts/get", {"name": "hidden"})["code"] == 403


@pytest.mark.parametrize("revision", SUPPORTED)
def test_an_argument_is_completed_by_the_service_of_its_prompt_or_template(revision: str) -> None:
    peer = Peer(revision)
    argument = {"name": "whom", "value": "A"}
    call = peer.call("completion/complete", {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": argument})
    assert (call.service, call.method, call.kind) == ("fixture", "complete", "complete")
    asked = json.loads(call.body)
    assert (asked["ref"]["type"], asked["ref"]["name"]) == ("ref/prompt", "greet")
    assert (asked["argument"], asked["context"]) == (argument, {"arguments": {}})
    peer.conversation.finish(call)
    params = {
        "ref": {"type": "ref/resource", "uri": "fixture://things/{name}"},
        "argument": {"name": "name", "value": ""},
        "context": {"arguments": {"kind": "b"}},
    }
    asked = json.loads(peer.call("completion/complete", params).body)
    assert (asked["ref"]["uri"], asked["context"]) == ("fixture://things/{name}", {"arguments": {"kind": "b"}})


@pytest.mark.parametrize("revision", SUPPORTED)
def test_where_nobody_completes_there_is_nothing_to_choose_from(revision: str) -> None:
    params = {"ref": {"type": "ref/prompt", "name": "plain"}, "argument": {"name": "whom", "value": "A"}}
    result = Peer(revision).result("completion/complete", params)
    assert result["completion"] == {"values": [], "total": 0, "hasMore": False}


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize(
    "ref",
    [
        {"type": "ref/prompt", "name": "no"},
        {"type": "ref/prompt", "name": "hidden"},
        {"type": "ref/prompt", "uri": "fixture://things/{name}"},
        {"type": "ref/resource", "uri": "fixture://hidden/{name}"},
        {"type": "ref/resource", "uri": "no://{such}"},
        {"type": "ref/tool", "name": "echo"},
        {"type": ""},
    ],
)
def test_an_argument_of_what_is_not_there_is_not_completed(revision: str, ref: dict[str, str]) -> None:
    error = Peer(revision).error("completion/complete", {"ref": ref, "argument": {"name": "a", "value": ""}})
    assert error["code"] == -32602


@pytest.mark.parametrize("revision", SUPPORTED)
def test_the_callers_trace_is_taken_from_meta_if_it_is_one(revision: str) -> None:
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    peer = Peer(revision)
    assert peer.call("tools/call", {"name": "echo", "_meta": {"traceparent": trace}}, id=1).traceparent == trace
    for id, wrong in enumerate(("junk", "", "00-" + "0" * 32 + "-" + "2" * 16 + "-01", trace + "\n", trace.upper())):
        meta = {"traceparent": wrong}
        call = peer.call("tools/call", {"name": "echo", "_meta": meta}, id=10 + id)
        peer.conversation.finish(call)
        assert call.traceparent == ("" if wrong != trace else trace)


@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_failed_tool_is_a_result_that_an_llm_can_read(revision: str) -> None:
    peer = Peer(revision)
    call = peer.call("tools/call", {"name": "echo"})
    failed = check_send(call.exchange.fail(call, Unavailable("no router", hint="wait")), b"1")["result"]
    assert failed["isError"] is True
    assert "no router" in failed["content"][0]["text"]
    assert "structuredContent" not in failed
    assert failed["_meta"]["aicp/error"]["code"] == "unavailable"


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {"uri": "fixture://things/a"}),
        ("prompts/get", {"name": "greet"}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "", "value": ""}},
        ),
    ],
)
def test_what_else_fails_is_an_error_with_its_reason(revision: str, method: str, params: dict[str, Any]) -> None:
    call = Peer(revision).call(method, params)
    for error, code in (
        (Unavailable("away"), 503),
        (DeadlineExceeded("late"), 504),
        (Conflict("old"), 409),
        (Internal("broken"), -32603),
        (TooLarge("long"), -32600),
    ):
        told = check_send(call.exchange.fail(call, error), b"1")["error"]
        assert (told["code"], told["message"], told["data"]["code"]) == (code, str(error), error.code)


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_a_resource_that_its_service_does_not_find_has_the_code_of_this_era(revision: str) -> None:
    peer = Peer(revision)
    for id, method in enumerate(("resources/read", "resources/subscribe")):
        call = peer.call(method, {"uri": "fixture://things/a"}, id=id)
        assert check_send(call.exchange.fail(call, NotFound("no a")), call.id)["error"]["code"] == -32002
    call = peer.call("prompts/get", {"name": "greet"}, id="p")
    assert check_send(call.exchange.fail(call, NotFound("no a")), call.id)["error"]["code"] == -32602


def test_a_resource_that_its_service_does_not_find_is_a_wrong_parameter_in_the_stateless_era() -> None:
    call = Peer(STATELESS).call("resources/read", {"uri": "fixture://things/a"})
    assert check_send(call.exchange.fail(call, NotFound("no a")), b"1")["error"]["code"] == -32602
