"""The revisions that the tests speak, and what the stateless one says in each request."""

from collections.abc import Mapping
from typing import Any

STATELESS = "2026-07-28"
NEWEST = "2025-11-25"
"""Of the handshake era."""
BATCHES = "2025-03-26"
"""The one that has them."""
OLDEST = "2024-11-05"

EVERYTHING: dict[str, Any] = {"elicitation": {}, "sampling": {}, "roots": {}}
"""Capabilities of a client that can be asked for whatever there is."""
TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}

_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"} | dict.fromkeys(
    ("tasks/get", "tasks/update", "tasks/cancel"), "taskId"
)


def meta(
    revision: str = STATELESS,
    capabilities: Mapping[str, Any] | None = None,
    *,
    token: str | int | None = None,
    level: str | None = None,
) -> dict[str, Any]:
    """The `_meta` of a request: all of it in the stateless era, the progress token alone before."""
    fields: dict[str, Any] = {} if token is None else {"progressToken": token}
    if revision == STATELESS:
        fields["io.modelcontextprotocol/protocolVersion"] = revision
        fields["io.modelcontextprotocol/clientInfo"] = {"name": "raw", "version": "1"}
        fields["io.modelcontextprotocol/clientCapabilities"] = dict(capabilities or {})
        if level is not None:
            fields["io.modelcontextprotocol/logLevel"] = level
    return fields


def headers_of(message: Mapping[str, Any]) -> dict[str, str]:
    """The headers that repeat a request of the stateless era."""
    method, params = message["method"], message.get("params", {})
    headers = {"mcp-protocol-version": STATELESS, "mcp-method": method}
    if method in _NAMED:
        headers["mcp-name"] = params[_NAMED[method]]
    return headers
