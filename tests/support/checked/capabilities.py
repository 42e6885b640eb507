"""What a side may only send once a capability for it was declared."""

from collections.abc import Mapping
from typing import Any

from tests.support.checked.session import object_at

LISTS: Mapping[str, tuple[str, str]] = {
    "notifications/tools/list_changed": ("tools", "listChanged"),
    "notifications/prompts/list_changed": ("prompts", "listChanged"),
    "notifications/resources/list_changed": ("resources", "listChanged"),
    "notifications/resources/updated": ("resources", "subscribe"),
}
"""Which flag of which capability of the server a notification needs."""


def missing_of_client(method: str, params: dict[str, Any], declared: dict[str, Any]) -> str | None:
    """The capability that the client has not declared, though what the server asks for needs it.

    Args:
        method: That the server asks the client for.
        params: Of it.
        declared: The client's capabilities.
    """
    match method:
        case "roots/list" if "roots" not in declared:
            return "roots"
        case "sampling/createMessage":
            if "sampling" not in declared:
                return "sampling"
            if ("tools" in params or "toolChoice" in params) and "tools" not in object_at(declared, "sampling"):
                return "sampling.tools"
        case "elicitation/create":
            mode = params.get("mode", "form")
            modes = object_at(declared, "elicitation")
            if "elicitation" not in declared:
                return "elicitation"
            # An empty object stands for forms alone.
            if mode not in (modes or {"form": {}}):
                return f"elicitation.{mode}"
    return None


def missing_of_server(method: str, declared: dict[str, Any]) -> str | None:
    """The capability that the server has not declared, though it sends this notification.

    Args:
        method: Of the notification.
        declared: The server's capabilities.
    """
    if method == "notifications/message":
        return None if "logging" in declared else "logging"
    if method in LISTS:
        name, flag = LISTS[method]
        return None if object_at(declared, name).get(flag) is True else f"{name}.{flag}"
    return None
