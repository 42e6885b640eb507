"""A histogram of latencies in fixed memory: buckets whose width grows with the value, after HdrHistogram."""

from typing import Self

_SUB_BITS = 8
"""Each power of two has 256 buckets: a value is known to 0.4 %."""
_SUB = 1 << _SUB_BITS
_MAX_US = (1 << 32) - 1
"""71 minutes; what is longer counts as this in the buckets, and as itself in `max_us`."""


def _index(value: int) -> int:
    """The bucket of a value: below 512 each has its own."""
    shift = value.bit_length() - _SUB_BITS - 1
    return value if shift <= 0 else (shift << _SUB_BITS) + (value >> shift)


def _highest(index: int) -> int:
    """The highest value of a bucket."""
    shift = (index >> _SUB_BITS) - 1
    if shift <= 0:
        return index
    return (((index & (_SUB - 1)) + _SUB + 1) << shift) - 1


_BUCKETS = _index(_MAX_US) + 1


class Histogram:
    """Latencies in whole microseconds."""

    __slots__ = ("_counts", "count", "max_us", "min_us", "total_us")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.total_us = 0
        self.min_us = 0
        self.max_us = 0

    def record(self, value_us: int) -> None:
        """Count one latency; below 0 counts as 0."""
        value_us = max(value_us, 0)
        if value_us > self.max_us:
            self.max_us = value_us
        if value_us < self.min_us or not self.count:
            self.min_us = value_us
        self.count += 1
        self.total_us += value_us
        self._counts[_index(min(value_us, _MAX_US))] += 1

    @property
    def mean_us(self) -> float | None:
        """None when nothing was counted."""
        return self.total_us / self.count if self.count else None

    def percentile_us(self, percent: float) -> int | None:
        """The latency that `percent` of all did not exceed, 0.4 % too high at most; None when nothing was counted.

        Never too low: a bucket stands for its highest value.
        """
        if not self.count:
            return None
        wanted = percent / 100 * self.count
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= wanted and seen:
                return max(min(_highest(index), self.max_us), self.min_us)
        return self.max_us

    def add(self, other: Self) -> None:
        """Count what `other` has counted as well."""
        if not other.count:
            return
        self.min_us = min(self.min_us, other.min_us) if self.count else other.min_us
        self.max_us = max(self.max_us, other.max_us)
        self.count += other.count
        self.total_us += other.total_us
        self._counts = [mine + its for mine, its in zip(self._counts, other._counts, strict=True)]
