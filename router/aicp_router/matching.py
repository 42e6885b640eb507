"""Matching: which agent fits a message. Pure functions on plain data; nothing here waits, reads or writes.

The score of an agent is a weighted sum of four parts, each between 0 and 1 (`Weights` has the numbers):

- `capability`: how well its capabilities cover the wanted ones (the mean of the best similarity of each);
- `text`: how much of its capabilities and description the message speaks of, by character n-grams, so that languages
  written without spaces and inflected words meet as well;
- `load`: how much room it has (1 when idle, 0 when it has as much as it takes at once);
- `presence`: 1 when it is online.

When no capability is wanted, the weight of `capability` goes to `text`.

An agent is eligible when it has at least one of the wanted capabilities, or, when none is wanted, when the message
speaks of what it does (`MIN_TEXT`) or it says of itself that it takes anything (`GENERAL`).
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

MIN_TEXT = 0.15
"""The least `text` at which a message without wanted capabilities finds an agent."""

MIN_SIMILARITY = 0.6
"""Two capability names that are less alike than this have nothing to do with each other."""

GENERAL = frozenset({"general", "general purpose", "anything", "any", "assistant", "일반", "범용", "通用", "一般"})
"""Capabilities, normalised, of agents that take whatever nobody else fits."""

_MAX_MESSAGE_CHARS = 8_000
"""A message says what it wants early; n-grams of the rest cost time and dilute."""

_COMMON_ENGLISH = """
a about all also an and any are as at be been but by can could do does for from get had has have how i if in into is it
its like me my need no not of on or our out please provides so some that the their them then there these they this to
up us use using want was we were what when where which who will with would you your
"""
_STOPWORDS = frozenset(_COMMON_ENGLISH.split())
_CJK = "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_RUNS = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+")
_SEPARATORS = re.compile(r"[\s_\-‐-―・·/]+")
_IS_CJK = re.compile(rf"[{_CJK}]")


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts. They add up to 1.

    Presence counts more than load, so that a busy agent that is here goes before an idle one that is away.
    """

    capability: float = 0.45
    text: float = 0.25
    load: float = 0.10
    presence: float = 0.20


@dataclass(frozen=True, slots=True)
class Features:
    """What matching knows of a profile, worked out once."""

    capabilities: tuple[str, ...]
    """Normalised."""
    capability_grams: tuple[frozenset[str], ...]
    description_grams: frozenset[str]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a message wants, worked out once."""

    capabilities: tuple[str, ...]
    """Normalised; empty when any will do."""
    grams: frozenset[str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent that might get the message."""

    name: str
    features: Features
    room: float
    """1 when it is idle, 0 when it has as much as it takes at once, or more."""
    online: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a score, each between 0 and 1."""

    capability: float
    text: float
    load: float
    presence: float


@dataclass(frozen=True, slots=True)
class Match:
    """How well one agent fits."""

    agent: str
    score: float
    parts: Parts
    eligible: bool
    wants: bool
    """Whether capabilities were wanted."""
    load_weight: float = 0.0
    """How much of the score an empty desk is."""

    @property
    def fit(self) -> float:
        """The score without how much the agent has to do."""
        return max(0.0, self.score - self.load_weight * self.parts.load)

    def with_room(self, room: float) -> "Match":
        """The same match when the agent has `room` (1: idle, 0: as much as it takes at once)."""
        return replace(self, score=self.fit + self.load_weight * room, parts=replace(self.parts, load=room))

    @property
    def reason(self) -> str:
        """The parts in one sentence."""
        if self.wants:
            fits = f"has {_share(self.parts.capability)} of the wanted capabilities"
        elif self.parts.text >= MIN_TEXT:
            fits = "does what the message speaks of"
        else:
            fits = "takes anything" if self.eligible else "does other things"
        state = "online" if self.parts.presence else "not online now"
        room = "has room" if self.parts.load else "has a full desk"
        return f"{self.agent} {fits}, is {state} and {room}."


def normalise(name: str) -> str:
    """A capability's name as it is compared: NFKC, case folded, spaces, underscores and hyphens equal."""
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip()


