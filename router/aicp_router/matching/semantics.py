"""Semantics: embeddings for a router that runs. They are made beside the event loop, and nothing ever has to have one.

A message's embedding is asked for where the cheap score leaves doubt, and has a budget of time: when it is late, the
decision stands without. What waits meanwhile goes into one batch; when more waits than can be in time, nothing is
asked for at all. Profiles and outcomes come second: they are embedded batch by batch in a thread that gives way to
all others.

While the source fails it is tried again after a second, then less and less often, and messages do not ask for it.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from prometheus_client import Gauge

from aicp_common.tally import Counts, Durations
from aicp_router.matching.embedding import Cached, Embedder, EmbeddingFailed, Source, Vectors
from aicp_router.matching.everyday import SENTENCES
from aicp_router.matching.vectors import Vector

log = logging.getLogger(__name__)

Of = Literal["message", "profile", "outcome"]

EMBEDDINGS = Counts(
    "aicp_embeddings_total",
    "Embeddings asked for: of a message, a profile or an outcome; made, cached, late, busy, failed, or away.",
    ["of", "outcome"],
)
EMBEDDING_SECONDS = Durations(
    "aicp_embedding_seconds",
    "How long one call of the embedder took.",
    ["of"],
    bounds=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
EMBEDDER_READY = Gauge("aicp_embedder_ready", "1 while the embedder is loaded and works.")

_MOST_WAITING = 64
"""Messages that wait for an embedding at once; more decide without."""
_KEPT = 16_384
"""Vectors at hand, by text: some 25 MB with 384 dimensions."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
"""Between tries while the source fails."""
_RECENT = 0.3
"""The share of the newest call in how long a text usually takes."""
_MESSAGE_NICENESS, _BACKGROUND_NICENESS = 2, 10
"""Of the threads that embed: the event loop goes first when cores are short."""
_END_S = 1.0
"""How long the end waits for a call under way: a model in this process must not be left in the middle of a text."""

_T = TypeVar("_T")


@dataclass(slots=True)
class _Wanted:
    """The embedding of a message that decisions wait for."""

    vector: "asyncio.Future[Vector | None]"
    until: float
    """When those who wait for it give up. Who asks later waits no longer than they."""
    waiting: int = 0


