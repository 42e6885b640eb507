"""What a client is still to be told: the newest of each kind, so that a client that does not read costs no memory."""

import asyncio

from aicp_gateway.protocol.jsonrpc import encode_notification

LISTS = ("tools", "resources")


class Notices:
    """Pending notifications of one client. Telling twice before the client took the first is telling once."""

    def __init__(self) -> None:
        self._uris: dict[str, None] = {}
        self._lists = False
        self._some = asyncio.Event()

    def resource_updated(self, uri: str) -> None:
        """The resource has changed."""
        self._uris[uri] = None
        self._some.set()

    def lists_changed(self) -> None:
        """What there is to call or to read has changed."""
        self._lists = True
        self._some.set()

    def withdraw(self, uri: str) -> None:
        """The client no longer wants to hear of this resource."""
        self._uris.pop(uri, None)

    async def take(self) -> list[bytes]:
        """Wait until there is something, and take all of it as messages. Possibly empty after a `withdraw`."""
        await self._some.wait()
        self._some.clear()
        messages = [encode_notification("notifications/resources/updated", {"uri": uri}) for uri in self._uris]
        self._uris.clear()
        if self._lists:
            messages += [encode_notification(f"notifications/{name}/list_changed") for name in LISTS]
            self._lists = False
        return messages
