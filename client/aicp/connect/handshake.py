"""What the client and the hub agreed on in the handshake era, and how it is brought back on a new connection.

Source: MCP 2025-11-25, basic/lifecycle. The stateless era (2026-07-28) agrees on nothing, so nothing is kept of it.
"""

from typing import Any

from aicp.connect.message import Message, encode

_LISTS = ("tools", "resources", "prompts")


class Handshake:
    """The client's `initialize`, once the hub has answered it, and what hangs on it."""

    def __init__(self) -> None:
        self._params: dict[str, Any] | None = None
        self._result: dict[str, Any] = {}
        self._initialized: str | None = None
        self.level: object = None
        """Of `logging/setLevel`; None: never set."""
        self._open = False
        """Whether the hub has answered `initialize` on this connection."""
        self._told = False
        """Whether it has had `notifications/initialized` on this connection."""

    @property
    def agreed(self) -> bool:
        """Whether there is something to bring back."""
        return self._params is not None

    def connection_lost(self) -> None:
        """The hub has forgotten everything."""
        self._open = self._told = False

    def answered(self, params: dict[str, Any], result: dict[str, Any]) -> None:
        """The hub has answered the client's `initialize`."""
        self._params, self._result = params, result
        self.level = None
        self._open, self._told = True, False

    def initialized(self, message: Message) -> None:
        """The client has sent `notifications/initialized`."""
        self._initialized = message.text

    def initialized_to_send(self) -> str | None:
        """The client's `notifications/initialized`, once on each connection and not before the hub's answer."""
        if not self._open or self._told or self._initialized is None:
            return None
        self._told = True
        return self._initialized

    def again(self, id: str) -> str:
        """The client's `initialize` for a new connection: it asks for the revision that the client was told."""
        params = {**(self._params or {}), "protocolVersion": self._result.get("protocolVersion")}
        return encode({"id": id, "method": "initialize", "params": params})

    def resumed(self, answer: Message) -> str | None:
        """The hub has answered `again`; returns why the conversation cannot go on, None if it can."""
        before = self._result.get("protocolVersion")
        result = answer.result
        if result is None:
            error = answer.body.get("error")
            reason = error.get("message") if isinstance(error, dict) else error
            return f"the hub does not take up the conversation again: {reason}"
        if result.get("protocolVersion") != before:
            return f"the hub speaks {result.get('protocolVersion')!r} now, and this conversation is in {before!r}"
        self._open = True
        return None

    def lists_to_look_at_again(self) -> list[str]:
        """Notifications of lists that may have changed while nobody could say so."""
        if self._initialized is None:
            return []
        offered = self._result.get("capabilities")
        offered = offered if isinstance(offered, dict) else {}
        told = [name for name in _LISTS if _tells_of_changes(offered.get(name))]
        return [encode({"method": f"notifications/{name}/list_changed"}) for name in told]


def _tells_of_changes(capability: object) -> bool:
    return isinstance(capability, dict) and capability.get("listChanged") is True