class Semantics:
    """The embedder of one router.

    Args:
        source: Where embeddings come from; None: there are none, and nobody waits for any.
        budget_s: How long a decision waits for the embedding of its message.
    """

    def __init__(self, source: Source | None, budget_s: float) -> None:
        self._source = source
        self._budget_s = budget_s
        self._plain: Embedder | None = None
        self._embedder: Cached | None = None
        self._works = False
        self.everyday: Vector | None = None
        """The middle of everyday messages (`everyday.py`); None until the embedder worked once."""
        self._said_away = False
        self._has_worked = False
        self._pause_s = _FIRST_PAUSE_S
        """Before the next try; longer and longer until it has embedded what it was asked for."""
        self._queue: dict[str, _Wanted] = {}
        """Messages that no call has taken yet, by text."""
        self._under_way: dict[str, _Wanted] = {}
        """Messages that a call has taken."""
        self._began: dict[int, float] = {}
        """When each call for messages began that is under way."""
        self._calls = 0
        self._usual_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads: set[asyncio.Future[None]] = set()
        self.wake = asyncio.Event()
        """Set when the source fails; others may set it too, to wake whoever keeps it working."""

    @property
    def wanted(self) -> bool:
        """Whether there are embeddings at all, now or later."""
        return self._source is not None

    @property
    def works(self) -> bool:
        """Whether the embedder is loaded and did not fail last time."""
        return self._works

    @property
    def standing(self) -> str:
        """How it stands, in a word, for operators."""
        if self._source is None:
            return "off"
        return self._source.name if self._works else f"{self._source.name}: {'away' if self._said_away else 'loading'}"

    async def load(self) -> None:
        """Make the embedder work, however long that takes, and return when it does. At once when it does already."""
        source = self._source
        if source is None:
            raise RuntimeError("there is no source of embeddings to load")
        while not self._works:
            if self._said_away:
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            try:
                await self._try(source)
            except EmbeddingFailed as error:
                self._say_away(error)
        if self._said_away or not self._has_worked:
            say = log.warning if self._said_away else log.info
            say(
                "embeddings are back" if self._has_worked else "embeddings are to be had",
                extra={"embedder": source.name},
            )
        self._said_away, self._has_worked = False, True

    async def _try(self, source: Source) -> None:
        plain = self._plain
        if plain is None:
            plain = self._plain = await self._beside(source.load, _BACKGROUND_NICENESS)
            self._embedder = Cached(plain, _KEPT)
            says = "a service will be asked for embeddings" if source.name == "url" else "the model is loaded"
            log.info(says, extra={"embedder": source.name})
        self.everyday = await self._beside(lambda: _middle(plain), _BACKGROUND_NICENESS)
        self._works = True
        EMBEDDER_READY.set(1)

    async def of_message(self, text: str) -> Vector | None:
        """The embedding of a message if it comes within the budget, otherwise None."""
        embedder = self._embedder
        if embedder is None or not self._works:
            if self._source is not None:
                EMBEDDINGS.of("message", "away").value += 1
            return None
        vector = embedder.kept(text)
        if vector is not None:
            EMBEDDINGS.of("message", "cached").value += 1
            return vector
        loop = asyncio.get_running_loop()
        wanted = self._queue.get(text) or self._under_way.get(text)
        if wanted is None:
            if not self._in_time(embedder):
                EMBEDDINGS.of("message", "busy").value += 1
                return None
            wanted = self._queue[text] = _Wanted(loop.create_future(), loop.time() + self._budget_s)
            self._start(embedder)
        wanted.waiting += 1
        try:
            async with asyncio.timeout_at(wanted.until):
                vector = await asyncio.shield(wanted.vector)
        except TimeoutError:
            EMBEDDINGS.of("message", "late").value += 1
            return None
        finally:
            wanted.waiting -= 1
            if not wanted.waiting and self._queue.get(text) is wanted and not wanted.vector.done():
                # Nobody waits for it any more, and no call has it yet.
                del self._queue[text]
        EMBEDDINGS.of("message", "failed" if vector is None else "made").value += 1
        return vector

    def kept(self, text: str) -> Vector | None:
        """The embedding of a text that was made before, if it is at hand."""
        return None if self._embedder is None else self._embedder.kept(text)

    @property
    def most_texts(self) -> int:
        """How many texts `of_others` should get at once."""
        return self._embedder.most_texts if self._embedder else 1

    async def of_others(self, texts: Sequence[str], of: Of) -> Vectors | None:
        """The embeddings of profiles or outcomes; None when the source fails. Takes as long as it takes."""
        embedder = self._embedder
        if embedder is None or not self._works:
            return None
        cached = sum(embedder.kept(text) is not None for text in texts)
        began = time.monotonic()
        try:
            vectors = await self._beside(lambda: embedder.embed(texts), _BACKGROUND_NICENESS)
        except EmbeddingFailed as error:
            self._fail(error)
            EMBEDDINGS.of(of, "failed").value += len(texts)
            return None
        self._pause_s = _FIRST_PAUSE_S
        EMBEDDING_SECONDS.of(of).observe(time.monotonic() - began)
        EMBEDDINGS.of(of, "cached").value += cached
        EMBEDDINGS.of(of, "made").value += len(texts) - cached
        return vectors

    async def close(self) -> None:
        """Start no more calls, and let those under way end."""
        self._works = False
        for task in self._tasks:
            task.cancel()
        if self._threads:
            await asyncio.wait(self._threads, timeout=_END_S)

    def _in_time(self, embedder: Embedder) -> bool:
        """Whether a message that asks now can expect its embedding within the budget."""
        if len(self._queue) >= _MOST_WAITING:
            return False
        if len(self._began) < embedder.most_calls:
            return True
        if time.monotonic() - min(self._began.values()) > self._budget_s:
            return False
        return (len(self._queue) / embedder.most_calls + 1) * self._usual_s < self._budget_s

    def _start(self, embedder: Cached) -> None:
        while self._queue and len(self._began) < embedder.most_calls:
            batch = {text: self._queue.pop(text) for text in list(self._queue)[: embedder.most_texts]}
            self._under_way |= batch
            self._calls += 1
            self._began[self._calls] = time.monotonic()
            task = asyncio.create_task(self._call(embedder, batch, self._calls))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _call(self, embedder: Cached, batch: dict[str, _Wanted], number: int) -> None:
        texts = list(batch)
        vectors: Sequence[Vector | None] = [None] * len(texts)
        try:
            vectors = list(await self._beside(lambda: embedder.embed(texts), _MESSAGE_NICENESS))
            self._pause_s = _FIRST_PAUSE_S
        except EmbeddingFailed as error:
            self._fail(error)
        finally:
            took_s = time.monotonic() - self._began.pop(number)
            EMBEDDING_SECONDS.of("message").observe(took_s)
            self._usual_s += _RECENT * (took_s / len(texts) - self._usual_s)
            for text, wanted, vector in zip(texts, batch.values(), vectors, strict=True):
                self._under_way.pop(text, None)
                if not wanted.vector.done():
                    wanted.vector.set_result(vector)
        if self._works:
            self._start(embedder)

    def _fail(self, error: EmbeddingFailed) -> None:
        """From now on nobody asks, until `load` has found that it works again."""
        self._works = False
        self._say_away(error)
        for wanted in self._queue.values():
            if not wanted.vector.done():
                wanted.vector.set_result(None)
        self._queue.clear()
        self.wake.set()

    def _say_away(self, error: EmbeddingFailed) -> None:
        EMBEDDER_READY.set(0)
        if not self._said_away:
            # One line for each outage.
            log.warning("routing goes on by words alone: %s; look at EMBEDDER", error)
        self._said_away = True

    async def _beside(self, work: Callable[[], _T], niceness: int) -> _T:
        """Do `work` in a thread of its own, and await it. A thread that hangs in a call does not keep the process.

        Raises:
            EmbeddingFailed: it failed, in whatever way.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[_T] = loop.create_future()
        ended: asyncio.Future[None] = loop.create_future()

        def tell(value: _T | None, error: Exception | None) -> None:
            if not ended.done():
                ended.set_result(None)
            if result.done():
                return
            if error is None:
                result.set_result(value)  # type: ignore[arg-type]
            else:
                result.set_exception(error)

        def run() -> None:
            value: _T | None = None
            failure: Exception | None = None
            try:
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
                value = work()
            except EmbeddingFailed as error:
                failure = error
            except Exception as error:
                # What a model can raise is not known.
                failure = EmbeddingFailed(f"the embedder failed: {type(error).__name__}: {error}")
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(tell, value, failure)

        self._threads.add(ended)
        ended.add_done_callback(self._threads.discard)
        threading.Thread(target=run, name="embedding", daemon=True).start()
        return await result


def _middle(embedder: Embedder) -> Vector:
    """The mean of everyday messages' embeddings."""
    most = embedder.most_texts
    batches = [embedder.embed(SENTENCES[start : start + most]) for start in range(0, len(SENTENCES), most)]
    middle: Vector = np.concatenate(batches).mean(axis=0, dtype=np.float32)
    return middle
