"""Intent: what a message says of itself, by its words alone. Pure functions, seven languages.

It is a reading, not a promise: capabilities that are inferred help to explain and to route, and a requester who names
them is always believed instead.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from aicp_router.matching import verbs
from aicp_router.matching.concepts import NAMES, mentioned
from aicp_router.matching.scoring import Urgency
from aicp_router.matching.text import MAX_CHARS, runs, shown

Kind = Literal["question", "analysis", "code", "writing", "translation", "research", "planning", "data", "other"]

_KINDS: dict[Kind, tuple[str, ...]] = {
    # In the order in which they win when a message speaks of several.
    "translation": ("translation",),
    "code": ("coding", "debugging", "testing", "devops"),
    "analysis": ("analysis", "statistics", "visualization"),
    "research": ("research", "citation"),
    "planning": ("planning", "coordination"),
    "writing": ("writing", "creative", "editing", "summary"),
    "data": ("data", "database"),
}

_FUNCTION_WORDS = {
    "en": "the a an of and to in is you that it for on with as are this be have from or by what how can do my i me"
    " please no not at we our us they he she was will would should could does did has had your who when where why which"
    " some any",
    "es": "a el la los las de que y en un una por con para es no se lo como más su al del este esta puedes qué cómo"
    " mi mis me le nos hay muy pero sobre",
    "de": "der die das und ist nicht ein eine ich du sie wir mit für auf den dem zu von bitte wie kann mir im auch"
    " kannst können könnte meine meinen meinem meiner mein einen einem einer an ihr uns was warum wo wer hat sind",
    "fr": "a le la les des et est un une que qui dans pour pas sur avec je vous nous au aux du ce cette comment mon"
    " ma mes ta ton peux peut pouvez quel quelle ai suis",
    "it": "a il lo la gli di che è un una per con non sono come mi del della questo questa puoi",
    "pt": "a o os as de que e é um uma para com não em por como do da no na este esta você meu minha",
}
_WORDS_OF = {
    language: frozenset(words.split()) | verbs.VERBS.get(language, frozenset())
    for language, words in _FUNCTION_WORDS.items()
}
_MARKS = {"es": "ñ¿¡", "de": "ß", "fr": "œ", "pt": "ãõ"}

_SCRIPTS = (
    ("ko", re.compile(r"[\uac00-\ud7a3\u1100-\u11ff]")),
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("zh", re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
)
_SCRIPT_SHARE = 0.2
"""A foreign word in a text does not make its language."""

_URGENT = re.compile(
    r"\b(urgent(ly)?|asap|as soon as possible|immediately|right away|right now|emergency|at once|top priority"
    r"|urgente(mente)?|cuanto antes|dringend|sofort|eilig|schnellstmöglich|d'urgence|au plus vite|immédiatement)\b"
    r"|급해|급합|급히|긴급|시급|빨리|서둘러|당장|紧急|緊急|加急|尽快|马上|立刻|至急|急ぎ|急いで|今すぐ|大至急",
    re.IGNORECASE,
)
_NO_HURRY = re.compile(
    r"\b(no (rush|hurry)|not urgent|isn't urgent|whenever you (can|have time)|when you have time|low priority"
    r"|take your time|no es urgente|sin prisa|nicht (dringend|eilig)|keine eile|pas urgent|sans urgence)\b"
    r"|급하지 않|안 급|천천히|시간 날 때|시간 될 때|여유 있을|不急|不着急|有空(的时候|时)|慢慢来"
    r"|急がない|急ぎません|急ぎではない|時間のあるとき|ゆっくりで",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"[?？]$|^(what|why|who|whom|whose|when|where|which|how|is|are|do|does|did|can|could|should|would)\b"
    r"|^(qué|cómo|cuándo|dónde|por qué|was|wie|warum|wann|wo|wer|pourquoi|comment|quand|où|quel(le)?)\b"
    r"|(나요|까요|인가요|습니까|ㅂ니까|는지요)\s{0,3}[.?？]?$|(吗|呢|什么|怎么|为什么|如何)|(ですか|ますか|でしょうか)\s{0,3}[。?？]?$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Intent:
    """What a message says of itself."""

    language: str
    """ISO 639-1, or `und` when nothing tells."""
    kind: Kind
    capabilities: tuple[str, ...]
    """Concepts, in the order in which the message names them (see `concepts.NAMES`)."""
    urgency: Urgency


def read(message: str) -> Intent:
    """The intent of a message."""
    return _read(shown(message))


@lru_cache(maxsize=256)
def _read(message: str) -> Intent:
    found = mentioned(message)
    return Intent(language(message), _kind(message, found), found, urgency(message))


def language(text: str) -> str:
    """The language of a text: by its script, and within Latin by its commonest words, unless two have as many."""
    return _language(text[:MAX_CHARS])


@lru_cache(maxsize=256)
def _language(sample: str) -> str:
    if not sample.isascii():
        letters = sum(map(str.isalpha, sample))
        for name, script in _SCRIPTS:
            if len(script.findall(sample)) >= max(1.0, _SCRIPT_SHARE * letters):
                return name
    words = [run.word for run in runs(sample) if not run.dense]
    if not words:
        return "und"
    lowered = sample.casefold()
    scores = {
        name: sum(map(common.__contains__, words)) + 2 * any(mark in lowered for mark in _MARKS.get(name, ""))
        for name, common in _WORDS_OF.items()
    }
    best = max(scores, key=lambda name: scores[name])
    is_tie = list(scores.values()).count(scores[best]) > 1
    return "und" if is_tie or scores[best] < max(1, len(words) // 8) else best


def urgency(message: str) -> Urgency:
    """How soon the message says that it wants an answer."""
    return _urgency(shown(message))


@lru_cache(maxsize=256)
def _urgency(message: str) -> Urgency:
    if _NO_HURRY.search(message):
        return "batch"
    return "urgent" if _URGENT.search(message) else "normal"


def _kind(message: str, found: tuple[str, ...]) -> Kind:
    if found:
        for kind, names in _KINDS.items():
            if any(name in found for name in names):
                return kind
    return "question" if _QUESTION.search(message.strip()) else "other"


assert all(name in NAMES for names in _KINDS.values() for name in names)
