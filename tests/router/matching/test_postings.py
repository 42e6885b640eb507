"""Sparse vectors, compared."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aicp_router.matching.postings import Bundle, Postings
from tests.router.matching.profiles import quick

TERMS = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.5, 3), min_size=1, max_size=5)


def _split(counts: dict[str, float]) -> list[Bundle]:
    """In bundles of two terms."""
    items = list(counts.items())
    return [Bundle(dict(items[place : place + 2])) for place in range(0, len(items), 2)]


@quick
@given(st.lists(TERMS, min_size=1, max_size=6), TERMS)
def test_a_vector_in_bundles_is_as_alike_as_the_whole_one_each_time_it_is_asked(
    rows: list[dict[str, float]], asked: dict[str, float]
) -> None:
    postings = Postings()
    for row, counts in enumerate(rows):
        postings.put(row, counts)
    bundles = _split(asked)
    expected = postings.cosines(asked, len(rows))
    for _ in range(3):
        assert np.allclose(postings.cosines_of(bundles, len(rows)), expected)


@quick
@given(st.lists(TERMS, min_size=2, max_size=6), TERMS)
def test_what_was_kept_of_bundles_follows_the_rows(rows: list[dict[str, float]], asked: dict[str, float]) -> None:
    postings, bundles = Postings(), _split(asked)
    for row, counts in enumerate(rows):
        postings.put(row, counts)
        postings.cosines_of(bundles, len(rows))
        postings.cosines_of(bundles, len(rows))
    postings.drop(0)
    assert np.allclose(postings.cosines_of(bundles, len(rows)), postings.cosines(asked, len(rows)))
    assert postings.cosines_of([], 3).tolist() == [0, 0, 0]
