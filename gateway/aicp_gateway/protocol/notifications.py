"""The notifications of changes, as messages: encoded once, however many clients get them."""

from functools import lru_cache

import msgspec

from aicp_gateway.protocol.jsonrpc import encode_notification

SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
NEWS = "aicp/news"
"""In `_meta`: what is new on a resource, where its service says so."""
LISTS = ("tools", "prompts", "resources")


def tagged(method: str, params: bytes, subscription: bytes) -> bytes:
    """A notification of a subscription.

    Args:
        method: Of the notification.
        params: A JSON object without `_meta`.
        subscription: The id of the request that opened it, as raw JSON.
    """
    rest = b"}" if params == b"{}" else b"," + params[1:]
    return b'{"jsonrpc":"2.0","method":%b,"params":{"_meta":{"%b":%b}%b}' % (
        msgspec.json.encode(method),
        SUBSCRIPTION_ID.encode(),
        subscription,
        rest,
    )


@lru_cache(maxsize=256)
def resource_updated(uri: str, subscription: bytes | None) -> str:
    """`notifications/resources/updated`; `subscription` is None in the handshake era."""
    if subscription is None:
        return encode_notification("notifications/resources/updated", {"uri": uri}).decode()
    return tagged("notifications/resources/updated", msgspec.json.encode({"uri": uri}), subscription).decode()


@lru_cache(maxsize=32)
def resource_news(uri: str, items: bytes, subscription: bytes | None) -> str:
    """`notifications/resources/updated` with what is new.

    Args:
        uri: Of the resource.
        items: JSON objects, with commas between them.
        subscription: As for `resource_updated`.
    """
    tag = b"" if subscription is None else b'"%b":%b,' % (SUBSCRIPTION_ID.encode(), subscription)
    return (
        b'{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":%b,"_meta":{%b"%b":[%b]}}}'
        % (msgspec.json.encode(uri), tag, NEWS.encode(), items)
    ).decode()


@lru_cache(maxsize=256)
def list_changed(which: str, subscription: bytes | None) -> str:
    """`notifications/{which}/list_changed`; `subscription` is None in the handshake era."""
    method = f"notifications/{which}/list_changed"
    if subscription is None:
        return encode_notification(method).decode()
    return tagged(method, b"{}", subscription).decode()
