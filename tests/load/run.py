"""The run: keeps the pace, as fast as the hub answers or at a rate of its own, for the time that is measured."""

import asyncio
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from tests.load.book import Book, Second, clock
from tests.load.calls import Call
from tests.load.failure import CallFailed

_TIMER_S = 0.002
"""How late a timer of the event loop may be, which is no fault of the hub: the call then began when it was made."""
_INTERRUPTED_S = 1.0
"""How long what is under way may take after an interruption."""


class Run:
    """One run.

    Args:
        agents: What each agent can call, by name.
        deck: The names in the order of the calls; begins again at its end.
        book: Where the calls are written down.
        in_flight: How many calls an agent may have under way.
        rate: Calls that begin in a second, of all agents together; None: each begins when the one before has ended.
        warm_up_s: Time before the one that is measured.
        duration_s: The time that is measured.
        patience_s: How long what is under way at the end may take.
        on_second: Called with each second.
    """

    def __init__(
        self,
        agents: Sequence[Mapping[str, Call]],
        deck: Sequence[str],
        book: Book,
        *,
        in_flight: int,
        rate: float | None,
        warm_up_s: float,
        duration_s: float,
        patience_s: float,
        on_second: Callable[[Second], None],
    ) -> None:
        self.unfinished = 0
        """Calls that had no answer when the run was given up."""
        self.unsent = 0
        """Calls whose time had come and that were never made, because all that may be in flight was."""
        self.interrupted = False
        self._agents = agents
        self._deck = itertools.cycle(deck)
        self._book = book
        self._in_flight = in_flight
        self._rate = rate
        self._warm_up_s = warm_up_s
        self._duration_s = duration_s
        self._patience_s = patience_s
        self._on_second = on_second
        self._under_way = 0
        self._began = 0.0
        self._next = 0
        """Number of the next call, when there is a rate."""
        self._made = 0
        """Calls of the time that is measured, when there is a rate."""
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End it early."""
        self.interrupted = True
        self._stop.set()

    async def go(self) -> None:
        """Run, until every call has its answer."""
        self._began = clock()
        begins = self._began + self._warm_up_s
        self._book.open(begins, begins + self._duration_s)
        work = self._work_as_fast_as_answered if self._rate is None else self._work_at_rate
        # One agent after the other, so that a low rate is spread over all of them.
        working = [asyncio.create_task(work(calls)) for _ in range(self._in_flight) for calls in self._agents]
        watching = asyncio.create_task(self._watch())
        stopping = asyncio.create_task(self._stop.wait())
        everything = asyncio.gather(*working)
        try:
            limit_s = self._warm_up_s + self._duration_s + self._patience_s
            await asyncio.wait((everything, stopping), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                self._book.ends = min(self._book.ends, clock())
                await asyncio.wait((everything,), timeout=_INTERRUPTED_S)
            self.unfinished = self._under_way
            if self._rate is not None:
                self.unsent = max(0, self._due(self._book.ends) - self._due(self._book.begins) - self._made)
            last = self._book.turn_second()
            if last.latencies.count or last.errors:
                self._on_second(last)
            if everything.done():
                # A fault of the load test itself ends it.
                everything.result()
        finally:
            others = (*working, watching, stopping)
            for task in others:
                task.cancel()
            await asyncio.gather(everything, *others, return_exceptions=True)

    async def _work_as_fast_as_answered(self, calls: Mapping[str, Call]) -> None:
        while (now := clock()) < self._book.ends:
            await self._call(calls, now)

    async def _work_at_rate(self, calls: Mapping[str, Call]) -> None:
        """Take the next call whose time comes, and count it from that time: also when the ones before took so long
        that it is late. Otherwise a hub that stands still would delay a few calls, instead of all that should have
        been made meanwhile ("coordinated omission")."""
        assert self._rate is not None
        while True:
            number = self._next
            self._next += 1
            intended = self._began + number / self._rate
            if intended >= self._book.ends:
                return
            now = clock()
            if intended < self._book.begins <= now:
                # What could not be made while warming up would only be in the way of what is measured.
                self._next = max(self._next, self._due(self._book.begins))
                continue
            measured = intended >= self._book.begins
            if now < intended:
                await asyncio.sleep(intended - now)
                now = clock()
                if measured and now - intended <= _TIMER_S:
                    # A timer that is early moves no call out of the time that is measured.
                    intended = max(now, self._book.begins)
            elif now >= self._book.ends:
                return
            self._made += measured
            await self._call(calls, intended)

    def _due(self, until: float) -> int:
        """How many calls the rate brings until then."""
        assert self._rate is not None
        return math.ceil((until - self._began) * self._rate - 1e-6)

    async def _call(self, calls: Mapping[str, Call], began: float) -> None:
        name = next(self._deck)
        self._under_way += 1
        try:
            await calls[name]()
        except CallFailed as failure:
            self._book.fail(name, began, failure)
        else:
            self._book.succeed(name, began)
        finally:
            self._under_way -= 1

    async def _watch(self) -> None:
        # The first second of the time that is measured begins with it.
        for number in itertools.count(1 - math.ceil(self._warm_up_s)):
            await asyncio.sleep(self._book.begins + number - clock())
            self._on_second(self._book.turn_second())
