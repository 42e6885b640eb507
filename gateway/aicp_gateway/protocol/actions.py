"""Actions: what the driver of a connection is to do after a message of the client.

They are structs because several are made for each message, and a frozen dataclass takes five times as long.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from aicp_common.envelope import Client, Resumed
from aicp_gateway.protocol.params import Filter

if TYPE_CHECKING:
    from aicp_gateway.protocol.exchange import Exchange


class Send(Struct, frozen=True):
    """Give these bytes to the client."""

    message: bytes
    status: int = 200
    """Of an HTTP answer."""


class Call(Struct, eq=False, kw_only=True):
    """Call a service, and let the exchange make the client's answer of the reply."""

    id: bytes
    """The client's, as raw JSON."""
    service: str
    method: str
    body: bytes
    kind: Literal["tool", "prompt", "read", "complete", "watch", "task", "greeting"]
    """A `greeting` asks what waits for the client; see `Exchange.greeted`."""
    label: str
    """What is called, for metrics and spans: from a bounded set."""
    exchange: "Exchange"
    """Speaks the client's revision."""
    repeatable: bool = False
    """Whether doing it twice is doing it once, so that another worker may be called when the first one dies."""
    traceparent: str = ""
    client: Client | None = None
    resumed: Resumed | None = None
    uri: str = ""
    """Of the resource, when `kind` is `read` or `watch`."""
    hints: bytes = b""
    """For caches of what was read: a piece of JSON with a comma at its end."""
    progress_token: str | int | None = None
    progress: float = float("-inf")
    """What the client was last told."""


class Listen(Struct, eq=False, kw_only=True):
    """Open a subscription: see `Exchange.acknowledge` and `Exchange.conclude`."""

    id: bytes
    wanted: Filter
    watches: Mapping[str, Call]
    """Resources and tasks, by URI and task id: these calls give the NATS subjects on which their changes are told."""
    exchange: "Exchange"


class Unwatch(Struct, frozen=True):
    """Stop telling the client about this resource."""

    uri: str


class Cancel(Struct, frozen=True):
    """The client no longer wants the answer of the request with this id; none is to be sent.

    It may be under way in another conversation of the same session, or have ended already.
    """

    id: bytes


class Answered(Struct, frozen=True):
    """The client has answered a request of the server; see `Ask`."""

    id: str
    result: bytes | None
    error: bytes | None


class Batch(Struct, frozen=True):
    """Messages that came together: their `answers` go out together, as one array, when all are there."""

    actions: "list[Action]"
    answers: int


Action = Send | Call | Listen | Unwatch | Cancel | Answered | Batch


class Ask(Struct, frozen=True):
    """Ask the client, and go on with `Exchange.resume` when it has answered everything."""

    call: Call
    requests: Mapping[str, bytes]
    """The messages, by their request ids."""
    keys: Mapping[str, str]
    """The service's keys, by request id."""
    state: str


class Answers(Struct, frozen=True):
    """What a client has answered to an `Ask`, by request id."""

    results: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
