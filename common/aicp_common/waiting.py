"""Waiting for a change: a signal on the bus wakes, and a re-read of state every few seconds makes up for lost ones."""

import asyncio
import contextlib
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

from aicp_common.bus import Bus

T = TypeVar("T")

REREAD_S = 2.0
"""How long a lost signal can delay a waiter."""


class Waiters:
    """Who in this process waits for which subject.

    One pattern subscription feeds it for the whole process, so that a waiter is heard from the moment it registers:
    there is no subscription of its own that the server would first have to learn of.
    """

    def __init__(self) -> None:
        self._waiters: dict[str, set[Waiter]] = defaultdict(set)
        self._closed = False
        self._own = f" #{secrets.token_hex(4)}".encode()

    def on_signal(self, subject: str, reply: str, said: bytes, headers: Mapping[str, str] | None) -> None:
        """Takes the messages of the pattern subscription."""
        if not said.endswith(self._own):
            self.wake(subject, said)

    def tell(self, bus: Bus, subject: str, said: str = "") -> None:
        """Let all who wait for `subject` look again: those of this process at once, the others by a signal."""
        words = said.encode()
        self.wake(subject, words)
        bus.say(subject, words + self._own)

    def wake(self, subject: str, said: bytes = b"") -> None:
        """Let all who wait for `subject` look again, unless they know from what is `said` that they need not."""
        for waiter in self._waiters.get(subject, ()):
            waiter.wake(said)

    def close(self) -> None:
        """End every wait as if its time were over: a worker that stops answers what it has."""
        self._closed = True
        for waiting in self._waiters.values():
            for waiter in waiting:
                waiter.end()

    @contextlib.contextmanager
    def listening(self, subject: str) -> Iterator["Waiter"]:
        """A waiter that hears of every change of `subject` from here on."""
        waiter = Waiter(closed=self._closed)
        waiting = self._waiters[subject]
        waiting.add(waiter)
        try:
            yield waiter
        finally:
            waiting.discard(waiter)
            if not waiting and self._waiters.get(subject) is waiting:
                del self._waiters[subject]

    async def until(self, subject: str, read: Callable[[], Awaitable[T | None]], wait_s: float) -> T | None:
        """What `read` returns once that is not None, or None after `wait_s` seconds.

        `read` is called at once, after every signal on `subject`, and every `REREAD_S` seconds.
        """
        with self.listening(subject) as waiter:
            found = await read()
            return found if found is not None else await waiter.until(read, wait_s)


class Waiter:
    """One that waits for changes of a subject. Made by `Waiters.listening`."""

    def __init__(self, *, closed: bool) -> None:
        self.ignores: Callable[[bytes], bool] = lambda said: False
        """Whether a signal with these words is no reason to look."""
        self._changed = asyncio.Event()
        self._closed = closed

    def wake(self, said: bytes) -> None:
        """There is a signal."""
        if not self.ignores(said):
            self._changed.set()

    def end(self) -> None:
        """Wait no longer."""
        self._closed = True
        self._changed.set()

    async def until(self, read: Callable[[], Awaitable[T | None]], wait_s: float) -> T | None:
        """What `read` returns once that is not None, or None after `wait_s` seconds.

        `read` is called after every signal since the waiter began to listen, every `REREAD_S` seconds, and at the end.
        """
        until = time.monotonic() + wait_s
        while True:
            left_s = until - time.monotonic()
            if left_s <= 0 or self._closed:
                return None
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which before Python 3.12 may lose a cancellation.
                async with asyncio.timeout(min(left_s, REREAD_S)):
                    await self._changed.wait()
            self._changed.clear()
            found = await read()
            if found is not None:
                return found
