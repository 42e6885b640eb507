"""A network of three agents, with the bundled embeddings: their profiles alone do not say where messages lie."""

import numpy as np
import pytest

from aicp_router.matching.embedding import E5
from aicp_router.matching.everyday import SENTENCES
from aicp_router.matching.index import AgentIndex, Candidates, Described, Wish, describe
from aicp_router.matching.vectors import Vector

PROFILES = {
    "ada": Described(("cooking", "nutrition"), "recipes, meals, ingredients"),
    "bob": Described(("coding", "debugging"), "writes and fixes Python and JavaScript programs"),
    "eve": Described(("legal",), "contracts, leases, labour law"),
}
CANDIDATES = Candidates(tuple(PROFILES))


@pytest.fixture(scope="module")
def model() -> E5:
    return E5(threads=1)


@pytest.fixture(scope="module")
def middle(model: E5) -> Vector:
    return np.asarray(model.embed(SENTENCES).mean(axis=0))


def _index(model: E5, everyday: Vector | None) -> AgentIndex:
    index = AgentIndex()
    index.everyday = everyday
    for name, profile in PROFILES.items():
        index.put(name, profile, model.embed([describe(name, profile)])[0])
    return index


def _chosen(index: AgentIndex, model: E5, message: str) -> str | None:
    best = index.match(Wish(message, vector=model.embed([message])[0]), CANDIDATES)[0]
    return best.agent if best.eligible else None


MESSAGES = {
    "What can I make from eggs, spinach and old bread?": "ada",
    "저녁으로 뭘 만들어 먹을까? 감자랑 양파가 있어": "ada",
    "请问红烧肉怎么做？": "ada",
    "Wie lange muss der Braten in den Ofen?": "ada",
    "The function returns None instead of a list": "bob",
    "Why is my loop so slow?": "bob",
    "앱이 실행하자마자 꺼져요": "bob",
    "이 정규식이 왜 안 맞지?": "bob",
    "My landlord wants to raise my rent by 30 %": "eve",
    "我的合同里写着三个月试用期，合法吗？": "eve",
    "Mein Chef hat mir fristlos gekündigt": "eve",
    "¿Puedo devolver el piso antes de tiempo?": "eve",
}
FOR_NOBODY = (
    "hello, how are you?",
    "thanks, see you tomorrow",
    "what time is it",
    "who won the world cup in 1998?",
    "the photosynthesis of algae",
)


def test_most_messages_reach_who_they_are_for_and_none_anybody_else(model: E5, middle: Vector) -> None:
    index = _index(model, middle)
    chosen = {message: _chosen(index, model, message) for message in MESSAGES}
    assert {message: one for message, one in chosen.items() if one not in (MESSAGES[message], None)} == {}
    assert sum(one is not None for one in chosen.values()) >= 8


@pytest.mark.parametrize("message", FOR_NOBODY)
def test_a_message_for_nobody_reaches_nobody(model: E5, middle: Vector, message: str) -> None:
    assert _chosen(_index(model, middle), model, message) is None


def test_everyday_messages_tell_more_of_where_messages_lie_than_three_profiles(model: E5, middle: Vector) -> None:
    by_profiles, by_everyday = (
        sum(_chosen(_index(model, everyday), model, message) == right for message, right in MESSAGES.items())
        for everyday in (None, middle)
    )
    assert by_everyday > by_profiles
