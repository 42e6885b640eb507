"""The answers of a batch: collected until all are there, then given to the client as one array.

Source: MCP 2025-03-26, basic, "Batching"; JSON-RPC 2.0, section 6.
"""

from aicp_gateway.dispatch import Away, Channel
from aicp_gateway.protocol.actions import Answers, Ask, Send


class BatchChannel:
    """Stands between the calls of a batch and the client's channel.

    Args:
        channel: Where the array goes.
        expected: How many answers it will have.
    """

    def __init__(self, channel: Channel, expected: int) -> None:
        self._channel = channel
        self._expected = expected
        self._messages: list[bytes] = []

    async def notify(self, message: bytes) -> None:
        """See `Channel.notify`."""
        await self._channel.notify(message)

    async def ask(self, ask: Ask) -> Answers:
        """See `Channel.ask`."""
        return await self._channel.ask(ask)

    async def end_stream(self) -> None:
        """See `Channel.end_stream`."""
        await self._channel.end_stream()

    async def answer(self, send: Send, *, hands_over: bool = False) -> None:
        """See `Channel.answer`. What hands something over cannot wait for the other answers: only the last one may."""
        if hands_over and len(self._messages) + 1 < self._expected:
            raise Away("its answer would have had to wait for the rest of the batch")
        self._messages.append(send.message)
        try:
            await self._complete(hands_over=hands_over)
        except Away:
            self._messages.pop()
            raise

    async def forgo(self) -> None:
        """There will be one answer less: the client has cancelled a request."""
        self._expected -= 1
        await self._complete()

    async def _complete(self, *, hands_over: bool = False) -> None:
        if self._messages and len(self._messages) == self._expected:
            await self._channel.answer(Send(b"[%b]" % b",".join(self._messages)), hands_over=hands_over)
