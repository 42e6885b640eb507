"""Text: what a message or a profile is compared by. Pure functions; any script.

A text becomes *terms*, each with a weight. Words of scripts with spaces are stemmed lightly and give a term for the
stem; in a profile's terms their character 4-grams are added, so that inflected, compound and misspelt words meet too.
Scripts without spaces, and Korean, whose particles cling to words, give pairs of characters. Words that are in any
request (`could you help me find`) give nothing: a handful of profiles cannot tell how common a word is. Neither do the
verbs of requests (`verbs.py`) where messages and profiles are compared; what is learned from messages has them.
"""

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from aicp_router.matching import verbs
from aicp_router.matching.postings import Bundle

MAX_CHARS = 4_000
"""A message says what it wants early; the rest costs time and dilutes."""

_MAX_WORD_CHARS = 40
_WORD_WEIGHT = 2.0

_DENSE = "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_RUNS = re.compile(rf"[{_DENSE}]+|[^\W_{_DENSE}]+")
_DENSE_FIRST = re.compile(rf"[{_DENSE}]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_APOSTROPHES = re.compile(r"['’`´]")

# Function words and the words of asking, by general knowledge of the languages, not from any data.
_COMMON = """
a about above across after again against all almost along already also although always am among an and another any
anybody anyone anything anyway are around as ask asked asking at away back be became because become been before being
below between both but by came can cannot cant come coming could couldnt did didnt do does doesnt doing done dont down
during each either else enough etc even ever every everyone everything few for from further get gets getting give
given gives giving go goes going gone got had happen happened has hasnt have havent having he help helped helpful
helping helps her here hers herself hey hi hello him himself his how however i id if ill im in instead into is isnt it
its itself ive just keep kind know known let lets like likely little long look looked looking looks lot made make
makes making many may maybe me mean might mine more most much must my myself need needed needing needs never new next
no nobody none nor not nothing now of off often ok okay on once one ones only onto or other others ought our ours
ourselves out over own per perhaps please possible provide provided provides providing put quite rather really right
said same say says see seem seems seen several shall she should show shows since so some somebody someone something
sometimes soon still such sure take taken takes taking tell tells than thank thanks that thats the their theirs them
then there these they thing things think this those though through thus to together told too took toward towards tried
tries try trying under until up upon us use used useful user users uses using usually various very via want wanted
wants was way ways we well went were werent what whatever whats when where whether which while who whoever whole whom
whose why will wish with within without wont would wouldnt yes yet you youd youll your youre yours yourself able allow
allows assist assistance assistant best better good great easily easy simply quickly available different specific
certain based information details detail plugin tool tools app agent agents
der die das den dem des ein eine einen einem einer und oder ist sind war wie was wer wo ich du er sie es wir ihr mir
mich mein meine dein ihre fur mit von zu zum zur im am auf aus bei nach uber bitte kann konnen konnte kannst hilfe
brauche mochte nicht auch noch nur
el la los las un una unos unas y o es son fue como que quien donde yo tu ella nosotros mi mis su sus para con de del al
en por favor puede puedes podria ayuda ayudame necesito quiero no si muy mas este esta estos estas
le les une du et ou est sont je il elle nous vous ils mon ma mes son sa ses pour avec au aux dans sur par plait peux
peut pouvez pourriez aide aidez besoin voudrais veux ne pas ce cette ces
"""
STOP_WORDS = frozenset(_COMMON.split())

_SUFFIXES = ("ations", "ation", "ings", "ing", "ies", "ers", "ed", "es", "er", "s", "ly")


def normalise(text: str) -> str:
    """NFKC, case folded, apostrophes gone, at most `MAX_CHARS` characters."""
    if text.isascii():
        # The same, in a tenth of the time.
        return text[:MAX_CHARS].lower().replace("'", "").replace("`", "")
    return _APOSTROPHES.sub("", unicodedata.normalize("NFKC", text[:MAX_CHARS]).casefold())


def spoken(name: str) -> str:
    """An identifier as words: `CreditCardTool` and `credit_card-tool` as `Credit Card Tool`, `credit card tool`."""
    return " ".join(_RUNS.findall(_CAMEL.sub(" ", name)))


def terms(text: str) -> dict[str, float]:
    """The terms of a message to learn from, each with how much it counts: sublinear in how often it occurs."""
    found: dict[str, float] = {}
    for run in runs(text):
        for term, weight in run.terms:
            found[term] = found.get(term, 0.0) + weight
    return _damped(found)


def profile_terms(texts: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The terms of a profile. Verbs of requests are none.

    Args:
        texts: the texts with how much each counts.
    """
    found: dict[str, float] = {}
    for text, share in texts:
        for run in runs(text):
            if run.word in verbs.ALL:
                continue
            for term, weight in run.terms if run.dense else _spelt_terms(run):
                found[term] = found.get(term, 0.0) + share * weight
    return _damped(found)


def bundles(text: str) -> list[Bundle]:
    """The terms of a message to compare with profiles, word by word: a word that comes twice counts sublinearly."""
    times: dict[str, int] = {}
    for run in runs(text):
        times[run.word] = times.get(run.word, 0) + 1
    return [bundle for bundle in map(_bundle, times, times.values()) if bundle is not None]


def shown(message: str) -> str:
    """A message as far as it is read: its beginning, and its end where it may ask or hurry."""
    return message if len(message) <= MAX_CHARS else f"{message[: MAX_CHARS - 500]}\n{message[-499:]}"


@dataclass(frozen=True, slots=True)
class Run:
    """A word or, in a script of dense characters (Chinese, Japanese, Korean), a run of several words: all that a text
    is read by, worked out once for each that comes."""

    word: str
    """Normalised."""
    dense: bool
    stem: str
    is_common: bool
    """Whether it is in any request."""
    terms: tuple[tuple[str, float], ...]
    """To learn from, each with its weight."""


@lru_cache(maxsize=256)
def runs(text: str) -> tuple[Run, ...]:
    """The words of a text, in their order."""
    return tuple(map(_run, _RUNS.findall(normalise(text))))


@lru_cache(maxsize=16_384)
def _run(word: str) -> Run:
    if word[0] >= "\u1100" and _DENSE_FIRST.match(word):
        return Run(word, True, word, False, _dense_terms(word))
    root = stem(word)
    term = stem(word[:_MAX_WORD_CHARS])
    is_nothing = word in STOP_WORDS or term in STOP_WORDS
    return Run(word, False, root, word in STOP_WORDS, () if is_nothing else ((term, 1.0),))


def _damped(counts: dict[str, float]) -> dict[str, float]:
    return {term: 1 + math.log(count) if count > 1 else count for term, count in counts.items()}


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """A word without accents and its commonest English endings: `analysing` and `analyse` need not meet, `stocks` and
    `stock` do."""
    if not word.isascii():
        word = "".join(one for one in unicodedata.normalize("NFD", word) if not unicodedata.combining(one))
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            return word[: -len(suffix)]
    return word


def _spelt_terms(run: Run) -> tuple[tuple[str, float], ...]:
    if not run.terms:
        return ()
    ((root, _),) = run.terms
    if run.word in verbs.ALL:
        # It is no profile's term, and makes the rest of a message no louder.
        return (("!" + root, _WORD_WEIGHT),)
    padded = f" {root} "
    pieces = dict.fromkeys((padded[i : i + 4] for i in range(len(padded) - 3)), 1.0)
    # A stem never has a space in it, so that it is never taken for a 4-gram of another word's edge.
    return (("#" + root, _WORD_WEIGHT), *pieces.items())


@lru_cache(maxsize=16_384)
def _bundle(word: str, times: int) -> Bundle | None:
    run = _run(word)
    counts = run.terms if run.dense else _spelt_terms(run)
    return Bundle(_damped({term: times * weight for term, weight in counts})) if counts else None


def _dense_terms(run: str) -> tuple[tuple[str, float], ...]:
    if len(run) == 1:
        return ((run, 1.0),)
    counts: dict[str, float] = {}
    for i in range(len(run) - 1):
        counts[run[i : i + 2]] = counts.get(run[i : i + 2], 0.0) + 1.0
    return tuple(counts.items())
