"""What holds for every decision, and who gets what."""

import random
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_router.matching import languages
from aicp_router.matching.index import AgentIndex, Candidates, Described, Wish, describe
from aicp_router.matching.learning import Outcome
from aicp_router.matching.scoring import Match, Parts, Scorer, Urgency, Weights, in_doubt
from tests.router.matching.profiles import CAPABILITIES, NAMES, OUTCOMES, PROFILES, TEXTS, quick, team

AGENTS = st.dictionaries(st.sampled_from(NAMES), PROFILES, min_size=1)
WISHES = st.builds(
    Wish, TEXTS, st.lists(CAPABILITIES, max_size=2).map(tuple), st.sampled_from(["urgent", "normal", "batch"])
)


def _index(agents: dict[str, Described], outcomes: list[Outcome]) -> AgentIndex:
    index = AgentIndex(capacity=50)
    for name, profile in agents.items():
        index.put(name, profile)
    for outcome in outcomes:
        index.learn(outcome)
    return index


def _by_name(matches: list[Match]) -> dict[str, Match]:
    return {match.agent: match for match in matches}


@quick
@given(AGENTS, st.lists(OUTCOMES, max_size=8), WISHES, st.lists(st.floats(-1, 2), min_size=5, max_size=5))
def test_scores_and_parts_lie_between_zero_and_one_and_the_best_comes_first(
    agents: dict[str, Described], outcomes: list[Outcome], wish: Wish, room: list[float]
) -> None:
    candidates = Candidates(NAMES, room=np.array(room), online=np.array([True, False, True, True, False]))
    matches = _index(agents, outcomes).match(wish, candidates, now=1e7, rng=random.Random(1))
    assert len(matches) == len(NAMES)
    for match in matches:
        parts = match.parts
        for part in (
            *(match.score, parts.capability, parts.text, parts.semantic, parts.learned, parts.message),
            *(parts.room, parts.speed, parts.presence, parts.fairness),
        ):
            assert 0 <= part <= 1
        assert match.reason.startswith(match.agent)
    assert [(-match.eligible, -match.score) for match in matches] == sorted(
        (-match.eligible, -match.score) for match in matches
    )


@quick
@given(AGENTS, st.lists(OUTCOMES, max_size=8), WISHES, st.randoms(use_true_random=False))
def test_the_order_in_which_agents_come_changes_nothing(
    agents: dict[str, Described], outcomes: list[Outcome], wish: Wish, shuffler: random.Random
) -> None:
    names = list(agents)
    shuffler.shuffle(names)
    one = _index(agents, outcomes)
    other = _index({name: agents[name] for name in names}, outcomes)
    expected = _by_name(one.match(wish, Candidates(NAMES), now=1e7))
    found = _by_name(other.match(wish, Candidates(names), now=1e7))
    assert set(found) == set(names)
    for name in names:
        assert found[name].parts.capability == expected[name].parts.capability
        assert found[name].eligible == expected[name].eligible
        assert found[name].parts.learned == pytest.approx(expected[name].parts.learned, abs=1e-6)


@quick
@given(AGENTS, AGENTS, st.lists(OUTCOMES, max_size=6), WISHES)
def test_an_index_that_was_changed_step_by_step_equals_one_made_anew(
    before: dict[str, Described], after: dict[str, Described], outcomes: list[Outcome], wish: Wish
) -> None:
    changed = _index(before, outcomes)
    changed.match(wish, Candidates(NAMES), now=1e7)
    for name in before.keys() - after.keys():
        changed.remove(name)
    for name, profile in after.items():
        changed.put(name, profile)
    fresh = _index(after, outcomes)
    changed.settle()
    fresh.settle()
    ours, theirs = (_by_name(index.match(wish, Candidates(NAMES), now=1e7)) for index in (changed, fresh))
    for name in NAMES:
        assert ours[name].score == pytest.approx(theirs[name].score, abs=1e-5)
        assert ours[name].eligible == theirs[name].eligible


@quick
@given(AGENTS, st.lists(OUTCOMES, max_size=6), WISHES, st.sampled_from(NAMES))
def test_an_agent_that_was_removed_is_never_eligible(
    agents: dict[str, Described], outcomes: list[Outcome], wish: Wish, gone: str
) -> None:
    index = _index(agents, outcomes)
    index.remove(gone)
    assert gone not in index
    assert not _by_name(index.match(wish, Candidates(NAMES), now=1e7))[gone].eligible


