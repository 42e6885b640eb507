"""Learning: what outcomes of earlier work tell about who handles which kind of message well.

Kernel ridge regression, one output an agent, fitted as outcomes come in: the estimate of an agent for a message is

    sum over earlier messages m of  likeness(message, m) * faded(m) * coefficient(m, agent)

A new outcome sets coefficients at its own message only, so that the estimate there moves towards what happened: the
reward for the agent that worked, and, when it worked well, nothing for others that were expected to be better. So
experience stays where it was made: an agent that failed at one kind of message is not lowered elsewhere. See
Engel, Mannor and Meir, "The Kernel Recursive Least-Squares Algorithm" (2004); this is its one-step, sparse form.

Not all outcomes count the same: or whoever has two agents could let one of them hand easy work to the other, until
routing sends it that of everybody. What one user gave to an agent by name counts little, and what it says again of
messages that are alike counts less and less, in two ways: its weight is how far an outcome moves the estimate, and
comes back after a day, so that a user who is alone still teaches what has changed; its certainty is how much it counts
against profiles, and does not come back. What another user says counts by itself.

Everything is bounded: at most `capacity` outcomes are kept, and when one must go it is the oldest of the agent that has
the most.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aicp_router.matching.postings import Floats, Postings, Rows
from aicp_router.matching.vectors import Vector, Vectors

DAY_S = 86_400.0

_RIDGE = 0.3
"""How much one outcome is doubted: it moves the estimate by 1 / 1.3 of the error."""

_LEAST_LIKENESS = 0.05
"""Less is one common word, and costs more to add up than it tells."""

_SEMANTIC_SHARPNESS = 2.0
_RIVALS = 4
_EXPECTED = 0.05
"""A rival that was expected less than this is left alone."""

_PRIOR_MASS = 0.3
"""So much likeness to earlier messages weighs as much as the profiles do."""

_WHOLE = 2.0
"""When a user said a thing more often than this before, it counts less: with the square of how often, so that all its
outcomes with one message together count like 4.6. Of other messages each counts as so much as it is like this one."""

_AGAIN_S = DAY_S
"""Whoever says the same of an agent later than this has seen it do so anew."""

_NAMED = 0.02
"""What an outcome counts when the requester named the agent: it was not chosen for the message, so that it did well
says little about who should be. Small enough that all that one user gives to an agent by name counts less than a tenth
of an outcome, and does not get it before an agent whose profile fits; when several users name it, it adds up."""

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
    user: str = ""
    """For whom it was done, whichever of its agents asked; empty when that is not known, and it counts whole."""
    named: bool = False
    """Whether the requester named the agent."""


class _Said(NamedTuple):
    """What an outcome says, beside its message."""

    row: int
    """Of the agent."""
    user: int
    """0: not known."""
    is_good: bool
    is_named: bool
    at: float


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
        self._agents: NDArray[np.intp] = np.zeros((capacity, 1 + _RIVALS), np.intp)
        """Whom each outcome says something about; unused places have a coefficient of 0."""
        self._coefficients: Floats = np.zeros((capacity, 1 + _RIVALS))
        self._vectors = Vectors()
        self._rewards: Floats = np.zeros(capacity)
        self._users: NDArray[np.int64] = np.zeros(capacity, np.int64)
        """For whom each was done, as a hash: it is only compared, within this process."""
        self._named: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self._embedded: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self._weights: Floats = np.ones(capacity)
        self._certainties: Floats = np.ones(capacity)
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
        """How many outcomes of the agent there were, weighted and faded."""
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
        itself = float(bool(terms)) + (vector is not None)
        slots, near = self._near(terms, outcome.at, vector, centre)
        said = _Said(row, hash(outcome.user) if outcome.user else 0, reward > 0, outcome.named, outcome.at)
        weight, certainty = self._weigh(said, slots, near / max(1.0, itself))
        self._amount[row] = (self.amount(row, outcome.at) + weight, outcome.at)
        if outcome.duration_s is not None and outcome.duration_s >= 0:
            usual = self._durations.get(row, outcome.duration_s)
            self._durations[row] = usual + weight * _RECENT * (outcome.duration_s - usual)
        if not itself:
            return self._count
        expected = self._quality(slots, near, rows)
        slot = self._place(row)
        self._messages.put(slot, terms)
        self._at[slot] = outcome.at
        self._rewards[slot] = reward
        self._users[slot], self._named[slot] = said.user, said.is_named
        self._weights[slot], self._certainties[slot] = weight, certainty
        self._numbers[self._count] = slot
        self._number_of[slot] = self._count
        self._fit(slot, row, expected, itself)
        self._embedded[slot] = vector is not None
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
        slots, near = self._near(terms, float(self._at[slot]), vector, centre)
        itself = float(bool(terms)) + 1.0
        # In other words the user may have said it before. Whatever has no embedding yet gets this look later.
        embedded = self._embedded.take(slots)
        said = _Said(
            *(row, int(self._users[slot]), bool(self._rewards[slot] > 0), bool(self._named[slot])),
            at=float(self._at[slot]),
        )
        weight, certainty = self._weigh(said, slots[embedded], near[embedded] / itself)
        self._weights[slot] = min(self._weights[slot], weight)
        self._certainties[slot] = min(self._certainties[slot], certainty)
        self._fit(slot, row, self._quality(slots, near, rows), itself)
        self._embedded[slot] = True
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
            self._coefficients[slot, place] = error / (itself + _RIDGE / self._weights[slot])

    def _weigh(self, said: _Said, slots: Rows, near: Floats) -> tuple[float, float]:
        """The weight and the certainty of an outcome.

        Args:
            said: what it says.
            slots: of outcomes with messages like its own.
            near: how near each of them is, where 1 is the same message.
        """
        whole = _NAMED if said.is_named else 1.0
        if not said.user:
            return whole, whole
        its = self._users.take(slots) == said.user
        slots, near = slots[its], near[its]
        again = self._agents[slots, 0] == said.row
        again &= (self._rewards[slots] > 0) == said.is_good
        again &= self._at[slots] > said.at - _AGAIN_S
        return whole * _repeated(float(near[again].sum())), whole * _repeated(float(near.sum()))

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
        slots, near = self._near(terms, now, vector, centre)
        mass = float(near @ self._certainties.take(slots))
        return Estimate(self._quality(slots, near, rows), mass / (mass + _PRIOR_MASS))

    def _near(
        self, terms: Mapping[str, float], now: float, vector: Vector | None, centre: Vector | None
    ) -> tuple[Rows, Floats]:
        """The outcomes with messages like this one, and how near each of them is, faded."""
        likeness = self._messages.cosines(terms, self._used)
        if vector is not None and len(self._vectors):
            near = _sharp(likeness)
            centre = self._vectors.mean if centre is None else centre
            alike = self._vectors.cosines(vector, centre, self._used, centre)
            near += np.maximum(alike, 0.0) ** _SEMANTIC_SHARPNESS
            slots = near.nonzero()[0]
            near = near.take(slots)
        else:
            slots = (likeness > _LEAST_LIKENESS).nonzero()[0]
            near = _sharp(likeness.take(slots))
        ages = self._at.take(slots)
        ages -= now
        near *= np.exp2(np.minimum(ages, 0.0, out=ages) / self._half_life_s)
        return slots, near

    def _quality(self, slots: Rows, near: Floats, rows: int) -> Floats:
        """The reward to expect of each agent: [rows], each -1 to 1."""
        # `take` copies rows three times as fast as an index does.
        shares = self._coefficients.take(slots, axis=0)
        shares *= near[:, None]
        quality = np.bincount(self._agents.take(slots, axis=0).ravel(), shares.ravel(), minlength=rows)
        return np.minimum(np.maximum(quality, -1.0), 1.0)

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


def _sharp(likeness: Floats) -> Floats:
    """Cosines to the power of 1.5: messages that are alike count more than many that share one word."""
    return likeness * np.sqrt(likeness)


def _repeated(often: float) -> float:
    """How much counts what was said so often before."""
    return (_WHOLE / often) ** 2 if often > _WHOLE else 1.0
