"""Dispatch: carries out a call of a client on the bus and makes the answer."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec

from aicp_common import subjects
from aicp_common.bus import Bus, Reply
from aicp_common.envelope import Envelope, Principal
from aicp_common.errors import AicpError, DeadlineExceeded, Internal, Unavailable
from aicp_common.ids import digest
from aicp_common.logs import current_request_id, current_traceparent
from aicp_common.tracing import span
from aicp_gateway.metrics import REQUEST_SECONDS, REQUESTS
from aicp_gateway.protocol.engine import Call, Conversation

log = logging.getLogger(__name__)

CALL_DEADLINE_S = 45.0
"""No tool call blocks longer than this: common clients give up at 60 s."""


Write = Callable[[bytes], Awaitable[None]]


class _Watched(msgspec.Struct):
    subject: str


class Dispatch:
    """Turns calls into requests on the bus, in the name of the client, within a deadline and a trace."""

    def __init__(self, bus: Bus, transport: str) -> None:
        self._bus = bus
        self._transport = transport

    async def perform(self, call: Call, principal: Principal, session: str, traceparent: str = "") -> Reply:
        """Call the service.

        Args:
            call: What to call.
            principal: Who calls.
            session: The client's session.
            traceparent: From the transport; the one in the message's `_meta` comes first.

        Raises:
            AicpError: what the service answered with, or why it could not be asked.
        """
        started = time.perf_counter()
        outcome = "ok"
        request_id = request_id_of(session, call.id)
        current_request_id.set(request_id)
        try:
            with span(
                f"gateway.{call.label}", call.traceparent or traceparent, "server", {"aicp.transport": self._transport}
            ) as inner:
                current_traceparent.set(inner)
                envelope = Envelope(principal, int((time.time() + CALL_DEADLINE_S) * 1000), inner, request_id, session)
                reply = await self._bus.call(call.service, call.method, envelope, call.body, hands_on=True)
            if reply.origin is not None:
                # The reply hands on something that another client began: this is where it arrives.
                with span("gateway.deliver", reply.origin, "consumer"):
                    pass
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
            REQUESTS.labels(call.label, self._transport, outcome).inc()
            REQUEST_SECONDS.labels(call.label).observe(time.perf_counter() - started)

    async def answer(
        self, conversation: Conversation, call: Call, session: str, write: Write, traceparent: str = ""
    ) -> None:
        """Carry out a call that needs nothing but the service's reply, and give the client its answer.

        Args:
            conversation: Makes the answer.
            call: What to call.
            session: The client's session.
            write: Gives a message to the client.
            traceparent: From the transport.

        Raises:
            OSError: the client has gone. The service is told that nobody took its reply.
        """
        receipt = ""
        try:
            reply = await self.perform(call, conversation.principal, session, traceparent)
            message, receipt = conversation.answer(call, reply.body), reply.receipt
        except AicpError as error:
            message = conversation.fail(call, error)
        written = False
        try:
            await write(message)
            written = True
        finally:
            if receipt:
                await self._bus.acknowledge(receipt, taken=written)

    async def watched_subject(self, call: Call, principal: Principal, session: str) -> str:
        """The NATS subject on which changes of a resource are told.

        Raises:
            AicpError: the resource is not there, or not this principal's to watch.
        """
        reply = await self.perform(call, principal, session)
        return msgspec.json.decode(reply.body, type=_Watched).subject

    async def cancel(self, session: str, id: bytes) -> None:
        """Let whichever service works on this request of the session stop."""
        await self._bus.publish(subjects.CANCEL, request_id_of(session, id).encode())


def request_id_of(session: str, id: bytes) -> str:
    """The request id of a client's request: the same on every gateway, and telling no session id to the logs."""
    text = id.decode("utf-8", "replace").strip('"')
    return f"{digest(session)[:12]}:{text if len(text) <= 36 else digest(text)[:16]}"
