"""The bus: one NATS connection of a process, calls to services, publications, subscriptions."""

import asyncio
import contextlib
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec
import nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError, NoRespondersError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.micro.request import ERROR_CODE_HEADER

from aicp_common import subjects
from aicp_common.cancellation import end
from aicp_common.envelope import Envelope, pack
from aicp_common.errors import AicpError, DeadlineExceeded, TooLarge, Unavailable, decode_error
from aicp_common.natsclient import NatsClient, Take

log = logging.getLogger(__name__)

RECONNECT_PATIENCE_S = 5.0
"""How long a call waits for a bus that has just gone away, before it says so."""

MISSING_PATIENCE_S = 3.0
"""How long a call waits for a service that has no worker right now: the time in which a supervisor restarts one."""

MAX_OUTBOUND_BYTES = 8 * 1024 * 1024
"""What may wait in the client while the connection is away."""

BEAT_HEADER = "aicp-beat"
"""Header of a message that says: your call is still being worked on."""

INTERIM_HEADER = "aicp-interim"
"""Header of a message that comes before the answer; its value says what it is, see `aicp_common.current_call`."""

KIND_HEADER = "aicp-result"
"""Header of an answer that is not the plain result; its value says what it is, see `Reply.kind`."""

COMPLETE = "complete"
INPUT_REQUIRED = "input_required"
TASK = "task"

WATCH_INTERVAL_S = 0.1
"""How often the calls that wait are looked at."""

STALLED_S = 0.5
"""A timer that is later than this was held up by the process, not by the other side."""

FLUSH_S = 10.0

DELIVERY_S = 5.0
"""How long the taker of a delivery has to say so."""

_TAKEN = b"taken"
_NOT_TAKEN = b"not taken"

TRACE_HEADER = "traceparent"
"""Header of a reply that hands something on from another trace, a task for instance."""


class Reply(msgspec.Struct, frozen=True):
    """What a service answered."""

    body: bytes
    origin: str | None = None
    """The `traceparent` of the request that this reply delivers something from, when it is recorded."""
    receipt: str = ""
    """Where the sender waits to hear that this reply has arrived; see `Bus.acknowledge`."""
    kind: str = COMPLETE
    """`complete`; `input_required`: the service wants something of the client first; `task`: a handle of a task."""


class _Answer(msgspec.Struct, frozen=True):
    """What came to the inbox of a call."""

    data: bytes
    receipt: str
    headers: Mapping[str, str] = {}


OnInterim = Callable[[str, bytes], None]
"""Takes what kind of message came before the answer, and its body. Must not block."""


