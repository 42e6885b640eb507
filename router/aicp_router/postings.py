"""Postings: sparse vectors with an inverted index, compared by the cosine of their TF-IDF weights.

Adding or removing one vector touches the lists of its own terms only. What the others' lengths owe to the changed
frequencies is made good now and then, for all of them at once (`settle`).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_STALE_SHARE = 0.05
"""When more rows than this share have changed, lengths are worked out again: in a small network after each change."""
_COMMON_SHARE = 0.25
_COMMON_LEAST = 64

_MOST_ELEMENTS = 500_000
"""Of the sums that are kept: 8 MB."""
_BUNDLE_ELEMENTS = 20
"""So many elements weigh as much as a bundle without any."""


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


class Bundle:
    """Terms that come together, as those of one word do. Postings keep what each bundle comes to."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[str, float]) -> None:
        self.counts = counts


@dataclass(frozen=True, slots=True)
class _Sum:
    """What a bundle comes to: an element for each of its terms and each row that has this term."""

    rows: Rows
    shares: Floats
    square: float
    """Of its length."""
    is_merged: bool = False
    """Whether each row comes once."""

    def merged(self, size: int) -> "_Sum":
        """The same with one element for each row."""
        sums: Floats = np.bincount(self.rows, self.shares, minlength=size).astype(np.float64, copy=False)
        rows = sums.nonzero()[0]
        return _Sum(rows, sums[rows], self.square, is_merged=True)


class Postings:
    """Sparse vectors by row number. Rows are the caller's: small integers, used again after `drop`."""

    def __init__(self) -> None:
        self._terms: dict[str, _Posting] = {}
        self._of_row: dict[int, tuple[str, ...]] = {}
        self._lengths: Floats = np.ones(16)
        self._changes = 0
        self._sums: dict[Bundle, _Sum] = {}
        self._sum_elements = 0

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
        self._sums.clear()
        self._sum_elements = 0
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
        self._settle_if_stale()
        found = self._sum(counts)
        return self._divided(found.rows, found.shares, found.square, size)

    def cosines_of(self, bundles: Iterable[Bundle], size: int) -> Floats:
        """The same for a vector in bundles, where a term that comes in several of them counts in each. Faster for
        bundles that came before, as long as no row changes."""
        self._settle_if_stale()
        found = []
        for bundle in bundles:
            one = self._sums.get(bundle)
            if one is not None:
                if not one.is_merged:
                    # It came a second time: many bundles never do, and merging costs more than it saves once.
                    self._sum_elements -= len(one.rows)
                    one = self._sums[bundle] = one.merged(size)
                    self._sum_elements += len(one.rows)
            else:
                one = self._sum(bundle.counts)
                if self._sum_elements > _MOST_ELEMENTS:
                    self._sums.clear()
                    self._sum_elements = 0
                self._sums[bundle] = one
                self._sum_elements += len(one.rows) + _BUNDLE_ELEMENTS
            found.append(one)
        if not found:
            return np.zeros(size)
        rows = np.concatenate([one.rows for one in found])
        shares = np.concatenate([one.shares for one in found])
        return self._divided(rows, shares, sum([one.square for one in found]), size)

    def _settle_if_stale(self) -> None:
        if self._changes > _STALE_SHARE * len(self._of_row):
            self.settle()

    def _sum(self, counts: Mapping[str, float]) -> _Sum:
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
            return _Sum(np.zeros(0, np.intp), np.zeros(0), square)
        rows = np.concatenate(found_rows)
        shares = np.concatenate(found_counts)
        shares *= np.repeat(factors, sizes)
        return _Sum(rows, shares, square)

    def _divided(self, rows: Rows, shares: Floats, square: float, size: int) -> Floats:
        """Shares added up by row, and divided by the lengths of both vectors."""
        if not len(rows):
            return np.zeros(size)
        sums: Floats = np.bincount(rows, shares, minlength=size)[:size].astype(np.float64, copy=False)
        known = min(size, len(self._lengths))
        sums[:known] /= self._lengths[:known] * math.sqrt(square)
        return np.minimum(sums, 1.0, out=sums)

    def _rarity(self, having: int) -> float:
        """Inverse document frequency, smoothed."""
        return math.log((1 + len(self._of_row)) / (1 + having)) + 1
