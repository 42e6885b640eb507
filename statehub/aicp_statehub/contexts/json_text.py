"""JSON as text: values are kept as they were written, so that numbers, the order of members and all else survive."""

import re
from typing import Annotated, Any, Literal

import msgspec
from pydantic import ConfigDict, WithJsonSchema

from aicp_common.errors import InvalidArgument
from aicp_common.tool import Result

MAX_VALUE_BYTES = 256 * 1024
MAX_DEPTH = 100
"""Arrays and objects inside each other; parsers of clients give up from about 200 on."""

AnyJson = Annotated[msgspec.Raw | None, WithJsonSchema({})]
"""A field that holds the text of any JSON value; None only means that there is none, null is `Raw(b"null")`."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_ESCAPE = re.compile(rb"\\(?:u([dD][89abAB]..)\\u([dD][c-fC-F]..)|u(....)|.)", re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


class TextResult(Result):
    """A result with fields of type `AnyJson`, whose text goes out as it is."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    def model_dump_json(self, **options: Any) -> str:
        """As pydantic's without the fields that are None, with the JSON texts in their places."""
        return msgspec.json.encode(_fields(self), enc_hook=_fields).decode()


def _fields(result: TextResult) -> dict[str, Any]:
    return {name: value for name, value in result.__dict__.items() if value is not None}


def checked(text: bytes, field: str) -> bytes:
    """The same JSON value without whitespace between its parts, and with characters instead of their escapes.

    Args:
        text: A JSON value.
        field: What errors call it.

    Raises:
        InvalidArgument: it is no JSON that every part of the hub can read, too deep or too large.
    """
    try:
        # What is done in C comes first; the rest sees no more than what may be kept.
        msgspec.json.decode(text)
        compact = bytes(msgspec.json.format(text, indent=-1))
        # An escape of six bytes stands for one byte at least.
        if len(compact) - 5 * compact.count(b"\\u") <= MAX_VALUE_BYTES:
            compact = _unescaped(compact)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        why = str(error)
        if _SURROGATE.search(text) and not isinstance(error, msgspec.ValidationError):
            why = f"half a surrogate pair cannot stand alone ({why})"
        raise InvalidArgument(
            f"{field}: cannot be read: {why}",
            expected="a JSON value: valid UTF-8, no NaN or Infinity, numbers within the range of a double",
        ) from error
    if len(compact) > MAX_VALUE_BYTES:
        raise InvalidArgument(
            f"{field}: has {len(compact)} bytes as JSON",
            expected=f"at most {MAX_VALUE_BYTES}",
            hint="share it in parts, under several keys",
        )
    if _depth(compact) > MAX_DEPTH:
        raise InvalidArgument(f"{field}: is nested too deeply", expected=f"at most {MAX_DEPTH} levels")
    return compact


def hidden(text: bytes) -> Literal["object", "array"] | None:
    """What is in a value that is a string with an object or an array written in it; None for any other value."""
    if text[:1] != b'"':
        return None
    try:
        inner = msgspec.json.decode(msgspec.json.decode(text, type=str))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return "object" if isinstance(inner, dict) else "array" if isinstance(inner, list) else None


def kind_of(text: bytes) -> str:
    """What a JSON value is, in words for errors."""
    match text[:1]:
        case b"{":
            return "an object"
        case b"[":
            return "an array"
        case b'"':
            return "a string"
        case b"n":
            return "null"
        case b"t" | b"f":
            return "a boolean"
        case _:
            return "a number"


def _depth(text: bytes) -> int:
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", text)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unescaped(text: bytes) -> bytes:
    """Valid JSON in which what is not ASCII stands as itself: smaller, and an LLM can read it."""
    return _ESCAPE.sub(_character, text) if b"\\u" in text else text


def _character(escape: re.Match[bytes]) -> bytes:
    high, low, single = escape.groups()
    if high is not None:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF)).encode()
    if single is not None and int(single, 16) >= 0x80:
        return chr(int(single, 16)).encode()
    return escape[0]
