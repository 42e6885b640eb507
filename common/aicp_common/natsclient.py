"""nats-py's client, with a short way for answers.

A message of a subscription goes through a queue to a task that calls its handler. For the answers to calls that is one
wake-up more than they need, and a tenth of the gateway's time: here they are handled where they are read.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping

from nats.aio.client import Client

log = logging.getLogger(__name__)

OnAnswer = Callable[[str, str, bytes, Mapping[str, str] | None], Awaitable[None]]
"""Takes the subject, the subject that an answer to it would go to, the payload and the headers. Must not wait."""


class NatsClient(Client):
    """One connection to NATS."""

    def __init__(self) -> None:
        super().__init__()
        self._inbox = 0
        self._on_answer: OnAnswer | None = None

    async def take_answers(self, subject: str, on_answer: OnAnswer) -> None:
        """Subscribe to `subject`, and have `on_answer` called for each message, in order, while it is read."""

        async def never(message: object) -> None:
            raise RuntimeError("an answer went the long way")

        self._on_answer = on_answer
        self._inbox = (await self.subscribe(subject, cb=never))._id

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if sid != self._inbox or self._on_answer is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            parsed = await self._process_headers(headers) if headers else None
            await self._on_answer(subject.decode(), reply.decode(), data, parsed)
        except Exception:
            # Whatever is wrong with one message, those after it are to be read.
            log.exception("an answer could not be handled", extra={"subject": subject.decode("latin-1")})
