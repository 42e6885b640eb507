"""The index: one tenant's agents in memory, and the decision who fits a message.

    index = AgentIndex()
    index.put("ada", Described(("data analysis",), "statistics and SQL"))
    index.learn(Outcome("ada", "find the trend in this table", 1.0, at=now))
    best = index.match(Wish("which months sold best?"), Candidates(["ada", "bob"]), now=now)[0]

How an agent fits a message is a mixture of two: what profiles say (words and 4-grams of characters, beside them
concepts across languages, and embeddings when there are any) and what experience says (`learning.py`). The more is
known of such messages, the more experience counts.

Nothing here waits, reads or writes. An index is not safe for several threads at once.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aicp_router.matching import capability, concepts, intent, languages, text
from aicp_router.matching.compared import bundles_of, families_of, profile_terms
from aicp_router.matching.fits import absolute, against_best, best_of, filled, mixture, taken
from aicp_router.matching.learning import Experience, Outcome
from aicp_router.matching.postings import Floats, Postings, Rows
from aicp_router.matching.scoring import Candidates, Match, Parts, Scorer, Shares, Urgency
from aicp_router.matching.vectors import Vector, Vectors

__all__ = ["AgentIndex", "Candidates", "Described", "Match", "Outcome", "Profile", "Wish", "describe"]

MIN_TEXT = 0.07
"""The least cosine of message and profile at which a message without wanted capabilities finds an agent."""

MIN_SEMANTIC = 0.13
"""The same for embeddings, their middle taken away. With multilingual-e5-small about 19 of 20 pairs of a message and
an agent that it is not for lie below, and 9 of 10 messages in another language than the right agent's profile above."""

MIN_LEARNED = 0.2
"""The least reward to expect at which experience alone makes an agent eligible."""

ENOUGH = 2.0
"""Words that say so many times what makes an agent eligible stand by themselves. Less is thin: embeddings are asked,
and count more."""

KIN = 0.09
"""What it adds to the cosine when a capability is of a family of which the message speaks: enough to be eligible,
little against a word or a concept that both have."""

_FEW = 20
"""So many messages tell as much of where messages lie as everyday ones do, or the profiles where there are none."""

_NEWCOMER = 3.0
"""Who has fewer outcomes than this is new."""
_TRIAL_TEXT = 0.6
_TRIAL_RATE = 0.1
"""The share of the messages fitting its profile on which a newcomer is tried, as if nothing were known of others."""

_RECENT_S = 3_600.0
"""After this time, what an agent had of the work counts half for fairness."""
_RECENT_LEAST = 1.0
"""Less than one recent task is no share to speak of."""
_RECENT_SPAN = 500.0
"""After so many half-lives, recent work is counted from a new beginning, before its numbers grow too large."""

_SPOKEN, _SILENT, _FOREIGN = 1.0, 0.5, 0.0
"""What an agent's languages say of a message: it speaks this one, it names none, it names others only."""

_COVERED = 0.9
"""The share of the profiles that have embeddings before these take part: among few, any of them would stand out."""

_APART = 0.95
"""Embeddings of profiles with a greater cosine than this say the same of every message."""

_MOST_ROWS_IDLE = 1_000
_MOST_FITS = 128
_STEPS = 1e9
"""Scores are compared in steps of 1e-9."""
_TIE = 1e-5
"""What one place in the alphabet weighs, in these steps: nothing but among equals."""


