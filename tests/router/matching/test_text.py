"""What texts are compared by."""

from hypothesis import given
from hypothesis import strategies as st

from aicp_router.matching.postings import Postings
from aicp_router.matching.text import MAX_CHARS, profile_terms, spoken, terms
from tests.router.matching.profiles import quick


def test_names_are_split_into_words() -> None:
    assert spoken("CreditCardTool") == "Credit Card Tool"
    assert spoken("seo_page-Analysis") == "seo page Analysis"
    assert spoken("PDFReader") == "PDF Reader"


def test_words_of_asking_say_nothing() -> None:
    assert terms("Could you please help me with this?") == {}
    assert set(terms("I'm looking for hotels")) == {"hotel"}


def test_forms_of_a_word_meet() -> None:
    assert terms("translations") == terms("translation")
    assert terms("Übersetzung") == terms("ubersetzung")


def test_scripts_without_spaces_give_pairs_of_characters() -> None:
    assert set(terms("数据分析")) == {"数据", "据分", "分析"}


def test_a_word_that_is_repeated_counts_more_but_not_as_often() -> None:
    assert 1 == terms("piano")["piano"] < terms("piano piano piano")["piano"] < 3


@quick
@given(st.text(max_size=300))
def test_any_text_has_terms_of_positive_weight(text: str) -> None:
    assert all(weight > 0 for weight in terms(text).values())
    assert all(weight > 0 for weight in profile_terms([(text, 2.0)]).values())


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    assert "late" not in terms("early " * MAX_CHARS + "late")


VECTORS = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.1, 5), max_size=4)


@quick
@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), VECTORS)), max_size=30), VECTORS)
def test_rows_that_came_and_went_leave_nothing_behind(
    changes: list[tuple[int, dict[str, float] | None]], asked: dict[str, float]
) -> None:
    changed = Postings()
    final: dict[int, dict[str, float]] = {}
    for row, vector in changes:
        if vector is None:
            changed.drop(row)
            final.pop(row, None)
        else:
            changed.put(row, vector)
            final[row] = vector
    fresh = Postings()
    for row, vector in final.items():
        fresh.put(row, vector)
    changed.settle()
    fresh.settle()
    ours, theirs = changed.cosines(asked, 6), fresh.cosines(asked, 6)
    assert abs(ours - theirs).max() < 1e-9
    assert 0 <= ours.min() <= ours.max() <= 1
    assert len(changed) == len(final)
