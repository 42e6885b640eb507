"""Fits: how well each candidate fits, from what speaks for it. Pure arithmetic, one element a candidate."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aicp_router.matching.learning import Estimate
from aicp_router.matching.postings import Floats, Rows

_LITTLE = 0.4
"""A fit by itself below this needs no second look: it is no promise."""

_LEAST_BEST = 0.05
"""A best cosine below this is not stretched to 1: nobody fits well then."""

_LEAST_QUALITY = 0.4
"""The same for the best expectation."""

_PROFILE_SHARE = 0.1
"""What profiles count however much is known."""


def against_best(values: Floats, least: float = _LEAST_BEST) -> Floats:
    """Values against the best one, which is 1; when that is below `least`, against this."""
    return values / max(least, float(values.max()))


def mixture(profile: Floats, quality: Floats, estimate: Estimate) -> Floats:
    """What profiles and experience say together, 0 to 1: the more is known, the more experience counts."""
    known = estimate.confidence
    mixed = known * against_best(quality, _LEAST_QUALITY) + (1.0 - known + _PROFILE_SHARE) * profile
    mixed /= 1.0 + _PROFILE_SHARE
    return np.minimum(np.maximum(mixed, 0.0, out=mixed), 1.0, out=mixed)


def absolute(message: Floats, evidence: Floats, *, is_mixed: bool) -> Floats:
    """Fits against the best one as fits by themselves: what is just enough to be eligible is 0.5, three times as much
    0.75. Whoever has less than enough has less than 0.5, however near the best one is.

    Args:
        evidence: How much speaks for each, where 1 is just enough.
        is_mixed: Whether more than words are in it. With words alone, who has less than enough is lower as it is.
    """
    best = max(0.0, float(evidence.max()))
    absolute = message * (best / (1.0 + best))
    if best >= 1.0 and is_mixed:
        little = evidence < 1.0
        little &= absolute >= _LITTLE
        places = little.nonzero()[0]
        if len(places):
            least = np.maximum(evidence[places], 0.0)
            absolute[places] = np.maximum(np.minimum(absolute[places], least / (1.0 + least)), _LITTLE)
    return absolute


def filled(values: NDArray[np.bool_] | Floats | None, size: int) -> Floats:
    """Values from 0 to 1; ones where there are none."""
    return np.ones(size) if values is None else np.minimum(np.maximum(values.astype(np.float64), 0.0), 1.0)


def taken(column: NDArray[np.bool_] | Floats | None, places: Rows, otherwise: float | None = None) -> list[Any]:
    """Some elements of a column; `otherwise` of one that plays no part."""
    return [otherwise] * len(places) if column is None else column.take(places).tolist()


def best_of(keys: Floats, limit: int) -> Rows:
    """The places of the greatest keys, greatest first."""
    least = max(0, len(keys) - limit)
    places = keys.argpartition(least)[least:]
    return places.take(keys.take(places).argsort()[::-1])
