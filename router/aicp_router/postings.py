"""Postings: sparse vectors with an inverted index, compared by the cosine of their TF-IDF weights.

Adding or removing one vector touches the lists of its own terms only. What the others' lengths owe to the changed
frequencies is made good now and then, for all of them at once (`settle`).
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_STALE_SHARE = 0.05
_STALE_LEAST = 8
_COMMON_SHARE = 0.25
_COMMON_LEAST = 64


class _Posting:
    """The rows that have one term, and how much of it."""

    __slots__ = ("_counts", "_rows", "counts", "rows", "size")

    def __init__(self) -> None:
        self._rows: Rows = np.empty(2, np.intp)
        self._counts: Floats = np.empty(2, np.float64)
        self._resize(0)

    def _resize(self, size: int) -> None:
        self.size = size
        self.rows = self._rows[:size]
        self.counts = self._counts[:size]

    def add(self, row: int, count: float) -> None:
        place = self.size
        if place == len(self._rows):
            self._rows = np.concatenate((self._rows, np.empty_like(self._rows)))
            self._counts = np.concatenate((self._counts, np.empty_like(self._counts)))
        self._rows[place] = row
        self._counts[place] = count
        self._resize(place + 1)

    def drop(self, row: int) -> None:
        place = int(np.flatnonzero(self.rows == row)[0])
        last = self.size - 1
        self._rows[place] = self._rows[last]
        self._counts[place] = self._counts[last]
        self._resize(last)


class Postings:
    """Sparse vectors by row number. Rows are the caller's: small integers, used again after `drop`."""

    def __init__(self) -> None:
        self._terms: dict[str, _Posting] = {}
        self._of_row: dict[int, tuple[str, ...]] = {}
        self._lengths: Floats = np.ones(16)
        self._changes = 0

    def __len__(self) -> int:
        return len(self._of_row)

    def put(self, row: int, counts: Mapping[str, float]) -> None:
        """Give `row` the terms of `counts`, in place of those that it had."""
        self.drop(row)
        if row >= len(self._lengths):
            self._lengths = np.concatenate((self._lengths, np.ones(max(row + 1, len(self._lengths)))))
        self._of_row[row] = tuple(counts)
        self._changes += 1
        square = 0.0
        for term, count in counts.items():
            posting = self._terms.get(term)
            if posting is None:
                posting = self._terms[term] = _Posting()
            posting.add(row, count)
            square += (count * self._rarity(posting.size)) ** 2
        self._lengths[row] = math.sqrt(square) or 1.0

    def drop(self, row: int) -> None:
        """Forget `row`, if it is there."""
        for term in self._of_row.pop(row, ()):
            posting = self._terms[term]
            posting.drop(row)
            if not posting.size:
                del self._terms[term]
        self._changes += 1

    def settle(self) -> None:
        """Work out every row's length again, from the frequencies as they are now."""
        self._changes = 0
        if not self._terms:
            return
        postings = list(self._terms.values())
        sizes = [posting.size for posting in postings]
        rows = np.concatenate([posting.rows for posting in postings])
        counts = np.concatenate([posting.counts for posting in postings])
        weights = counts * np.repeat([self._rarity(size) for size in sizes], sizes)
        squares = np.bincount(rows, weights * weights, minlength=len(self._lengths))
        self._lengths = np.sqrt(np.where(squares > 0, squares, 1.0))

    def cosines(self, counts: Mapping[str, float], size: int) -> Floats:
        """How alike each row is to the vector `counts`: [size], each 0 to 1.

        Terms that nobody has lengthen the vector: a text that is mostly about something else is less alike.
        """
        if self._changes > max(_STALE_LEAST, _STALE_SHARE * len(self._of_row)):
            self.settle()
        common = _COMMON_SHARE * len(self._of_row) if len(self._of_row) >= _COMMON_LEAST else math.inf
        square = 0.0
        found_rows: list[Rows] = []
        found_counts: list[Floats] = []
        factors: list[float] = []
        sizes: list[int] = []
        total = math.log(1 + len(self._of_row)) + 1
        log = math.log
        for term, count in counts.items():
            posting = self._terms.get(term)
            if posting is None:
                square += (count * total) ** 2
                continue
            weight = count * (total - log(1 + posting.size))
            square += weight * weight
            # What very many have tells them little apart, and costs the most to add up.
            if posting.size <= common:
                found_rows.append(posting.rows)
                found_counts.append(posting.counts)
                factors.append(weight * weight / count)
                sizes.append(posting.size)
        if not sizes:
            return np.zeros(size)
        rows = np.concatenate(found_rows)
        shares = np.concatenate(found_counts)
        shares *= np.repeat(factors, sizes)
        sums: Floats = np.bincount(rows, shares, minlength=size)[:size].astype(np.float64, copy=False)
        known = min(size, len(self._lengths))
        sums[:known] /= self._lengths[:known] * math.sqrt(square)
        return np.minimum(sums, 1.0, out=sums)

    def _rarity(self, having: int) -> float:
        """Inverse document frequency, smoothed."""
        return math.log((1 + len(self._of_row)) / (1 + having)) + 1
