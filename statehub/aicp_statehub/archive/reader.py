"""Reads the event log for the archive: a durable pull consumer that all workers share."""

import asyncio
import contextlib
import datetime
import itertools
import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from aicp_common import subjects
from aicp_common.errors import Unavailable
from aicp_statehub.relay.brief_client import BriefClient, explain

log = logging.getLogger(__name__)

CONSUMER = "archive"
BATCH_EVENTS = 500
BATCH_BYTES = 4 * 1024 * 1024
"""The server ends a batch before it is larger, except that one event always fits."""
ACK_WAIT_S = 10.0
"""After so long without acknowledgement an event goes to another worker."""
MAX_ACK_PENDING = 50_000
"""Of all workers together."""
WAIT_S = 5.0
"""How long the server keeps a request while there are no events."""
GATHER_S = 0.2
"""Nobody waits for the archive: what comes soon goes into the same batch."""
CATCH_UP_PAUSE_S = 0.01
"""Between full batches: the calls of this worker go first."""
PATIENCE_S = 5.0
MESSAGE_OVERHEAD_BYTES = 64 * 1024
"""Subject, headers and acknowledgement subject of a message, which count too."""

_NEXT = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.EVENT_STREAM}.{CONSUMER}"
_ENDED = frozenset({"404", "408"})
"""Statuses: no events, none within the time."""
_FULL = frozenset({"batch completed", "message size exceeds maxbytes"})
"""Descriptions of the status 409 that are no trouble."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One event as it came."""

    body: bytes
    receipt: str
    """Where it is acknowledged."""
    times: int
    """How often it was delivered, with this time."""
    log_seq: int
    """Its number in the event log."""
    delivery_seq: int
    """The number of this delivery, to any worker."""
    pending: int
    """How many follow on it in the log."""

    @classmethod
    def of(cls, body: bytes, receipt: str) -> "Delivered":
        """From a message and its reply subject. Source: NATS ADR-15."""
        tokens = receipt.split(".")
        times, log_seq, delivery_seq, _, pending = map(int, tokens[4:9] if len(tokens) == 9 else tokens[6:11])
        return cls(body, receipt, times, log_seq, delivery_seq, pending)


@dataclass(frozen=True, slots=True)
class Position:
    """How far the archive is in the event log."""

    log_created: datetime.datetime
    first_seq: int
    """The oldest event that the log still has."""
    next_seq: int
    """The first event that no worker has had."""
    pending: int
    """Events that are not acknowledged, or not had yet."""

    @property
    def lost(self) -> int:
        """How many events the log dropped before any worker had them."""
        return max(0, self.first_seq - self.next_seq)


def gaps_in(deliveries: Sequence[Delivered]) -> list[tuple[int, int]]:
    """What the log dropped between deliveries: each time the first and the last missing number.

    Only between two that followed each other is that certain: what is missing elsewhere another worker may have had.
    """
    return [
        (before.log_seq + 1, after.log_seq - 1)
        for before, after in itertools.pairwise(deliveries)
        if after.delivery_seq == before.delivery_seq + 1
        and before.times == after.times == 1
        and after.log_seq > before.log_seq + 1
    ]


