"""Speed: how long one decision takes, with made-up agents whose descriptions are pieces of the data's."""

import random
import statistics
import time
from dataclasses import dataclass

import numpy as np

from aicp_router.matching.index import AgentIndex, Candidates, Described, Wish
from aicp_router.matching.learning import Outcome
from bench_routing.data import Set

DECISIONS = 1_000
CAPABILITIES = ("analysis", "translation", "writing", "coding", "research", "design", "legal", "planning", "finance")


@dataclass(frozen=True)
class Times:
    """In milliseconds."""

    agents: int
    outcomes: int
    p50: float
    p99: float
    p50_capability: float
    """When capabilities are wanted."""
    put: float
    learn: float


def decisions(whole: Set, agents: int, outcomes: int) -> Times:
    """The time of `DECISIONS` decisions on one core, of changing a profile and of learning one outcome."""
    rng = random.Random(1)  # noqa: S311
    sentences = [profile.description for profile in whole.agents.values()]
    index = AgentIndex()
    names = [f"agent-{number}" for number in range(agents)]

    def made_up() -> Described:
        words = " ".join(rng.sample(sentences, 2)).split()
        return Described(tuple(rng.sample(CAPABILITIES, 2)), " ".join(rng.sample(words, min(20, len(words)))))

    for name in names:
        index.put(name, made_up())
    messages = rng.sample(whole.messages, DECISIONS + 200)
    asked, changed = messages[:DECISIONS], messages[DECISIONS:]
    for number in range(outcomes):
        index.learn(Outcome(rng.choice(names), whole.messages[number % len(whole.messages)], 1.0, 0.0, 5.0))
    candidates = Candidates(names, np.ones(agents), np.ones(agents, np.bool_))
    puts = [_ms(lambda: index.put(rng.choice(names), made_up())) for _ in changed]
    learns = [_ms(lambda one=one: index.learn(Outcome(rng.choice(names), one, 1.0, 0.0))) for one in changed]
    plain = [_ms(lambda one=one: index.match(Wish(one), candidates, rng=rng)) for one in asked]
    wanting = [
        _ms(lambda one=one: index.match(Wish(one, ("data analysis",)), candidates, rng=rng)) for one in asked[:200]
    ]
    return Times(
        agents,
        outcomes,
        statistics.median(plain),
        statistics.quantiles(plain, n=100)[-1],
        statistics.median(wanting),
        statistics.median(puts),
        statistics.median(learns),
    )


def _ms(work: object) -> float:
    assert callable(work)
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3
