"""News: what the client of a call hears while the call waits for something that takes its time."""

import time

from aicp_common.current_call import current_call

QUIET_S = 8.0
"""After so long without news a waiting client is told the old ones again. A waiter looks every 2 s, so that a client
hears something every 10 s: some reset their idle clock at each notification, and give up at 60 s."""

GAP_S = 0.1
"""News that come faster than this wait for the next look."""


class News:
    """What the client of the current call hears while it waits: each change, and now and then that there is none.

    Args:
        known: What the client knows or takes for granted; by default what it would be told first.
    """

    def __init__(self, known: str = "") -> None:
        self._call = current_call()
        self._known = known
        self._began = self._heard = time.monotonic()
        self._told = -GAP_S
        """Seconds from the beginning; it is the number of the notification, which has to grow."""

    @property
    def wanted(self) -> bool:
        """Whether the client asked to be told."""
        client = self._call.envelope.client
        return client is not None and client.progress

    async def tell(self, text: str) -> None:
        """Tell the client, unless it has heard the same just now."""
        if not self.wanted:
            return
        self._known = self._known or text
        now = time.monotonic()
        passed = now - self._began
        if passed - self._told < GAP_S or (text == self._known and now - self._heard < QUIET_S):
            return
        self._known, self._heard, self._told = text, now, passed
        await self._call.progress(round(passed, 3), message=text)
