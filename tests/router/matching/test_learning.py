"""What outcomes change, and what they do not."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_router.matching.index import AgentIndex, Candidates, Described, Wish
from aicp_router.matching.learning import DAY_S, Experience, Outcome
from aicp_router.matching.text import terms
from tests.router.matching.profiles import NAMES, OUTCOMES, TEXTS, quick, team

CAKE = "bake a chocolate cake for the party"
TABLE = "find the trend in my sales table"


def _learned(index: AgentIndex, message: str, now: float = 0.0) -> dict[str, float]:
    return {match.agent: match.parts.learned for match in index.match(Wish(message), Candidates(NAMES), now=now)}


def test_who_did_well_gets_similar_messages() -> None:
    index = team()
    message = Wish("bake a strawberry cake for a birthday party")
    assert index.match(message, Candidates(NAMES))[0].agent == "cleo"
    for kind in ("chocolate", "cheese", "carrot"):
        index.learn(Outcome("dan", f"bake a {kind} cake for the party", 1.0, 0.0))
    best = index.match(message, Candidates(NAMES))[0]
    assert best.agent == "dan"
    assert "has done well with such messages" in best.reason


def test_who_did_badly_is_lowered_for_similar_messages_and_only_for_those() -> None:
    index = team()
    before = index.match(Wish(TABLE), Candidates(NAMES))
    for _ in range(3):
        index.learn(Outcome("cleo", CAKE, -1.0, 0.0))
    cake = {match.agent: match for match in index.match(Wish(CAKE), Candidates(NAMES))}
    assert cake["cleo"].parts.learned < 0.3
    assert "has done badly with such messages" in cake["cleo"].reason
    assert all(cake[name].parts.learned == 0.5 for name in NAMES if name != "cleo")
    after = index.match(Wish(TABLE), Candidates(NAMES))
    assert [(match.agent, match.score) for match in after] == [(match.agent, match.score) for match in before]


def test_experience_alone_makes_an_agent_eligible() -> None:
    index = team()
    message = "tune the grand piano"
    assert not next(match for match in index.match(Wish(message), Candidates(NAMES)) if match.agent == "bob").eligible
    index.learn(Outcome("bob", message, 1.0, 0.0))
    best = index.match(Wish(message), Candidates(NAMES))[0]
    assert (best.agent, best.eligible) == ("bob", True)


@quick
@given(st.lists(OUTCOMES, max_size=8), st.sampled_from(NAMES), TEXTS)
def test_a_good_outcome_never_lowers_the_agent_for_that_message(
    earlier: list[Outcome], agent: str, message: str
) -> None:
    index = team()
    for outcome in earlier:
        index.learn(Outcome(outcome.agent, outcome.message, outcome.reward, 0.0))
    before = _learned(index, message)[agent]
    index.learn(Outcome(agent, message, 1.0, 0.0))
    index.settle()
    assert _learned(index, message)[agent] >= before - 0.02


@quick
@given(st.lists(OUTCOMES, max_size=8), st.sampled_from(NAMES), TEXTS)
def test_a_bad_outcome_never_raises_the_agent_for_that_message(
    earlier: list[Outcome], agent: str, message: str
) -> None:
    index = team()
    for outcome in earlier:
        index.learn(Outcome(outcome.agent, outcome.message, outcome.reward, 0.0))
    before = _learned(index, message)[agent]
    index.learn(Outcome(agent, message, -1.0, 0.0))
    index.settle()
    assert _learned(index, message)[agent] <= before + 0.02


@quick
@given(st.lists(OUTCOMES, max_size=30))
def test_the_same_outcomes_in_the_same_order_give_the_same_decisions(outcomes: list[Outcome]) -> None:
    one, other = team(), team()
    for outcome in outcomes:
        one.learn(outcome)
        other.learn(outcome)
    assert one.match(Wish(CAKE), Candidates(NAMES), now=1e7) == other.match(Wish(CAKE), Candidates(NAMES), now=1e7)


def test_old_experience_fades() -> None:
    index = team()
    index.learn(Outcome("dan", CAKE, 1.0, 0.0))
    fresh = _learned(index, CAKE, now=0.0)["dan"]
    later = _learned(index, CAKE, now=60 * DAY_S)["dan"]
    assert later - 0.5 == pytest.approx((fresh - 0.5) / 2)
    assert _learned(index, CAKE, now=3_000 * DAY_S)["dan"] == pytest.approx(0.5)


def test_newer_experience_replaces_older() -> None:
    index = team()
    index.learn(Outcome("dan", CAKE, 1.0, 0.0))
    for _ in range(6):
        index.learn(Outcome("dan", CAKE, -1.0, 1.0))
    assert _learned(index, CAKE, now=1.0)["dan"] < 0.1


def test_two_that_do_equally_well_share_the_expectation() -> None:
    index = team()
    for number in range(60):
        index.learn(Outcome(("ada", "dan")[number % 2], f"{CAKE} number {number}", 1.0, 0.0))
    learned = _learned(index, CAKE)
    assert min(learned["ada"], learned["dan"]) > 0.6


def test_memory_is_bounded_and_who_has_most_gives_way_first() -> None:
    experience = Experience(capacity=10, half_life_days=30)
    experience.learn(1, Outcome("quiet", CAKE, 1.0, 0.0), terms(CAKE), 3)
    for number in range(100):
        message = f"message number{number} about topic{number}"
        experience.learn(2, Outcome("loud", message, 1.0, 0.0), terms(message), 3)
    assert len(experience) == 10
    assert experience.knows(1)
    assert experience.estimate(terms(CAKE), 3, 0.0).quality[1] > 0.5


def test_what_was_learned_of_an_agent_can_be_forgotten() -> None:
    index = team()
    untouched = index.match(Wish(CAKE), Candidates(NAMES))
    index.learn(Outcome("dan", CAKE, 1.0, 0.0, 3.0))
    index.forget("dan")
    assert index.match(Wish(CAKE), Candidates(NAMES)) == untouched


def test_an_agent_that_comes_back_is_known() -> None:
    index = team()
    index.learn(Outcome("dan", CAKE, 1.0, 0.0))
    index.remove("dan")
    index.put("dan", Described(("code review",)))
    assert index.match(Wish(CAKE), Candidates(NAMES))[0].agent == "dan"


def test_newcomers_are_tried_now_and_then_where_their_profile_fits_and_nowhere_else() -> None:
    index = team()
    for number in range(30):
        index.learn(Outcome("dan", f"{CAKE} number {number}", 1.0, 0.0))
    rng = random.Random(7)
    chosen = [index.match(Wish(CAKE), Candidates(NAMES), rng=rng)[0].agent for _ in range(300)]
    assert set(chosen) == {"dan", "cleo"}
    assert 10 <= chosen.count("cleo") <= 60
    assert index.match(Wish(CAKE), Candidates(NAMES))[0].agent == "dan"


def test_the_same_seed_gives_the_same_trials() -> None:
    index = team()
    for number in range(30):
        index.learn(Outcome("dan", f"{CAKE} number {number}", 1.0, 0.0))
    first, second = (
        [index.match(Wish(CAKE), Candidates(NAMES), rng=rng)[0].agent for _ in range(50)]
        for rng in (random.Random(3), random.Random(3))
    )
    assert first == second


FRIEND = [f"bake a {kind} cake for the party" for kind in ("chocolate", "cheese", "carrot")]
BIRTHDAY = Wish("bake a strawberry cake for a birthday party")


@pytest.mark.parametrize("messages", [FRIEND, FRIEND * 20, [BIRTHDAY.message] * 60], ids=["three", "many", "the same"])
@pytest.mark.parametrize("pause_s", [1.0, DAY_S / 2])
def test_who_hands_easy_work_to_a_friend_by_name_does_not_get_it_the_work_of_others(
    messages: list[str], pause_s: float
) -> None:
    index, now = team(), len(messages) * pause_s
    for number, message in enumerate(messages):
        index.learn(Outcome("dan", message, 1.0, number * pause_s, 0.01, user="mallory", named=True))
    assert index.match(BIRTHDAY, Candidates(NAMES), now=now)[0].agent == "cleo"
    # The same of work that the router gave to it is what it learns from.
    index = team()
    for message in FRIEND:
        index.learn(Outcome("dan", message, 1.0, 0.0, user="alice"))
    assert index.match(BIRTHDAY, Candidates(NAMES))[0].agent == "dan"


def test_by_their_meaning_too_a_friend_does_not_get_the_work_of_others() -> None:
    index = team()
    rng = np.random.default_rng(1)
    about = dict(zip(NAMES, rng.normal(size=(len(NAMES), 16)).astype(np.float32), strict=True))
    for name, vector in about.items():
        index.embed(name, vector)
    for number in range(60):
        # No two of them share a word.
        outcome = Outcome("dan", f"word{number} thing{number}", 1.0, 0.0, user="mallory", named=True)
        index.learn_meaning(index.learn(outcome), outcome, about["cleo"])
    wish = Wish("stollen und Printen", vector=about["cleo"])
    assert index.match(wish, Candidates(NAMES))[0].agent == "cleo"


def test_when_several_users_name_the_same_agent_that_adds_up() -> None:
    index = team()
    for number in range(30):
        index.learn(Outcome("dan", CAKE, 1.0, 0.0, user=f"user-{number % 10}", named=True))
    assert index.match(Wish(CAKE), Candidates(NAMES))[0].agent == "dan"


def test_a_user_that_says_the_same_again_and_again_does_not_outweigh_others() -> None:
    index = team()
    for _ in range(30):
        index.learn(Outcome("dan", CAKE, 1.0, 0.0, user="mallory"))
    for user in ("alice", "bea", "carol"):
        index.learn(Outcome("cleo", CAKE, 1.0, 1.0, user=user))
    for _ in range(30):
        index.learn(Outcome("dan", CAKE, 1.0, 2.0, user="mallory"))
    assert index.match(Wish(CAKE), Candidates(NAMES), now=2.0)[0].agent == "cleo"


def test_a_user_that_is_alone_teaches_what_has_changed() -> None:
    index = team()
    for number in range(20):
        index.learn(Outcome("dan", CAKE, 1.0, float(number), user="alice"))
    for number in range(3):
        index.learn(Outcome("dan", CAKE, -1.0, 20.0 + number, user="alice"))
    assert _learned(index, CAKE, now=23.0)["dan"] < 0.1
    for number in range(3):
        index.learn(Outcome("dan", CAKE, 1.0, 2 * DAY_S + number, user="alice"))
    assert _learned(index, CAKE, now=2 * DAY_S)["dan"] > 0.9


def test_work_of_a_friend_makes_an_agent_hardly_faster() -> None:
    index = team()
    for name in NAMES:
        index.learn(Outcome(name, "please do this", 1.0, 0.0, 10.0, user="alice"))
    for number in range(3):
        index.learn(Outcome("dan", f"quick number{number}", 1.0, 0.0, 0.01, user="mallory", named=True))
    speeds = {match.agent: match.parts.speed for match in index.match(Wish(CAKE), Candidates(NAMES))}
    assert speeds["dan"] == pytest.approx(0.5, abs=0.01)


def test_experience_reaches_messages_of_the_same_meaning_through_their_embeddings() -> None:
    index = team()
    rng = np.random.default_rng(1)
    piano, garden = rng.normal(size=(2, 16)).astype(np.float32)
    for number in range(4):
        index.learn(Outcome("dan", f"tune piano {number}", 1.0, 0.0), piano)
        index.learn(Outcome("bob", f"plant roses {number}", 1.0, 0.0), garden)
    best = index.match(Wish("stimme mein Klavier", vector=piano), Candidates(NAMES))[0]
    assert best.agent == "dan"
    assert best.parts.learned > 0.7
