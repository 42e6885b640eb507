"""What a client is still to be told: the newest of each kind, so that a client that does not read costs no memory."""

from collections.abc import Callable, Iterable

import msgspec

from aicp_gateway.protocol.notifications import LISTS, list_changed, resource_news, resource_updated
from aicp_gateway.protocol.params import Filter

MAX_ITEMS = 64
MAX_ITEM_BYTES = 64 * 1024
"""What is kept of a resource's news for one client; beyond, it is told only that the resource has changed."""

MAX_ALL_BYTES = 256 * 1024
"""What is kept for one client of the news of all its resources."""


class Items(msgspec.Struct, frozen=True, eq=False):
    """Some items of a resource's news, encoded once for all who are told of them."""

    body: bytes
    """JSON objects, with commas between them."""
    count: int


class Notices:
    """Pending notifications of one client, or of one of its subscriptions.

    Telling twice before the client took the first is telling once; news are told all, in their order, or not at all.

    Args:
        wake: Called when there is something after there was nothing. Must not block.
        subscription: Id of the request that opened the subscription, as raw JSON; None in the handshake era.
        wanted: What the subscription is for; None: everything, as in the handshake era.
    """

    __slots__ = ("_changed", "_held", "_kept_bytes", "_lists", "_subscription", "_tasks", "_told", "_wake")

    def __init__(
        self, wake: Callable[["Notices"], None], subscription: bytes | None = None, wanted: Filter | None = None
    ) -> None:
        self._wake = wake
        self._subscription = subscription
        self._told = LISTS if wanted is None else _lists_of(wanted)
        self._tasks = frozenset(() if wanted is None else wanted.task_ids)
        # With what is new; None where that is for the client to read.
        self._changed: dict[str, list[Items] | None] = {}
        self._kept_bytes = 0
        self._lists: frozenset[str] = frozenset()
        self._held = False

    def changed(self, name: str) -> None:
        """The resource with this URI, or the task with this id, has changed."""
        first = not self._changed and not self._lists
        self._drop(name)
        self._changed[name] = None
        if first and not self._held:
            self._wake(self)

    def news(self, uri: str, items: Items) -> None:
        """There is this on the resource with this URI, after all that was told before."""
        kept = self._changed.get(uri, _NOTHING)
        if kept is None:
            # What the client reads has these too.
            return
        size = len(items.body)
        count, own_bytes = items.count, size
        for each in kept:
            count += each.count
            own_bytes += len(each.body)
        if count > MAX_ITEMS or own_bytes > MAX_ITEM_BYTES or self._kept_bytes + size > MAX_ALL_BYTES:
            self.changed(uri)
            return
        self._kept_bytes += size
        if kept:
            kept.append(items)
            return
        first = not self._changed and not self._lists
        self._changed[uri] = [items]
        if first and not self._held:
            self._wake(self)

    def lists_changed(self, which: frozenset[str]) -> None:
        """What there is to call, to read or to fill in has changed."""
        which = which.intersection(self._told)
        if not which:
            return
        first = not self._changed and not self._lists
        self._lists |= which
        if first and not self._held:
            self._wake(self)

    def hold(self) -> None:
        """Wake nobody until `release`."""
        self._held = True

    def release(self) -> None:
        """Wake again, and at once if there is something."""
        self._held = False
        if self._changed or self._lists:
            self._wake(self)

    def withdraw(self, name: str) -> None:
        """The client no longer wants to hear of this resource."""
        self._drop(name)
        self._changed.pop(name, None)

    def take(self) -> tuple[list[str], list[str]]:
        """Take everything: messages that are ready to be sent, and ids of tasks that have changed."""
        subscription = self._subscription
        messages, tasks = [], []
        for name, news in self._changed.items():
            if news:
                body = news[0].body if len(news) == 1 else b",".join([items.body for items in news])
                messages.append(resource_news(name, body, subscription))
            elif name in self._tasks:
                tasks.append(name)
            else:
                messages.append(resource_updated(name, subscription))
        if self._lists:
            messages += [list_changed(which, subscription) for which in LISTS if which in self._lists]
            self._lists = frozenset()
        self._changed.clear()
        self._kept_bytes = 0
        return messages, tasks

    def _drop(self, name: str) -> None:
        """Forget what is new there."""
        kept = self._changed.get(name)
        if kept:
            self._kept_bytes -= sum(len(items.body) for items in kept)


_NOTHING: list[Items] = []
"""Of a resource that has not changed. Nobody adds to it."""


def _lists_of(wanted: Filter) -> Iterable[str]:
    flags = {
        "tools": wanted.tools_list_changed,
        "prompts": wanted.prompts_list_changed,
        "resources": wanted.resources_list_changed,
    }
    return frozenset(name for name, flag in flags.items() if flag)
