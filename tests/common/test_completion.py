"""What is said of the values that could stand in an argument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_common.surface import MAX_COMPLETIONS, Completions, completion_result

NAMES = [f"k{number:03}" for number in range(150)]


@pytest.mark.parametrize("count", [0, 1, MAX_COMPLETIONS])
def test_of_as_many_as_a_client_gets_it_says_how_many_there_are(count: int) -> None:
    assert completion_result(NAMES[:count]) == {
        "completion": {"values": NAMES[:count], "total": count, "hasMore": False}
    }


@pytest.mark.parametrize("found", [MAX_COMPLETIONS + 1, 150])
def test_of_more_it_says_that_there_are_more_and_no_number_that_may_be_too_low(found: int) -> None:
    assert completion_result(NAMES[:found]) == {"completion": {"values": NAMES[:MAX_COMPLETIONS], "hasMore": True}}


def test_who_has_counted_says_the_number() -> None:
    found = completion_result(Completions(NAMES, more=False, total=150))
    assert found == {"completion": {"values": NAMES[:MAX_COMPLETIONS], "total": 150, "hasMore": True}}
    found = completion_result(Completions(NAMES[:2], more=True, total=1200))
    assert found == {"completion": {"values": NAMES[:2], "total": 1200, "hasMore": True}}


def test_what_another_service_has_shortened_is_not_taken_for_everything() -> None:
    passed_on = completion_result(Completions(NAMES[:MAX_COMPLETIONS], more=True))
    assert passed_on == completion_result(NAMES)


@given(st.integers(0, 150), st.integers(0, 150))
def test_it_is_honest_of_all_that_fit_however_many_the_service_looked_at(fit: int, looked_at: int) -> None:
    """A service that stops looks at one more than a client gets, at least."""
    found = NAMES[:fit] if fit <= MAX_COMPLETIONS else NAMES[: max(min(fit, looked_at), MAX_COMPLETIONS + 1)]
    completion = completion_result(found)["completion"]
    assert completion["values"] == NAMES[: min(fit, MAX_COMPLETIONS)]
    assert completion.get("total", fit) == fit
    assert completion["hasMore"] is (fit > MAX_COMPLETIONS)
