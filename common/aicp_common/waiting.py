"""Waiting for a change: a signal on the bus wakes, and a re-read of state every few seconds makes up for lost ones."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nats.aio.msg import Msg

T = TypeVar("T")

REREAD_S = 2.0
"""How long a lost signal can delay a waiter."""


class Waiters:
    """Who in this process waits for which subject.

    One pattern subscription feeds it for the whole process, so that a waiter is heard from the moment it registers:
    there is no subscription of its own that the server would first have to learn of.
    """

    def __init__(self) -> None:
        self._events: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._closed = False

    async def on_signal(self, message: Msg) -> None:
        """The handler of the pattern subscription."""
        self.wake(message.subject)

    def wake(self, subject: str) -> None:
        """Let all who wait for `subject` look again."""
        for event in self._events.get(subject, ()):
            event.set()

    def close(self) -> None:
        """End every wait as if its time were over: a worker that stops answers what it has."""
        self._closed = True
        for waiting in self._events.values():
            for event in waiting:
                event.set()

    async def until(self, subject: str, read: Callable[[], Awaitable[T | None]], wait_s: float) -> T | None:
        """What `read` returns once that is not None, or None after `wait_s` seconds.

        `read` is called at once, after every signal on `subject`, and every `REREAD_S` seconds.
        """
        until = time.monotonic() + wait_s
        event = asyncio.Event()
        waiting = self._events[subject]
        waiting.add(event)
        try:
            while True:
                event.clear()
                found = await read()
                if found is not None:
                    return found
                left_s = until - time.monotonic()
                if left_s <= 0 or self._closed:
                    return None
                with contextlib.suppress(TimeoutError):
                    # Not `wait_for`, which before Python 3.12 may lose a cancellation.
                    async with asyncio.timeout(min(left_s, REREAD_S)):
                        await event.wait()
        finally:
            waiting.discard(event)
            if not waiting and self._events.get(subject) is waiting:
                del self._events[subject]
