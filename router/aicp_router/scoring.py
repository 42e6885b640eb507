"""Scoring: what the parts of a decision come to. Pure functions on arrays, one element a candidate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aicp_router.postings import Floats

Urgency = Literal["urgent", "normal", "batch"]

DOUBT_MARGIN = 0.08
"""When the best two are nearer than this, the cheap score leaves doubt."""

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
    semantic: float = 1.5
    """How much embeddings count against words, which count 1."""


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


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a score, each between 0 and 1."""

    capability: float
    """How well its capabilities cover the wanted ones."""
    text: float
    """How its profile fits the message, against the best one."""
    semantic: float
    """The same by embeddings; 0 without."""
    learned: float
    """What experience with such messages says: 0.5 when nothing is known, 1 very good, 0 very bad."""
    message: float
    """What text, semantic and learned come to."""
    load: float
    speed: float
    """0.5 when it takes as long as the others or nothing is known."""
    presence: float
    fairness: float


@dataclass(frozen=True, slots=True)
class Match:
    """How well one agent fits."""

    agent: str
    score: float
    parts: Parts
    eligible: bool
    reason: str
    """In one sentence."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The parts of all candidates; each array is [candidates]."""

    capability: Floats
    message: Floats
    load: Floats
    speed: Floats
    presence: Floats
    fairness: Floats


@dataclass(frozen=True, slots=True)
class Scorer:
    """Adds parts up."""

    weights: Weights = field(default_factory=Weights)

    def total(self, parts: Scores, *, wants_capabilities: bool, urgency: Urgency) -> Floats:
        """The score of each candidate, 0 to 1.

        Urgent work prefers who is here, idle and fast; work that can wait prefers the better fit.
        """
        weights, now = self.weights, _NOW[urgency]
        capability, message = self._fit_weights(wants_capabilities=wants_capabilities)
        total = capability + message + weights.fairness + now * (weights.load + weights.speed + weights.presence)
        score: Floats = (
            capability * parts.capability
            + message * parts.message
            + weights.fairness * parts.fairness
            + now * (weights.load * parts.load + weights.speed * parts.speed + weights.presence * parts.presence)
        )
        return np.minimum(score / total, 1.0) if total else np.zeros(len(score))

    def load_weight(self, *, wants_capabilities: bool, urgency: Urgency) -> float:
        """How much of a score an empty desk is."""
        weights, now = self.weights, _NOW[urgency]
        fixed = sum(self._fit_weights(wants_capabilities=wants_capabilities)) + weights.fairness
        return now * weights.load / (fixed + now * (weights.load + weights.speed + weights.presence))

    def _fit_weights(self, *, wants_capabilities: bool) -> tuple[float, float]:
        """Of capability and of message."""
        weights = self.weights
        if wants_capabilities:
            return _NAMED * weights.capability, weights.message
        return 0.0, weights.message + weights.capability


DEFAULT_SCORER = Scorer()


def in_doubt(matches: Sequence[Match]) -> bool:
    """Whether a decision deserves a closer look, by embeddings: nobody is eligible, or two are nearly equal."""
    if not matches or not matches[0].eligible:
        return True
    return len(matches) > 1 and matches[1].eligible and matches[0].score - matches[1].score < DOUBT_MARGIN


def reason(name: str, parts: Parts, *, wants_capabilities: bool, eligible: bool, speaks_of: bool) -> str:
    """Why an agent stands where it stands.

    Args:
        speaks_of: whether the message speaks of what its profile says.
    """
    if wants_capabilities:
        fits = f"has {_share(parts.capability)} of the wanted capabilities"
    elif parts.learned >= 0.6:
        fits = "has done well with such messages"
    elif speaks_of:
        fits = "does what the message speaks of"
    else:
        fits = "takes anything" if eligible else "does other things"
    if wants_capabilities and parts.learned >= 0.6:
        fits += ", has done well with such messages"
    if parts.learned <= 0.4:
        fits += ", has done badly with such messages"
    state = "online" if parts.presence else "not online now"
    room = "has room" if parts.load else "has a full desk"
    return f"{name} {fits}, is {state} and {room}."


def _share(fit: float) -> str:
    return "all" if fit >= 0.94 else "none" if fit <= 0 else f"{fit:.0%}"
