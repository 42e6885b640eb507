"""The plain ways that the matcher is held against: BM25, TF-IDF of character n-grams, embeddings."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from aicp_router.matching.embedding import Vectors
from aicp_router.matching.postings import Floats


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _grams(text: str) -> list[str]:
    """Character 3-, 4- and 5-grams of padded words."""
    return [
        f" {word} "[start : start + size]
        for word in _words(text)
        for size in (3, 4, 5)
        for start in range(max(1, len(word) + 3 - size))
    ]


def bm25(documents: Sequence[str], messages: Sequence[str], k1: float = 1.5, b: float = 0.75) -> Floats:
    """Okapi BM25: [messages, documents]."""
    counts = [Counter(_words(document)) for document in documents]
    lengths = np.array([sum(count.values()) for count in counts])
    having = Counter(word for count in counts for word in count)
    weights: dict[str, Floats] = {}
    for word, df in having.items():
        tf = np.array([count[word] for count in counts], np.float64)
        idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
        weights[word] = idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * lengths / lengths.mean()))
    return _summed(weights, messages, _words, len(documents))


def tfidf(documents: Sequence[str], messages: Sequence[str]) -> Floats:
    """Cosine of TF-IDF of character 3-5-grams: [messages, documents], each row up to a factor."""
    counts = [Counter(_grams(document)) for document in documents]
    having = Counter(gram for count in counts for gram in count)
    idf = {gram: math.log((1 + len(documents)) / (1 + df)) + 1 for gram, df in having.items()}
    lengths = np.array([math.sqrt(sum((n * idf[gram]) ** 2 for gram, n in count.items())) or 1.0 for count in counts])
    weights = {
        gram: np.array([count[gram] for count in counts], np.float64) * rarity**2 / lengths
        for gram, rarity in idf.items()
    }
    return _summed(weights, messages, _grams, len(documents))


def cosines(documents: Vectors, messages: Vectors) -> Floats:
    """Cosine of embeddings: [messages, documents]."""
    return (messages @ documents.T).astype(np.float64)


def _summed(
    weights: dict[str, Floats], messages: Sequence[str], parts: Callable[[str], list[str]], size: int
) -> Floats:
    nothing = np.zeros(size)
    rows = [sum((weights.get(part, nothing) for part in parts(message)), nothing) for message in messages]
    return np.stack(rows)


def right(scores: Floats, names: Sequence[str], expected: Sequence[str]) -> float:
    """The share of messages whose best document is the right one."""
    return float(np.mean([names[best] == name for best, name in zip(scores.argmax(axis=1), expected, strict=True)]))