@quick
@given(PROFILES, WISHES.filter(lambda wish: bool(wish.capabilities)))
def test_one_more_wanted_capability_never_makes_an_agent_worse(profile: Described, wish: Wish) -> None:
    more = Described((*profile.capabilities, wish.capabilities[0]), profile.description)
    before, after = (
        _index({"ada": one}, []).match(wish, Candidates(["ada"]))[0].parts.capability for one in (profile, more)
    )
    assert after >= before


@quick
@given(AGENTS, WISHES, st.floats(0, 1), st.floats(0, 1))
def test_more_room_and_being_online_are_never_worse(
    agents: dict[str, Described], wish: Wish, room: float, other: float
) -> None:
    index = _index(agents, [])
    little = Candidates(["ada"], room=np.array([min(room, other)]), online=np.array([False]))
    much = Candidates(["ada"], room=np.array([max(room, other)]), online=np.array([True]))
    assert index.match(wish, much)[0].score >= index.match(wish, little)[0].score


@pytest.mark.parametrize(
    ("message", "agent"),
    [
        ("which months sold best? make a dashboard of the table", "ada"),
        ("translate this letter into French", "bob"),
        ("a recipe for a birthday cake", "cleo"),
        ("find the bug in this Python function", "dan"),
        ("이 편지를 번역해 주세요", "bob"),
        ("分析销售数据", "ada"),
        ("ケーキのレシピを教えて", "cleo"),
        ("traduce esta carta", "bob"),
    ],
)
def test_a_message_finds_the_agent_that_does_what_it_speaks_of(message: str, agent: str) -> None:
    best = team().match(Wish(message), Candidates(NAMES))[0]
    assert (best.agent, best.eligible) == (agent, True)
    assert "does what the message speaks of" in best.reason


def test_a_message_that_nobody_speaks_of_goes_to_who_takes_anything() -> None:
    matches = team().match(Wish("tune the piano"), Candidates(NAMES))
    assert [match.agent for match in matches if match.eligible] == ["eve"]
    assert "takes anything" in matches[0].reason


def test_who_has_none_of_the_wanted_capabilities_is_not_eligible() -> None:
    matches = _by_name(team().match(Wish("a recipe for a cake", ("통계 분석",)), Candidates(NAMES)))
    assert matches["ada"].eligible
    assert not matches["cleo"].eligible


def test_a_busy_agent_that_is_here_goes_before_an_idle_one_that_is_away() -> None:
    index = AgentIndex()
    for name in ("away", "here"):
        index.put(name, Described(("analysis",)))
    candidates = Candidates(["away", "here"], room=np.array([1.0, 0.0]), online=np.array([False, True]))
    assert [match.agent for match in index.match(Wish("x", ("analysis",)), candidates)] == ["here", "away"]


def test_urgent_work_prefers_the_idle_and_work_that_can_wait_the_better_fit() -> None:
    index = AgentIndex()
    index.put("fitting", Described(("analysis of data",)))
    index.put("idle", Described(("analysis",)))
    candidates = Candidates(["fitting", "idle"], room=np.array([0.0, 1.0]))
    best = {
        urgency: index.match(Wish("", ("data analysis",), urgency), candidates)[0].agent
        for urgency in ("urgent", "batch")
    }
    assert best == {"urgent": "idle", "batch": "fitting"}


def test_who_is_faster_goes_first_among_equals() -> None:
    index = AgentIndex()
    for name, seconds in (("quick", 2.0), ("slow", 60.0)):
        index.put(name, Described(("analysis",)))
        index.learn(Outcome(name, "unrelated words", 0.0, 0.0, seconds))
    assert index.match(Wish("x", ("analysis",)), Candidates(["slow", "quick"]))[0].agent == "quick"


def test_work_goes_round_among_equals() -> None:
    index = AgentIndex()
    for name in ("a", "b", "c"):
        index.put(name, Described(("analysis",)))
    got = []
    for number in range(6):
        now = 1_000.0 + number
        best = index.match(Wish("x", ("analysis",)), Candidates(["a", "b", "c"]), now=now)[0]
        got.append(best.agent)
        index.learn(Outcome(best.agent, "unrelated words", 0.0, now, 1.0))
    assert got == ["a", "b", "c", "a", "b", "c"]


