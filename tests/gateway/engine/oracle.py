"""What holds for every message that the engine gives out, whatever came in."""

import json
from typing import Any

from aicp_gateway.protocol.actions import Action, Ask, Batch, Call, Listen, Send

LEGACY_ONLY = {-32002, -32042}
"""Error codes that MCP 2026-07-28 forbids: basic, "Error Codes"."""

STATUSES = {-32700: {400}, -32020: {400}, -32021: {400}, -32022: {400}}
"""HTTP statuses that a code always has."""


def check_message(message: bytes) -> dict[str, Any]:
    """Assert that this is one JSON-RPC 2.0 message for a client, in the strict sense of MCP; the message."""
    text = message.decode("utf-8")
    assert "\n" not in text, "a line break would end a message on stdio"
    decoded = json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)
    assert isinstance(decoded, dict)
    assert decoded["jsonrpc"] == "2.0"
    if "method" in decoded:
        _check_asking(decoded)
    else:
        _check_answer(decoded)
    return decoded


def check_answer(message: bytes, id: bytes | None) -> dict[str, Any]:
    """Assert that this answers the request with this raw id; None: whatever came had no id that can be echoed."""
    decoded = check_message(message)
    assert "method" not in decoded
    if id is None:
        assert "id" not in decoded
        assert "error" in decoded
    else:
        assert decoded["id"] == json.loads(id)
    return decoded


def check_send(send: Action | Ask, id: bytes | None) -> dict[str, Any]:
    """Assert that this answers the request with this raw id, under an HTTP status that fits; the message."""
    assert isinstance(send, Send), send
    decoded = check_answer(send.message, id)
    if "error" not in decoded:
        assert send.status == 200
        return decoded
    code = decoded["error"]["code"]
    assert send.status in STATUSES.get(code, {200, 400, 404})
    assert (send.status == 404) <= (code == -32601)
    if id is None:
        assert send.status == 400
    return decoded


def check_result_of_stateless(decoded: dict[str, Any]) -> None:
    """Assert what MCP 2026-07-28 demands of every result."""
    result = decoded["result"]
    assert result["resultType"] in ("complete", "input_required", "task")
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "aicp"
    hints = {"ttlMs", "cacheScope"} & result.keys()
    if result["resultType"] == "input_required":
        assert not hints
        assert "requestState" in result or "inputRequests" in result


def count_answers(actions: list[Action]) -> int:
    """How many answers follow of these actions, now or later."""
    return sum(
        count_answers(action.actions) if isinstance(action, Batch) else isinstance(action, Send | Call | Listen)
        for action in actions
    )


def check_ask(ask: Ask) -> None:
    """Assert that the questions are requests under ids of their own, each for one key of the service."""
    assert ask.requests.keys() == ask.keys.keys()
    assert len(set(ask.keys.values())) == len(ask.keys)
    for id, message in ask.requests.items():
        decoded = check_message(message)
        assert decoded["id"] == id
        assert decoded["method"] in ("elicitation/create", "sampling/createMessage", "roots/list")


def _check_asking(decoded: dict[str, Any]) -> None:
    assert isinstance(decoded["method"], str)
    assert decoded.keys() <= {"jsonrpc", "id", "method", "params"}
    assert isinstance(decoded.get("params", {}), dict)
    if "id" in decoded:
        assert isinstance(decoded["id"], str)


def _check_answer(decoded: dict[str, Any]) -> None:
    assert decoded.keys() <= {"jsonrpc", "id", "result", "error"}
    assert ("result" in decoded) != ("error" in decoded)
    if "id" in decoded:
        assert isinstance(decoded["id"], str | int)
        assert not isinstance(decoded["id"], bool)
    if "result" in decoded:
        assert "id" in decoded
        assert isinstance(decoded["result"], dict)
        return
    error = decoded["error"]
    assert error.keys() <= {"code", "message", "data"}
    assert isinstance(error["code"], int)
    assert isinstance(error["message"], str)
    assert error["message"]
    assert not -32019 <= error["code"] <= -32000 or error["code"] == -32002


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), "a key stands twice in one object"
    return found


def _refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")
