"""The outboxes of a shard, read over a connection of its own: what waits in them, as soon as there is something.

Where Redis is no part of a cluster, one blocking command waits for all tenants at once. Nothing is faster: an entry
comes in the same turn of Redis as the change that made it. In a cluster a command may name keys of one slot only, so
there each outbox is read by a command of its own, and Redis says which have changed.
"""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aicp_common.errors import Unavailable
from aicp_common.redisline import Push, RedisLine
from aicp_common.store import Store, redis_errors
from aicp_statehub.relay.outbox import Entry, outbox, put_aside, removal

IDLE_S = 5.0
"""After so long without a change it is made sure that the connection stands."""


async def open_outboxes(store: Store, tenants: Sequence[str]) -> "Outboxes":
    """Connect.

    Raises:
        Unavailable: Redis is away.
    """
    async with redis_errors():
        in_cluster = "cluster_enabled:1" in str(await store.line.call("INFO", "cluster"))
    opened: Outboxes = OutboxesBySlot(store, tenants) if in_cluster else OutboxesTogether(store, tenants)
    try:
        await opened.open()
    except BaseException:
        opened.close()
        raise
    return opened


class Outboxes(ABC):
    """Those of some tenants. One that has lost its connection (`stands`) is of no more use."""

    @abstractmethod
    async def open(self) -> None:
        """Connect. May raise `Unavailable`."""

    @abstractmethod
    def close(self) -> None:
        """Leave. A `read` that is under way finds nothing."""

    @property
    @abstractmethod
    def stands(self) -> bool:
        """Whether it is connected."""

    @abstractmethod
    def watch(self, tenants: Sequence[str]) -> None:
        """Read these from now on, or close if that cannot be done."""

    @abstractmethod
    def look_again(self, tenants: Iterable[str]) -> None:
        """Something waits in these that was read before and comes again."""

    @abstractmethod
    async def read(self, after: Mapping[str, str], limit: int, patience_s: float) -> list[Entry]:
        """The next entries of each tenant, as soon as there are any; none after `patience_s` seconds.

        Args:
            after: The entry of a tenant after which to read; from the first one on where there is none.
            limit: Entries, about, at most.

        Raises:
            Unavailable: Redis is away.
        """

    @abstractmethod
    async def remove(self, relayed: Iterable[tuple[str, str]], dead: Iterable[tuple[Entry, str]]) -> None:
        """Take entries out.

        Args:
            relayed: Tenant and entry id of what the event log has acknowledged.
            dead: Entries that cannot be relayed, and why; they go to the tenant's dead letters.

        Raises:
            Unavailable: Redis is away.
        """


