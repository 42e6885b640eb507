"""What is wrong with a notification or a request of the server beside its type."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.checked.capabilities import missing_of_client, missing_of_server
from tests.support.checked.session import LOG_LEVEL_KEY, SUBSCRIPTION_KEY, Asked, Progress, Session, key_of, object_at

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

FILTERS: Mapping[str, str] = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
    "notifications/resources/updated": "resourceSubscriptions",
    "notifications/tasks": "taskIds",
}
"""The field of a subscription's filter that lets a notification through."""

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


def progress_faults(progress: Progress | None, params: dict[str, Any]) -> Iterator[str]:
    """The rules of progress, which are the same in every revision; takes note of the value.

    Source: MCP 2026-07-28, basic/patterns/progress, "Behavior Requirements".

    Args:
        progress: What is known of the token; None if no request brought it.
        params: Of the notification.
    """
    if progress is None:
        yield f"no request brought the progress token {params['progressToken']!r}"
        return
    if progress.over:
        yield "progress after the answer"
    elif progress.last is not None and params["progress"] <= progress.last:
        yield f"progress goes from {progress.last:g} to {params['progress']:g}; it has to increase"
    progress.last = params["progress"]


def handshake_faults(session: Session, method: str, params: dict[str, Any], all_seen: bool) -> Iterator[str]:
    """The rules of a notification in the handshake era.

    Args:
        session: Of the client.
        method: Of the notification.
        params: Of the notification.
        all_seen: Whether every request that it can refer to was sent where it is.
    """
    if not session.here:
        return
    missing = missing_of_server(method, session.server)
    if missing:
        yield f"the server did not declare {missing}"
    if all_seen and method == "notifications/cancelled" and key_of(params.get("requestId")) not in session.requests:
        yield f"cancels {params.get('requestId')!r}, which the server has not asked"


def request_faults(session: Session, id: Any, method: str, params: dict[str, Any], again: bool) -> Iterator[str]:
    """The rules of a request of the server in the handshake era; takes note of its id.

    Args:
        session: Of the client.
        id: Of the request.
        method: Of the request.
        params: Of the request.
        again: Whether the stream may repeat what was sent before.
    """
    if key_of(id) in session.requests and not again:
        yield f"the server has used the id {id!r} before"
    session.requests.add(key_of(id))
    missing = missing_of_client(method, params, session.client) if session.here else None
    if missing:
        yield f"the client did not declare {missing}"


def log_faults(waiting: list[Asked], params: dict[str, Any]) -> Iterator[str]:
    """The rules of a log message in 2026-07-28: only for a request that wants some, and not below its level.

    Args:
        waiting: The requests that it may belong to.
        params: Of the notification.
    """
    wanted = [asked.meta[LOG_LEVEL_KEY] for asked in waiting if asked.meta.get(LOG_LEVEL_KEY) in LEVELS]
    if not wanted:
        yield "a log message, though no request under way has a logLevel"
    elif LEVELS.index(params["level"]) < min(map(LEVELS.index, wanted)):
        yield f"a log message of the level {params['level']!r}; {' or '.join(wanted)} was wanted"


def subscription_faults(listening: Mapping[str, Asked], method: str, params: dict[str, Any]) -> Iterator[str]:
    """The rules of what a subscription of 2026-07-28 delivers; takes note of the acknowledgment.

    Source: MCP 2026-07-28, basic/patterns/subscriptions.

    Args:
        listening: The open subscriptions by the key of their ids.
        method: Of the notification.
        params: Of the notification.
    """
    meta = object_at(params, "_meta")
    if SUBSCRIPTION_KEY not in meta:
        yield f"params._meta lacks {SUBSCRIPTION_KEY}"
        return
    asked = listening.get(key_of(meta[SUBSCRIPTION_KEY]))
    if asked is None:
        yield f"no subscription {meta[SUBSCRIPTION_KEY]!r} is open here"
    elif method == ACKNOWLEDGED:
        yield from _acknowledgment(asked, params["notifications"])
    elif asked.agreed is None:
        yield "the subscription has not been acknowledged yet"
    else:
        agreed = asked.agreed.get(FILTERS[method])
        if not agreed or (method == "notifications/tasks" and params["taskId"] not in agreed):
            yield "the subscription is not for this"


def _acknowledgment(asked: Asked, agreed: dict[str, Any]) -> Iterator[str]:
    if asked.agreed is not None:
        yield "the subscription is acknowledged twice"
    asked.agreed = agreed
    wanted = object_at(asked.params, "notifications")
    for name, value in agreed.items():
        if name == "taskIds" and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            yield "params.notifications.taskIds is not a list of texts"
        elif isinstance(value, list) and isinstance(wanted.get(name), list):
            if not set(value) <= set(wanted[name]):
                yield f"params.notifications.{name} has more than was asked for"
        elif value and not wanted.get(name):
            yield f"params.notifications.{name} was not asked for"
