"""Messages of MCP in both eras, as bytes: requests out, answers in. Nothing here touches a socket."""

import base64
import contextlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from tests.load.failure import BadAnswer, CallFailed, HttpFailed, NotComplete, RpcError, ToolFailed

_CLIENT = {"name": "aicp-load-test", "version": "1"}


class Era(StrEnum):
    """How client and server know each other's revision of MCP."""

    HANDSHAKE = "handshake"
    """`initialize` at the start."""
    STATELESS = "stateless"
    """Every request says it. Source: MCP 2026-07-28, basic, "Statelessness"."""

    @property
    def revision(self) -> str:
        """The revision that is spoken in it."""
        return "2025-11-25" if self is Era.HANDSHAKE else "2026-07-28"


INITIALIZE: dict[str, Any] = {
    "protocolVersion": Era.HANDSHAKE.revision,
    "capabilities": {},
    "clientInfo": _CLIENT,
}
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'

_META = {
    "io.modelcontextprotocol/protocolVersion": Era.STATELESS.revision,
    "io.modelcontextprotocol/clientInfo": _CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_META_RAW = msgspec.Raw(msgspec.json.encode(_META))
_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_PLAIN = re.compile(r"(?! )[\x20-\x7e]+(?<! )").fullmatch
_ENCODED = re.compile(r"=\?base64\?.*\?=").fullmatch
_SHOWN = 300
"""Characters of a hub's error message that are kept."""

_encode = msgspec.json.Encoder().encode


class _Error(msgspec.Struct):
    code: int
    message: str = ""


class Message(msgspec.Struct):
    """What a hub sends: an answer when `method` is empty, else a request or a notification."""

    id: int | str | None = None
    method: str = ""
    result: msgspec.Raw = msgspec.Raw()
    error: _Error | None = None


class _Result(msgspec.Struct, rename="camel"):
    result_type: str = "complete"
    is_error: bool = False


class _Content(msgspec.Struct):
    text: str = ""


class _NamedError(msgspec.Struct):
    code: str = ""


class _ErrorMeta(msgspec.Struct):
    error: _NamedError = msgspec.field(name="aicp/error", default_factory=_NamedError)


class _FailedTool(msgspec.Struct):
    content: list[_Content] = []
    meta: _ErrorMeta = msgspec.field(name="_meta", default_factory=_ErrorMeta)


_decode_message = msgspec.json.Decoder(Message).decode
_decode_result = msgspec.json.Decoder(_Result).decode
_decode_failed_tool = msgspec.json.Decoder(_FailedTool).decode


def encode_request(id: int, method: str, params: Mapping[str, Any], era: Era) -> bytes:
    """A request. In the stateless era its `_meta` says who calls, and keeps what `params` has there.

    Source: MCP 2026-07-28, basic, "_meta".
    """
    if era is Era.STATELESS:
        meta = {**params["_meta"], **_META} if "_meta" in params else _META_RAW
        params = {**params, "_meta": meta}
    return _encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def encode_answer(request: Message) -> bytes:
    """What to tell a hub that asks something: a ping is answered, everything else is not for this client."""
    if request.method == "ping":
        return _encode({"jsonrpc": "2.0", "id": request.id, "result": {}})
    error = {"code": -32601, "message": "this client only puts load on the hub"}
    return _encode({"jsonrpc": "2.0", "id": request.id, "error": error})


def decode(data: bytes | bytearray | memoryview) -> Message:
    """One message.

    Raises:
        BadAnswer: it is none.
    """
    try:
        return _decode_message(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"not a JSON-RPC message ({error}): {bytes(data[:80])!r}") from None


def result_of(message: Message) -> bytes:
    """The result as JSON bytes.

    Raises:
        RpcError: it is an error.
        ToolFailed: it is the result of a tool that has failed.
        NotComplete: it asks for input, or is of another type that is no end.
        BadAnswer: it is neither a result nor an error.
    """
    if message.error is not None:
        raise RpcError(str(message.error.code), message.error.message[:_SHOWN])
    result = bytes(message.result)
    try:
        kind = _decode_result(result)
    except msgspec.MsgspecError:
        raise BadAnswer(f"the answer has no result: {result[:80]!r}") from None
    if kind.is_error:
        raise _tool_failed(result)
    if kind.result_type != "complete":
        raise NotComplete(f"result:{kind.result_type[:40]}", f"the result is {kind.result_type[:40]}, not complete")
    return result


def refusal_of(status: int, body: bytes) -> CallFailed:
    """What an HTTP status other than 2xx says: the JSON-RPC error in its body, or else the body as it is."""
    with contextlib.suppress(BadAnswer):
        message = decode(body)
        if message.error is not None:
            return RpcError(str(message.error.code), message.error.message[:_SHOWN])
    return HttpFailed(f"http:{status}", body[:_SHOWN].decode(errors="replace"))


def _tool_failed(result: bytes) -> ToolFailed:
    try:
        failed = _decode_failed_tool(result)
    except msgspec.MsgspecError:
        return ToolFailed("tool:error", repr(result[:_SHOWN]))
    text = " ".join(content.text for content in failed.content)
    return ToolFailed(f"tool:{failed.meta.error.code or 'error'}", text[:_SHOWN])


def request_headers(method: str, params: Mapping[str, Any]) -> str:
    """The headers that tell intermediaries what an HTTP request of the stateless era is.

    Source: MCP 2026-07-28, basic/transports/streamable-http, "Standard Request Headers".
    """
    headers = f"MCP-Protocol-Version: {Era.STATELESS.revision}\r\nMcp-Method: {header_value(method)}\r\n"
    named_by = _NAMED_BY.get(method)
    if named_by is None:
        return headers
    return f"{headers}Mcp-Name: {header_value(str(params[named_by]))}\r\n"


def header_value(text: str) -> str:
    """A text as the value of a header: as it is when it is plain ASCII, else in base64 with marks around it.

    Source: MCP 2026-07-28, basic/transports/streamable-http, "Value Encoding".
    """
    if not text or (_PLAIN(text) and not _ENCODED(text)):
        return text
    return f"=?base64?{base64.b64encode(text.encode('utf-8', 'surrogatepass')).decode()}?="