class Profile(Protocol):
    """What the index reads of a profile."""

    @property
    def capabilities(self) -> Sequence[str]: ...
    @property
    def description(self) -> str: ...
    @property
    def languages(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Described:
    """A profile of nothing but what matching reads."""

    capabilities: tuple[str, ...] = ()
    description: str = ""
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted."""

    message: str
    capabilities: tuple[str, ...] = ()
    """Empty when any will do."""
    urgency: Urgency = "normal"
    vector: Vector | None = None
    """The message's embedding."""


@dataclass(slots=True)
class _Known:
    capabilities: tuple[str, ...]
    """Normalised."""
    general: bool
    families: frozenset[str]
    """Of the concepts that the capabilities name."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is known of a sequence of candidates by name alone. Arrays are [candidates]."""

    names: Sequence[str]
    rows: Rows
    known: NDArray[np.bool_]
    """Whether it has a profile."""
    general: NDArray[np.bool_]
    """Whether it says that it takes anything."""
    ties: Floats
    """What its place in the alphabet takes away."""
    places: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Standing:
    """How candidates stand whatever the message says. Arrays are [candidates]."""

    candidates: Candidates
    room: Floats
    speed: Floats
    presence: Floats
    fairness: Floats
    sums: dict[tuple[bool, Urgency, bool], tuple[Shares, Floats]] = field(default_factory=dict)
    """What that comes to, by whether capabilities are wanted, urgency, and whether languages play a part."""


class AgentIndex:
    """The agents of one tenant.

    Args:
        capacity: how many outcomes are remembered.
        half_life_days: after how long an outcome counts half.
    """

    def __init__(self, *, capacity: int = 10_000, half_life_days: float = 60.0, scorer: Scorer | None = None) -> None:
        self._scorer = scorer or Scorer()
        self._rows: dict[str, int] = {}
        self._names: list[str | None] = [None]
        """Row 0 is nobody: it stands for names that are not known."""
        self._free: list[int] = []
        self._known: dict[int, _Known] = {}
        self._profiles = Postings()
        self._experience = Experience(capacity, half_life_days)
        self._vectors = Vectors()
        self.everyday: Vector | None = None
        """The middle of everyday messages, by the embedder from which all vectors here are."""
        self._offers: dict[str, set[int]] = {}
        self._general: NDArray[np.bool_] = np.zeros(16, np.bool_)
        self._fits: dict[str, Floats] = {}
        self._languages: dict[int, frozenset[str]] = {}
        """Of those who name any, by row."""
        self._spoken: dict[str, Floats] = {}
        self._kin: dict[str, Floats] = {}
        """What each row's cosine gains when a message speaks of a family."""
        self._speed: Floats | None = None
        self._recent: Floats = np.zeros(16)
        """How much of the recent work each row had, as of `_recent_from`: later work is larger instead of older
        smaller."""
        self._recent_from = 0.0
        self._asked: _Asked | None = None
        self._standing: _Standing | None = None

    @property
    def scorer(self) -> Scorer:
        """With which it adds up."""
        return self._scorer

    @property
    def covered(self) -> bool:
        """Whether enough profiles have embeddings for a message's embedding to be of use."""
        return len(self._vectors) > 0 and len(self._vectors) >= _COVERED * len(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: str) -> bool:
        return self._rows.get(name, -1) in self._known

    def put(self, name: str, profile: Profile, vector: Vector | None = None) -> None:
        """Add an agent, or replace its profile. What was learned of it stays.

        Args:
            vector: the embedding of `describe(name, profile)`, of length 1.
        """
        row = self._row(name)
        self._withdraw(row)
        names = capability.normalised(profile.capabilities)
        general = not capability.GENERAL.isdisjoint(names)
        families = frozenset(concepts.family(one) for name in names for one in concepts.concepts(name))
        self._known[row] = _Known(names, general, families)
        self._general[row] = general
        for one in names:
            self._offers.setdefault(one, set()).add(row)
        for wanted, fits in self._fits.items():
            fits[row] = max((capability.similarity(wanted, one) for one in names), default=0.0)
        told = [one for one in names if one not in capability.GENERAL]
        self._profiles.put(row, profile_terms(text.spoken(name), profile.description, ", ".join(told)))
        for one, gains in self._kin.items():
            gains[row] = KIN if one in families else 0.0
        spoken = languages.codes(profile.languages)
        if spoken:
            self._languages[row] = spoken
            for language, fits in self._spoken.items():
                fits[row] = _SPOKEN if language in spoken else _FOREIGN
        if vector is not None:
            self._vectors.put(row, vector)

    def embed(self, name: str, vector: Vector) -> None:
        """Give an agent that is there the embedding of `describe(name, profile)`, which came after its profile."""
        row = self._rows.get(name)
        if row in self._known:
            self._vectors.put(row, vector)

    def apart(self, names: Sequence[str]) -> bool:
        """Whether the embeddings of these agents differ so much that a message could be nearer to one of them. One by
        itself is apart from all others."""
        rows = [self._rows.get(name, 0) for name in names]
        return len(rows) == 1 or self._vectors.least_cosine(rows) < _APART

    def remove(self, name: str) -> None:
        """Take an agent out, if it is there. What was learned of it stays until it is forgotten or fades."""
        row = self._rows.get(name)
        if row is not None:
            self._withdraw(row)
            if not self._experience.knows(row):
                self._release(row)

    def forget(self, name: str) -> None:
        """Drop all that was learned of an agent."""
        row = self._rows.get(name)
        if row is not None:
            self._experience.forget(row)
            self._recent[row] = 0.0
            self._speed = self._standing = None
            if row not in self._known:
                self._release(row)

    def learn(self, outcome: Outcome, vector: Vector | None = None) -> int:
        """Take in how an agent did, whether or not it is there now.

        Args:
            vector: the message's embedding.

        Returns:
            The outcome's number, for `learn_meaning`.
        """
        row = self._row(outcome.agent)
        if outcome.duration_s is not None:
            self._speed = self._standing = None
            self._note_work(row, outcome.at)
        return self._experience.learn(
            row, outcome, text.terms(outcome.message), len(self._names), vector, self._centre_for(vector)
        )

    def learn_meaning(self, number: int, outcome: Outcome, vector: Vector) -> None:
        """Add the embedding of a message that was learned from without; nothing when that has given way since.

        Args:
            number: What `learn` returned.
            outcome: The same.
        """
        centre = self._centre_for(vector)
        self._experience.learn_meaning(number, text.terms(outcome.message), len(self._names), vector, centre)

    def settle(self) -> None:
        """Bring lengths that depend on all agents up to date at once instead of now and then."""
        self._profiles.settle()
        self._experience.settle()

    def match(
        self,
        wish: Wish,
        candidates: Candidates,
        *,
        now: float = 0.0,
        rng: random.Random | None = None,
        limit: int = 10,
        barred: frozenset[str] = frozenset(),
    ) -> list[Match]:
        """The best `limit` candidates: those that are eligible first, each group best first, equals by name.

        Args:
            now: seconds since the epoch, for what fades.
            rng: when given, newcomers get tried now and then.
            barred: who is passed over, as if it were no candidate.
        """
        if not candidates.names:
            return []
        asked = self._rows_of(candidates.names)
        standing = self._standing_of(candidates, asked, now)
        rows, size = asked.rows, len(self._names)
        out = [asked.places[name] for name in barred if name in asked.places]
        known = asked.known
        bundles = bundles_of(wish.message)
        cosines = self._profiles.cosines_of(bundles, size).take(rows)
        gains = self._gains(wish.message)
        if gains is not None:
            cosines += gains.take(rows)
        if out:
            known = known.copy()
            known[out] = False
            cosines[out] = 0.0
        text_fits = profile = against_best(cosines)
        # Words of asking alone have a meaning too, but it is nobody's.
        semantic, raw_semantic = self._semantic(wish.vector if bundles else None, rows)
        evidence = cosines / MIN_TEXT
        if semantic is not None and raw_semantic is not None:
            semantic[out] = 0.0
            raw_semantic[out] = 0.0
            words = text_fits * min(1.0, float(evidence.max()) / ENOUGH)
            profile = against_best(words + self._scorer.weights.semantic * semantic)
            # Thin words that the meaning speaks against are none.
            evidence[(evidence < ENOUGH) & (raw_semantic < 0.0)] *= 0.5
            np.maximum(evidence, raw_semantic / MIN_SEMANTIC, out=evidence)
        speaks_of = evidence >= 1.0
        message, quality = profile, None
        if len(self._experience):
            centre = self._centre_for(wish.vector)
            estimate = self._experience.estimate(text.terms(wish.message), size, now, wish.vector, centre)
            quality = estimate.quality.take(rows)
            quality *= known
            message = mixture(profile, quality, estimate)
            if rng is not None and estimate.confidence > 0:
                message = self._try_newcomers(message, profile, rows, now, rng)
            np.maximum(evidence, quality / MIN_LEARNED, out=evidence)
        message = absolute(message, evidence, is_mixed=semantic is not None or quality is not None)
        wanted = capability.normalised(wish.capabilities)
        fits = self._capability_fits(wanted, rows) if wanted else None
        eligible = fits > 0 if fits is not None else (evidence >= 1.0) | asked.general
        eligible &= known
        spoken = self._spoken_fits(wish.message, rows)
        shares, scores = self._sum_of(standing, bool(wanted), wish.urgency, spoken is not None)
        scores = shares.message * message + scores
        if fits is not None:
            scores += shares.capability * fits
        if spoken is not None:
            scores += shares.language * spoken
        # Whole numbers, so that what differs by the order of additions alone counts as equal.
        keys = scores * _STEPS
        np.rint(keys, out=keys)
        keys += eligible * (2.0 * _STEPS)
        keys -= asked.ties
        if out:
            keys[out] = -np.inf
        places = best_of(keys, limit)
        if out:
            places = places[keys[places] > -np.inf]
        # Columns go into tuples without a loop of our own: every decision makes ten.
        parts = zip(
            taken(fits, places, 0.0),
            taken(text_fits, places),
            taken(semantic, places, 0.0),
            taken(None if quality is None else 0.5 + 0.5 * quality, places, 0.5),
            taken(message, places),
            taken(standing.room, places),
            taken(standing.speed, places),
            taken(standing.presence, places),
            taken(standing.fairness, places),
            taken(spoken, places),
            strict=True,
        )
        found = zip(
            [candidates.names[place] for place in places.tolist()],
            np.minimum(np.rint(scores.take(places) * _STEPS) / _STEPS, 1.0).tolist(),
            map(Parts._make, parts),
            taken(eligible, places),
            repeat(wanted),
            self._offered(rows.take(places)) if wanted else repeat(()),
            repeat(shares.load),
            taken(speaks_of, places),
        )
        return list(map(Match._make, found))

    def _offered(self, rows: Rows) -> list[tuple[str, ...]]:
        """The capabilities of some agents, normalised; none of those without a profile."""
        known = map(self._known.get, rows.tolist())
        return [one.capabilities if one else () for one in known]

    def _row(self, name: str) -> int:
        row = self._rows.get(name)
        if row is not None:
            return row
        if not self._free and len(self._names) - len(self._known) > _MOST_ROWS_IDLE:
            self._drop_idle()
        if self._free:
            row = self._free.pop()
            self._names[row] = name
        else:
            row = len(self._names)
            self._names.append(name)
            if row >= len(self._general):
                self._general = np.concatenate((self._general, np.zeros(max(16, row), np.bool_)))
                self._recent = np.concatenate((self._recent, np.zeros(max(16, row))))
                self._fits.clear()
                self._spoken.clear()
                self._kin.clear()
        self._rows[name] = row
        self._asked = self._speed = self._standing = None
        return row

    def _drop_idle(self) -> None:
        """Forget agents that have no profile and whose outcomes have all given way."""
        for row in list(self._rows.values()):
            if row not in self._known and not self._experience.keeps(row):
                self._release(row)

    def _release(self, row: int) -> None:
        name = self._names[row]
        if name is not None:
            self._experience.forget(row)
            del self._rows[name]
            self._recent[row] = 0.0
            self._names[row] = None
            self._free.append(row)
            self._asked = self._speed = self._standing = None

    def _withdraw(self, row: int) -> None:
        before = self._known.pop(row, None)
        self._asked = None
        self._vectors.drop(row)
        if before is None:
            return
        self._general[row] = False
        if self._languages.pop(row, None):
            for spoken in self._spoken.values():
                spoken[row] = _SILENT
        for fits in (*self._fits.values(), *self._kin.values()):
            fits[row] = 0.0
        self._profiles.drop(row)
        for one in before.capabilities:
            self._offers[one].discard(row)
            if not self._offers[one]:
                del self._offers[one]

    def _rows_of(self, names: Sequence[str]) -> _Asked:
        """What is known of the candidates by name alone. A caller that asks again with the same sequence gets the same
        answer at once."""
        if self._asked is None or self._asked.names is not names:
            rows = np.fromiter((self._rows.get(name, 0) for name in names), np.intp, len(names))
            known = np.fromiter((row in self._known for row in rows.tolist()), np.bool_, len(names))
            ties = np.empty(len(names))
            ties[np.argsort(np.array(names, object), kind="stable")] = _TIE * np.arange(len(names))
            places = {name: place for place, name in enumerate(names)}
            self._asked = _Asked(names, rows, known, self._general[rows], ties, places)
            self._standing = None
        return self._asked

    def _standing_of(self, candidates: Candidates, asked: _Asked, now: float) -> _Standing:
        """How the candidates stand. A caller that asks again with the same object gets the same answer at once."""
        if self._standing is None or self._standing.candidates is not candidates:
            size = len(asked.rows)
            share = self._shares_of_work(asked.rows, now) if candidates.share is None else candidates.share
            self._standing = _Standing(
                candidates,
                filled(candidates.room, size),
                self._speeds(asked.rows),
                filled(candidates.online, size),
                1.0 - filled(share, size),
            )
        return self._standing

    def _sum_of(self, standing: _Standing, wants: bool, urgency: Urgency, spoken: bool) -> tuple[Shares, Floats]:
        """How much each part counts, and what those come to that do not depend on the message."""
        found = standing.sums.get((wants, urgency, spoken))
        if found is None:
            shares = self._scorer.shares(wants_capabilities=wants, urgency=urgency, languages=spoken)
            found = (
                shares,
                (
                    shares.load * standing.room
                    + shares.speed * standing.speed
                    + shares.presence * standing.presence
                    + shares.fairness * standing.fairness
                ),
            )
            standing.sums[wants, urgency, spoken] = found
        return found

    def _spoken_fits(self, message: str, rows: Rows) -> Floats | None:
        """Whether each candidate speaks the language of the message; None when that is not known or nobody says."""
        if not self._languages:
            return None
        language = intent.language(message)
        if language == "und":
            return None
        spoken = self._spoken.get(language)
        if spoken is None:
            spoken = np.full(len(self._general), _SILENT)
            for row, codes in self._languages.items():
                spoken[row] = _SPOKEN if language in codes else _FOREIGN
            self._spoken[language] = spoken
        return spoken.take(rows)

    def _gains(self, message: str) -> Floats | None:
        """What each row's cosine gains by families; None when the message speaks of none."""
        gains = None
        for family in families_of(message):
            of_family = self._kin.get(family)
            if of_family is None:
                of_family = np.zeros(len(self._general))
                of_family[[row for row, known in self._known.items() if family in known.families]] = KIN
                self._kin[family] = of_family
            gains = of_family if gains is None else np.maximum(gains, of_family)
        return gains

    def _note_work(self, row: int, at: float) -> None:
        """Count one piece of work. It weighs more the later it was, which is as good as the earlier ones fading."""
        halves = (at - self._recent_from) / _RECENT_S
        if halves > _RECENT_SPAN:
            self._recent *= 0.5**halves
            self._recent_from, halves = at, 0.0
        self._recent[row] += 2.0 ** max(halves, -_RECENT_SPAN)

    def _shares_of_work(self, rows: Rows, now: float) -> Floats:
        """How much each candidate had of the recent work, against who had the most: 0 to 1."""
        recent = self._recent[rows]
        recent *= 2.0 ** max(-_RECENT_SPAN, min(_RECENT_SPAN, (self._recent_from - now) / _RECENT_S))
        return recent / max(_RECENT_LEAST, float(recent.max()))

    def _semantic(self, vector: Vector | None, rows: Rows) -> tuple[Floats | None, Floats | None]:
        """How each candidate's embedding fits: against the mean and the best one, 0 to 1; and the centred cosine."""
        if vector is None or not len(self._vectors):
            return None, None
        raw = self._vectors.cosines(vector, self._centre(len(vector)), len(self._names))[rows]
        best, middle = float(raw.max()), float(raw.mean())
        return np.clip((raw - middle) / max(best - middle, 0.05), 0.0, 1.0), raw

    def _centre_for(self, vector: Vector | None) -> Vector | None:
        if vector is None:
            return None
        centre = self._centre(len(vector))
        return centre if centre.shape == vector.shape else None

    def _centre(self, dimensions: int) -> Vector:
        """The middle of messages: as long as few are known, nearly that of everyday ones."""
        messages, before = self._experience.vectors.mean, self.everyday
        known = len(self._experience.vectors)
        if before is None or before.shape != (dimensions,):
            before = self._vectors.mean
        if messages.shape != (dimensions,):
            return before
        if before.shape != (dimensions,):
            return messages
        return (known * messages + _FEW * before) / np.float32(known + _FEW)

    def _capability_fits(self, wanted: Sequence[str], rows: Rows) -> Floats:
        """How well each candidate covers what is wanted: the mean of the best likeness of each wanted name."""
        fits = self._fit_of(wanted[0])[rows]
        for name in wanted[1:]:
            fits += self._fit_of(name)[rows]
        return fits / len(wanted)

    def _fit_of(self, wanted: str) -> Floats:
        """How well each row has one capability. Kept for the names asked last, and kept up to date by `put`."""
        fits = self._fits.get(wanted)
        if fits is None:
            fits = np.zeros(len(self._general))
            for offered, having in self._offers.items():
                likeness = capability.similarity(wanted, offered)
                if likeness > 0:
                    at = list(having)
                    fits[at] = np.maximum(fits[at], likeness)
            if len(self._fits) >= _MOST_FITS:
                self._fits.pop(next(iter(self._fits)))
            self._fits[wanted] = fits
        return fits

    def _speeds(self, rows: Rows) -> Floats:
        """How fast each candidate usually is, against the middle one: 0.5 when equal, near 1 when much faster."""
        if self._speed is None:
            durations = self._experience.durations
            self._speed = np.full(len(self._general), 0.5)
            if len(durations) > 1:
                usual = np.fromiter(durations.values(), np.float64, len(durations))
                middle = max(1e-3, float(np.median(usual)))
                self._speed[list(durations)] = middle / (middle + usual)
        return self._speed[rows]

    def _try_newcomers(self, message: Floats, profile: Floats, rows: Rows, now: float, rng: random.Random) -> Floats:
        """Let newcomers whose profile fits be judged by their profile on a tenth of the messages."""
        tried = message
        fitting = (profile >= _TRIAL_TEXT).nonzero()[0]
        at = _until_next(rng)
        while at < len(fitting):
            place = fitting[at]
            if self._experience.amount(int(rows[place]), now) < _NEWCOMER:
                if tried is message:
                    tried = message.copy()
                tried[place] = max(float(message[place]), float(profile[place]))
            at += 1 + _until_next(rng)
        return tried


def _until_next(rng: random.Random) -> int:
    """How many are passed over before the next one that is tried, when each is with the same chance: one draw for about
    ten of them."""
    return int(math.log(1.0 - rng.random()) / math.log(1.0 - _TRIAL_RATE))


def describe(name: str, profile: Profile) -> str:
    """A profile as the one text that an embedder gets."""
    capabilities = f" ({', '.join(profile.capabilities)})" if profile.capabilities else ""
    return f"{text.spoken(name)}: {profile.description}{capabilities}"
