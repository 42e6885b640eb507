"""Calls: how a worker takes them, answers them, and ends those that nobody waits for any more."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec
from nats.aio.msg import Msg
from nats.errors import MaxPayloadError

from aicp_common.asking import InputRequired, keep
from aicp_common.bus import BEAT_HEADER, COMPLETE, INPUT_REQUIRED, KIND_HEADER, TRACE_HEADER, Bus
from aicp_common.cancellation import end
from aicp_common.current_call import CurrentCall, begin, current_call
from aicp_common.envelope import Envelope, encode_json, unpack
from aicp_common.errors import (
    AicpError,
    Busy,
    DeadlineExceeded,
    Internal,
    TooLarge,
    Unavailable,
    encode_error,
    tool_result_of,
)
from aicp_common.logs import current_request_id, current_traceparent
from aicp_common.metrics import CALL_SECONDS, CALLS, CALLS_IN_FLIGHT
from aicp_common.overtaken import Overtaken
from aicp_common.request import Request
from aicp_common.tracing import span, tracing_enabled

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 10_000
"""Calls that one worker works on or waits in; beyond it callers are told that it is busy."""

DRAIN_S = 2.0
"""How long a worker that stops lets its calls end."""


class Answer(msgspec.Struct, frozen=True):
    """What goes back to a caller."""

    body: bytes
    origin: str = ""
    undo: Callable[[], Awaitable[None]] | None = None
    """Called when nobody took the reply."""
    kind: str = COMPLETE
    """See `Reply.kind`."""


Answering = Callable[[Envelope, bytes], Awaitable[Answer]]


class Calls:
    """The calls that one worker works on or waits in.

    Args:
        service: Name of the service.
        bus: Where the calls come from.
        worker_patience_s: How long callers wait for a sign of life.
    """

    def __init__(self, service: str, bus: Bus, worker_patience_s: float) -> None:
        self._service = service
        self._bus = bus
        self._worker_patience_s = worker_patience_s
        self._working: set[asyncio.Task[None]] = set()
        CALLS_IN_FLIGHT.set_function(lambda: len(self._working))
        self._began: dict[Request, float] = {}
        self._by_request: dict[str, set[asyncio.Task[None]]] = {}
        self._overtaken = Overtaken()

    @property
    def in_flight(self) -> int:
        """How many there are."""
        return len(self._working)

    def beginner(self, name: str, answer: Answering, *, is_tool: bool) -> Callable[[Request], None]:
        """What begins with each call of the method `name`. Errors of a tool are results, others are errors."""

        def begin_with(request: Request) -> None:
            if len(self._working) >= MAX_IN_FLIGHT:
                busy = Busy(f"this {self._service} has {MAX_IN_FLIGHT} calls in flight")
                task = asyncio.create_task(self._fail(request, is_tool, busy))
            else:
                task = asyncio.create_task(self._answer(name, is_tool, answer, request))
            self._working.add(task)
            task.add_done_callback(self._working.discard)

        return begin_with

    async def _answer(
        self,
        name: str,
        is_tool: bool,
        answer: Answering,
        request: Request,
    ) -> None:
        started = time.perf_counter()
        self._began[request] = started
        outcome = "ok"
        request_id = ""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            envelope, body = unpack(request.data)
            request_id = envelope.request_id
            self._by_request.setdefault(request_id, set()).add(task)
            current_request_id.set(envelope.request_id)
            current_traceparent.set(envelope.traceparent)
            begin(CurrentCall(envelope, request))
            if self._overtaken and self._overtaken.ends(envelope, time.time()):
                raise asyncio.CancelledError
            if envelope.remaining_s() <= 0:
                raise DeadlineExceeded(f"the deadline passed before {self._service} began with {name}")
            if tracing_enabled():
                with span(f"{self._service}.{name}", envelope.traceparent, "server") as inner:
                    current_traceparent.set(inner)
                    reply = await answer(msgspec.structs.replace(envelope, traceparent=inner), body)
            else:
                reply = await answer(envelope, body)
            await self._reply(request, reply)
        except InputRequired as asked:
            outcome = INPUT_REQUIRED
            await self._ask(request, is_tool, asked)
        except AicpError as error:
            outcome = error.code
            if isinstance(error, Internal):
                log.error("%s failed: %s", name, error)
            await self._fail(request, is_tool, error)
        except asyncio.CancelledError:
            # The client no longer waits, or this worker stops.
            outcome = "cancelled"
            await self._fail(request, is_tool, Unavailable(f"the call of {name} was cancelled", hint="call again"))
        except MaxPayloadError:
            outcome = TooLarge.code
            too_large = TooLarge(f"what {name} found does not fit into one answer", hint="ask for less at once")
            await self._fail(request, is_tool, too_large)
        except Exception:
            outcome = Internal.code
            log.exception("%s failed", name)
            fault = Internal(
                f"{self._service} failed in {name}",
                hint=f"its log says why, under request id {current_request_id.get() or 'unknown'}",
            )
            await self._fail(request, is_tool, fault)
        finally:
            del self._began[request]
            self._forget(request_id, task)
            CALLS.of(name, outcome).value += 1
            CALL_SECONDS.of(name).observe(time.perf_counter() - started)

    async def _ask(self, request: Request, is_tool: bool, asked: InputRequired) -> None:
        try:
            state = keep(asked.state, current_call().answers)
        except AicpError as error:
            await self._fail(request, is_tool, error)
            return
        body = encode_json({"inputRequests": asked.requests, "state": state})
        await request.respond(body, {KIND_HEADER: INPUT_REQUIRED})

    async def _reply(self, request: Request, reply: Answer) -> None:
        headers = {TRACE_HEADER: reply.origin} if reply.origin and tracing_enabled() else None
        if reply.kind != COMPLETE:
            headers = {**(headers or {}), KIND_HEADER: reply.kind}
        if reply.undo is None:
            await request.respond(reply.body, headers)
            return
        taken = False
        try:
            taken = await self._bus.deliver(request.reply, reply.body, headers)
        finally:
            if not taken:
                log.info("nobody took the reply, what it handed over goes back")
                await asyncio.shield(reply.undo())

    def _forget(self, request_id: str, task: "asyncio.Task[None]") -> None:
        tasks = self._by_request.get(request_id)
        if tasks is not None:
            tasks.discard(task)
            if not tasks:
                del self._by_request[request_id]

    async def on_cancel(self, message: Msg) -> None:
        """End the calls with the request id that the message holds."""
        request_id = message.data.decode()
        tasks = self._by_request.get(request_id)
        if tasks is None:
            self._overtaken.note(request_id, time.time())
            return
        for task in tasks:
            task.cancel()

    async def _fail(self, request: Request, is_tool: bool, error: AicpError) -> None:
        if is_tool:
            await request.respond(tool_result_of(error))
        else:
            await request.respond_error(str(error.http_status), error.code, encode_error(error))

    async def beat_for_ever(self) -> None:
        """Tell the callers of calls that take long that somebody still works on them."""
        interval_s = self._worker_patience_s / 4
        while True:
            await asyncio.sleep(interval_s)
            long_ago = time.perf_counter() - interval_s
            for request in [request for request, began in self._began.items() if began < long_ago]:
                await request.respond(b"", {BEAT_HEADER: "1"})

    async def drain(self) -> None:
        """Let the calls end, and after `DRAIN_S` end them."""
        if not self._working:
            return
        _, late = await asyncio.wait(self._working, timeout=DRAIN_S)
        await end(late)
