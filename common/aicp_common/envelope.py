"""The envelope: who calls, until when, in which trace. Every call on the bus carries one.

It travels as the first line of the payload, a JSON array, and the body follows after the newline. NATS headers would
be the natural place; `make bench` measures what they cost (docs/benchmarks.md), which is why they are used where they
are rare only, and never in a call.
"""

import time
from typing import Any

import msgspec

from aicp_common.errors import InvalidArgument

ALL_SCOPES = "*"
"""The scope that includes every other: what everybody has on a hub without tokens, and what the services have."""


class Principal(msgspec.Struct, frozen=True, array_like=True):
    """Who acts. Written by the gateway, believed by the services."""

    tenant: str
    agent: str
    """The user + LLM pair that acts."""
    user: str
    """The person behind it."""
    scopes: tuple[str, ...] = ()

    def may(self, scope: str) -> bool:
        """Whether this principal has `scope`; the empty scope is everybody's."""
        return not scope or scope in self.scopes or ALL_SCOPES in self.scopes


class Client(msgspec.Struct, frozen=True, array_like=True):
    """What the MCP client behind a call can do while the call is under way, and what it wants to hear."""

    can: tuple[str, ...] = ()
    """What it may be asked for: `elicitation`, `elicitation.url`, `sampling`, `sampling.tools`, `roots`; and `tasks`
    when it takes a task handle as a result."""
    progress: bool = False
    """It wants to hear of progress."""
    log_level: str = ""
    """The least severe level of log messages that it wants; empty: none."""


class Resumed(msgspec.Struct, frozen=True, array_like=True):
    """A call that comes back with what the service asked its client for."""

    state: str
    """What the service gave along."""
    answers: dict[str, Any]
    """By the keys of the service's requests: the client's results."""


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """What every call carries beside its body."""

    principal: Principal
    deadline_ms: int
    """Absolute, milliseconds since the epoch. A callee that sees it passed does not start."""
    traceparent: str
    """W3C Trace Context, version 00."""
    request_id: str
    session: str = ""
    """The client's session, for what is pushed to it; empty for calls between services."""
    client: Client | None = None
    """None for calls between services, and for clients that take an answer and nothing else."""
    resumed: Resumed | None = None

    def remaining_s(self) -> float:
        """Seconds until the deadline; negative once it has passed."""
        return self.deadline_ms / 1000 - time.time()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)


def pack(envelope: Envelope, body: bytes) -> bytes:
    """The payload of a call."""
    return _encoder.encode(envelope) + b"\n" + body


def unpack(payload: bytes) -> tuple[Envelope, bytes]:
    """The envelope and the body of a call.

    Raises:
        InvalidArgument: the payload has no envelope, or not one of this form.
    """
    head, newline, body = payload.partition(b"\n")
    if not newline:
        raise InvalidArgument("the call has no envelope", expected="a JSON array, a newline, then the body")
    try:
        return _decoder.decode(head), body
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"the envelope cannot be read: {error}") from error


def decode_json(data: bytes) -> Any:
    """Plain data from JSON."""
    return msgspec.json.decode(data)


def encode_json(value: Any) -> bytes:
    """Compact UTF-8 JSON of plain data."""
    return _encoder.encode(value)
