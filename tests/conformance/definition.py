"""The MCP `Tool` objects of the fixture, and the results of its tools, in short."""

import io
import struct
import wave
import zlib
from base64 import b64encode
from typing import Any

from aicp_common.errors import InvalidArgument


def definition(name: str, description: str, /, **properties: dict[str, Any]) -> dict[str, Any]:
    """A tool whose arguments are `properties`, all required."""
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False}
    if properties:
        schema |= {"properties": properties, "required": list(properties)}
    return {"name": name, "description": description, "inputSchema": schema}


def given(arguments: dict[str, Any], name: str) -> Any:
    """An argument.

    Raises:
        InvalidArgument: it is missing. The suite calls the first tool of the list without looking what it needs.
    """
    if name not in arguments:
        raise InvalidArgument(f"{name}: missing")
    return arguments[name]


def text(words: str) -> dict[str, Any]:
    """A content block."""
    return {"type": "text", "text": words}


def said(*words: str) -> dict[str, Any]:
    """A tool result of text."""
    return {"content": [text(each) for each in words]}


def image() -> dict[str, Any]:
    """A content block: one red pixel."""
    return {"type": "image", "data": _png(), "mimeType": "image/png"}


def audio() -> dict[str, Any]:
    """A content block: ten milliseconds of silence."""
    return {"type": "audio", "data": _wav(), "mimeType": "audio/wav"}


def _png() -> str:
    """One red pixel. Source: W3C PNG specification, sections 5 and 11."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\x00\xff\x00\x00")), (b"IEND", b"")):
        parts += [struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(kind + data))]
    return b64encode(b"".join(parts)).decode()


def _wav() -> str:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(b"\x80" * 80)
    return b64encode(file.getvalue()).decode()
