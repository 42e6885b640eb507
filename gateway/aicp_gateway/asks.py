"""Questions to clients in the handshake era: server requests that are out, and the answers to them.

An answer may reach another gateway than the one that asked; it is passed on over the session's subject.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from aicp_common.errors import AicpError, Conflict, DeadlineExceeded
from aicp_gateway.protocol.actions import Answered, Answers, Ask
from aicp_gateway.protocol.jsonrpc import encode_notification

Write = Callable[[bytes], Awaitable[None]]


class _Error(msgspec.Struct):
    message: str = "no reason given"


class Asks:
    """The server requests of this gateway that wait for their answers.

    Args:
        timeout_s: How long a client, or the person in front of it, may take.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._waiting: dict[str, tuple[str, asyncio.Future[Answered]]] = {}
        self._given_up: dict[tuple[str, bytes], asyncio.Future[None]] = {}

    def take(self, session: str, answered: Answered) -> bool:
        """Take in an answer that a client of `session` gave; whether it was asked from here."""
        waiting = self._waiting.get(answered.id)
        if waiting is None or waiting[0] != session:
            return False
        if not waiting[1].done():
            waiting[1].set_result(answered)
        return True

    def give_up(self, session: str, call: bytes) -> None:
        """The client of `session` has cancelled the request with the id `call`: nothing is asked for it any more."""
        given_up = self._given_up.get((session, call))
        if given_up is not None and not given_up.done():
            given_up.set_result(None)

    async def gather(self, ask: Ask, session: str, write: Write) -> Answers:
        """Send the questions and wait for all answers. Questions that are given up are withdrawn.

        Args:
            ask: What to ask.
            session: Who alone may answer.
            write: Gives a message to the client.

        Raises:
            DeadlineExceeded: an answer did not come in time.
            Conflict: the client has cancelled the call.
        """
        if not ask.requests:
            return Answers()
        loop = asyncio.get_running_loop()
        futures: dict[str, asyncio.Future[Answered]] = {id: loop.create_future() for id in ask.requests}
        self._waiting |= {id: (session, future) for id, future in futures.items()}
        # Set when the last answer is here, or when the client has given up.
        over: asyncio.Future[None] = loop.create_future()
        self._given_up[session, ask.call.id] = over

        def look(_: asyncio.Future[Answered]) -> None:
            if not over.done() and all(future.done() for future in futures.values()):
                over.set_result(None)

        for future in futures.values():
            future.add_done_callback(look)
        try:
            for message in ask.requests.values():
                await write(message)
            await asyncio.wait((over,), timeout=self._timeout_s)
            missing = [ask.keys[id] for id, future in futures.items() if not future.done()]
            if missing and over.done():
                raise Conflict(f"the client cancelled {ask.call.label} while it was asked")
            if missing:
                keys = ", ".join(missing)
                raise DeadlineExceeded(
                    f"the client did not answer within {self._timeout_s:.0f} s what {ask.call.label} asked it: {keys}"
                )
            answers = Answers()
            for id, future in futures.items():
                _sort(id, future.result(), answers)
            return answers
        except (AicpError, asyncio.CancelledError):
            # A form that nobody waits for any more is to vanish.
            for id, future in futures.items():
                if not future.done():
                    await write(_withdrawal(id))
            raise
        finally:
            del self._given_up[session, ask.call.id]
            for id in futures:
                del self._waiting[id]


def _sort(id: str, answered: Answered, answers: Answers) -> None:
    try:
        if answered.result is not None:
            result: Any = msgspec.json.decode(answered.result)
            if isinstance(result, dict):
                answers.results[id] = result
                return
        answers.errors[id] = msgspec.json.decode(answered.error or b"{}", type=_Error).message[:500]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        answers.errors[id] = "the answer cannot be read"


def _withdrawal(id: str) -> bytes:
    return encode_notification("notifications/cancelled", {"requestId": id, "reason": "the answer is no longer wanted"})
