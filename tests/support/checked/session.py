"""What is remembered of a client: what it has asked, and what was agreed on with it."""

import json
from dataclasses import dataclass, field
from typing import Any, TypeGuard

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL_KEY = "io.modelcontextprotocol/logLevel"
SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"

Key = str
"""An id or token as JSON text, so that 1, "1" and true are three."""


def key_of(value: object) -> Key:
    """The key of an id or token."""
    return json.dumps(value)


def is_id(value: object) -> TypeGuard[str | int]:
    """Whether this can be the id of a request."""
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def object_at(fields: Any, *names: str) -> dict[str, Any]:
    """The object that these names lead to; an empty one where there is none."""
    for name in names:
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields if isinstance(fields, dict) else {}


@dataclass(eq=False, slots=True)
class Asked:
    """A request of the client that has no answer yet."""

    id: Any
    method: str
    """Empty when the message had an id and nothing else that makes a request."""
    params: dict[str, Any]
    stateless: bool
    origin: object
    """The `Talk` that it came in."""
    cancelled: bool = False
    """The client said that it does not want the answer; one may come all the same."""
    agreed: dict[str, Any] | None = None
    """Of a subscription: the filter that the server has acknowledged; None before it has."""

    @property
    def meta(self) -> dict[str, Any]:
        """Its `_meta`."""
        return object_at(self.params, "_meta")

    @property
    def wants_task(self) -> bool:
        """Whether it asked for a task, as 2025-11-25 does."""
        return "task" in self.params


@dataclass(slots=True)
class Progress:
    """Of the request that brought a progress token."""

    asked: Asked
    last: float | None = None
    over: bool = False


@dataclass(eq=False, slots=True)
class Session:
    """What holds for one client of the handshake era, over all its connections to this gateway."""

    revision: str | None = None
    """The negotiated one; None before `initialize` was answered."""
    here: bool = True
    """Whether it began at this gateway, so that all that was asked and agreed on was seen."""
    client: dict[str, Any] = field(default_factory=dict)
    """The client's capabilities."""
    server: dict[str, Any] = field(default_factory=dict)
    """The server's capabilities."""
    asked: dict[Key, list[Asked]] = field(default_factory=dict)
    progress: dict[Key, Progress] = field(default_factory=dict)
    requests: set[Key] = field(default_factory=set)
    """The ids of the server's requests."""
