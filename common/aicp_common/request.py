"""A request: a call as it comes to a worker, and the way back to its caller."""

from collections.abc import Mapping

import msgspec
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER

from aicp_common.natsclient import NatsClient


class Request(msgspec.Struct, frozen=True, eq=False):
    """One call. What is sent back are messages of the NATS services' API; see `nats.micro`."""

    client: NatsClient
    reply: str
    """Where the answer goes."""
    data: bytes

    async def respond(self, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send an answer, or something before it."""
        await self.client.publish(self.reply, body, headers=headers)

    async def respond_error(self, status: str, code: str, body: bytes) -> None:
        """Send an error.

        Args:
            status: As HTTP would have it.
            code: Of the error.
            body: The error.
        """
        await self.respond(body, {ERROR_HEADER: code, ERROR_CODE_HEADER: status})
