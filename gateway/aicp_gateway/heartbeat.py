"""The heartbeat: gives every connection in turn a sign of life, without a timer for each."""

import asyncio
from typing import Protocol

PARTS = 20
"""The connections fall into so many parts; one after the other has its turn."""


class Pinged(Protocol):
    """A connection, or an answer that is long in coming."""

    def ping(self) -> None:
        """Do what is due once an interval. Must not block."""


class Heartbeat:
    """Knows when each connection is to be pinged.

    Args:
        interval_s: Between two pings of one connection.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._parts: list[set[Pinged]] = [set() for _ in range(PARTS)]
        self._now = 0

    def join(self, connection: Pinged) -> int:
        """Ping it from now on, for the first time after a whole interval.

        Returns:
            What `leave` has to be told.
        """
        self._parts[self._now].add(connection)
        return self._now

    def leave(self, connection: Pinged, part: int) -> None:
        """Ping it no more."""
        self._parts[part].discard(connection)

    async def beat_for_ever(self) -> None:
        """Ping one part after the other."""
        while True:
            await asyncio.sleep(self._interval_s / PARTS)
            self._now = (self._now + 1) % PARTS
            for connection in list(self._parts[self._now]):
                connection.ping()
