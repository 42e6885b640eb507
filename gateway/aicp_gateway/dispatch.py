"""Dispatch: carries out a call of a client on the bus, with all that comes before its answer, and gives the answer."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable
from functools import lru_cache
from typing import Protocol

import msgspec

from aicp_common import subjects
from aicp_common.bus import COMPLETE, Bus, OnInterim, Reply
from aicp_common.current_call import END_STREAM, LOG, PROGRESS
from aicp_common.envelope import Envelope
from aicp_common.errors import AicpError, Conflict, DeadlineExceeded, Internal, Unavailable
from aicp_common.ids import digest
from aicp_common.logs import current_request_id, current_traceparent
from aicp_common.tracing import new_traceparent, span, tracing_enabled
from aicp_gateway.inboxes import RECEIVES, Inboxes
from aicp_gateway.metrics import INTERIM_DROPPED, REQUEST_SECONDS, REQUESTS
from aicp_gateway.presence import Presence
from aicp_gateway.protocol.actions import Answers, Ask, Call, Send
from aicp_gateway.protocol.toolresult import is_error, with_text
from aicp_gateway.source import Source, source_of

log = logging.getLogger(__name__)

CALL_DEADLINE_S = 45.0
"""No tool call blocks longer than this: common clients give up at 60 s."""

MAX_ROUNDS = 20
"""How often a service may ask the client within one call."""

MAX_INTERIM = 256
"""Notifications of one call that may wait for a client that does not read; later ones are dropped."""


class Away(Exception):
    """The client is not there now, and gets the answer later. The message says why."""


class Channel(Protocol):
    """Where the messages of one call go."""

    async def notify(self, message: bytes) -> None:
        """Give the client a message that comes before the answer."""

    async def ask(self, ask: Ask) -> Answers:
        """Ask the client.

        Raises:
            AicpError: it cannot be asked, or does not answer.
        """

    async def answer(self, send: Send, *, hands_over: bool = False) -> None:
        """Give the client the answer.

        Args:
            send: The answer.
            hands_over: It hands over something that must not get lost: only a client that is there is to get it.

        Raises:
            OSError: it has gone.
            Away: it is not there for what is handed over.
        """

    async def end_stream(self) -> None:
        """Let the client come back for the rest, where the transport has that."""


class Dispatch:
    """Turns calls into requests on the bus, in the name of the client, within a deadline and a trace.

    Args:
        bus: Where the services are.
        transport: Of the clients, for metrics and spans.
        inboxes: Know what is to be told to clients beside the results that they asked for.
        presence: Is told of calls, where clients have no connection that says that they are here.
    """

    def __init__(self, bus: Bus, transport: str, inboxes: Inboxes, presence: Presence | None = None) -> None:
        self._bus = bus
        self._transport = transport
        self._inboxes = inboxes
        self._presence = presence
        self.in_flight = 0
        """Calls that no service has answered yet."""

    async def perform(
        self, call: Call, session: str, traceparent: str = "", on_interim: OnInterim | None = None
    ) -> Reply:
        """Call the service.

        Args:
            call: What to call.
            session: The client's session.
            traceparent: From the transport; the one in the message's `_meta` comes first.
            on_interim: Takes what the service says before its answer.

        Raises:
            AicpError: what the service answered with, or why it could not be asked.
        """
        started = time.perf_counter()
        self.in_flight += 1
        if self._presence is not None:
            self._presence.calls(call.exchange.principal)
        outcome = "ok"
        request_id = request_id_of(session, call.id)
        current_request_id.set(request_id)
        try:
            parent = call.traceparent or traceparent
            if tracing_enabled():
                with span(f"gateway.{call.label}", parent, "server", {"aicp.transport": self._transport}) as inner:
                    reply = await self._request(call, session, request_id, inner, on_interim)
            else:
                reply = await self._request(call, session, request_id, parent or new_traceparent(), on_interim)
            if reply.origin is not None:
                # The reply hands on something that another client began: this is where it arrives.
                with span("gateway.deliver", reply.origin, "consumer"):
                    pass
            if call.kind == "tool" and reply.kind == COMPLETE and is_error(reply.body):
                outcome = "tool_error"
            return reply
        except AicpError as error:
            outcome = error.code
            if isinstance(error, Unavailable | DeadlineExceeded):
                # Whoever may still work on it must not: nobody is left to take the answer.
                await self.cancel(session, call.id)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            await self.cancel(session, call.id)
            raise
        except Exception as error:
            outcome = Internal.code
            log.exception("%s could not be called", call.label)
            raise Internal(
                f"the gateway failed in {call.label}", hint=f"its log says why, under request id {request_id}"
            ) from error
        finally:
            self.in_flight -= 1
            if self._presence is not None:
                self._presence.called(call.exchange.principal)
            REQUESTS.of(call.label, self._transport, outcome).value += 1
            REQUEST_SECONDS.of(call.label).observe(time.perf_counter() - started)

    def _request(
        self, call: Call, session: str, request_id: str, traceparent: str, on_interim: OnInterim | None
    ) -> Awaitable[Reply]:
        current_traceparent.set(traceparent)
        envelope = Envelope(
            call.exchange.principal,
            int((time.time() + CALL_DEADLINE_S) * 1000),
            traceparent,
            request_id,
            session,
            call.client,
            call.resumed,
        )
        return self._bus.call(
            call.service,
            call.method,
            envelope,
            call.body,
            hands_on=True,
            repeatable=call.repeatable,
            on_interim=on_interim,
        )

    async def carry_out(self, call: Call, session: str, channel: Channel, traceparent: str = "") -> None:
        """Carry out a call, however often the service has to ask the client meanwhile, and give the client its answer.

        Args:
            call: What to call.
            session: The client's session.
            channel: Where the client's messages go.
            traceparent: From the transport.

        Raises:
            OSError: the client has gone. The service is told that nobody took its reply.
        """
        if call.kind == "greeting":
            await channel.answer(await self.greet(call, session, traceparent))
            return
        if call.label == RECEIVES:
            self._inboxes.looks(call.exchange.principal)
        outcome: Send | Ask
        for _ in range(MAX_ROUNDS):
            interim = _Interim(call, channel)
            receipt = ""
            try:
                reply = await self.perform(call, session, traceparent, interim.take)
                receipt = reply.receipt
                if call.kind == "tool" and not receipt and self._inboxes.may_tell(call):
                    reply = await self._with_hint(call, reply)
                outcome = call.exchange.conclude(call, reply)
            except AicpError as error:
                outcome = call.exchange.fail(call, error)
            except asyncio.CancelledError:
                interim.drop()
                raise
            written = False
            try:
                if interim.writing is not None:
                    await interim.writing
                if isinstance(outcome, Send):
                    await channel.answer(outcome, hands_over=bool(receipt))
                    written = True
                    return
            except Away as away:
                lost = Unavailable(f"{away}; what it handed over went back", hint="call again")
                await channel.answer(call.exchange.fail(call, lost))
                return
            finally:
                if receipt:
                    self._bus.acknowledge(receipt, taken=written)
            try:
                assert isinstance(outcome, Ask)
                answers = await channel.ask(outcome)
                if answers.errors:
                    reasons = "; ".join(f"{outcome.keys[id]}: {reason}" for id, reason in answers.errors.items())
                    raise Conflict(f"the client refused what {call.label} asked it: {reasons}")
                call = call.exchange.resume(outcome, answers)
            except AicpError as error:
                await channel.answer(call.exchange.fail(call, error))
                return
        await channel.answer(call.exchange.fail(call, Internal(f"{call.label} asked the client {MAX_ROUNDS} times")))

    async def _with_hint(self, call: Call, reply: Reply) -> Reply:
        if reply.kind != COMPLETE:
            # Neither a question to the client nor a handle is read by its LLM: the next result tells it.
            return reply
        hint = await self._inboxes.hint(call.exchange.principal, current_traceparent.get(), current_request_id.get())
        return msgspec.structs.replace(reply, body=with_text(reply.body, hint)) if hint else reply

    async def greet(self, call: Call, session: str, traceparent: str = "") -> Send:
        """The answer for a client that connects. It never fails: what waits is left out when that cannot be found out.

        Args:
            call: Of the kind `greeting`.
            session: The client's session.
            traceparent: From the transport.
        """
        waiting = await self._inboxes.greeting(call, call.traceparent or traceparent, request_id_of(session, call.id))
        return call.exchange.greeted(call.id, waiting)

    async def watched_source(self, call: Call, session: str) -> Source:
        """Where changes of a resource or a task are told.

        Raises:
            AicpError: it is not there, or not this principal's to watch.
        """
        reply = await self.perform(call, session)
        try:
            return source_of(reply.body, call.service, call.exchange.principal)
        except ValueError:
            raise Internal(f"the service {call.service!r} did not say where {call.label} is to listen") from None

    async def cancel(self, session: str, id: bytes) -> None:
        """Let whichever service works on this request of the session stop."""
        await self._bus.publish(subjects.CANCEL, request_id_of(session, id).encode())


class _Interim:
    """What a service says before its answer, on its way to the client. Costs a task only when there is something."""

    __slots__ = ("_call", "_channel", "_pending", "writing")

    def __init__(self, call: Call, channel: Channel) -> None:
        self._call = call
        self._channel = channel
        self._pending: list[bytes | None] = []
        self.writing: asyncio.Task[None] | None = None

    def take(self, kind: str, body: bytes) -> None:
        if len(self._pending) >= MAX_INTERIM:
            INTERIM_DROPPED.inc()
            return
        if kind == PROGRESS:
            message = self._call.exchange.progress(self._call, body)
            if message is None:
                return
        elif kind == LOG:
            message = self._call.exchange.log(body)
            if message is None:
                return
        elif kind == END_STREAM:
            message = None
        else:
            return
        self._pending.append(message)
        if self.writing is None:
            self.writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        # A client that has gone is noticed by whoever waits for its next message.
        with contextlib.suppress(OSError):
            while self._pending:
                message = self._pending.pop(0)
                if message is None:
                    await self._channel.end_stream()
                else:
                    await self._channel.notify(message)
        self.writing = None

    def drop(self) -> None:
        """Say nothing more: the client has cancelled the call, or has gone."""
        self._pending.clear()
        if self.writing is not None:
            self.writing.cancel()


@lru_cache(maxsize=10_000)
def _tag(session: str) -> str:
    return digest(session)[:12]


def request_id_of(session: str, id: bytes) -> str:
    """The request id of a client's request: the same on every gateway, and telling no session id to the logs."""
    # With its quotes: 1 and "1" are two requests.
    text = id.decode("utf-8", "replace")
    return f"{_tag(session)}:{text if len(text) <= 38 else digest(text)[:16]}"
