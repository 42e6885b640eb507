"""Postings: sparse vectors with an inverted index, compared by the cosine of their TF-IDF weights.

Adding or removing one vector touches the lists of its own terms only. What the others' lengths owe to the changed
frequencies is made good now and then, for all of them at once (`settle`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

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
    """What terms come to: an element for each of them and each row that has it."""

    rows: Rows
    shares: Floats
    square: float
    """Of their length."""

    def merged(self, size: int) -> "_Sum":
        """The same with one element for each row."""
        sums: Floats = np.bincount(self.rows, self.shares, minlength=size).astype(np.float64, copy=False)
        rows = sums.nonzero()[0]
        return _Sum(rows, sums.take(rows), self.square)


class Postings:
    """Sparse vectors by row number. Rows are the caller's: small integers, used again after `drop`."""

    def __init__(self) -> None:
        self._terms: dict[str, _Posting] = {}
        self._of_row: dict[int, tuple[str, ...]] = {}
        self._scales: Floats = np.ones(16)
        """1 / length of each row."""
        self._changes = 0
        self._sums: dict[Bundle, _Sum | None] = {}
        """What bundles come to, each row once; None for a bundle that came once only: many never come again."""
        self._sum_elements = 0

    def __len__(self) -> int:
        return len(self._of_row)

    def put(self, row: int, counts: Mapping[str, float]) -> None:
        """Give `row` the terms of `counts`, in place of those that it had."""
        self.drop(row)
        if row >= len(self._scales):
            self._scales = np.concatenate((self._scales, np.ones(max(row + 1, len(self._scales)))))
        self._of_row[row] = tuple(counts)
        self._changes += 1
        square = 0.0
        for term, count in counts.items():
            posting = self._terms.get(term)
            if posting is None:
                posting = self._terms[term] = _Posting()
            posting.add(row, count)
            square += (count * self._rarity(posting.size)) ** 2
        self._scales[row] = 1.0 / (math.sqrt(square) or 1.0)

    def drop(self, row: int) -> None:
        """Forget `row`, if it is there."""
        self._forget_sums()
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
        squares = np.bincount(rows, weights * weights, minlength=len(self._scales))
        self._scales = 1.0 / np.sqrt(np.where(squares > 0, squares, 1.0))

    def cosines(self, counts: Mapping[str, float], size: int) -> Floats:
        """How alike each row is to the vector `counts`: [size], each 0 to 1.

        Terms that nobody has lengthen the vector: a text that is mostly about something else is less alike.
        """
        self._settle_if_stale()
        return self._scaled([self._sum([counts])], size)

    def cosines_of(self, bundles: Iterable[Bundle], size: int) -> Floats:
        """The same for a vector in bundles, where a term that comes in several of them counts in each. Faster for
        bundles that came before, as long as no row changes."""
        self._settle_if_stale()
        if self._sum_elements > _MOST_ELEMENTS:
            self._forget_sums()
        found: list[_Sum] = []
        news: list[Mapping[str, float]] = []
        for bundle in bundles:
            kept = self._sums.get(bundle)
            if kept is not None:
                found.append(kept)
            elif bundle in self._sums:
                kept = self._sums[bundle] = self._sum([bundle.counts]).merged(size)
                self._sum_elements += len(kept.rows)
                found.append(kept)
            else:
                self._sums[bundle] = None
                self._sum_elements += _BUNDLE_ELEMENTS
                news.append(bundle.counts)
        if news:
            found.append(self._sum(news))
        return self._scaled(found, size)

    def _settle_if_stale(self) -> None:
        if self._changes > _STALE_SHARE * len(self._of_row):
            self.settle()

    def _forget_sums(self) -> None:
        self._sums.clear()
        self._sum_elements = 0

    def _sum(self, vectors: Iterable[Mapping[str, float]]) -> _Sum:
        """What the terms of some vectors come to, together."""
        common = _COMMON_SHARE * len(self._of_row) if len(self._of_row) >= _COMMON_LEAST else math.inf
        square = 0.0
        found_rows: list[Rows] = []
        found_counts: list[Floats] = []
        factors: list[float] = []
        sizes: list[int] = []
        total = math.log(1 + len(self._of_row)) + 1
        log, posting_of = math.log, self._terms.get
        for term, count in chain.from_iterable(counts.items() for counts in vectors):
            posting = posting_of(term)
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
        shares *= np.array(factors).repeat(sizes)
        return _Sum(rows, shares, square)

    def _scaled(self, found: Sequence[_Sum], size: int) -> Floats:
        """Shares added up by row, and divided by the lengths of both vectors."""
        rows = np.concatenate([one.rows for one in found]) if found else ()
        if not len(rows):
            return np.zeros(size)
        shares = np.concatenate([one.shares for one in found])
        shares *= 1.0 / math.sqrt(sum([one.square for one in found]))
        sums: Floats = np.bincount(rows, shares, minlength=size)[:size].astype(np.float64, copy=False)
        sums[: len(self._scales)] *= self._scales[:size]
        return np.minimum(sums, 1.0, out=sums)

    def _rarity(self, having: int) -> float:
        """Inverse document frequency, smoothed."""
        return math.log((1 + len(self._of_row)) / (1 + having)) + 1
