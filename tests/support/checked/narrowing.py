"""What the official schemas forbid and the models of `definitions` let through.

The models hold the newest handshake revision, so older ones need what they do not have yet taken away; and their
generator has left some places open that the schemas close. Everything here looks at messages that already have the
right type, so the fields that it reads are of the kind that it expects.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import mcp_types._v2026_07_28 as v2026
from pydantic import TypeAdapter

from tests.support.checked.definitions import Definition
from tests.support.checked.revisions import STATELESS

Fields = Mapping[str, Any]

CONTENT: Mapping[str, frozenset[str]] = {
    "2024-11-05": frozenset({"text", "image", "resource"}),
    "2025-03-26": frozenset({"text", "image", "resource", "audio"}),
}
"""Kinds of content of the revisions that do not have all of them; the rest came with 2025-06-18."""

SAMPLED: Mapping[str, frozenset[str]] = {
    "2024-11-05": frozenset({"text", "image"}),
    "2025-03-26": frozenset({"text", "image", "audio"}),
    "2025-06-18": frozenset({"text", "image", "audio"}),
}
"""Kinds of content in messages for sampling; tools and lists of content came with 2025-11-25."""

SERVER_INFO = "io.modelcontextprotocol/serverInfo"


def result_faults(revision: str, method: str, result: Fields) -> list[str]:
    """What is wrong with a result.

    Args:
        revision: In force for the request.
        method: Of the request.
        result: Of the type that `definitions.result` gives.
    """
    faults = list(_of_result(revision, method, result))
    if revision == STATELESS:
        faults += _server_info(result)
        # Elsewhere a field of that name means nothing.
        asks_back = "input_required" in (result.get("resultType"), result.get("status"))
        for key, asked in (result.get("inputRequests", {}) if asks_back else {}).items():
            below = params_faults(revision, asked["method"], asked.get("params", {}))
            faults += (f"inputRequests.{key}: {fault}" for fault in below)
    return faults


def params_faults(revision: str, method: str, params: Fields) -> list[str]:
    """What is wrong with the params of a request or notification of the server.

    Args:
        revision: In force.
        method: Of the request or notification.
        params: Of the type that `definitions` gives for it.
    """
    match method:
        case "sampling/createMessage":
            return [*_sampled(revision, params), *_tools(revision, params.get("tools", []))]
        case "elicitation/create":
            return list(_elicited(revision, params))
        case "notifications/cancelled" if revision < "2025-11-25" and "requestId" not in params:
            return ["params.requestId is missing"]
    return []


def _of_result(revision: str, method: str, result: Fields) -> Iterator[str]:
    match method:
        case "tools/call" if revision in CONTENT:
            for index, block in enumerate(result["content"]):
                yield from _kind(f"content.{index}", block, CONTENT[revision])
        case "prompts/get" if revision in CONTENT:
            for index, message in enumerate(result["messages"]):
                yield from _kind(f"messages.{index}.content", message["content"], CONTENT[revision])
        case "tools/list":
            yield from _tools(revision, result["tools"])


def _kind(path: str, block: Fields, allowed: frozenset[str]) -> Iterator[str]:
    if block["type"] not in allowed:
        yield f"{path}.type is {block['type']!r}; this revision has {', '.join(sorted(allowed))}"


def _tools(revision: str, tools: list[Fields]) -> Iterator[str]:
    # JSON Schema lets a property be `true` or `false`; MCP's own schema wants an object, up to 2025-11-25.
    for index, tool in enumerate([] if revision == STATELESS else tools):
        for side in ("inputSchema", "outputSchema"):
            for name, schema in tool.get(side, {}).get("properties", {}).items():
                if not isinstance(schema, dict):
                    yield f"tools.{index}.{side}.properties.{name} is not an object"


def _sampled(revision: str, params: Fields) -> Iterator[str]:
    if revision not in SAMPLED:
        return
    for index, message in enumerate(params["messages"]):
        path = f"params.messages.{index}.content"
        if isinstance(message["content"], list):
            yield f"{path} is a list; this revision has one block a message"
        else:
            yield from _kind(path, message["content"], SAMPLED[revision])


def _elicited(revision: str, params: Fields) -> Iterator[str]:
    if params.get("mode") == "url":
        if revision < "2025-11-25":
            yield "params.mode is 'url', which came with 2025-11-25"
        return
    for name, schema in params["requestedSchema"]["properties"].items():
        path = f"params.requestedSchema.properties.{name}"
        if revision < "2025-11-25" and isinstance(schema, dict) and schema.get("type") == "array":
            yield f"{path} is a list, which came with 2025-11-25"
        yield from (f"{path}: {fault}" for fault in _primitive().faults(json.dumps(schema).encode()))


def _server_info(result: Fields) -> Iterator[str]:
    meta = result.get("_meta", {})
    if SERVER_INFO in meta:
        yield from (f"_meta: {fault}" for fault in _implementation().faults(json.dumps(meta[SERVER_INFO]).encode()))


@cache
def _primitive() -> Definition:
    # The generated schemas of 2025 have integers where their TypeScript source has numbers; 2026-07-28 corrected that.
    return Definition("PrimitiveSchemaDefinition", TypeAdapter(v2026.PrimitiveSchemaDefinition))


@cache
def _implementation() -> Definition:
    return Definition("Implementation", TypeAdapter(v2026.Implementation))
