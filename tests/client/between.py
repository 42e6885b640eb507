"""A relay with a client and a hub that say what a test tells them, without any I/O."""

import json
from typing import Any

from aicp.connect.backlog import Limits
from aicp.connect.relay import Relay

REVISION = "2025-11-25"
TOOLS = [
    {"name": "look", "annotations": {"readOnlyHint": True}},
    {"name": "put", "annotations": {"readOnlyHint": False, "idempotentHint": True}},
    {"name": "act", "annotations": {"readOnlyHint": False, "idempotentHint": False}},
    {"name": "plain"},
]


class Between:
    """Stands on both sides of a relay. Messages are dicts; the time is `now`."""

    def __init__(self, *, channel: bool | None = None, limits: Limits | None = None) -> None:
        self.relay = Relay(channel=channel, limits=limits)
        self.now = 1000.0

    # the client

    def say(self, message: Any) -> None:
        """The client writes one line: a text as it is, anything else as JSON."""
        text = message if isinstance(message, str) else json.dumps(message)
        self.relay.line(text.encode(), self.now)

    def ask(self, id: int | str, method: str, **params: Any) -> None:
        """The client sends a request."""
        self.say({"jsonrpc": "2.0", "id": id, "method": method, "params": params})

    def note(self, method: str, **params: Any) -> None:
        """The client sends a notification."""
        self.say({"jsonrpc": "2.0", "method": method, "params": params})

    def call(self, id: int | str, tool: str) -> None:
        """The client calls a tool."""
        self.ask(id, "tools/call", name=tool, arguments={})

    def heard(self) -> list[dict[str, Any]]:
        """What the client has been given since it last looked; each line was one."""
        lines = self.relay.take_lines()
        assert all("\n" not in line and "\r" not in line for line in lines)
        return [json.loads(line) for line in lines]

    # the hub

    def open(self) -> None:
        """A connection opens."""
        self.relay.connection_opened()

    def lose(self) -> None:
        """The connection breaks."""
        self.relay.connection_lost(self.now, "the connection broke")

    def tell(self, message: Any) -> None:
        """The hub sends a frame: a text as it is, anything else as JSON."""
        self.relay.frame(message if isinstance(message, str) else json.dumps(message), self.now)

    def answer(self, request: dict[str, Any], result: dict[str, Any] | None = None) -> None:
        """The hub answers a request."""
        self.tell({"jsonrpc": "2.0", "id": request["id"], "result": result or {}})

    def refuse(self, request: dict[str, Any], code: int = -32002) -> None:
        """The hub answers a request with an error."""
        self.tell({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": "no such thing"}})

    def inform(self, method: str, **params: Any) -> None:
        """The hub sends a notification."""
        self.tell({"jsonrpc": "2.0", "method": method, "params": params})

    def came(self) -> list[dict[str, Any]]:
        """What the hub has been sent since it last looked."""
        frames = []
        while (text := self.relay.next_frame(self.now)) is not None:
            frames.append(json.loads(text))
        return frames

    def came_one(self) -> dict[str, Any]:
        """The only message that the hub has been sent since it last looked."""
        (frame,) = self.came()
        return frame

    # both

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self.relay.tick(self.now)

    def initialize(self, client: str = "test", **capabilities: Any) -> dict[str, Any]:
        """Open a connection and shake hands; the result that the client saw."""
        self.open()
        info = {"name": client, "version": "1"}
        self.ask("first", "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=info)
        self.answer(self.came_one(), {"protocolVersion": REVISION, "capabilities": capabilities})
        (answer,) = self.heard()
        self.note("notifications/initialized")
        assert self.came()[0]["method"] == "notifications/initialized"
        result: dict[str, Any] = answer["result"]
        return result

    def resume(self) -> list[dict[str, Any]]:
        """Open the next connection of a client that has shaken hands; what came after the handshake."""
        self.open()
        again = self.came_one()
        assert again["method"] == "initialize"
        self.answer(again, {"protocolVersion": REVISION, "capabilities": {}})
        initialized, *rest = self.came()
        assert initialized["method"] == "notifications/initialized"
        return rest

    def learn_tools(self) -> None:
        """A list of tools passes by."""
        self.ask("tools", "tools/list")
        self.answer(self.came_one(), {"tools": TOOLS})
        self.heard()


def methods(messages: list[dict[str, Any]]) -> list[str]:
    """Their methods; an answer has none."""
    return [message.get("method", "") for message in messages]
