"""What holds for every match, whoever the agents are."""

from hypothesis import given
from hypothesis import strategies as st

from aicp_router.matching import (
    Candidate,
    Weights,
    capability_fit,
    features,
    grams,
    language,
    normalise,
    rank,
    similarity,
    wish,
)

NAMES = st.sampled_from(
    ["analysis", "data analysis", "Reasoning", "번역", "数据分析", "code-review", "sql", "x", "일반"]
)
TEXTS = st.one_of(
    st.text(max_size=80), st.sampled_from(["복잡한 데이터 분석이 필요합니다", "please review my code", ""])
)


@st.composite
def candidates(draw: st.DrawFn, name: str = "") -> Candidate:
    """Any agent."""
    return Candidate(
        name or draw(st.text("abcdef", min_size=1, max_size=4)),
        features(draw(st.lists(NAMES, max_size=4)), draw(TEXTS)),
        draw(st.floats(0, 1)),
        draw(st.booleans()),
    )


@given(TEXTS, st.lists(NAMES, max_size=3), st.lists(candidates(), max_size=6))
def test_scores_and_parts_lie_between_zero_and_one_and_the_best_comes_first(message, wanted, agents) -> None:  # type: ignore[no-untyped-def]
    matches = rank(wish(message, wanted), agents)
    assert len(matches) == len(agents)
    for match in matches:
        parts = match.parts
        assert all(0 <= part <= 1 for part in (match.score, parts.capability, parts.text, parts.load, parts.presence))
        assert match.reason
    assert matches == sorted(matches, key=lambda match: (not match.eligible, -match.score, match.agent))


@given(TEXTS, st.lists(NAMES, max_size=3), st.lists(candidates(), max_size=6), st.randoms())
def test_the_order_in_which_agents_are_looked_at_changes_nothing(message, wanted, agents, random) -> None:  # type: ignore[no-untyped-def]
    unique = list({agent.name: agent for agent in agents}.values())
    shuffled = list(unique)
    random.shuffle(shuffled)
    assert rank(wish(message, wanted), unique) == rank(wish(message, wanted), shuffled)


@given(TEXTS, st.lists(NAMES, min_size=1, max_size=3), st.lists(NAMES, max_size=3), TEXTS, st.floats(0, 1))
def test_one_more_wanted_capability_never_makes_an_agent_worse(message, wanted, has, description, room) -> None:  # type: ignore[no-untyped-def]
    before = Candidate("a", features(has, description), room, True)
    after = Candidate("a", features([*has, wanted[0]], description), room, True)
    asked = wish(message, wanted)
    assert rank(asked, [after])[0].score >= rank(asked, [before])[0].score - 1e-9
    assert rank(asked, [after])[0].eligible


@given(TEXTS, st.lists(NAMES, max_size=3), candidates("a"), st.floats(0, 1))
def test_an_agent_with_more_room_or_that_is_online_is_never_worse(message, wanted, agent, room) -> None:  # type: ignore[no-untyped-def]
    asked = wish(message, wanted)
    freer = Candidate("a", agent.features, max(agent.room, room), True)
    assert rank(asked, [freer])[0].score >= rank(asked, [agent])[0].score


@given(st.lists(NAMES, min_size=1, max_size=3), st.lists(NAMES, max_size=3), TEXTS)
def test_who_has_none_of_the_wanted_capabilities_is_not_eligible(wanted, has, description) -> None:  # type: ignore[no-untyped-def]
    match = rank(wish("anything", wanted), [Candidate("a", features(has, description), 1, True)])[0]
    fits = max((similarity(normalise(one), normalise(other)) for one in wanted for other in has), default=0)
    assert match.eligible == (fits > 0)


@given(st.text(max_size=60))
def test_a_name_is_the_same_however_it_is_written(name: str) -> None:
    assert normalise(normalise(name)) == normalise(name)
    if normalise(name):
        assert similarity(normalise(name), normalise(name)) == 1
    grams(name)
    language(name)


def test_spellings_of_a_capability_meet() -> None:
    for spelling in ("data analysis", "Data_Analysis", "DATA-ANALYSIS", "ｄａｔａ　analysis", " data  analysis "):
        assert capability_fit([normalise(spelling)], [normalise("data analysis")]) == 1
    assert 0 < similarity("analysis", "data analysis") < 1
    assert 0 < similarity("analyses", "analysis") < 1
    assert similarity("cooking", "analysis") == 0


def test_korean_and_chinese_words_are_found_inside_longer_ones() -> None:
    for message, capability in (
        ("복잡한 데이터 분석이 필요합니다", "데이터 분석"),
        ("请做数据分析并找出异常", "数据分析"),
    ):
        match = rank(wish(message), [Candidate("a", features([capability], ""), 1, True)])[0]
        assert match.eligible
        assert match.parts.text > 0.5


def test_a_busy_agent_that_is_here_goes_before_an_idle_one_that_is_away() -> None:
    has = features(["analysis"], "")
    matches = rank(wish("x", ["analysis"]), [Candidate("away", has, 1, False), Candidate("here", has, 0, True)])
    assert [match.agent for match in matches] == ["here", "away"]


def test_the_weights_add_up_to_one() -> None:
    weights = Weights()
    assert abs(weights.capability + weights.text + weights.load + weights.presence - 1) < 1e-9


def test_languages_are_told_by_their_script() -> None:
    texts = {"안녕하세요": "ko", "こんにちは世界": "ja", "你好": "zh", "what is this about?": "en", "12 + 5": "und"}
    assert {text: language(text) for text in texts} == texts