def test_work_of_long_ago_is_forgotten_by_fairness() -> None:
    index = AgentIndex()
    for name in ("a", "b"):
        index.put(name, Described(("analysis",)))
    for number in range(50):
        index.learn(Outcome("a", "unrelated words", 0.0, float(number), 1.0))

    def fairness(now: float) -> list[float]:
        matches = _by_name(index.match(Wish("x", ("analysis",)), Candidates(["a", "b"]), now=now))
        return [matches[name].parts.fairness for name in ("a", "b")]

    assert fairness(100.0) == [0.0, 1.0]
    assert fairness(1e6) == [pytest.approx(1.0), 1.0]
    # As late as that, the numbers begin anew.
    index.learn(Outcome("b", "unrelated words", 0.0, 1e7, 1.0))
    assert fairness(1e7) == [pytest.approx(1.0), 0.0]


def test_who_speaks_the_language_of_the_message_goes_before_who_names_none_and_who_names_others() -> None:
    index = AgentIndex()
    for name, spoken in (("a", ("en", "French")), ("b", ()), ("c", ("ko-KR",)), ("d", ("multilingual",))):
        index.put(name, Described(("analysis",), "", spoken))
    everybody = Candidates(["a", "b", "c", "d"])

    def order(message: str) -> list[str]:
        return [match.agent for match in index.match(Wish(message, ("analysis",)), everybody)]

    assert order("이 자료를 살펴봐 주세요") == ["c", "b", "d", "a"]
    assert order("look at this for me please, what is it") == ["a", "b", "d", "c"]
    assert order("xyz") == ["a", "b", "c", "d"]
    parts = _by_name(index.match(Wish("이 자료를 살펴봐 주세요", ("analysis",)), everybody))
    assert [parts[name].parts.language for name in "abcd"] == [0.0, 0.5, 1.0, 0.5]
    assert index.match(Wish("xyz", ("analysis",)), everybody)[0].parts.language is None


def test_languages_follow_the_profile() -> None:
    index = AgentIndex()
    index.put("a", Described(("analysis",), "", ("en",)))
    index.put("b", Described(("analysis",)))
    wish = Wish("이 자료를 살펴봐 주세요", ("analysis",))
    assert index.match(wish, Candidates(["a", "b"]))[0].agent == "b"
    index.put("a", Described(("analysis",), "", ("en", "ko")))
    assert index.match(wish, Candidates(["a", "b"]))[0].agent == "a"
    index.put("a", Described(("analysis",)))
    assert index.match(wish, Candidates(["a", "b"]))[0].parts.language is None
    for number in range(40):
        index.put(f"more-{number}", Described(("analysis",), "", ("ko",) if number == 30 else ()))
    assert index.match(wish, Candidates(["a", "b", "more-30"]))[0].agent == "more-30"


@pytest.mark.parametrize(
    ("name", "code"),
    [("ko-KR", "ko"), ("KOREAN", "ko"), ("한국어", "ko"), ("zh_TW", "zh"), ("中文", "zh"),
     ("Brazilian Portuguese", "pt"), ("English (US)", "en"), ("sw", "sw"), ("Swahili", "swahili"),
     ("any language", ""), (" ", "")],
)  # fmt: skip
def test_a_language_is_known_by_many_names(name: str, code: str) -> None:
    assert languages.code(name) == code


def test_embeddings_take_part_when_nearly_all_profiles_have_one() -> None:
    index = AgentIndex()
    axes = np.eye(12, dtype=np.float32)
    for number in range(10):
        index.put(f"a{number}", Described((), "words"), axes[number] if number else None)
        assert index.covered == (number == 9)
    index.embed("a0", axes[0])
    index.embed("nobody", axes[0])
    assert index.covered
    assert index.apart(["a0", "a1"])
    index.embed("a1", axes[0] + 0.1 * axes[11])
    assert not index.apart(["a0", "a1"])
    assert index.apart(["a0"])
    assert not AgentIndex().covered


def test_who_had_less_of_the_work_goes_first_among_equals() -> None:
    index = AgentIndex()
    for name in ("a", "b"):
        index.put(name, Described(("analysis",)))
    assert index.match(Wish("x", ("analysis",)), Candidates(["a", "b"], share=np.array([0.9, 0.1])))[0].agent == "b"


