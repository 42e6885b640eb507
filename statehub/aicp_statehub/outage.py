"""Something that the relay needs is away: one line when it begins, one when it is over."""

import logging
import time

log = logging.getLogger(__name__)


class Outage:
    """Of one thing; `what` is what operators read."""

    def __init__(self, what: str, meanwhile: str) -> None:
        self._what = what
        self._meanwhile = meanwhile
        self._since: float | None = None

    def begin(self, why: str) -> None:
        """It is away; only the first call logs."""
        if self._since is None:
            self._since = time.monotonic()
            log.error("%s: %s. %s", self._what, why, self._meanwhile)

    def end(self) -> None:
        """It works; only the first call after `begin` logs."""
        if self._since is not None:
            lasted_s = time.monotonic() - self._since
            self._since = None
            log.info("over: %s", self._what, extra={"lasted_s": round(lasted_s, 1)})
