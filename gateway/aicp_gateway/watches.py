"""Watches: which clients of this gateway are to be told of messages on which NATS subject."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from aicp_common.bus import Bus
from aicp_common.errors import Busy
from aicp_common.tracing import span, tracing_enabled
from aicp_gateway.newsfeed import NewsFeed
from aicp_gateway.notices import Notices
from aicp_gateway.source import Source

MAX_WATCHES = 1000
"""Resources that one client may be subscribed to."""

MOST_RECENT = 256
"""Events of one subject that are remembered, to know them again. What the state hub repeats when it is not sure are the
last few dozen."""

_EVENT_ID = re.compile(rb'"event_id":"([^"]+)"')
_TRACEPARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


LOOK_S = 1.0
"""How often it is looked whether a feed of news has to ask without a signal."""

_Key = tuple[str, ...]
"""What clients share a feed by: the subject, and with news the resource as well."""


@dataclass
class _Feed:
    """Tells that something has changed."""

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

    async def on_message(self, message: Msg) -> None:
        """What is told on the subject."""
        if not self.is_news(message.data):
            return
        if tracing_enabled() and (found := _TRACEPARENT.search(message.data)):
            with span("gateway.notify", found.group().decode(), "consumer", {"clients": len(self.listeners)}):
                self._notify()
        else:
            self._notify()

    def _notify(self) -> None:
        for notices, uri in self.listeners:
            notices.changed(uri)


class Watches:
    """One NATS subscription for each subject, however many clients watch it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._feeds: dict[_Key, _Feed | NewsFeed] = {}
        self._subscriptions: dict[_Key, Subscription] = {}
        self._mine: dict[Notices, dict[str, _Key]] = {}
        self._lock = asyncio.Lock()

    async def add(self, notices: Notices, uri: str, source: Source) -> None:
        """From now on what `source` tells of goes to `notices`, as news of `uri`.

        Raises:
            Busy: the client watches as much as one may.
        """
        await self.add_all(notices, {uri: source})

    async def add_all(self, notices: Notices, sources: Mapping[str, Source], *, anew: bool = False) -> None:
        """As `add`, for many.

        Args:
            notices: Of the client.
            sources: By URI.
            anew: The client may have heard of what is new before, and is to look for itself.
        """
        newsfeeds: list[NewsFeed] = []
        async with self._lock:
            mine = self._mine.setdefault(notices, {})
            for uri, source in sources.items():
                if uri in mine:
                    continue
                if len(mine) >= MAX_WATCHES:
                    raise Busy(f"a client may subscribe to {MAX_WATCHES} resources", hint="unsubscribe from some first")
                key = _key(uri, source)
                feed = self._feeds.get(key) or await self._open(key, uri, source)
                if isinstance(feed, NewsFeed):
                    feed.join(notices, uri, source, anew=anew)
                    newsfeeds.append(feed)
                else:
                    feed.listeners[notices, uri] = None
                mine[uri] = key
        # The client may change the resource the moment it has our answer: NATS must know of us by then.
        await self._bus.flush()
        for newsfeed in newsfeeds:
            newsfeed.ask_for_newcomers()

    async def remove(self, notices: Notices, uri: str) -> None:
        """Stop telling `notices` of `uri`."""
        async with self._lock:
            key = self._mine.get(notices, {}).pop(uri, None)
            if key is not None:
                await self._leave(key, notices, uri)
                notices.withdraw(uri)

    async def remove_all(self, notices: Notices) -> None:
        """The client has gone."""
        async with self._lock:
            for uri, key in self._mine.pop(notices, {}).items():
                await self._leave(key, notices, uri)

    async def look_after_for_ever(self) -> None:
        """Let feeds of news ask when signals may have got lost: after NATS was away, and now and then."""
        loop = asyncio.get_running_loop()
        reconnects = self._bus.client.stats["reconnects"]
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._bus.connected:
                continue
            known, reconnects = reconnects, self._bus.client.stats["reconnects"]
            for feed in self._feeds.values():
                if not isinstance(feed, NewsFeed):
                    continue
                if reconnects != known:
                    feed.ask()
                else:
                    feed.ask_if_quiet(loop.time())

    async def _open(self, key: _Key, uri: str, source: Source) -> _Feed | NewsFeed:
        feed: _Feed | NewsFeed = NewsFeed(self._bus, uri, source) if source.has_news else _Feed()
        self._subscriptions[key] = await self._bus.subscribe(source.subject, feed.on_message)
        self._feeds[key] = feed
        return feed

    async def _leave(self, key: _Key, notices: Notices, uri: str) -> None:
        feed = self._feeds[key]
        if isinstance(feed, NewsFeed):
            feed.leave(notices, uri)
        else:
            feed.listeners.pop((notices, uri), None)
        if not feed.listeners:
            del self._feeds[key]
            await self._subscriptions.pop(key).unsubscribe()
            if isinstance(feed, NewsFeed):
                await feed.close()


def _key(uri: str, source: Source) -> _Key:
    if source.has_news:
        return (source.subject, source.tenant, source.service, source.method, uri)
    return (source.subject,)
