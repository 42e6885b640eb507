"""JSON-RPC messages that are passed on as they came: parsed to be understood, never written anew.

Source: JSON-RPC 2.0; MCP 2026-07-28, basic, "Messages".
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
UNAUTHENTICATED = 401
FORBIDDEN = 403
BUSY = 429
UNAVAILABLE = 503
NAMES = {UNAUTHENTICATED: "unauthenticated", FORBIDDEN: "forbidden", BUSY: "busy", UNAVAILABLE: "unavailable"}
"""As the hub's own errors of these kinds: their codes, and their names for programs in `error.data`."""

MAX_ID_CHARS = 256
"""Of an id as JSON; hubs answer longer ones without the id, and such an answer finds nobody."""

_SPACE = re.compile(r"[ \t\r\n]*")
_LINE_ENDS = str.maketrans("\r\n", "  ")


class NotAMessage(Exception):
    """What came is not one JSON-RPC message.

    Args:
        code: JSON-RPC error code.
        reason: What was wrong.
        id: The id to answer under, if there is one.
    """

    def __init__(self, code: int, reason: str, id: str | int | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.id = id

    def answer(self) -> str:
        """The error response."""
        return error_answer(self.id, self.code, self.reason)


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message: what it says, and its text as one line."""

    text: str
    body: dict[str, Any]
    kind: Literal["request", "notification", "response"]

    @property
    def method(self) -> str:
        """Of a request or a notification."""
        method: str = self.body["method"]
        return method

    @property
    def params(self) -> dict[str, Any]:
        """Its params; empty when there are none or they are no object."""
        params = self.body.get("params")
        return params if isinstance(params, dict) else {}

    @property
    def id(self) -> str | int:
        """Of a request or a response."""
        id: str | int = self.body["id"]
        return id

    @property
    def result(self) -> dict[str, Any] | None:
        """Of a response that is no error."""
        result = self.body.get("result")
        return result if isinstance(result, dict) and "error" not in self.body else None

    @property
    def raw_id(self) -> str:
        """Its id as it is written."""
        start, end = _value_span(self.text, "id")
        return self.text[start:end]

    def with_raw_id(self, raw_id: str) -> str:
        """Its text with another id, written so; everything else stays letter for letter."""
        start, end = _value_span(self.text, "id")
        return self.text[:start] + raw_id + self.text[end:]


def key_of(id: object) -> str:
    """What two spellings of one id have in common, and two ids never: `1` and `"1"` differ."""
    return json.dumps(id)


def read(text: str) -> list[Message | NotAMessage]:
    """The messages in a text: one, or those of a batch (MCP 2025-03-26 has batches). Never raises."""
    try:
        value, end = _decode(text, _skip(text, 0))
        if _skip(text, end) != len(text):
            raise ValueError("more follows after its end")
    except RecursionError:
        return [NotAMessage(PARSE_ERROR, "the message is nested too deeply")]
    except ValueError as error:
        return [NotAMessage(PARSE_ERROR, f"the message is not JSON: {error}")]
    if not isinstance(value, list):
        return [_classify(text, value)]
    if not value:
        return [NotAMessage(INVALID_REQUEST, "the batch is empty")]
    return [_classify(item, body) for item, body in zip(_items(text), value, strict=True)]


def encode(message: dict[str, Any]) -> str:
    """A message of our own as one line. ASCII, so that any text that JSON can hold can be written."""
    return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":"))


def error_answer(id: str | int | None, code: int, reason: str, data: dict[str, Any] | None = None) -> str:
    """An error response; without an id when nobody knows which request it is for (MCP's `JSONRPCErrorResponse`)."""
    error: dict[str, Any] = {"code": code, "message": reason}
    if data is not None:
        error["data"] = data
    return encode({"error": error} if id is None else {"id": id, "error": error})


def _classify(text: str, body: object) -> Message | NotAMessage:
    if not isinstance(body, dict):
        return NotAMessage(INVALID_REQUEST, "not a JSON-RPC message: expected an object")
    id = body.get("id")
    known = id if _is_id(id) else None
    if body.get("jsonrpc") != "2.0":
        return NotAMessage(INVALID_REQUEST, "not a JSON-RPC message: jsonrpc is not '2.0'", known)
    line = text.translate(_LINE_ENDS).strip() if "\n" in text or "\r" in text else text.strip()
    if "method" in body:
        if not isinstance(body["method"], str):
            return NotAMessage(INVALID_REQUEST, "not a JSON-RPC message: method is not a text", known)
        if "id" not in body:
            return Message(line, body, "notification")
        if known is None:
            return NotAMessage(
                INVALID_REQUEST, f"the id is not a text or an integer of at most {MAX_ID_CHARS} characters"
            )
        return Message(line, body, "request")
    if "result" in body or "error" in body:
        return Message(line, body, "response")
    return NotAMessage(INVALID_REQUEST, "not a JSON-RPC message: it has neither method, nor result, nor error", known)


def _is_id(id: object) -> bool:
    return isinstance(id, str | int) and not isinstance(id, bool) and len(json.dumps(id)) <= MAX_ID_CHARS


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return at if space is None else space.end()


def _items(text: str) -> list[str]:
    """The texts of the items of a JSON array that is known to be one."""
    items = []
    at = _skip(text, 0)
    while text[at] != "]":
        start = _skip(text, at + 1)  # behind "[" or ","
        _, end = _decode(text, start)
        items.append(text[start:end])
        at = _skip(text, end)
    return items


def _value_span(text: str, name: str) -> tuple[int, int]:
    """Where the value of a member of a JSON object stands; of the last one, if there are several of the name."""
    found = (0, 0)
    at = _skip(text, 0)
    while text[at] != "}":
        key, end = _decode(text, _skip(text, at + 1))  # behind "{" or ","
        start = _skip(text, _skip(text, end) + 1)  # behind ":"
        _, end = _decode(text, start)
        if key == name:
            found = (start, end)
        at = _skip(text, end)
    return found
