"""JSON-RPC 2.0 frames: one message in bytes becomes a request, a notification or a response, or a fault to answer.

Ids and params stay raw JSON: an id is echoed byte for byte, and what a service needs is passed on unparsed.
"""

import json
import re

import msgspec

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
RESOURCE_NOT_FOUND = -32002
"""Of the handshake revisions; 2026-07-28 has -32602 instead."""
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
"""Of 2026-07-28."""

NULL = b"null"

_INTEGER = re.compile(rb"-?[0-9]{1,40}").fullmatch
MAX_ID_BYTES = 256


class Fault(Exception):
    """A message that gets an error answer.

    Args:
        code: JSON-RPC error code.
        message: What was wrong and what is expected.
        id: The request's id as raw JSON, or `null` when it has none that can be echoed.
        data: For `error.data`.
        status: For an HTTP answer.
    """

    def __init__(self, code: int, message: str, id: bytes = NULL, data: object = None, status: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id
        self.data = data
        self.status = 400 if id == NULL or code in (PARSE_ERROR, INVALID_REQUEST) else status

    def encode(self) -> bytes:
        """The error response."""
        return encode_error(self.id, self.code, self.message, self.data)


class Request(msgspec.Struct, frozen=True):
    """A call that is to be answered."""

    id: bytes
    method: str
    params: bytes
    """Raw JSON object; `{}` when there was none."""


class Notification(msgspec.Struct, frozen=True):
    """A message that is not answered."""

    method: str
    params: bytes


class Response(msgspec.Struct, frozen=True):
    """The answer to a request that the server sent."""

    id: bytes
    result: bytes | None
    error: bytes | None


class _Frame(msgspec.Struct):
    jsonrpc: str
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Id(msgspec.Struct):
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Frame).decode
_decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_id = msgspec.json.Decoder(_Id).decode


def check_encoding(data: bytes) -> None:
    """MCP 2025-11-25, basic/transports: messages are UTF-8. What stays raw would be passed on as it is.

    Raises:
        Fault: the data is in another encoding.
    """
    if not (data.isascii() or _is_utf8(data)):
        raise Fault(PARSE_ERROR, "the message is not UTF-8")


def is_batch(data: bytes) -> bool:
    """Whether the data begins like a batch."""
    return data.lstrip()[:1] == b"["


def split_batch(data: bytes) -> list[bytes]:
    """The messages of a batch.

    Raises:
        Fault: it is no JSON.
    """
    try:
        return [bytes(message) for message in _decode_batch(data)]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Fault(PARSE_ERROR, f"the message is not JSON: {error}") from None
    except RecursionError:
        raise Fault(PARSE_ERROR, "the message is nested too deeply") from None


def parse(data: bytes) -> Request | Notification | Response:
    """Read one frame.

    Raises:
        Fault: it is not JSON, not one JSON-RPC message, or its id is of a kind that MCP does not have.
    """
    try:
        frame = _decode(data)
    except msgspec.ValidationError as error:
        raise Fault(
            INVALID_REQUEST,
            f"not a JSON-RPC 2.0 message: {error}; expected an object with jsonrpc, method and, for a request, id",
            _salvage_id(data),
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Fault(PARSE_ERROR, f"the message is not JSON: {error}", _dig_out_id(data), status=400) from None
    except RecursionError:
        raise Fault(PARSE_ERROR, "the message is nested too deeply") from None

    id = None if frame.id is msgspec.UNSET else bytes(frame.id)
    if frame.jsonrpc != "2.0":
        raise Fault(INVALID_REQUEST, f"jsonrpc is {frame.jsonrpc[:40]!r}; expected '2.0'", _echo(id))
    if frame.method is msgspec.UNSET:
        return _response(frame, id)
    params = b"{}" if frame.params is msgspec.UNSET else bytes(frame.params)
    if params[:1] != b"{":
        raise Fault(INVALID_PARAMS, "params is not an object; MCP has named parameters only", _echo(id))
    if id is None:
        return Notification(frame.method, params)
    if not is_id(id):
        raise Fault(INVALID_REQUEST, f"id is {_show(id)}; expected a string or an integer")
    return Request(id, frame.method, params)


def _response(frame: _Frame, id: bytes | None) -> Response:
    result = None if frame.result is msgspec.UNSET else bytes(frame.result)
    error = None if frame.error is msgspec.UNSET else bytes(frame.error)
    if result is None and error is None:
        raise Fault(INVALID_REQUEST, "the message has neither method, nor result, nor error", _echo(id))
    return Response(NULL if id is None else id, result, error)


def is_id(id: bytes) -> bool:
    """Whether raw JSON is an id that a request may have."""
    return len(id) <= MAX_ID_BYTES and (_INTEGER(id) is not None or (id[:1] == b'"' and _is_utf8(id)))


def _is_utf8(text: bytes) -> bool:
    # What stays raw is not decoded by anybody, and HTTP bodies may hold any bytes.
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _echo(id: bytes | None) -> bytes:
    return id if id is not None and is_id(id) else NULL


def _show(id: bytes) -> str:
    text = id.decode(errors="replace")
    return text if len(text) <= 60 else f"{text[:60]}… ({len(id)} bytes, at most {MAX_ID_BYTES} are allowed)"


def _salvage_id(data: bytes) -> bytes:
    try:
        id = _decode_id(data).id
    except (msgspec.MsgspecError, RecursionError):
        return NULL
    return NULL if id is msgspec.UNSET else _echo(bytes(id))


def _dig_out_id(data: bytes) -> bytes:
    """The id of what is almost JSON: clients that cut a text in the middle of a pair of surrogates send such, and one
    that gets no answer under its id waits in vain."""
    try:
        message = json.loads(data.decode())
        id = message.get("id") if isinstance(message, dict) else None
        return NULL if id is None else _echo(msgspec.json.encode(id))
    except (ValueError, RecursionError):
        return NULL


def id_of(data: bytes) -> bytes:
    """The id of the request in `data`, raw JSON; `null` where there is none that can be echoed."""
    id = _salvage_id(data)
    return _dig_out_id(data) if id == NULL else id


def encode_result(id: bytes, result: bytes) -> bytes:
    """A response with `result` spliced in as it is."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id, result)


def encode_error(id: bytes, code: int, message: str, data: object = None) -> bytes:
    """An error response."""
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    if id == NULL:
        # The type of an error without a request has no id at all: MCP's schema, `JSONRPCErrorResponse`.
        return b'{"jsonrpc":"2.0","error":%b}' % msgspec.json.encode(error)
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id, msgspec.json.encode(error))


def encode_notification(method: str, params: dict[str, object] | None = None) -> bytes:
    """A notification."""
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = params
    return msgspec.json.encode(message)
