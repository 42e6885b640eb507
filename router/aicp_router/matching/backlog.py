"""The backlog: what of one tenant has no embedding yet. Profiles come first, then outcomes, the newest first."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aicp_router.matching.index import AgentIndex, Profile, describe
from aicp_router.matching.learning import Outcome
from aicp_router.matching.semantics import Of
from aicp_router.matching.vectors import Vector

MOST_OUTCOMES = 3_000
"""Older ones are learned from by their words alone: a model of this machine takes a minute for so many."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts to embed together."""

    of: Of
    texts: Sequence[str]
    names: Sequence[str] = ()
    """Of the agents, when these are profiles."""
    outcomes: Sequence[tuple[int, Outcome]] = ()
    """Each with its number in the index, when these are outcomes."""


class Backlog:
    """What waits for embeddings, of the agents in `index`."""

    def __init__(self, index: AgentIndex) -> None:
        self._index = index
        self._profiles: dict[str, None] = {}
        self._outcomes: deque[tuple[int, Outcome]] = deque(maxlen=MOST_OUTCOMES)

    def __len__(self) -> int:
        return len(self._profiles) + len(self._outcomes)

    def add_profile(self, name: str) -> None:
        """The agent has a new profile."""
        self._profiles[name] = None

    def add_outcome(self, number: int, outcome: Outcome) -> None:
        """The index has learned an outcome, which it calls `number`, by its words."""
        self._outcomes.append((number, outcome))

    def take(self, most: int, profiles: Mapping[str, Profile]) -> Batch:
        """Take out what comes next, at most `most` texts.

        Args:
            most: How many.
            profiles: All profiles of the tenant, as they are now.
        """
        if self._profiles:
            names = [name for name in list(self._profiles)[:most] if self._profiles.pop(name, "") is None]
            there = [name for name in names if name in profiles]
            return Batch("profile", [describe(name, profiles[name]) for name in there], names=there)
        found = [self._outcomes.pop() for _ in range(min(most, len(self._outcomes)))]
        return Batch("outcome", [outcome.message for _, outcome in found], outcomes=found)

    def put_back(self, batch: Batch) -> None:
        """There were no embeddings to be had. What was taken comes last now, lest one text holds up the others."""
        for name in batch.names:
            self._profiles[name] = None
        room = MOST_OUTCOMES - len(self._outcomes)
        self._outcomes.extendleft(batch.outcomes[:room])

    def settle(self, batch: Batch, vectors: Sequence[Vector], profiles: Mapping[str, Profile]) -> None:
        """Take the embeddings in; not that of a profile which was replaced meanwhile."""
        for name, text, vector in zip(batch.names, batch.texts, vectors, strict=False):
            if name in profiles and describe(name, profiles[name]) == text:
                self._index.embed(name, vector)
        for (number, outcome), vector in zip(batch.outcomes, vectors, strict=False):
            self._index.learn_meaning(number, outcome, vector)
