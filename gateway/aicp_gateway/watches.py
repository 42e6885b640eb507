"""Watches: which clients of this gateway are to be told of messages on which NATS subject."""

import asyncio
import re
from dataclasses import dataclass, field

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from aicp_common.bus import Bus
from aicp_common.errors import Busy
from aicp_common.tracing import span, tracing_enabled
from aicp_gateway.notices import Notices

MAX_WATCHES = 1000
"""Resources that one client may be subscribed to."""

MOST_RECENT = 256
"""Events of one subject that are remembered, to know them again. What the state hub repeats when it is not sure are the
last few dozen."""

_EVENT_ID = re.compile(rb'"event_id":"([^"]+)"')
_TRACEPARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass
class _Feed:
    subscription: Subscription
    listeners: dict[tuple[Notices, str], None] = field(default_factory=dict)
    recent: dict[bytes, None] = field(default_factory=dict)
    """Ids of the last events."""

    def is_news(self, body: bytes) -> bool:
        """Whether this event has not come before. The log knows it again by its id, and so do subscribers of it."""
        found = _EVENT_ID.search(body, 0, 256)
        if found is None:
            return True
        id = found[1]
        if id in self.recent:
            return False
        self.recent[id] = None
        if len(self.recent) > MOST_RECENT:
            del self.recent[next(iter(self.recent))]
        return True


class Watches:
    """One NATS subscription for each subject, however many clients watch it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._feeds: dict[str, _Feed] = {}
        self._subjects: dict[Notices, dict[str, str]] = {}
        self._lock = asyncio.Lock()

    async def add(self, notices: Notices, uri: str, subject: str) -> None:
        """From now on a message on `subject` tells `notices` that `uri` has changed.

        Raises:
            Busy: the client watches as much as one may.
        """
        await self.add_all(notices, {uri: subject})

    async def add_all(self, notices: Notices, subjects: dict[str, str]) -> None:
        """As `add`, for many: `subjects` by URI."""
        async with self._lock:
            mine = self._subjects.setdefault(notices, {})
            for uri, subject in subjects.items():
                if uri in mine:
                    continue
                if len(mine) >= MAX_WATCHES:
                    raise Busy(f"a client may subscribe to {MAX_WATCHES} resources", hint="unsubscribe from some first")
                await self._join(subject, notices, uri)
                mine[uri] = subject
        # The client may change the resource the moment it has our answer: NATS must know of us by then.
        await self._bus.flush()

    async def remove(self, notices: Notices, uri: str) -> None:
        """Stop telling `notices` of `uri`."""
        async with self._lock:
            subject = self._subjects.get(notices, {}).pop(uri, None)
            if subject is not None:
                notices.withdraw(uri)
                await self._leave(subject, notices, uri)

    async def remove_all(self, notices: Notices) -> None:
        """The client has gone."""
        async with self._lock:
            for uri, subject in self._subjects.pop(notices, {}).items():
                await self._leave(subject, notices, uri)

    async def _join(self, subject: str, notices: Notices, uri: str) -> None:
        feed = self._feeds.get(subject)
        if feed is None:
            feed = _Feed(await self._bus.subscribe(subject, lambda message: self._tell(subject, message)))
            self._feeds[subject] = feed
        feed.listeners[notices, uri] = None

    async def _leave(self, subject: str, notices: Notices, uri: str) -> None:
        feed = self._feeds[subject]
        feed.listeners.pop((notices, uri), None)
        if not feed.listeners:
            del self._feeds[subject]
            await feed.subscription.unsubscribe()

    async def _tell(self, subject: str, message: Msg) -> None:
        feed = self._feeds.get(subject)
        if feed is None or not feed.is_news(message.data):
            return
        if tracing_enabled() and (found := _TRACEPARENT.search(message.data)):
            with span("gateway.notify", found.group().decode(), "consumer", {"clients": len(feed.listeners)}):
                self._notify(feed)
        else:
            self._notify(feed)

    def _notify(self, feed: _Feed) -> None:
        for notices, uri in feed.listeners:
            notices.changed(uri)
