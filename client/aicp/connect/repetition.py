"""Which requests may be sent a second time when nobody knows whether the first one was carried out."""

from typing import Any

_READING = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "tasks/list",
        "tasks/get",
        "tasks/result",
        # These three end in the same state however often they are done.
        "resources/subscribe",
        "resources/unsubscribe",
        "logging/setLevel",
        "subscriptions/listen",
    }
)

_MAX_TOOLS = 10_000


class Repetition:
    """Knows the methods that only read, and the tools that say of themselves that they may be repeated."""

    def __init__(self) -> None:
        self._tools: dict[str, bool] = {}

    def note_tools(self, listed: dict[str, Any]) -> None:
        """Learn from a result of `tools/list`. Source: MCP 2025-11-25, schema, `ToolAnnotations`."""
        tools = listed.get("tools")
        for tool in tools if isinstance(tools, list) else []:
            if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
                continue
            hints = tool.get("annotations")
            hints = hints if isinstance(hints, dict) else {}
            if tool["name"] in self._tools or len(self._tools) < _MAX_TOOLS:
                self._tools[tool["name"]] = hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True

    def allowed(self, method: str, params: dict[str, Any]) -> bool:
        """Whether doing it twice is as good as doing it once."""
        if method == "tools/call":
            name = params.get("name")
            return isinstance(name, str) and self._tools.get(name, False)
        return method in _READING
