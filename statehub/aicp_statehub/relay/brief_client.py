"""A client of NATS for one connection: whoever needs another one makes a new client."""

from collections.abc import Awaitable, Callable

import nats
from nats.js.errors import APIError, NotFoundError

from aicp_common import subjects
from aicp_common.natsclient import NatsClient

CONNECT_TIMEOUT_S = 2


class BriefClient(NatsClient):
    """Gives up what waits in its buffer when the connection breaks.

    nats-py would try to send it over the broken one, which uvloop refuses, and that leaves the client half closed,
    without a word to anybody.
    """

    async def connect_once(
        self,
        nats_url: str,
        name: str,
        on_closed: Callable[[], Awaitable[None]],
        on_error: Callable[[Exception], Awaitable[None]],
    ) -> None:
        """Connect, for this one time.

        Args:
            nats_url: The servers, separated by commas.
            name: Of the connection, for operators.
            on_closed: Called when the connection is gone.
            on_error: Called with whatever nats-py stumbles over.

        Raises:
            nats.errors.Error, OSError, TimeoutError: see `explain`.
        """
        await self.connect(
            servers=nats_url.split(","),
            name=name,
            allow_reconnect=False,
            # Also without reconnecting, these say how long nats-py tries to connect: once more, soon.
            max_reconnect_attempts=1,
            reconnect_time_wait=0.05,  # type: ignore[arg-type]  # seconds, passed to asyncio.sleep
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=10,
            max_outstanding_pings=2,
            closed_cb=on_closed,
            error_cb=on_error,
        )

    async def _process_op_err(self, e: Exception) -> None:
        self._pending = []
        self._pending_data_size = 0
        await super()._process_op_err(e)


def explain(error: Exception) -> str:
    """What is missing, for operators."""
    if isinstance(error, nats.js.errors.ServiceUnavailableError | nats.errors.NoRespondersError):
        return "JetStream is not available: start nats-server with it (-js, or jetstream {} in its configuration)"
    if isinstance(error, NotFoundError):
        return f"there is no stream {subjects.EVENT_STREAM} yet"
    if isinstance(error, APIError):
        return f"JetStream says: {error.description} ({error.err_code})"
    if isinstance(error, TimeoutError):
        return "NATS does not answer in time"
    return str(error) or type(error).__name__