def grams(text: str) -> frozenset[str]:
    """The character n-grams of a text: pairs in scripts without spaces, triples of padded words elsewhere."""
    found: set[str] = set()
    for run in _RUNS.findall(normalise(text[:_MAX_MESSAGE_CHARS])):
        if _IS_CJK.match(run):
            found.update((run[i : i + 2] for i in range(len(run) - 1)) if len(run) > 1 else (run,))
        elif run not in _STOPWORDS:
            padded = f" {run} "
            found.update(padded[i : i + 3] for i in range(len(padded) - 2))
    return frozenset(found)


def features(capabilities: Iterable[str], description: str) -> Features:
    """The features of a profile."""
    names = tuple(dict.fromkeys(filter(None, map(normalise, capabilities))))
    return Features(names, tuple(grams(name) for name in names), grams(description))


def wish(message: str, capabilities: Iterable[str] = ()) -> Wish:
    """What `message` wants, with the `capabilities` that were asked for."""
    return Wish(tuple(dict.fromkeys(filter(None, map(normalise, capabilities)))), grams(message))


@lru_cache(maxsize=65_536)
def similarity(wanted: str, offered: str) -> float:
    """How alike two normalised capability names are: 1 for equal ones, 0.8 when one has all words of the other, the
    share of common n-grams when they are spelt alike, else 0."""
    if wanted == offered:
        return 1.0
    words, others = set(wanted.split()), set(offered.split())
    if words and others and (words <= others or others <= words):
        return 0.8
    left, right = grams(wanted), grams(offered)
    if not left or not right:
        return 0.0
    dice = 2 * len(left & right) / (len(left) + len(right))
    return 0.8 * dice if dice >= MIN_SIMILARITY else 0.0


def capability_fit(wanted: Sequence[str], offered: Sequence[str]) -> float:
    """How well `offered` covers `wanted`: between 0 (none of them) and 1 (all of them, by the same names)."""
    if not wanted or not offered:
        return 0.0
    return sum(max(similarity(name, other) for other in offered) for name in wanted) / len(wanted)


def text_fit(message: frozenset[str], profile: Features) -> float:
    """How much of what an agent does the message speaks of, between 0 and 1."""
    if not message:
        return 0.0
    named = max((len(message & name) / len(name) for name in profile.capability_grams if name), default=0.0)
    # A part of a name is in any long message by chance; nearly all of it is not.
    named = named if named >= 0.75 else 0.0
    described = 0.0
    if profile.description_grams:
        common = len(message & profile.description_grams)
        described = common / math.sqrt(len(message) * len(profile.description_grams))
    return min(1.0, 0.6 * named + described)


def rank(wanted: Wish, candidates: Iterable[Candidate], weights: Weights | None = None) -> list[Match]:
    """Every candidate with its score: those that are eligible first, each group best first, equals by name."""
    weights = weights or Weights()
    matches = [_match(wanted, candidate, weights) for candidate in candidates]
    matches.sort(key=lambda match: (not match.eligible, -match.score, match.agent))
    return matches


def _match(wanted: Wish, candidate: Candidate, weights: Weights) -> Match:
    capability = capability_fit(wanted.capabilities, candidate.features.capabilities)
    text = text_fit(wanted.grams, candidate.features)
    parts = Parts(capability, text, max(0.0, min(1.0, candidate.room)), 1.0 if candidate.online else 0.0)
    score = weights.load * parts.load + weights.presence * parts.presence
    if wanted.capabilities:
        score += weights.capability * capability + weights.text * text
        eligible = capability > 0
    else:
        score += (weights.capability + weights.text) * text
        eligible = text >= MIN_TEXT or not GENERAL.isdisjoint(candidate.features.capabilities)
    return Match(candidate.name, min(1.0, score), parts, eligible, bool(wanted.capabilities), weights.load)


def _share(fit: float) -> str:
    return "all" if fit >= 0.999 else "none" if fit <= 0 else f"{fit:.0%}"


def language(text: str) -> str:
    """The language of a text as far as its script tells: `ko`, `ja`, `zh`, `en` for plain Latin with common English
    words, otherwise `und`."""
    sample = text[:_MAX_MESSAGE_CHARS]
    if re.search(r"[\uac00-\ud7a3]", sample):
        return "ko"
    if re.search(r"[\u3040-\u30ff]", sample):
        return "ja"
    if re.search(r"[\u4e00-\u9fff]", sample):
        return "zh"
    words = re.findall(r"[a-z]+", sample.casefold())
    return "en" if sum(word in _STOPWORDS for word in words) >= max(1, len(words) // 8) else "und"
