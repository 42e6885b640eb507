"""A tool's result as JSON that is passed on as it is: whether it tells of an error, and one more text at its end."""

import msgspec

_NO_ERROR = b'"isError":false}'
"""How `aicp_common.tool.encode_result` ends what it writes."""


class _Verdict(msgspec.Struct):
    is_error: bool = msgspec.field(default=False, name="isError")


_decode_verdict = msgspec.json.Decoder(_Verdict).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def is_error(result: bytes) -> bool:
    """Whether the `CallToolResult` in `result` says that the tool failed. What does not speak of it is not parsed."""
    if result.endswith(_NO_ERROR) or b'"isError"' not in result:
        return False
    try:
        return _decode_verdict(result).is_error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def with_text(result: bytes, text: str) -> bytes:
    """The `CallToolResult` in `result` with `text` as its last content block; unchanged when it has no content list."""
    try:
        fields = _decode_fields(result)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return result
    content = bytes(fields.get("content", b"")).strip()
    if content[:1] != b"[":
        return result
    block = msgspec.json.encode({"type": "text", "text": text})
    inner = content[1:-1].strip()
    fields["content"] = msgspec.Raw(b"[%b,%b]" % (inner, block) if inner else b"[%b]" % block)
    return msgspec.json.encode(fields)
