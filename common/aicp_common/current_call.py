"""The current call: what a handler may do with its caller before it answers.

Every method of a service may use it: `current_call()` is the call that the running task works on.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from aicp_common.asking import InputRequired, recall
from aicp_common.bus import INTERIM_HEADER
from aicp_common.envelope import Envelope, encode_json
from aicp_common.request import Request

PROGRESS = "progress"
LOG = "log"
END_STREAM = "end_stream"
"""Kinds of interim messages."""

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Of log messages, the least severe first. Source: RFC 5424, section 6.2.1."""


class CurrentCall:
    """The call that a handler works on.

    Args:
        envelope: Who calls.
        request: Where the answer goes.
    """

    def __init__(self, envelope: Envelope, request: Request) -> None:
        self.envelope = envelope
        self._request = request
        state, answers = recall(envelope.resumed.state) if envelope.resumed else ("", {})
        self.state = state
        """What an earlier `InputRequired` of this call gave along; empty the first time."""
        self.answers: dict[str, Any] = answers | (envelope.resumed.answers if envelope.resumed else {})
        """The client's answers so far, by the keys of the requests. Made by the client: to be checked."""

    @property
    def resumed(self) -> bool:
        """Whether this is not the first time that the call comes."""
        return self.envelope.resumed is not None

    def can(self, capability: str) -> bool:
        """Whether the client can do this; the words are those of `Client.can`."""
        client = self.envelope.client
        return client is not None and capability in client.can

    def ask(self, key: str, request: Mapping[str, Any]) -> Any:
        """The client's answer to `request`. A handler that asks runs again from its beginning for each answer.

        Args:
            key: Names the request within this call.
            request: See `elicitation`, `sampling` and `roots` of `aicp_common.asking`.

        Raises:
            InputRequired: there is none yet. To be let through.
        """
        if key not in self.answers:
            raise InputRequired({key: request}, self.state)
        return self.answers[key]

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Tell the client how far the work is; `progress` has to grow. Costs nothing when the client does not care."""
        client = self.envelope.client
        if client is None or not client.progress:
            return
        fields: dict[str, Any] = {"progress": progress}
        if total is not None:
            fields["total"] = total
        if message is not None:
            fields["message"] = message
        await self._send(PROGRESS, fields)

    async def log(self, level: str, data: Any, logger: str | None = None) -> None:
        """Send the client a log message, if it wants those of this level."""
        client = self.envelope.client
        if client is None or not client.log_level or LEVELS.index(level) < LEVELS.index(client.log_level):
            return
        fields = {"level": level, "data": data}
        if logger is not None:
            fields["logger"] = logger
        await self._send(LOG, fields)

    async def end_stream(self) -> None:
        """Let a client that has an event stream for this call come back for the answer later.

        Source: MCP 2025-11-25, basic/transports, "Sending Messages to the Server", point 6. Elsewhere it does nothing.
        """
        await self._send(END_STREAM, {})

    async def _send(self, kind: str, fields: Mapping[str, Any]) -> None:
        await self._request.respond(encode_json(fields), {INTERIM_HEADER: kind})


_current: ContextVar[CurrentCall] = ContextVar("current_call")


def current_call() -> CurrentCall:
    """The call that this task works on.

    Raises:
        LookupError: it works on none.
    """
    return _current.get()


def begin(call: CurrentCall) -> None:
    """From now on this task works on `call`."""
    _current.set(call)