class OutboxesTogether(Outboxes):
    """All tenants by one command."""

    def __init__(self, store: Store, tenants: Sequence[str]) -> None:
        self._store = store
        self._tenants = tenants
        self._streams = [outbox(tenant) for tenant in tenants]
        self._names = {stream.encode(): tenant for stream, tenant in zip(self._streams, tenants, strict=True)}
        # Bytes, since one entry that is no UTF-8 must not hide the others.
        self._line = RedisLine(store.connection_pool, texts=False)
        self._closed = False

    async def open(self) -> None:
        """Connect."""
        async with redis_errors():
            await self._line.call("PING")

    def close(self) -> None:
        """Leave; a read changes nothing, so it can be broken off."""
        self._closed = True
        self._line.abort()

    @property
    def stands(self) -> bool:
        """Whether it is connected."""
        return not self._closed and self._line.stands

    def watch(self, tenants: Sequence[str]) -> None:
        """Close: the command that waits names the tenants of before."""
        if tenants != self._tenants:
            self.close()

    def look_again(self, tenants: Iterable[str]) -> None:
        """Nothing to do: each read begins where it is told to."""

    async def read(self, after: Mapping[str, str], limit: int, patience_s: float) -> list[Entry]:
        """The next entries."""
        if not self.stands or not self._tenants:
            return []
        count, block_ms = max(1, limit // len(self._tenants)), int(min(patience_s, IDLE_S) * 1000)
        starts = [after.get(tenant, "0") for tenant in self._tenants]
        try:
            async with redis_errors():
                found = await self._line.call(
                    "XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", *self._streams, *starts
                )
        except Unavailable:
            if self._closed:
                return []
            raise
        return [entry for stream, entries in _streams(found) for entry in _entries(self._names[stream], entries)]

    async def remove(self, relayed: Iterable[tuple[str, str]], dead: Iterable[tuple[Entry, str]]) -> None:
        """Take entries out, over the connection that does not wait."""
        async with redis_errors():
            gone = await put_aside(self._store.line, relayed, dead)
            await self._store.line.calls(removal(tenant, ids) for tenant, ids in gone.items())


class OutboxesBySlot(Outboxes):
    """Each tenant by a command of its own.

    What is read is tracked (client-side caching, RESP3): Redis says once that it has changed since. So waiting takes no
    command at all, and only what has changed is read. The price is a way to Redis and back between a change and its
    entry, which with `appendfsync always` is a sync of the disk.
    """

    def __init__(self, store: Store, tenants: Sequence[str]) -> None:
        self._line = RedisLine(store.connection_pool, texts=False, on_push=self._on_push)
        self._tenants: dict[bytes, str] = {}
        self._changed: dict[str, None] = {}
        """Tenants to read, the longest waiting first."""
        self._news = asyncio.Event()
        self._closed = False
        self.watch(tenants)

    async def open(self) -> None:
        """Connect."""
        async with redis_errors():
            await self._line.call("HELLO", 3)
            # Not of what this connection removes itself.
            await self._line.call("CLIENT", "TRACKING", "ON", "NOLOOP")

    def close(self) -> None:
        """Leave."""
        self._closed = True
        self._line.abort()
        self._news.set()

    @property
    def stands(self) -> bool:
        """Whether it is connected."""
        return not self._closed and self._line.stands

    def watch(self, tenants: Sequence[str]) -> None:
        """Read these from now on."""
        known = set(self._tenants.values())
        self._tenants = {outbox(tenant).encode(): tenant for tenant in tenants}
        self.look_again(tenant for tenant in tenants if tenant not in known)

    def look_again(self, tenants: Iterable[str]) -> None:
        """Read these although they may not have changed."""
        self._changed.update(dict.fromkeys(tenants))
        if self._changed:
            self._news.set()

    async def read(self, after: Mapping[str, str], limit: int, patience_s: float) -> list[Entry]:
        """The next entries of those that have changed."""
        try:
            async with asyncio.timeout(min(patience_s, IDLE_S)):
                await self._news.wait()
        except TimeoutError:
            if patience_s >= IDLE_S and self.stands:
                async with redis_errors():
                    await self._line.call("PING")
            return []
        self._news.clear()
        tenants = list(itertools.islice(self._changed, limit))
        if not tenants or not self.stands:
            return []
        for tenant in tenants:
            del self._changed[tenant]
        self.look_again(())
        count = max(1, limit // len(tenants))
        async with redis_errors():
            replies = await self._line.calls(
                ("XREAD", "COUNT", count, "STREAMS", outbox(tenant), after.get(tenant, "0")) for tenant in tenants
            )
        found: list[Entry] = []
        for tenant, reply in zip(tenants, replies, strict=True):
            for _, entries in _streams(reply):
                found += _entries(tenant, entries)
                if len(entries) >= count:
                    self.look_again([tenant])
        return found

    async def remove(self, relayed: Iterable[tuple[str, str]], dead: Iterable[tuple[Entry, str]]) -> None:
        """Take entries out, over the connection that must not hear of it."""
        async with redis_errors():
            gone = await put_aside(self._line, relayed, dead)
            # What is changed is not tracked any more until it is read again: from the last one of these, cheaply.
            again = [("XREAD", "COUNT", 1, "STREAMS", outbox(tenant), ids[-1]) for tenant, ids in gone.items()]
            removals = [removal(tenant, ids) for tenant, ids in gone.items()]
            replies = await self._line.calls(itertools.chain(removals, again))
        self.look_again(tenant for tenant, more in zip(gone, replies[len(gone) :], strict=True) if more)

    def _on_push(self, push: Push) -> None:
        if push is None:
            self._news.set()
        elif push[0] == b"invalidate":
            # None for the keys: the whole database was flushed.
            keys: Iterable[bytes] = self._tenants if push[1] is None else push[1]
            self.look_again([self._tenants[key] for key in keys if key in self._tenants])


def _streams(reply: Any) -> Iterable[tuple[bytes, Sequence[Any]]]:
    """What XREAD found: a map in RESP3, a list of pairs in RESP2, nothing in both."""
    if not reply:
        return ()
    pairs: Iterable[tuple[bytes, Sequence[Any]]] = reply.items() if isinstance(reply, dict) else reply
    return pairs


def _entries(tenant: str, entries: Sequence[Any]) -> list[Entry]:
    return [Entry(tenant, id_.decode(), dict(zip(flat[::2], flat[1::2], strict=True))) for id_, flat in entries]
