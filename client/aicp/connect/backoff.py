"""How long to wait before the next attempt to connect."""

import random

FIRST_S = 0.1
LONGEST_S = 10.0


class Backoff:
    """Doubles from 0.1 s to 10 s.

    Each time it is somewhere in the upper half, so that a hub that comes back is not met by all its clients at once.
    """

    def __init__(self) -> None:
        self._attempts = 0

    def next(self) -> float:
        """The next delay, in seconds."""
        longest = min(LONGEST_S, 2 * FIRST_S * 2.0**self._attempts)
        if longest < LONGEST_S:
            self._attempts += 1
        return random.uniform(longest / 2, longest)  # noqa: S311 - spreads clients, keeps no secret

    def lasted(self, seconds: float) -> None:
        """A connection held for this long. After a short one the delays go on growing."""
        if seconds >= LONGEST_S:
            self._attempts = 0
