"""The histogram, against the latencies themselves."""

from hypothesis import given
from hypothesis import strategies as st

from tests.load.histogram import Histogram

LATENCIES = st.lists(st.integers(0, 5_000_000_000), min_size=1, max_size=200)


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(LATENCIES, st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_a_percentile_is_never_too_low_and_hardly_too_high(values: list[int], percent: float) -> None:
    values = [min(value, (1 << 32) - 1) for value in values]
    ordered = sorted(values)
    rank = next(rank for rank in range(1, len(ordered) + 1) if rank >= percent / 100 * len(ordered))
    exact = ordered[rank - 1]
    found = filled(values).percentile_us(percent)
    assert found is not None
    assert exact <= found <= exact * 1.004


@given(LATENCIES)
def test_least_most_and_mean_are_exact(values: list[int]) -> None:
    histogram = filled(values)
    assert (histogram.min_us, histogram.max_us, histogram.count) == (min(values), max(values), len(values))
    assert histogram.mean_us == sum(values) / len(values)


@given(LATENCIES, LATENCIES)
def test_adding_counts_as_if_one_had_counted_all(left: list[int], right: list[int]) -> None:
    both = filled(left)
    both.add(filled(right))
    together = filled([*left, *right])
    assert [both.percentile_us(p) for p in (1, 50, 99, 100)] == [together.percentile_us(p) for p in (1, 50, 99, 100)]
    assert (both.count, both.min_us, both.max_us, both.mean_us) == (
        together.count,
        together.min_us,
        together.max_us,
        together.mean_us,
    )


def test_nothing_counted_has_no_percentile() -> None:
    histogram = Histogram()
    assert histogram.percentile_us(50) is None
    assert histogram.mean_us is None
    histogram.add(Histogram())
    assert histogram.count == 0


def test_a_clock_that_went_back_counts_as_no_time() -> None:
    assert filled([-5]).percentile_us(50) == 0
