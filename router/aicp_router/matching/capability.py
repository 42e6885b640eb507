"""Capabilities: how alike the names of two are, across spellings, synonyms and languages.

`数据分析`, `데이터 분석`, `data_analysis` and `analytics of data` are the same two concepts (see `concepts.py`). Names
that the table does not know meet by their words and by their spelling.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from aicp_router.matching.concepts import split

GENERAL = frozenset(
    {
        "general", "general purpose", "anything", "any", "assistant", "everything", "일반", "범용", "通用", "一般",
        "汎用", "何でも", "cualquier cosa", "allgemein", "alles", "général", "tout",
    }
)  # fmt: skip
"""Capabilities, normalised, of agents that take whatever nobody else fits."""

MIN_SPELLING = 0.6
"""Two names whose n-grams have less in common than this have nothing to do with each other."""

_SAME_CONCEPT = 0.95
_PART_OF = 0.8
_NEAR = 0.6
_SEPARATORS = re.compile(r"[\s_\-‐-―・·/]+")


@lru_cache(maxsize=4_096)
def normalise(name: str) -> str:
    """A capability's name as it is compared: NFKC, case folded, spaces, underscores and hyphens equal."""
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip()


def normalised(names: Iterable[str]) -> tuple[str, ...]:
    """Each of `names` normalised, once, empty ones left out."""
    return tuple(dict.fromkeys(filter(None, map(normalise, names))))


@lru_cache(maxsize=65_536)
def similarity(wanted: str, offered: str) -> float:
    """How alike two normalised names are: 1 for equal ones, 0.95 for the same concepts, 0.8 when one is part of the
    other, less for names that overlap or are only spelt alike, else 0."""
    if wanted == offered:
        return 1.0
    return max(_by_concept(wanted, offered), _by_words(wanted, offered), _by_spelling(wanted, offered))


def _by_concept(wanted: str, offered: str) -> float:
    left, right = split(wanted), split(offered)
    common = set(left.concepts) & set(right.concepts)
    if not common:
        return 0.0
    ours, theirs = {*left.concepts, *left.rest}, {*right.concepts, *right.rest}
    share = len(ours & theirs) / len(ours | theirs)
    if not common <= left.proper & right.proper:
        # Near the same thing, not the same: a hotel is no flight.
        return _NEAR * share
    if ours == theirs:
        return _SAME_CONCEPT
    if ours <= theirs or theirs <= ours:
        return _PART_OF
    return _NEAR * share


def _by_words(wanted: str, offered: str) -> float:
    words, others = set(wanted.split()), set(offered.split())
    return _PART_OF if words and others and (words <= others or others <= words) else 0.0


def _by_spelling(wanted: str, offered: str) -> float:
    left, right = _pieces(wanted), _pieces(offered)
    if not left or not right:
        return 0.0
    dice = 2 * len(left & right) / (len(left) + len(right))
    return _PART_OF * dice if dice >= MIN_SPELLING else 0.0


@lru_cache(maxsize=16_384)
def _pieces(name: str) -> frozenset[str]:
    size = 3 if name.isascii() else 2
    padded = f" {name} " if name.isascii() else name
    return frozenset(padded[i : i + size] for i in range(len(padded) - size + 1))


def fit(wanted: Iterable[str], offered: Iterable[str]) -> float:
    """How well `offered` covers `wanted`, both normalised: from 0 (none of them) to 1 (all, by the same names)."""
    wanted, offered = tuple(wanted), tuple(offered)
    if not wanted or not offered:
        return 0.0
    return sum(max(similarity(name, other) for other in offered) for name in wanted) / len(wanted)
