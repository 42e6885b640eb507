"""Messages of both eras, as bytes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.failure import BadAnswer, CallFailed, NotComplete, RpcError, ToolFailed
from tests.load.message import Era, decode, encode_answer, encode_request, header_value, request_headers, result_of


def test_a_request_of_the_handshake_era_is_sent_as_it_is() -> None:
    sent = json.loads(encode_request(7, "tools/call", {"name": "echo"}, Era.HANDSHAKE))
    assert sent == {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo"}}


@pytest.mark.parametrize("given_meta", [{}, {"_meta": {"progressToken": 1}}])
def test_a_request_of_the_stateless_era_says_who_calls_and_in_what_revision(given_meta: dict[str, Any]) -> None:
    sent = json.loads(encode_request(7, "tools/call", {"name": "echo", **given_meta}, Era.STATELESS))
    meta = sent["params"]["_meta"]
    assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {}
    assert meta["io.modelcontextprotocol/clientInfo"]["name"]
    assert given_meta.get("_meta", {}).items() <= meta.items()
    assert sent["params"]["name"] == "echo"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("us-west1", "us-west1"),
        ("file:///a b/c", "file:///a b/c"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
    ],
)
def test_values_of_headers_are_written_as_the_specification_says(text: str, value: str) -> None:
    assert header_value(text) == value


@given(st.text(min_size=1))
def test_no_text_leaves_its_header(text: str) -> None:
    value = header_value(text)
    assert value.isascii()
    assert all(" " <= character <= "~" for character in value)
    assert value == value.strip()


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "echo"}, "Mcp-Name: echo\r\n"),
        ("prompts/get", {"name": "hello"}, "Mcp-Name: hello\r\n"),
        ("resources/read", {"uri": "aicp://agents"}, "Mcp-Name: aicp://agents\r\n"),
        ("tools/list", {}, ""),
    ],
)
def test_headers_name_what_the_body_names(method: str, params: dict[str, Any], name: str) -> None:
    assert request_headers(method, params) == f"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{name}"


def answer(**fields: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, **fields}).encode()


@pytest.mark.parametrize("result", [{}, {"resultType": "complete", "isError": False, "content": []}])
def test_a_result_is_given_as_it_came(result: dict[str, Any]) -> None:
    assert json.loads(result_of(decode(answer(result=result)))) == result


FAILED_TOOL = {"isError": True, "content": [{"type": "text", "text": "busy: later"}]}


@pytest.mark.parametrize(
    ("message", "kind", "code"),
    [
        (answer(error={"code": 429, "message": "busy", "data": {"code": "busy"}}), RpcError, "429"),
        (answer(result={**FAILED_TOOL, "_meta": {"aicp/error": {"code": "busy"}}}), ToolFailed, "tool:busy"),
        (answer(result=FAILED_TOOL), ToolFailed, "tool:error"),
        (answer(result={"isError": True, "content": "?"}), ToolFailed, "tool:error"),
        (answer(result={"resultType": "input_required"}), NotComplete, "result:input_required"),
        (answer(result=[]), BadAnswer, "bad_answer"),
        (answer(), BadAnswer, "bad_answer"),
    ],
)
def test_what_is_no_result_has_a_code(message: bytes, kind: type[CallFailed], code: str) -> None:
    with pytest.raises(kind) as caught:
        result_of(decode(message))
    assert caught.value.code == code


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"id":[]}', b"\xff", b"[" * 100_000])
def test_what_is_no_message_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        decode(data)


def test_a_ping_of_the_hub_is_answered_and_everything_else_declined() -> None:
    assert json.loads(encode_answer(decode(b'{"id":"p","method":"ping"}'))) == {
        "jsonrpc": "2.0",
        "id": "p",
        "result": {},
    }
    declined = json.loads(encode_answer(decode(b'{"id":5,"method":"sampling/createMessage"}')))
    assert (declined["id"], declined["error"]["code"]) == (5, -32601)
