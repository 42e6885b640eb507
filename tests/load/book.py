"""The book: what is written down of every call, and only of those that began within the time that is measured."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tests.load.failure import CallFailed
from tests.load.histogram import Histogram
from tests.load.tally import Tally

clock = time.perf_counter
"""Seconds, for all times of a run."""


@dataclass(frozen=True, slots=True)
class Second:
    """What ended within about one second, also before the time that is measured."""

    ended_s: float
    """When it was over, from the beginning of the time that is measured; 0 and less is warming up."""
    lasted_s: float
    latencies: Histogram
    errors: int

    @property
    def per_second(self) -> float:
        """Throughput."""
        return self.latencies.count / self.lasted_s if self.lasted_s else 0.0


class Book:
    """Counts calls.

    Args:
        calls: Names of what the load is made of.
        helpers: Names of the workers' calls, which are no throughput of their own.
    """

    def __init__(self, calls: Iterable[str], helpers: Iterable[str]) -> None:
        self.calls = {name: Tally() for name in calls}
        self.helpers = {name: Tally() for name in helpers}
        self.warm_up = Tally()
        """Everything that began before the time that is measured."""
        self.begins = math.inf
        """When the time that is measured begins."""
        self.ends = math.inf
        """When it ends."""
        self._second = Histogram()
        self._second_errors = 0
        self._second_began = 0.0

    def open(self, begins: float, ends: float) -> None:
        """Say what time is measured. What began before counts as warming up."""
        self.begins = begins
        self.ends = ends
        self._second_began = clock()

    def succeed(self, name: str, began: float) -> None:
        """A call has its result."""
        now = clock()
        taken_us = int((now - began) * 1e6)
        tally = self.calls[name]
        self._second.record(taken_us)
        if began >= self.begins:
            tally.histogram.record(taken_us)
        else:
            self.warm_up.histogram.record(taken_us)
        if self.begins <= now <= self.ends:
            tally.ended += 1

    def fail(self, name: str, began: float, failure: CallFailed) -> None:
        """A call has failed."""
        self._second_errors += 1
        (self.calls[name] if began >= self.begins else self.warm_up).fail(failure)

    def helped(self, name: str, began: float, failure: CallFailed | None = None) -> None:
        """A call of a worker has its result, or has failed."""
        if began < self.begins:
            if failure is not None:
                self.warm_up.fail(failure)
            return
        tally = self.helpers[name]
        now = clock()
        if failure is not None:
            self._second_errors += 1
            tally.fail(failure)
            return
        tally.histogram.record(int((now - began) * 1e6))
        if now <= self.ends:
            tally.ended += 1

    def turn_second(self) -> Second:
        """What was counted since this was last asked."""
        now = clock()
        second = Second(now - self.begins, now - self._second_began, self._second, self._second_errors)
        self._second = Histogram()
        self._second_errors = 0
        self._second_began = now
        return second

    @property
    def total(self) -> Tally:
        """All calls of the load; with the errors of the workers, since a load without its workers is not what was
        asked for."""
        total = Tally()
        for tally in self.calls.values():
            total.add(tally)
        for tally in self.helpers.values():
            total.add_errors(tally)
        return total