class Bus:
    """One connection to NATS. Reconnects by itself for ever; `connected` says how it is now.

    Args:
        url: Of one server, or of several separated by commas.
        name: Of this connection, for those who look at the server.
        worker_patience_s: A call without an answer or a sign of life for this long was taken by a worker that died.
    """

    def __init__(self, url: str, name: str, worker_patience_s: float = 8.0) -> None:
        self._url = url
        self._name = name
        self._worker_patience_s = worker_patience_s
        self._connected = asyncio.Event()
        self._refused = asyncio.Event()
        self._last_error = "no answer"
        # One subscription takes the replies to all calls. nats-py's own `request` does the same with a task, a token
        # of random bytes and a time-out context for each call, and cannot be told that the connection broke.
        self._inbox = f"_INBOX.{secrets.token_hex(12)}."
        self._waiting: dict[str, _Waiting] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._watch_due = 0.0
        self._calls = itertools.count()
        self.client = NatsClient()

    @property
    def connected(self) -> bool:
        """Whether the connection stands at this moment."""
        return self.client.is_connected

    async def connect(self, patience_s: float = 30.0) -> None:
        """Connect, waiting for a server that is still starting.

        Raises:
            Unavailable: there is no server after `patience_s`, or it refuses the credentials.
        """
        # With `allow_reconnect` nats-py tries the first connection for ever too, so the patience is ours.
        connecting = asyncio.create_task(
            self.client.connect(
                servers=self._url.split(","),
                name=self._name,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.1,  # type: ignore[arg-type]  # seconds, passed to asyncio.sleep
                ping_interval=10,
                max_outstanding_pings=2,
                connect_timeout=2,
                pending_size=MAX_OUTBOUND_BYTES,
                allow_reconnect=True,
                disconnected_cb=self._on_disconnect,
                reconnected_cb=self._on_reconnect,
                error_cb=self._on_error,
            )
        )
        refused = asyncio.create_task(self._refused.wait())
        try:
            await asyncio.wait((connecting, refused), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if self._refused.is_set():
                raise Unavailable("NATS refuses the credentials of NATS_URL")
            if not connecting.done():
                raise Unavailable(
                    f"NATS cannot be reached after {patience_s:.0f} s: {self._last_error}", hint="look at NATS_URL"
                )
            connecting.result()
        except (OSError, nats.errors.Error) as error:
            raise Unavailable(f"NATS cannot be reached: {error}", hint="look at NATS_URL") from error
        finally:
            await end([connecting, refused])
        await self.client.take(self._inbox + "*", self._on_answer)
        self._connected.set()

    async def close(self) -> None:
        """Let what was published leave, then close."""
        if self.client.is_connected:
            await self.client.drain()
        elif not self.client.is_closed:
            # nats-py sends what waits over the broken connection, which uvloop refuses.
            with contextlib.suppress(OSError, RuntimeError, nats.errors.Error):
                await self.client.close()

    async def call(
        self,
        service: str,
        method: str,
        envelope: Envelope,
        body: bytes,
        *,
        hands_on: bool = False,
        repeatable: bool = False,
        on_interim: OnInterim | None = None,
    ) -> Reply:
        """Call `method` of whichever worker of `service` is free, and wait for its answer.

        Args:
            service: Which.
            method: Of it.
            envelope: Who calls, until when.
            body: JSON.
            hands_on: The caller hands the reply on to somebody else, and does `acknowledge` itself once that is done.
            repeatable: To do it twice is to do it once: when its worker dies, or the connection breaks, another worker
                is called, once.
            on_interim: Called for each message that the service sends before its answer.

        Raises:
            AicpError: what the service answered with.
            Unavailable: the bus is away, no worker of the service runs, or the connection broke while waiting; the
                message says which.
            DeadlineExceeded: no answer before the envelope's deadline.
            TooLarge: the message does not fit on the bus.
        """
        payload = pack(envelope, body)
        if len(payload) > self.client.max_payload:
            raise TooLarge(f"the message has {len(payload)} bytes", expected=f"at most {self.client.max_payload}")
        try:
            answer = await self._request_patiently(service, method, envelope, payload, on_interim)
        except _Lost:
            if not repeatable or envelope.remaining_s() < 1:
                raise
            # Once: a call of which workers die is not to end them all.
            answer = await self._request_patiently(service, method, envelope, payload, on_interim)
        headers = answer.headers
        if not (headers or answer.receipt):
            return Reply(answer.data)
        if ERROR_CODE_HEADER in headers:
            raise decode_error(answer.data)
        origin, kind = headers.get(TRACE_HEADER), headers.get(KIND_HEADER, COMPLETE)
        if answer.receipt and not hands_on:
            self.acknowledge(answer.receipt, taken=True)
            return Reply(answer.data, origin, kind=kind)
        return Reply(answer.data, origin, answer.receipt, kind)

    async def _request_patiently(
        self, service: str, method: str, envelope: Envelope, payload: bytes, on_interim: OnInterim | None
    ) -> _Answer:
        gives_up_at = 0.0
        while True:
            if not self.client.is_connected:
                await self._wait_connected(envelope)
            try:
                return await self._request(service, method, envelope, payload, on_interim)
            except NoRespondersError:
                # Nobody has seen the call, so calling again cannot do anything twice.
                gives_up_at = gives_up_at or time.monotonic() + MISSING_PATIENCE_S
                if time.monotonic() > gives_up_at or envelope.remaining_s() < 0.1:
                    raise Unavailable(
                        f"no worker of the service {service!r} is running", hint="try again in a few seconds"
                    ) from None
                await asyncio.sleep(0.05)

    async def _request(
        self, service: str, method: str, envelope: Envelope, payload: bytes, on_interim: OnInterim | None
    ) -> _Answer:
        timeout_s = envelope.remaining_s()
        if timeout_s <= 0:
            raise DeadlineExceeded(f"the deadline of the call to {service}.{method} has passed")
        token, waiting = self._wait(_Waiting(service, method, timeout_s, self._worker_patience_s, on_interim))
        try:
            await self.client.publish(subjects.call(service, method), payload, reply=self._inbox + token)
            answer = await waiting.answer
        except (ConnectionClosedError, OutboundBufferLimitError):
            raise Unavailable("the message bus (NATS) is away", hint="try again in a few seconds") from None
        finally:
            del self._waiting[token]
        if answer.headers.get("Status") == "503":
            raise NoRespondersError
        return answer

    def _on_answer(self, subject: str, receipt: str, data: bytes, headers: Mapping[str, str] | None) -> None:
        waiting = self._waiting.get(subject[len(self._inbox) :])
        if waiting is None or waiting.answer.done():
            if receipt:
                self.acknowledge(receipt, taken=False)
        elif headers is None:
            waiting.answer.set_result(_Answer(data, receipt))
        elif BEAT_HEADER in headers:
            waiting.heard_at = waiting.loop.time()
        elif INTERIM_HEADER in headers:
            waiting.heard_at = waiting.loop.time()
            if waiting.on_interim is not None:
                waiting.on_interim(headers[INTERIM_HEADER], data)
        else:
            waiting.answer.set_result(_Answer(data, receipt, headers))

    def _wait(self, waiting: "_Waiting") -> tuple[str, "_Waiting"]:
        """Put it where its answer finds it; the name that the answer is sent to."""
        token = str(next(self._calls))
        self._waiting[token] = waiting
        if self._watch is None:
            self._watch_in(WATCH_INTERVAL_S)
        return token, waiting

    def _watch_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._watch_due = loop.time() + seconds
        self._watch = loop.call_at(self._watch_due, self._look)

    def _look(self) -> None:
        """End what has waited for too long. There is one timer for all calls: one for each would cost too much."""
        now = asyncio.get_running_loop().time()
        if now - self._watch_due > STALLED_S:
            # This process was held up itself; what has come for it meanwhile is read first.
            self._watch_in(STALLED_S / 2)
            return
        for waiting in self._waiting.values():
            waiting.look(now)
        self._watch = None
        if self._waiting:
            self._watch_in(WATCH_INTERVAL_S)

    async def deliver(self, reply_subject: str, body: bytes, headers: dict[str, str] | None = None) -> bool:
        """Answer a call, and wait until its caller says that it has the answer.

        Returns:
            Whether it does; False when nobody waits there any more, or nothing is heard within `DELIVERY_S`.
        """
        token, waiting = self._wait(_Waiting(reply_subject, "reply", DELIVERY_S, DELIVERY_S))
        try:
            await self.client.publish(reply_subject, body, reply=self._inbox + token, headers=headers)
            return (await waiting.answer).data == _TAKEN
        except (AicpError, ConnectionClosedError, OutboundBufferLimitError):
            return False
        finally:
            del self._waiting[token]

    def acknowledge(self, receipt: str, *, taken: bool) -> None:
        """Tell the sender of a reply that must not get lost whether somebody has it."""
        self.say(receipt, _TAKEN if taken else _NOT_TAKEN)

    async def _wait_connected(self, envelope: Envelope) -> None:
        patience_s = min(RECONNECT_PATIENCE_S, max(envelope.remaining_s(), 0))
        try:
            await asyncio.wait_for(self._connected.wait(), patience_s)
        except TimeoutError:
            raise Unavailable("the message bus (NATS) is away", hint="try again in a few seconds") from None

    async def publish(self, subject: str, body: bytes = b"") -> None:
        """Publish, at most once, to whoever listens now; waits while more than the limit is unsent.

        Never raises for a bus that is away: a lost message may only ever be a delay, for state is written elsewhere.
        """
        try:
            await self.client.publish(subject, body)
        except (ConnectionClosedError, OutboundBufferLimitError) as error:
            _not_published(subject, error)

    def say(self, subject: str, body: bytes = b"") -> None:
        """Publish a few bytes, as `publish` does, without waiting."""
        try:
            self.client.send(subject, body)
        except (ConnectionClosedError, OutboundBufferLimitError) as error:
            _not_published(subject, error)

    async def take(self, subject: str, taker: Take) -> None:
        """Have `taker` called for each message, in order, where it is read. It must not wait."""
        await self.client.take(subject, taker)

    async def subscribe(self, subject: str, handler: Callable[[Msg], Awaitable[None]], queue: str = "") -> Subscription:
        """Call `handler` for each message, one after the other; it must not wait for long."""

        async def guarded(message: Msg) -> None:
            try:
                await handler(message)
            except Exception:
                log.exception("a message could not be handled", extra={"subject": message.subject})

        return await self.client.subscribe(subject, queue=queue, cb=guarded)

    async def finish(self, subscriptions: Iterable[Subscription]) -> None:
        """Take no more messages of these, and hand those that are under way to their handlers.

        Raises:
            Unavailable: the bus is away.
        """
        leaving = list(subscriptions)
        for subscription in leaving:
            await self.client._send_unsubscribe(subscription._id)
        # `drain` would forget the subscription after a flush of nats-py's, before the last messages are here.
        await self.flush()
        await asyncio.gather(*(subscription.drain() for subscription in leaving))  # type: ignore[no-untyped-call]

    async def flush(self) -> None:
        """Wait until the server has seen everything that this process sent, subscriptions included.

        It sends a message to itself. nats-py's own `flush` lets its PING overtake what waits to be sent, so it says
        nothing about that; and it must not be cancelled, for the late answer of the server then ends its reader.

        Raises:
            Unavailable: the bus is away.
        """
        token, waiting = self._wait(_Waiting("nats", "flush", FLUSH_S, FLUSH_S))
        try:
            await self.client.publish(self._inbox + token)
            await waiting.answer
        except (ConnectionClosedError, OutboundBufferLimitError, DeadlineExceeded):
            raise Unavailable("the message bus (NATS) is away", hint="try again in a few seconds") from None
        finally:
            del self._waiting[token]

    async def _on_disconnect(self) -> None:
        self._connected.clear()
        if not self.client.is_closed:
            log.warning("NATS went away", extra={"calls_in_flight": len(self._waiting)})
        # Whether these calls or their answers were lost cannot be known, and waiting for the deadline helps nobody.
        for waiting in self._waiting.values():
            waiting.fail(_Lost("the message bus (NATS) went away while the call was under way", hint=_UNKNOWN))

    async def _on_reconnect(self) -> None:
        self._connected.set()
        log.info("NATS is back")

    async def _on_error(self, error: Exception) -> None:
        self._last_error = str(error) or repr(error)
        if isinstance(error, nats.errors.AuthorizationError) or "authorization" in self._last_error.lower():
            self._refused.set()
        level = logging.DEBUG if isinstance(error, (OSError, NatsTimeoutError, nats.errors.Error)) else logging.WARNING
        if isinstance(error, nats.errors.SlowConsumerError):
            level = logging.ERROR
        log.log(level, "NATS: %s", self._last_error)


def _not_published(subject: str, error: Exception) -> None:
    log.warning("a signal was not published", extra={"subject": subject, "error": repr(error)})


_UNKNOWN = "it may or may not have been done: look before you do it again"


class _Lost(Unavailable):
    """A call of which nobody knows whether it was done."""


class _Waiting:
    """A call that waits for its answer."""

    __slots__ = ("answer", "deadline", "heard_at", "loop", "method", "on_interim", "patience_s", "service")

    def __init__(
        self, service: str, method: str, timeout_s: float, patience_s: float, on_interim: OnInterim | None = None
    ) -> None:
        self.on_interim = on_interim
        self.patience_s = patience_s
        self.loop = asyncio.get_running_loop()
        self.service = service
        self.method = method
        self.answer: asyncio.Future[_Answer] = self.loop.create_future()
        self.heard_at = self.loop.time()
        self.deadline = self.heard_at + timeout_s

    def fail(self, error: AicpError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def look(self, now: float) -> None:
        if now >= self.deadline:
            self.fail(
                DeadlineExceeded(f"the service {self.service!r} did not answer {self.method!r} in time", hint=_UNKNOWN)
            )
        elif now - self.heard_at >= self.patience_s:
            self.fail(
                _Lost(f"the worker of {self.service!r} that took the call {self.method!r} has died", hint=_UNKNOWN)
            )
