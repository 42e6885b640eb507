"""What waits for embeddings."""

import numpy as np

from aicp_router.agents.profile import Profile
from aicp_router.matching.backlog import MOST_OUTCOMES, Backlog
from aicp_router.matching.index import AgentIndex, Candidates, Described, Wish
from aicp_router.matching.learning import Outcome

AXES = np.eye(4, dtype=np.float32)


def _profile(name: str, description: str) -> Profile:
    return Profile(agent=name, user="user", capabilities=(), description=description)


def test_profiles_come_first_and_then_the_newest_outcomes() -> None:
    backlog = Backlog(AgentIndex())
    for number in range(3):
        backlog.add_outcome(number, Outcome("ada", f"message {number}", 1.0, 0.0))
    backlog.add_profile("ada")
    backlog.add_profile("gone")
    profiles = {"ada": _profile("ada", "bakes")}
    assert backlog.take(5, profiles).texts == ["ada: bakes"]
    assert backlog.take(2, profiles).texts == ["message 2", "message 1"]
    assert len(backlog) == 1


def test_what_could_not_be_embedded_is_taken_again_after_the_others() -> None:
    backlog = Backlog(AgentIndex())
    for number in range(3):
        backlog.add_outcome(number, Outcome("ada", f"message {number}", 1.0, 0.0))
    batch = backlog.take(2, {})
    backlog.put_back(batch)
    assert backlog.take(3, {}).texts == ["message 0", "message 2", "message 1"]
    for name in ("ada", "bob"):
        backlog.add_profile(name)
    profiles = {name: _profile(name, "bakes") for name in ("ada", "bob")}
    backlog.put_back(backlog.take(1, profiles))
    assert backlog.take(2, profiles).names == ["bob", "ada"]


def test_the_embedding_of_a_profile_that_was_replaced_meanwhile_is_dropped() -> None:
    index = AgentIndex()
    backlog = Backlog(index)
    old, new = _profile("ada", "bakes"), _profile("ada", "cooks")
    index.put("ada", old)
    backlog.add_profile("ada")
    batch = backlog.take(1, {"ada": old})
    backlog.settle(batch, [AXES[0]], {"ada": new})
    assert not index.covered
    backlog.settle(batch, [AXES[0]], {"ada": old})
    assert index.covered


def test_outcomes_beyond_the_most_are_learned_from_by_their_words_alone() -> None:
    backlog = Backlog(AgentIndex())
    for number in range(MOST_OUTCOMES + 5):
        backlog.add_outcome(number, Outcome("ada", "message", 1.0, 0.0))
    assert len(backlog) == MOST_OUTCOMES
    assert backlog.take(1, {}).outcomes[0][0] == MOST_OUTCOMES + 4


def test_an_embedding_that_comes_later_teaches_what_it_would_have_taught_at_once() -> None:
    later, at_once = AgentIndex(), AgentIndex()
    messages = [("ada", "sourdough", AXES[0]), ("bob", "tribunal", AXES[1]), ("ada", "croissants", AXES[0])]
    backlog = Backlog(later)
    for index in (later, at_once):
        for place, name in enumerate(("ada", "bob", "cleo")):
            index.put(name, Described((), f"{name} does things"), AXES[place])
    for agent, message, vector in messages:
        outcome = Outcome(agent, message, 1.0, 0.0)
        at_once.learn(outcome, vector)
        backlog.add_outcome(later.learn(outcome), outcome)
    batch = backlog.take(9, {})
    vectors = {message: vector for _, message, vector in messages}
    backlog.settle(batch, [vectors[text] for text in batch.texts], {})
    wish = Wish("an oven", vector=AXES[0])
    found, expected = (index.match(wish, Candidates(["ada", "bob", "cleo"])) for index in (later, at_once))
    assert [match.agent for match in found] == [match.agent for match in expected]
    assert found[0].agent == "ada"
    assert found[0].parts.learned > 0.7
    assert abs(found[0].parts.learned - expected[0].parts.learned) < 0.1


def test_the_embedding_of_an_outcome_that_was_forgotten_meanwhile_changes_nothing() -> None:
    index = AgentIndex(capacity=2)
    outcome = Outcome("ada", "sourdough", 1.0, 0.0)
    first = index.learn(outcome, AXES[0])
    for _ in range(3):
        index.learn(Outcome("ada", "croissants", -1.0, 0.0), AXES[1])
    before = index.match(Wish("sourdough", vector=AXES[0]), Candidates(["ada"]))
    index.learn_meaning(first, outcome, AXES[2])
    assert index.match(Wish("sourdough", vector=AXES[0]), Candidates(["ada"])) == before