class ArchiveReader:
    """One connection to the event log. It never reconnects: after a failure open a new one."""

    def __init__(self, nats_url: str, name: str) -> None:
        self._nats_url = nats_url
        self._name = name
        self._client = BriefClient()
        self._inbox = f"_INBOX.{secrets.token_hex(12)}."
        self._tokens = itertools.count()
        self._request = ""
        """The subject of the request under way."""
        self._wanted = 0
        self._came: list[Delivered] = []
        self._why = ""
        """Why the request under way failed."""
        self._ended = asyncio.Event()
        self._last_error: Exception | None = None

    @property
    def connected(self) -> bool:
        """Whether it can be read from."""
        return self._client.is_connected

    async def open(self) -> None:
        """Connect, and make sure that the consumer is there.

        Raises:
            Unavailable: says what is missing.
        """
        try:
            await self._client.connect_once(self._nats_url, self._name, self._on_closed, self._on_error)
            await self._client.take(self._inbox + "*", self._on_message)
            await self._client.jetstream(timeout=PATIENCE_S).add_consumer(
                subjects.EVENT_STREAM,
                ConsumerConfig(
                    durable_name=CONSUMER,
                    name=CONSUMER,
                    description="Writes every event to PostgreSQL",
                    deliver_policy=DeliverPolicy.ALL,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=ACK_WAIT_S,
                    max_ack_pending=MAX_ACK_PENDING,
                ),
            )
        except (TimeoutError, OSError, nats.errors.Error) as error:
            await self.close()
            why = self._last_error if isinstance(error, nats.errors.NoServersError) else None
            raise Unavailable(explain(why or error)) from error

    async def next_batch(self) -> list[Delivered]:
        """The next events, at most `BATCH_EVENTS`; none when none came for `WAIT_S`.

        Raises:
            Unavailable: the connection or the consumer is gone. What was on its way comes again.
        """
        batch = await self._pull(1, wait_s=WAIT_S)
        if not batch:
            return []
        await asyncio.sleep(GATHER_S if batch[-1].pending < BATCH_EVENTS else CATCH_UP_PAUSE_S)
        return batch + await self._pull(BATCH_EVENTS - 1, wait_s=0)

    def acknowledge(self, batch: Sequence[Delivered]) -> None:
        """Say that these events need not come again. When this gets lost they do.

        Raises:
            Unavailable: the connection is gone.
        """
        try:
            for delivered in batch:
                self._client.send(delivered.receipt, b"+ACK")
        except nats.errors.Error as error:
            raise Unavailable(f"the connection to NATS broke: {explain(error)}") from error

    async def position(self) -> Position:
        """How far the archive is.

        Raises:
            Unavailable: NATS does not say.
        """
        jetstream = self._client.jetstream(timeout=PATIENCE_S)
        try:
            # In this order: what is had meanwhile can only make the gap seem smaller.
            stream = await jetstream.stream_info(subjects.EVENT_STREAM)
            consumer = await jetstream.consumer_info(subjects.EVENT_STREAM, CONSUMER)
        except (TimeoutError, OSError, nats.errors.Error) as error:
            raise Unavailable(explain(error)) from error
        assert stream.created is not None
        assert consumer.delivered is not None
        return Position(
            log_created=stream.created,
            first_seq=stream.state.first_seq,
            next_seq=consumer.delivered.stream_seq + 1,
            pending=(consumer.num_pending or 0) + (consumer.num_ack_pending or 0),
        )

    async def close(self) -> None:
        """Give up the connection."""
        if not self._client.is_closed:
            with contextlib.suppress(nats.errors.Error, OSError, RuntimeError):
                await self._client.close()
        self._fail("the connection to NATS broke")

    async def _pull(self, events: int, *, wait_s: float) -> list[Delivered]:
        request = {"batch": events, "max_bytes": max(BATCH_BYTES, self._client.max_payload) + MESSAGE_OVERHEAD_BYTES}
        request |= {"expires": int(wait_s * 1e9)} if wait_s else {"no_wait": True}
        self._request = f"{self._inbox}{next(self._tokens)}"
        self._wanted = events
        self._why = ""
        self._ended.clear()
        try:
            self._client.send(_NEXT, json.dumps(request).encode(), self._request)
            if not self.connected:
                raise Unavailable("the connection to NATS broke")
            async with asyncio.timeout(wait_s + PATIENCE_S):
                await self._ended.wait()
        except (TimeoutError, nats.errors.Error) as error:
            raise Unavailable(f"the event log does not answer: {explain(error)}") from error
        if self._why:
            raise Unavailable(self._why)
        came, self._came = self._came, []
        return came

    def _on_message(self, subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None) -> None:
        status = headers.get("Status") if headers is not None else None
        if status is None:
            self._came.append(Delivered.of(data, reply))
            if len(self._came) >= self._wanted:
                self._ended.set()
        elif subject == self._request and status != "100":
            said = (headers or {}).get("Description", "")
            if status in _ENDED or said.lower() in _FULL:
                self._ended.set()
            else:
                self._fail(f"the event log gives none: {said or 'no such consumer'} ({status})")

    def _fail(self, why: str) -> None:
        self._why = why
        self._ended.set()

    async def _on_closed(self) -> None:
        self._fail("the connection to NATS broke")

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        log.debug("the archive's connection to the event log: %s", str(error) or repr(error))
