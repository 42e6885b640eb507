"""What a client is still to be told: the newest of each kind, so that a client that does not read costs no memory."""

from collections.abc import Callable, Iterable

from aicp_gateway.protocol.notifications import LISTS, list_changed, resource_updated
from aicp_gateway.protocol.params import Filter


class Notices:
    """Pending notifications of one client, or of one of its subscriptions.

    Telling twice before the client took the first is telling once.

    Args:
        wake: Called when there is something after there was nothing. Must not block.
        subscription: Id of the request that opened the subscription, as raw JSON; None in the handshake era.
        wanted: What the subscription is for; None: everything, as in the handshake era.
    """

    __slots__ = ("_changed", "_held", "_lists", "_subscription", "_tasks", "_told", "_wake")

    def __init__(
        self, wake: Callable[["Notices"], None], subscription: bytes | None = None, wanted: Filter | None = None
    ) -> None:
        self._wake = wake
        self._subscription = subscription
        self._told = LISTS if wanted is None else _lists_of(wanted)
        self._tasks = frozenset(() if wanted is None else wanted.task_ids)
        self._changed: dict[str, None] = {}
        self._lists: frozenset[str] = frozenset()
        self._held = False

    def changed(self, name: str) -> None:
        """The resource with this URI, or the task with this id, has changed."""
        first = not self._changed and not self._lists
        self._changed[name] = None
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
        self._changed.pop(name, None)

    def take(self) -> tuple[list[str], list[str]]:
        """Take everything: messages that are ready to be sent, and ids of tasks that have changed."""
        messages = [resource_updated(name, self._subscription) for name in self._changed if name not in self._tasks]
        messages += [list_changed(which, self._subscription) for which in LISTS if which in self._lists]
        tasks = [name for name in self._changed if name in self._tasks]
        self._changed.clear()
        self._lists = frozenset()
        return messages, tasks


def _lists_of(wanted: Filter) -> Iterable[str]:
    flags = {
        "tools": wanted.tools_list_changed,
        "prompts": wanted.prompts_list_changed,
        "resources": wanted.resources_list_changed,
    }
    return frozenset(name for name, flag in flags.items() if flag)