def test_equals_come_by_name_and_only_the_best_are_returned() -> None:
    index = AgentIndex()
    names = [f"agent-{number:03}" for number in range(300)]
    for name in reversed(names):
        index.put(name, Described(("analysis",)))
    assert [match.agent for match in index.match(Wish("x", ("analysis",)), Candidates(names), limit=7)] == names[:7]


@given(AGENTS, st.lists(OUTCOMES, max_size=6), WISHES, st.sets(st.sampled_from(NAMES)))
@quick
def test_who_is_barred_is_passed_over_as_if_it_were_no_candidate(
    agents: dict[str, Described], outcomes: list[Outcome], wish: Wish, barred: set[str]
) -> None:
    index = _index(agents, outcomes)
    others = [name for name in NAMES if name not in barred]
    without = index.match(wish, Candidates(others), now=1e7)
    barring = index.match(wish, Candidates(NAMES), now=1e7, barred=frozenset(barred))
    assert list(map(_rounded, barring)) == list(map(_rounded, without))


def _rounded(match: Match) -> Match:
    """Without what differs by the order of additions alone."""
    return match._replace(parts=Parts._make(part if part is None else round(part, 9) for part in match.parts))


def test_nobody_to_choose_from_gives_no_match() -> None:
    assert team().match(Wish("x"), Candidates([])) == []
    assert not AgentIndex().match(Wish("x"), Candidates(["unknown"]))[0].eligible


def test_weights_can_be_set() -> None:
    index = AgentIndex(scorer=Scorer(Weights(presence=10.0)))
    index.put("fitting", Described(("analysis",), "statistics"))
    index.put("other", Described(("statistical analysis",)))
    candidates = Candidates(["fitting", "other"], online=np.array([False, True]))
    assert index.match(Wish("x", ("analysis",)), candidates)[0].agent == "other"


def test_weights_are_read_from_a_text_and_the_rest_stays() -> None:
    assert Weights.parse("") == Weights()
    assert Weights.parse(" load=0.3, speed = 0.1 ,") == Weights(load=0.3, speed=0.1)


@pytest.mark.parametrize(
    ("text", "told"),
    [("lod=1", "capability, message"), ("load=-1", "from 0"), ("load=x", "from 0"), ("load=nan", "from 0"),
     ("load", "from 0"), ("load=1,load=2", "twice"), ("capability=0,message=0", "above 0"), ("load=1e9", "from 0")],
)  # fmt: skip
def test_weights_that_make_no_sense_are_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Weights.parse(text)


@quick
@given(st.booleans(), st.booleans(), st.sampled_from(["urgent", "normal", "batch"]))
def test_the_parts_of_a_score_add_up_to_one(wants: bool, speaking: bool, urgency: Urgency) -> None:
    shares = Scorer().shares(wants_capabilities=wants, urgency=urgency, languages=speaking)
    assert sum(astuple(shares)) == pytest.approx(1.0)


def test_embeddings_find_who_shares_no_word_with_the_message() -> None:
    index = AgentIndex()
    axes = np.eye(3, dtype=np.float32)
    for name, axis in zip(("a", "b", "c"), axes, strict=True):
        index.put(name, Described((), name * 5), axis)
    matches = index.match(Wish("zzz", vector=axes[1]), Candidates(["a", "b", "c"]))
    assert (matches[0].agent, matches[0].eligible, matches[0].parts.semantic) == ("b", True, 1.0)
    assert not matches[1].eligible


def test_a_clear_decision_leaves_no_doubt_and_a_close_one_does() -> None:
    index = team()
    assert not in_doubt(index.match(Wish("translate this letter into French"), Candidates(NAMES)))
    assert in_doubt(index.match(Wish("tune the piano"), Candidates(NAMES[:4])))
    index.put("ben", Described(("translation",), "translates letters between English, French and Korean"))
    assert in_doubt(index.match(Wish("translate this letter into French"), Candidates([*NAMES, "ben"])))
    assert in_doubt([])


def test_a_profile_becomes_one_text_for_an_embedder() -> None:
    assert describe("creditCard_tool", Described(("finance",), "Pays.")) == "credit Card tool: Pays. (finance)"


def test_names_of_agents_that_come_and_go_do_not_pile_up() -> None:
    index = AgentIndex(capacity=10)
    for number in range(5_000):
        index.learn(Outcome(f"guest-{number}", "hello there world", 1.0, float(number)))
    assert len(index._rows) < 1_100
