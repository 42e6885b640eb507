"""The event log: a JetStream stream, and a connection that appends to it in order."""

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import Mapping

import msgspec
import nats
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from aicp_common import subjects
from aicp_common.errors import TooLarge, Unavailable
from aicp_statehub.relay.brief_client import BriefClient, explain
from aicp_statehub.relay.event import MESSAGE_ID_HEADER, Event
from aicp_statehub.settings import DUPLICATE_WINDOW_S, StatehubSettings

log = logging.getLogger(__name__)

API_TIMEOUT_S = 5.0
TOO_LARGE = 10054
"""JetStream's code for a message that is larger than the stream takes."""


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    duplicate: bool = False
    error: _ApiError | None = None


_decode_ack = msgspec.json.Decoder(_Ack).decode


class Appending:
    """Events that are on their way into the log, and what has become of each."""

    def __init__(self) -> None:
        self.outcomes: list[bool | Exception | None] = []
        """Of each event, in order: True if the log had it already, False if it has it now, why it was not stored
        (`TooLarge`, `Unavailable`), or None: it has not said yet."""
        self._open = 0
        self._settled = asyncio.Event()

    def expect(self) -> int:
        """One more event; its place."""
        self.outcomes.append(None)
        self._open += 1
        return len(self.outcomes) - 1

    def settle(self, place: int, outcome: bool | Exception) -> None:
        """What has become of the event in this place."""
        if self.outcomes[place] is None:
            self.outcomes[place] = outcome
            self._open -= 1
            if self._open == 0:
                self._settled.set()

    async def settled(self, patience_s: float) -> None:
        """Wait until there is an outcome of each, `patience_s` at most."""
        if self._open:
            self._settled.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._settled.wait()


class EventLog:
    """One connection to the event log.

    It never reconnects: what waits in a client's buffer while the connection is away would be sent after events that
    got lost with the old connection, and break the order. After a failure open a new one, and append from the first
    event on that has no acknowledgement.
    """

    def __init__(self, settings: StatehubSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._client = BriefClient()
        self._inbox = f"_INBOX.{secrets.token_hex(12)}."
        self._numbers = itertools.count()
        self._waiting: dict[str, tuple[Appending, int]] = {}
        self._last_error: Exception | None = None
        self.closed = asyncio.Event()
        """Set when the connection is gone for good."""

    @property
    def connected(self) -> bool:
        """Whether it can be appended to."""
        return self._client.is_connected

    async def open(self) -> None:
        """Connect, and make sure that the stream is there, as configured.

        Raises:
            Unavailable: says what is missing.
        """
        try:
            await self._client.connect_once(self._settings.nats_url, self._name, self._on_closed, self._on_error)
            await self._client.take(self._inbox + "*", self._on_ack)
            await self._ensure_stream()
        except (TimeoutError, OSError, nats.errors.Error) as error:
            await self.close()
            why = self._last_error if isinstance(error, nats.errors.NoServersError) else None
            raise Unavailable(explain(why or error)) from error

    def append(self, event: Event, appending: Appending) -> None:
        """Send an event; those sent over one connection are stored in this order.

        Args:
            event: Which.
            appending: Hears what has become of it.

        Raises:
            TooLarge: the event does not fit on the bus.
            Unavailable: the connection is gone.
        """
        if len(event.body) + 1024 > self._client.max_payload:
            raise TooLarge(f"the event has {len(event.body)} bytes", expected=f"at most {self._client.max_payload}")
        if not self._client.is_connected:
            raise Unavailable("the connection to NATS broke")
        token = str(next(self._numbers))
        try:
            self._client.send(event.subject, event.body, self._inbox + token, {MESSAGE_ID_HEADER: event.event_id})
        except nats.errors.Error as error:
            raise Unavailable(f"the connection to NATS broke: {explain(error)}") from error
        self._waiting[token] = appending, appending.expect()
        for folder in event.folders:
            self._client.send(folder, event.notice)

    async def close(self) -> None:
        """Give up the connection; what waits for an acknowledgement fails."""
        if not self._client.is_closed:
            with contextlib.suppress(nats.errors.Error, OSError, RuntimeError):
                await self._client.close()
        self._fail_all()

    async def _on_closed(self) -> None:
        self._fail_all()

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        log.debug("event log connection: %s", str(error) or repr(error))

    def _fail_all(self) -> None:
        self.closed.set()
        waiting, self._waiting = self._waiting, {}
        for appending, place in waiting.values():
            appending.settle(place, Unavailable("the connection to NATS broke"))

    def _on_ack(self, subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None) -> None:
        found = self._waiting.pop(subject[len(self._inbox) :], None)
        if found is not None:
            appending, place = found
            appending.settle(place, _outcome(data, headers))

    async def _ensure_stream(self) -> None:
        wanted = {
            "subjects": [subjects.EVENTS],
            "max_age": float(self._settings.events_max_age_s),
            "max_bytes": self._settings.events_max_bytes,
            "num_replicas": self._settings.events_replicas,
            "duplicate_window": float(DUPLICATE_WINDOW_S),
            "discard": DiscardPolicy.OLD,
        }
        jetstream = self._client.jetstream(timeout=API_TIMEOUT_S)
        try:
            config = (await jetstream.stream_info(subjects.EVENT_STREAM)).config
        except NotFoundError:
            config = StreamConfig(
                name=subjects.EVENT_STREAM,
                description="Every change in the hub, in order per tenant",
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
            )
            await jetstream.add_stream(config.evolve(**wanted))
            return
        if any(getattr(config, name) != value for name, value in wanted.items()):
            try:
                await jetstream.update_stream(config.evolve(**wanted))
            except APIError as error:
                # It takes events all the same; losing them over its limits would be worse.
                log.warning("the stream %s keeps its old limits: %s", subjects.EVENT_STREAM, explain(error))


def _outcome(data: bytes, headers: Mapping[str, str] | None) -> bool | Exception:
    """What an acknowledgement says; see `Appending.outcomes`."""
    if headers is not None and headers.get("Status") == "503":
        return Unavailable(f"no stream takes events: JetStream is off or {subjects.EVENT_STREAM} was removed")
    try:
        ack = _decode_ack(data)
    except msgspec.MsgspecError as error:
        return Unavailable(f"JetStream's acknowledgement cannot be read: {error}")
    if ack.error is None:
        return ack.duplicate
    if ack.error.err_code == TOO_LARGE:
        return TooLarge(f"JetStream refuses the event: {ack.error.description}")
    return Unavailable(f"JetStream refuses events: {ack.error.description} ({ack.error.err_code})")
