"""The one hierarchy of errors, and the one place where they become JSON-RPC errors, HTTP answers and tool results."""

from typing import Any, ClassVar

import msgspec


class AicpError(Exception):
    """An error that a caller is meant to read: what was wrong, what was expected, what to do next.

    Args:
        message: What was wrong, naming the field and the value.
        expected: What would have been right.
        hint: What to do next.
    """

    code: ClassVar[str] = "internal"
    """Stable, for programs."""
    http_status: ClassVar[int] = 500
    jsonrpc_code: ClassVar[int] = -32603
    """Where JSON-RPC and MCP have none, the HTTP status: application codes belong outside of their ranges.
    Source: MCP 2026-07-28, basic, "Error Codes"."""

    def __init__(self, message: str, *, expected: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.message]
        if self.expected:
            parts.append(f"expected: {self.expected}")
        if self.hint:
            parts.append(self.hint)
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """`code`, `message`, `expected` and `hint` where there are any: the form on the bus and in `error.data`."""
        fields: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.expected:
            fields["expected"] = self.expected
        if self.hint:
            fields["hint"] = self.hint
        return fields


class InvalidArgument(AicpError):
    """An argument has the wrong type or value."""

    code = "invalid_argument"
    http_status = 400
    jsonrpc_code = -32602


class NotFound(AicpError):
    """There is no such thing, or the caller may not know of it."""

    code = "not_found"
    http_status = 404
    jsonrpc_code = -32602


class Unauthenticated(AicpError):
    """The caller did not say who it is, or its token is not valid."""

    code = "unauthenticated"
    http_status = 401
    jsonrpc_code = 401


class Forbidden(AicpError):
    """The caller is known and may not do this."""

    code = "forbidden"
    http_status = 403
    jsonrpc_code = 403


class Conflict(AicpError):
    """The state is not the one that the caller assumed: an old attempt, an ended task."""

    code = "conflict"
    http_status = 409
    jsonrpc_code = 409


class TooLarge(AicpError):
    """A message or a value is over its size limit."""

    code = "too_large"
    http_status = 413
    jsonrpc_code = -32600


class Busy(AicpError):
    """A cap is reached: a queue, the requests in flight of a connection. Trying again later may work."""

    code = "busy"
    http_status = 429
    jsonrpc_code = 429


class Unavailable(AicpError):
    """A part of the hub cannot be reached. The message says which."""

    code = "unavailable"
    http_status = 503
    jsonrpc_code = 503


class DeadlineExceeded(AicpError):
    """The call did not end before its deadline. What it started may still happen."""

    code = "deadline_exceeded"
    http_status = 504
    jsonrpc_code = 504


class Internal(AicpError):
    """A fault of the hub. Details are in its log under the request id, not in the message."""


_BY_CODE: dict[str, type[AicpError]] = {
    error.code: error
    for error in (
        InvalidArgument,
        NotFound,
        Unauthenticated,
        Forbidden,
        Conflict,
        TooLarge,
        Busy,
        Unavailable,
        DeadlineExceeded,
        Internal,
    )
}


class _Fields(msgspec.Struct):
    code: str
    message: str
    expected: str | None = None
    hint: str | None = None


def encode_error(error: AicpError) -> bytes:
    """The body of an error reply on the bus."""
    return msgspec.json.encode(error.as_dict())


def decode_error(body: bytes) -> AicpError:
    """The error that `encode_error` wrote; one that cannot be read becomes `Internal`."""
    try:
        fields = msgspec.json.decode(body, type=_Fields)
    except msgspec.MsgspecError:
        return Internal("a service answered with an error that cannot be read")
    kind = _BY_CODE.get(fields.code, Internal)
    return kind(fields.message, expected=fields.expected, hint=fields.hint)


def tool_result_of(error: AicpError) -> bytes:
    """A `CallToolResult` with `isError`, so that the LLM can read what was wrong and try again.

    It has no `structuredContent`: clients validate that against the tool's `outputSchema` even on errors.
    Source: MCP 2025-11-25, server/tools, "Error Handling".
    """
    return msgspec.json.encode(
        {
            "content": [{"type": "text", "text": f"{error.code}: {error}"}],
            "isError": True,
            "_meta": {"aicp/error": error.as_dict()},
        }
    )
