"""The heartbeat: pings every WebSocket in turn, and ends those that did not answer, without a timer for each."""

import asyncio
from typing import Protocol

INTERVAL_S = 20.0
"""Between two pings of one connection; the pong has to come before the next ping."""

PARTS = 20
"""The connections fall into so many parts; one after the other is pinged."""


class Pinged(Protocol):
    """A connection that can be pinged."""

    def ping(self) -> None:
        """Ping the client, or end the connection when it did not answer the last ping."""


class Heartbeat:
    """Knows when each connection is to be pinged."""

    def __init__(self) -> None:
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
            await asyncio.sleep(INTERVAL_S / PARTS)
            self._now = (self._now + 1) % PARTS
            for connection in list(self._parts[self._now]):
                connection.ping()
