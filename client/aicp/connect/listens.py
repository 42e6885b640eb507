"""Streams of changes that a client of the stateless era has open.

Source: MCP 2026-07-28, basic/patterns/subscriptions.
"""

from aicp.connect.message import Message, encode

UPDATED = "notifications/resources/updated"

_ID = "io.modelcontextprotocol/subscriptionId"
_LISTS = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}


def subscription_of(message: Message) -> object:
    """The id of the `subscriptions/listen` that a notification belongs to; None: to none."""
    meta = message.params.get("_meta")
    return meta.get(_ID) if isinstance(meta, dict) else None


def changes_missed(acknowledgement: Message) -> list[str]:
    """Notifications for all that is listened to, when a listen is taken up again on a new connection.

    Between two connections nobody could tell of changes, so everything may have changed.
    """
    honoured = acknowledgement.params.get("notifications")
    honoured = honoured if isinstance(honoured, dict) else {}
    meta = {_ID: subscription_of(acknowledgement)}
    changed = [method for name, method in _LISTS.items() if honoured.get(name) is True]
    uris = honoured.get("resourceSubscriptions")
    return [
        *(encode({"method": method, "params": {"_meta": meta}}) for method in changed),
        *(
            encode({"method": UPDATED, "params": {"_meta": meta, "uri": uri}})
            for uri in (uris if isinstance(uris, list) else [])
        ),
    ]
