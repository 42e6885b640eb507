"""Quality: how often the first choice is the right agent."""

import random
import statistics
from collections.abc import Callable

from aicp_router.matching.everyday import SENTENCES
from aicp_router.matching.index import AgentIndex, Candidates, Wish, describe
from aicp_router.matching.learning import Outcome
from bench_routing import baselines
from bench_routing.data import Set, Vault

SEEDS = (1, 2, 3, 4, 5)
MESSAGES = 1_500
OUTCOMES = (300, 1_000, 3_000, 6_000)


def _sample(whole: Set, seed: int) -> tuple[list[int], list[int]]:
    """Places of messages to measure on, and of the others in the order in which they are learned from."""
    places = list(range(len(whole.messages)))
    random.Random(seed).shuffle(places)  # noqa: S311 - a split, no secret
    size = min(MESSAGES, len(places) // 3)
    return places[:size], places[size:]


def index_of(whole: Set, vault: Vault | None) -> AgentIndex:
    """An index of all agents of a set."""
    index = AgentIndex()
    if vault:
        index.everyday = vault.embed(list(SENTENCES)).mean(axis=0)
    for name, profile in whole.agents.items():
        vector = vault.embed([describe(name, profile)])[0] if vault else None
        index.put(name, profile, vector)
    return index


def measure(index: AgentIndex, whole: Set, places: list[int], vault: Vault | None, *, trials: bool = False) -> float:
    """The share of messages whose first choice is right."""
    names = Candidates(tuple(whole.agents))
    vectors = vault.embed([whole.messages[place] for place in places]) if vault else None
    rng = random.Random(0) if trials else None  # noqa: S311
    hits = 0
    for number, place in enumerate(places):
        wish = Wish(whole.messages[place], vector=None if vectors is None else vectors[number])
        hits += index.match(wish, names, limit=1, rng=rng)[0].agent == whole.right[place]
    return hits / len(places)


def profiles_alone(whole: Set, vault: Vault | None) -> dict[str, float]:
    """Every way without any learning: the median over `SEEDS`."""
    names = list(whole.agents)
    texts = [describe(name, profile) for name, profile in whole.agents.items()]
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        places, _ = _sample(whole, seed)
        messages = [whole.messages[place] for place in places]
        expected = [whole.right[place] for place in places]

        def note(way: str, share: float) -> None:
            found.setdefault(way, []).append(share)

        note("BM25", baselines.right(baselines.bm25(texts, messages), names, expected))
        note("TF-IDF, character 3-5-grams", baselines.right(baselines.tfidf(texts, messages), names, expected))
        if vault:
            scores = baselines.cosines(vault.embed(texts), vault.embed(messages))
            note("multilingual-e5-small", baselines.right(scores, names, expected))
        note("matcher, words alone", measure(index_of(whole, None), whole, places, None))
        if vault:
            note("matcher with embeddings", measure(index_of(whole, vault), whole, places, vault))
    return {way: statistics.median(shares) for way, shares in found.items()}


def learning(whole: Set, vault: Vault | None, seeds: tuple[int, ...], *, trials: bool = False) -> dict[int, float]:
    """The share after so many outcomes, each the right agent having completed a message: the median over `seeds`."""
    found: dict[int, list[float]] = {}
    for seed in seeds:
        places, others = _sample(whole, seed)
        index = index_of(whole, vault)
        learned = 0
        for amount in OUTCOMES:
            if amount > len(others):
                break
            some = others[learned:amount]
            vectors = vault.embed([whole.messages[place] for place in some]) if vault and some else None
            for number, place in enumerate(some):
                outcome = Outcome(whole.right[place], whole.messages[place], 1.0, 0.0)
                index.learn(outcome, None if vectors is None else vectors[number])
            learned = amount
            found.setdefault(amount, []).append(measure(index, whole, places, vault, trials=trials))
    return {amount: statistics.median(shares) for amount, shares in found.items()}


def halves(whole: Set, measure_half: Callable[[Set], float]) -> tuple[float, float]:
    """The same for two halves of the agents, as if each were a network of its own."""
    names = sorted(whole.agents)
    random.Random(0).shuffle(names)  # noqa: S311
    middle = len(names) // 2
    return measure_half(whole.of_agents(set(names[:middle]))), measure_half(whole.of_agents(set(names[middle:])))


def multilingual(whole: Set, vault: Vault | None) -> dict[str, float]:
    """Every way on the multilingual set, all messages."""
    names = list(whole.agents)
    texts = [describe(name, profile) for name, profile in whole.agents.items()]
    everything = list(range(len(whole.messages)))
    found = {
        "BM25": baselines.right(baselines.bm25(texts, whole.messages), names, whole.right),
        "TF-IDF, character 3-5-grams": baselines.right(baselines.tfidf(texts, whole.messages), names, whole.right),
    }
    if vault:
        scores = baselines.cosines(vault.embed(texts), vault.embed(whole.messages))
        found["multilingual-e5-small"] = baselines.right(scores, names, whole.right)
    found["matcher, words alone"] = measure(index_of(whole, None), whole, everything, None)
    if vault:
        found["matcher with embeddings"] = measure(index_of(whole, vault), whole, everything, vault)
    return found
