"""Learning: what outcomes of earlier work tell about who handles which kind of message well.

Kernel ridge regression, one output an agent, fitted as outcomes come in: the estimate of an agent for a message is

    sum over earlier messages m of  likeness(message, m) * faded(m) * coefficient(m, agent)

A new outcome sets coefficients at its own message only, so that the estimate there moves towards what happened: the
reward for the agent that worked, and, when it worked well, nothing for others that were expected to be better. So
experience stays where it was made: an agent that failed at one kind of message is not lowered elsewhere. See
Engel, Mannor and Meir, "The Kernel Recursive Least-Squares Algorithm" (2004); this is its one-step, sparse form.

Everything is bounded: at most `capacity` outcomes are kept, and when one must go it is the oldest of the agent that has
the most.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aicp_router.postings import Floats, Postings
from aicp_router.vectors import Vector, Vectors

DAY_S = 86_400.0

_RIDGE = 0.3
"""How much one outcome is doubted: it moves the estimate by 1 / 1.3 of the error."""

_SHARPNESS = 1.5
"""Likeness is the cosine to this power: messages that are alike count more than many that share one word."""

_LEAST_LIKENESS = 0.05
"""Less is one common word, and costs more to add up than it tells."""

_SEMANTIC_SHARPNESS = 2.0
_RIVALS = 4
_EXPECTED = 0.05
"""A rival that was expected less than this is left alone."""

_PRIOR_MASS = 0.3
"""So much likeness to earlier messages weighs as much as the profiles do."""

_RECENT = 0.2
"""The share of the newest duration in an agent's usual one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an agent did with a message."""

    agent: str
    message: str
    reward: float
    """-1 (failed, declined, timed out, rated worst) to 1 (completed, rated best)."""
    at: float
    """Seconds since the epoch."""
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What experience says about one message."""

    quality: Floats
    """[rows], each -1 to 1: the reward to expect; 0 where nothing is known."""
    confidence: float
    """0 (nothing like it was ever seen) to 1."""


class Experience:
    """The outcomes of one tenant. Agents are rows: small integers that the caller gives out."""

    def __init__(self, capacity: int, half_life_days: float) -> None:
        self._capacity = capacity
        self._half_life_s = half_life_days * DAY_S
        self._messages = Postings()
        self._at: Floats = np.zeros(capacity)
        self._agents: NDArray[np.int32] = np.zeros((capacity, 1 + _RIVALS), np.int32)
        """Whom each outcome says something about; unused places have a coefficient of 0."""
        self._coefficients: Floats = np.zeros((capacity, 1 + _RIVALS))
        self._vectors = Vectors()
        self._rewards: Floats = np.zeros(capacity)
        self._numbers: dict[int, int] = {}
        """The slot of each outcome that is kept, by its number."""
        self._number_of = [0] * capacity
        self._count = 0
        self._slots_of: dict[int, deque[int]] = {}
        self._used = 0
        """Slots beyond were never used."""
        self._free = list(range(capacity - 1, -1, -1))
        self._amount: dict[int, tuple[float, float]] = {}
        self._durations: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def knows(self, row: int) -> bool:
        """Whether anything was learned of the agent `row`."""
        return row in self._amount

    def keeps(self, row: int) -> bool:
        """Whether any message of the agent `row` is kept."""
        return row in self._slots_of

    def amount(self, row: int, now: float) -> float:
        """How many outcomes of the agent there were, faded."""
        amount, at = self._amount.get(row, (0.0, now))
        return amount * self._faded(now - at)

    @property
    def durations(self) -> Mapping[int, float]:
        """The usual duration of each agent that has one, in seconds."""
        return self._durations

    def learn(
        self,
        row: int,
        outcome: Outcome,
        terms: Mapping[str, float],
        rows: int,
        vector: Vector | None = None,
        centre: Vector | None = None,
    ) -> int:
        """Take in an outcome of the agent `row`.

        Args:
            terms: of the message (`text.terms`).
            rows: how many rows there are.
            vector: the message's embedding, of length 1.
            centre: see `estimate`.

        Returns:
            The outcome's number.
        """
        self._count += 1
        reward = max(-1.0, min(1.0, outcome.reward))
        self._amount[row] = (self.amount(row, outcome.at) + 1.0, outcome.at)
        if outcome.duration_s is not None and outcome.duration_s >= 0:
            usual = self._durations.get(row, outcome.duration_s)
            self._durations[row] = usual + _RECENT * (outcome.duration_s - usual)
        if not terms and vector is None:
            return self._count
        expected = self.estimate(terms, rows, outcome.at, vector, centre).quality
        slot = self._place(row)
        self._messages.put(slot, terms)
        self._at[slot] = outcome.at
        self._rewards[slot] = reward
        self._numbers[self._count] = slot
        self._number_of[slot] = self._count
        self._fit(slot, row, expected, float(bool(terms)) + (vector is not None))
        if vector is not None:
            self._vectors.put(slot, vector)
        return self._count

    def learn_meaning(
        self, number: int, terms: Mapping[str, float], rows: int, vector: Vector, centre: Vector | None = None
    ) -> None:
        """Add the embedding of an outcome's message, and fit its coefficients anew: with it, messages that share no
        word are alike too, and the message is more alike to itself. Nothing when the outcome is not kept any more.

        Args:
            number: what `learn` returned.
            terms: of the message.
            rows: how many rows there are.
            vector: of length 1.
            centre: see `estimate`.
        """
        slot = self._numbers.get(number)
        if slot is None:
            return
        row = int(self._agents[slot, 0])
        self._coefficients[slot] = 0.0
        expected = self.estimate(terms, rows, float(self._at[slot]), vector, centre).quality
        self._fit(slot, row, expected, float(bool(terms)) + 1.0)
        self._vectors.put(slot, vector)

    def _fit(self, slot: int, row: int, expected: Floats, itself: float) -> None:
        """Set the coefficients of a slot so that what is expected there moves towards what happened.

        Args:
            slot: of the message.
            row: the agent that worked.
            expected: [rows], without this slot.
            itself: how alike the message is to itself.
        """
        reward = self._rewards[slot]
        touched = [row]
        if reward > 0:
            rivals = np.argpartition(-expected, min(_RIVALS, len(expected) - 1))[: _RIVALS + 1]
            touched += [int(rival) for rival in rivals if rival != row and expected[rival] > _EXPECTED][:_RIVALS]
        self._agents[slot] = 0
        self._coefficients[slot] = 0.0
        for place, agent in enumerate(touched):
            self._agents[slot, place] = agent
            error = (reward if agent == row else 0.0) - expected[agent]
            self._coefficients[slot, place] = error / (itself + _RIDGE)

    def estimate(
        self,
        terms: Mapping[str, float],
        rows: int,
        now: float,
        vector: Vector | None = None,
        centre: Vector | None = None,
    ) -> Estimate:
        """What to expect of each agent for a message.

        Args:
            terms: of the message.
            rows: how many rows there are.
            now: seconds since the epoch.
            vector: the message's embedding, of length 1.
            centre: the middle of messages, which is taken from all of them before they are compared; None: the mean
                of those that are kept, which says little as long as they are few.
        """
        if not len(self._messages):
            return Estimate(np.zeros(rows), 0.0)
        likeness = self._messages.cosines(terms, self._used)
        if vector is not None and len(self._vectors):
            near = likeness**_SHARPNESS
            centre = self._vectors.mean if centre is None else centre
            alike = self._vectors.cosines(vector, centre, self._used, centre)
            near += np.maximum(alike, 0.0) ** _SEMANTIC_SHARPNESS
            slots = np.flatnonzero(near)
            near = near[slots]
        else:
            slots = np.flatnonzero(likeness > _LEAST_LIKENESS)
            near = likeness[slots] ** _SHARPNESS
        near *= np.exp2(np.minimum(self._at[slots] - now, 0.0) / self._half_life_s)
        mass = float(near.sum())
        shares = self._coefficients[slots]
        shares *= near[:, None]
        quality = np.bincount(self._agents[slots].ravel(), shares.ravel(), minlength=rows)
        return Estimate(np.minimum(np.maximum(quality, -1.0), 1.0), mass / (mass + _PRIOR_MASS))

    def forget(self, row: int) -> None:
        """Drop everything about the agent `row`, also where it was a rival."""
        for slot in self._slots_of.pop(row, ()):
            self._clear(slot)
        gone = self._agents == row
        self._agents[gone] = 0
        self._coefficients[gone] = 0.0
        self._amount.pop(row, None)
        self._durations.pop(row, None)

    @property
    def vectors(self) -> Vectors:
        """The embeddings of the kept messages, of those that have one."""
        return self._vectors

    def settle(self) -> None:
        """See `Postings.settle`."""
        self._messages.settle()

    def _faded(self, age_s: float) -> float:
        return float(2.0 ** (-max(0.0, age_s) / self._half_life_s))

    def _place(self, row: int) -> int:
        if not self._free:
            most = max(self._slots_of, key=lambda one: (len(self._slots_of[one]), -one))
            self._clear(self._slots_of[most].popleft())
            if not self._slots_of[most]:
                del self._slots_of[most]
        slot = self._free.pop()
        self._used = max(self._used, slot + 1)
        self._slots_of.setdefault(row, deque()).append(slot)
        return slot

    def _clear(self, slot: int) -> None:
        self._messages.drop(slot)
        self._agents[slot] = 0
        self._coefficients[slot] = 0.0
        self._vectors.drop(slot)
        self._numbers.pop(self._number_of[slot], None)
        self._free.append(slot)
