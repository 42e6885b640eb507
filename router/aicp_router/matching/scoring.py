"""Scoring: what the parts of a decision come to. Pure functions on arrays, one element a candidate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aicp_router.matching.capability import similarity
from aicp_router.matching.postings import Floats

Urgency = Literal["urgent", "normal", "batch"]

MOST = 1_000
"""The largest weight that can be set: far beyond any use, and no sum of them overflows."""

DOUBT_MARGIN = 0.08
"""When the best two are nearer than this, the cheap score leaves doubt."""

THIN = 2 / 3
"""When the message speaks for the best one less than this (`ENOUGH` of the index), that is thin evidence."""

_WELL, _BADLY = 0.6, 0.4
"""What experience says, in words."""

_THE_SAME = 0.94
"""Capabilities that are more alike than this are one, by another name."""

_NAMED = 2.5
"""Who names a capability wants this one: nothing else makes up for a name that is only alike."""

_NOW: dict[Urgency, float] = {"urgent": 1.6, "normal": 1.0, "batch": 0.4}
"""How much more it counts who is here, idle and fast."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts; only their ratios matter.

    Presence counts more than load and speed together, so that a busy agent that is here goes before an idle one that
    is away. When no capability is wanted, the weight of `capability` goes to `message`.
    """

    capability: float = 0.40
    message: float = 0.32
    """How the agent fits the message: profile, embeddings and experience."""
    load: float = 0.20
    presence: float = 0.30
    speed: float = 0.05
    fairness: float = 0.02
    language: float = 0.15
    """Only for a message whose language is known, among agents some of which say what they speak."""
    semantic: float = 1.5
    """How much embeddings count against words, which count 1."""

    @classmethod
    def parse(cls, text: str) -> "Weights":
        """Read `load=0.3,speed=0.1`: what is not named keeps its default.

        Raises:
            ValueError: it names what is no weight, or the same twice, or a value is not a number from 0 to 1000; or
                all the weights that add up to a score are 0.
        """
        names = [one.name for one in fields(cls)]
        given: dict[str, float] = {}
        for part in filter(None, (one.strip() for one in text.split(","))):
            name, _, value = (one.strip() for one in part.partition("="))
            if name not in names:
                raise ValueError(f"NAME=NUMBER, separated by commas, with names of {', '.join(names)}; not {part!r}")
            if name in given:
                raise ValueError(f"each name once; {name!r} comes twice")
            try:
                given[name] = float(value)
            except ValueError:
                given[name] = math.nan
            if not 0 <= given[name] <= MOST:
                raise ValueError(f"numbers from 0 to {MOST}; not {part!r}")
        weights = cls(**given)
        if not weights.message + weights.capability:
            raise ValueError("capability or message above 0: nothing else says who fits")
        return weights


@dataclass(frozen=True, slots=True)
class Candidates:
    """Who might get the message, and how they are now. Arrays have one element an agent, in the order of `names`."""

    names: Sequence[str]
    room: Floats | None = None
    """1 when idle, 0 when it has as much as it takes at once; None: all idle."""
    online: NDArray[np.bool_] | None = None
    """None: all are."""
    share: Floats | None = None
    """How much of the tenant's recent work each has had, 0 to 1, for fairness; None: all the same."""


class Parts(NamedTuple):
    """The parts of a score, each between 0 and 1. A tuple is made faster than a frozen dataclass, and every decision
    makes ten."""

    capability: float
    """How well its capabilities cover the wanted ones."""
    text: float
    """How its profile fits the message, against the best one."""
    semantic: float
    """The same by embeddings; 0 without."""
    learned: float
    """What experience with such messages says: 0.5 when nothing is known, 1 very good, 0 very bad."""
    message: float
    """What text, semantic and learned come to, by itself: 0.5 when it is just enough to be eligible."""
    room: float
    """1 when idle, 0 when it has as much as it takes at once."""
    speed: float
    """0.5 when it takes as long as the others or nothing is known."""
    presence: float
    fairness: float
    """1 when it had none of the recent work, 0 when nobody had more."""
    language: float | None = None
    """1 when it says that it speaks the message's language, 0 when it names only others, 0.5 when it names none; None
    when languages play no part."""


