"""A turnstile: few at a time, and each requester in its turn, so that one with much to do holds up nobody else."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Hashable


class Turnstile:
    """Lets at most `places` in at once. Who waits is let in by turns of requesters, not by time of arrival."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        """By requester, in the order in which they come next."""

    @contextlib.asynccontextmanager
    async def turn(self, requester: Hashable) -> AsyncIterator[None]:
        """Wait for a place, and have it."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(requester)
        try:
            yield
        finally:
            self._leave()

    async def _wait(self, requester: Hashable) -> None:
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(requester, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                # It was let in just now.
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            requester, queue = next(iter(self._waiting.items()))
            del self._waiting[requester]
            place = queue.popleft()
            if queue:
                self._waiting[requester] = queue
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
