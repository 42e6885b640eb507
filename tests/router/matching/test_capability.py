"""Capability names meet across spellings, synonyms and languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_router.matching.capability import fit, normalise, normalised, similarity
from aicp_router.matching.concepts import concepts
from tests.router.matching.profiles import quick


@pytest.mark.parametrize("name", ["분석", "数据分析", "データ分析", "data-analysis", "Analytics", "análisis de datos"])
def test_analysis_is_met_in_every_language(name: str) -> None:
    assert similarity("analysis", normalise(name)) >= 0.8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("translation", "번역"),
        ("翻译", "Übersetzung"),
        ("翻訳", "traducción"),
        ("coding", "programming"),
        ("security", "보안"),
        ("legal", "法律"),
        ("writing", "redacción"),
        ("traduction", "translator"),
    ],
)
def test_words_for_the_same_thing_meet(one: str, other: str) -> None:
    assert similarity(normalise(one), normalise(other)) > 0.5
    assert similarity(normalise(one), normalise(other)) == similarity(normalise(other), normalise(one))


def test_spellings_of_a_capability_are_equal() -> None:
    for spelling in ("data analysis", "Data_Analysis", "DATA-ANALYSIS", "ｄａｔａ　analysis", " data  analysis "):
        assert fit([normalise(spelling)], [normalise("data analysis")]) == 1
    assert similarity("analysys", "analysis") > 0.4


def test_what_is_only_near_is_less_than_a_synonym_and_what_is_far_is_nothing() -> None:
    assert 0 < similarity("hotel", "flight") < similarity("travel", "viaje")
    assert similarity("cooking", "analysis") == 0
    assert similarity("번역", "法律") == 0


def test_a_part_of_a_name_is_less_than_the_whole() -> None:
    assert 0 < similarity("data analysis", "analysis") < similarity("data analysis", "数据分析") < 1


def test_fit_is_the_mean_over_what_is_wanted() -> None:
    assert fit(["sql", "cooking"], ["sql"]) == 0.5
    assert fit([], ["sql"]) == fit(["sql"], []) == 0


def test_concepts_are_found_inside_longer_words() -> None:
    assert concepts("복잡한 데이터 분석이 필요합니다") == ("data", "analysis")
    assert "translation" in concepts("请把这份合同翻译成英文")


@quick
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_two_names_have_a_similarity_between_zero_and_one(one: str, other: str) -> None:
    left, right = normalise(one), normalise(other)
    assert normalise(left) == left
    assert 0 <= similarity(left, right) <= 1
    assert similarity(left, left) == 1
    assert normalised([one, one]) == ((left,) if left else ())