class Match(NamedTuple):
    """How well one agent fits."""

    agent: str
    score: float
    parts: Parts
    eligible: bool
    wanted: tuple[str, ...] = ()
    """The capabilities that the requester named, normalised."""
    offered: tuple[str, ...] = ()
    """Those of the agent, where any are wanted."""
    load_weight: float = 0.0
    """How much of its score an empty desk is."""
    speaks_of: bool = False
    """Whether the message speaks of what the agent's profile says."""

    @property
    def thin(self) -> bool:
        """Whether little speaks for it, where the message alone decides: embeddings may know better."""
        return not self.wanted and self.parts.message < THIN

    @property
    def reason(self) -> str:
        """Why it stands where it stands, in one sentence."""
        return reason(self)


@dataclass(frozen=True, slots=True)
class Shares:
    """What each part of a score is multiplied with; they add up to 1, so that a score lies between 0 and 1."""

    capability: float
    message: float
    load: float
    speed: float
    presence: float
    fairness: float
    language: float


@dataclass(frozen=True, slots=True)
class Scorer:
    """Says how much each part counts.

    Urgent work prefers who is here, idle and fast; work that can wait prefers the better fit.
    """

    weights: Weights = field(default_factory=Weights)

    def shares(self, *, wants_capabilities: bool, urgency: Urgency, languages: bool = False) -> Shares:
        """How much each part counts.

        Args:
            languages: Whether the message's language is known and agents say what they speak.
        """
        weights, now = self.weights, _NOW[urgency]
        capability, message = self._fit_weights(wants_capabilities=wants_capabilities)
        language = weights.language if languages else 0.0
        fixed = capability + message + weights.fairness + language
        total = fixed + now * (weights.load + weights.speed + weights.presence)
        return Shares(
            capability=capability / total,
            message=message / total,
            load=now * weights.load / total,
            speed=now * weights.speed / total,
            presence=now * weights.presence / total,
            fairness=weights.fairness / total,
            language=language / total,
        )

    def _fit_weights(self, *, wants_capabilities: bool) -> tuple[float, float]:
        """Of capability and of message."""
        weights = self.weights
        if wants_capabilities:
            return _NAMED * weights.capability, weights.message
        return 0.0, weights.message + weights.capability


def in_doubt(matches: Sequence[Match]) -> bool:
    """Whether a decision deserves a closer look, by embeddings: nobody is eligible, or what speaks for the first is
    thin, or two are nearly equal."""
    if not matches or not matches[0].eligible:
        return True
    if matches[0].thin:
        return True
    return len(matches) > 1 and matches[1].eligible and matches[0].score - matches[1].score < DOUBT_MARGIN


def reason(match: Match) -> str:
    """Why an agent stands where it stands."""
    parts = match.parts
    said = []
    if match.wanted:
        said.append(_of_capabilities(match.wanted, match.offered))
    elif parts.learned < _WELL:
        other = "takes anything" if match.eligible else "does other things"
        said.append("does what the message speaks of" if match.speaks_of else other)
    if parts.learned >= _WELL:
        said.append("has done well with such messages")
    elif parts.learned <= _BADLY:
        said.append("has done badly with such messages")
    if parts.language == 0:
        said.append("names only other languages than the message's")
    state = "online" if parts.presence else "not online now"
    room = "has room" if parts.room else "has a full desk"
    return f"{match.agent} {', '.join(said)}, is {state} and {room}."


def _of_capabilities(wanted: Sequence[str], offered: Sequence[str]) -> str:
    """How what is offered covers what is wanted, both normalised, in words."""
    likeness = [max((similarity(name, other) for other in offered), default=0.0) for name in wanted]
    has = sum(one >= _THE_SAME for one in likeness)
    near = sum(0 < one < _THE_SAME for one in likeness)
    if has == len(wanted):
        return "has all of the wanted capabilities"
    if not has + near:
        return "has none of the wanted capabilities"
    if len(wanted) == 1:
        return "has a capability like the wanted one"
    like = f" and something like {near} more" if near and has else f" but something like {near}" if near else ""
    return f"has {has or 'none'} of the {len(wanted)} wanted capabilities{like}"
