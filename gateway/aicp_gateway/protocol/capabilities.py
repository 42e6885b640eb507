"""Capabilities: what a client says that it can do, in the words that services use, and what the gateway offers."""

from functools import lru_cache
from typing import Any

import msgspec

from aicp_common.mcptask import EXTENSION

TASKS = "tasks"

_PATHS: dict[str, tuple[str, ...]] = {
    "elicitation": ("elicitation", "form"),
    "elicitation.url": ("elicitation", "url"),
    "sampling": ("sampling",),
    "sampling.tools": ("sampling", "tools"),
    "roots": ("roots",),
    TASKS: ("extensions", EXTENSION),
}
"""By the words of `aicp_common.envelope.Client.can`: where the capability stands in `ClientCapabilities`."""

_SINCE = {"elicitation": "2025-06-18", "elicitation.url": "2025-11-25", "sampling.tools": "2025-11-25"}
"""What the older handshake revisions have no message for, whatever a client declares."""

_OFFERED: dict[str, Any] = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
}
HANDSHAKE_OFFER = _OFFERED
STATELESS_OFFER = _OFFERED | {"extensions": {EXTENSION: {}}}


MAX_CACHED_BYTES = 2048
"""Longer ones are read each time: a client may write anything there, and the cache keeps what it has seen."""


def read_capabilities(raw: bytes) -> tuple[str, ...]:
    """What a client can do, from the JSON of its `ClientCapabilities`.

    Raises:
        ValueError: it is not an object, or cannot be read.
    """
    return _read_cached(raw) if len(raw) <= MAX_CACHED_BYTES else _read(raw)


def _read(raw: bytes) -> tuple[str, ...]:
    try:
        capabilities = msgspec.json.decode(raw)
    except RecursionError:
        raise ValueError("the client capabilities are nested too deeply") from None
    if not isinstance(capabilities, dict):
        raise ValueError("the client capabilities are not an object")
    return tuple(word for word, path in _PATHS.items() if _has(capabilities, path))


_read_cached = lru_cache(maxsize=1024)(_read)


def _has(capabilities: dict[str, Any], path: tuple[str, ...]) -> bool:
    if path == ("elicitation", "form"):
        # An empty object stands for forms alone: MCP 2025-11-25, client/elicitation, "Capabilities".
        elicitation = capabilities.get("elicitation")
        return isinstance(elicitation, dict) and ("form" in elicitation or "url" not in elicitation)
    inner: Any = capabilities
    for name in path:
        if not isinstance(inner, dict) or not isinstance(inner.get(name), dict):
            return False
        inner = inner[name]
    return True


def in_handshake(words: tuple[str, ...], revision: str) -> tuple[str, ...]:
    """What a client of a handshake revision can really be asked for.

    The tasks extension belongs to the stateless era: only there can a result be a handle.
    """
    return tuple(word for word in words if word != TASKS and _SINCE.get(word, revision) <= revision)


def as_capabilities(words: tuple[str, ...]) -> dict[str, Any]:
    """The `ClientCapabilities` object that has just these."""
    capabilities: dict[str, Any] = {}
    for word in words:
        inner = capabilities
        # Forms alone are an empty object, which every revision understands; beside links they have to be named.
        alone = word == "elicitation" and "elicitation.url" not in words
        for name in ("elicitation",) if alone else _PATHS[word]:
            inner = inner.setdefault(name, {})
    return capabilities


def needed_for(method: object, params: dict[str, Any]) -> str | None:
    """The capability that a client needs to answer this server request; None: there is no such request."""
    match method:
        case "elicitation/create":
            return "elicitation.url" if params.get("mode") == "url" else "elicitation"
        case "sampling/createMessage":
            return "sampling.tools" if "tools" in params or "toolChoice" in params else "sampling"
        case "roots/list":
            return "roots"
    return None
