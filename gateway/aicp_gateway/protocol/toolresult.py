"""A tool's result with one more text at the end of its content. What it holds besides is passed on as it is."""

import msgspec

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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
