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

QUIET_S = 1.0
MAX_QUIET = 50_000
"""Subjects of which it is known that there is nothing to find; beyond these all are forgotten."""


class Waiters:
    """Who in this process waits for which subject.

    One pattern subscription feeds it for the whole process, so that a waiter is heard from the moment it registers:
    there is no subscription of its own that the server would first have to learn of.
    """

    def __init__(self) -> None:
        self._waiters: dict[str, set[Waiter]] = defaultdict(set)
        self._quiet: dict[str, float] = {}
        """Subject to when it was noted."""
        self._closed = False
        self._own = f" #{secrets.token_hex(4)}".encode()

    def on_signal(self, subject: str, reply: str, said: bytes, headers: Mapping[str, str] | None) -> None:
        """Takes the messages of the pattern subscription."""
        if not said.endswith(self._own):
            self.wake(subject, said)

    def tell(self, bus: Bus, subject: str, said: str = "", found: object = None) -> None:
        """Let all who wait for `subject` look again: those of this process at once, the others by a signal.

        Args:
            bus: For the signal.
            subject: Which.
            said: Words of the signal.
            found: What those of this process would find; see `Waiter.found`.
        """
        words = said.encode()
        self.wake(subject, words, found)
        bus.say(subject, words + self._own)

    def wake(self, subject: str, said: bytes = b"", found: object = None) -> None:
        """Let all who wait for `subject` look again, unless they know from what is `said` that they need not."""
        self._quiet.pop(subject, None)
        for waiter in self._waiters.get(subject, ()):
            waiter.wake(said, found)

    def any_for(self, subject: str) -> bool:
        """Whether somebody in this process waits for `subject`."""
        return subject in self._waiters

    def note_quiet(self, subject: str) -> None:
        """There is nothing to find for who waits for `subject`, as was just seen by somebody who heard of no change
        since before it looked."""
        if len(self._quiet) >= MAX_QUIET:
            self._quiet.clear()
        self._quiet[subject] = time.monotonic()

    def is_quiet(self, subject: str) -> bool:
        """Whether that was noted within the last second, and there was no signal since: to look again can wait for the
        next signal, or for `REREAD_S` like all that wait."""
        return time.monotonic() - self._quiet.get(subject, -QUIET_S) < QUIET_S

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

        `read` is called at once, unless it is known to find nothing and there is time for it later, after every signal
        on `subject`, and every `REREAD_S` seconds.
        """
        with self.listening(subject) as waiter:
            if wait_s <= REREAD_S or not self.is_quiet(subject):
                found = await read()
                if found is not None:
                    return found
            return await waiter.until(read, wait_s)


class Waiter:
    """One that waits for changes of a subject. Made by `Waiters.listening`."""

    def __init__(self, *, closed: bool) -> None:
        self.ignores: Callable[[bytes], bool] = lambda said: False
        """Whether a signal with these words is no reason to look."""
        self.found: object = None
        """What it was told that it would find, by somebody in this process; its `read` may take it from here."""
        self.heard = False
        """Whether there was a signal since it began to listen or looked last."""
        self._wake: asyncio.Future[None] | None = None
        self._closed = closed

    def wake(self, said: bytes, found: object = None) -> None:
        """There is a signal."""
        if not self.ignores(said):
            self.found = found
            self._hear()

    def end(self) -> None:
        """Wait no longer."""
        self._closed = True
        self._hear()

    def _hear(self) -> None:
        self.heard = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def until(self, read: Callable[[], Awaitable[T | None]], wait_s: float) -> T | None:
        """What `read` returns once that is not None, or None after `wait_s` seconds.

        `read` is called after every signal since the waiter began to listen, every `REREAD_S` seconds, and at the end.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            left_s = until - loop.time()
            if left_s <= 0 or self._closed:
                return None
            if not self.heard:
                # A bare future and a timer: half of what `asyncio.timeout` around an event costs.
                self._wake = loop.create_future()
                timer = loop.call_later(min(left_s, REREAD_S), self._hear)
                try:
                    await self._wake
                finally:
                    timer.cancel()
                    self._wake = None
            self.heard = False
            found = await read()
            if found is not None:
                return found
