"""What of messages and of profiles is compared: terms, and concepts across languages beside them."""

from functools import lru_cache

from aicp_router.matching import concepts, text
from aicp_router.matching.postings import Bundle

_NAME_SHARE = 2.0
_CAPABILITY_SHARE = 2.0
_CONCEPT_WEIGHT = 2.0
_HINT_WEIGHT = 0.5
"""Of a concept that a message only hints at: it may tell two apart, and finds nobody by itself."""


@lru_cache(maxsize=256)
def bundles_of(message: str) -> tuple[Bundle, ...]:
    """What of a message is compared with profiles; kept, because a closer look asks again."""
    return (*text.bundles(message), *_concept_bundles(message))


@lru_cache(maxsize=256)
def families_of(message: str) -> tuple[str, ...]:
    """The families of the concepts that a message speaks of, each once."""
    return tuple(dict.fromkeys(map(concepts.family, concepts.mentioned(message))))


def _concept_bundles(message: str) -> list[Bundle]:
    sure = concepts.mentioned(message)
    return [
        _concept_bundle(one, _CONCEPT_WEIGHT if one in sure else _HINT_WEIGHT) for one in concepts.concepts(message)
    ]


@lru_cache(maxsize=1_024)
def _concept_bundle(concept: str, weight: float) -> Bundle:
    return Bundle({"=" + concept: weight})


def profile_terms(name: str, description: str, capabilities: str) -> dict[str, float]:
    """Terms, and concepts across languages beside them."""
    found = text.profile_terms([(name, _NAME_SHARE), (description, 1.0), (capabilities, _CAPABILITY_SHARE)])
    for told, share in (
        (concepts.concepts(name), _NAME_SHARE),
        (concepts.described(description), 1.0),
        (concepts.concepts(capabilities), _CAPABILITY_SHARE),
    ):
        for concept in told:
            found["=" + concept] = found.get("=" + concept, 0.0) + share * _CONCEPT_WEIGHT
    return found
