"""What kills the parts of a hub in turn with SIGKILL, and starts each again as a supervisor would."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence

from tests.support.processes import Backend, ServiceProcess, wait_until_listening

PAUSE_S = 1.5
"""Between the return of one part and the end of the next."""


class Killer:
    """Of one hub.

    Args:
        backend: Its Redis is killed after every second service.
        services: What else is killed, in this order.
    """

    def __init__(self, backend: Backend, services: Sequence[ServiceProcess]) -> None:
        self._backend = backend
        self._victims: list[ServiceProcess | None] = []
        for number, service in enumerate(services):
            self._victims += [service, None] if number % 2 else [service]
        self.kills: Counter[str] = Counter()
        """How often each part was killed."""
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """No more, once each part was killed; what was killed last comes back."""
        self._stop.set()

    async def run(self) -> None:
        """Until it is told to stop."""
        for number, victim in enumerate(itertools.cycle(self._victims)):
            try:
                await asyncio.wait_for(self._stop.wait(), PAUSE_S)
            except TimeoutError:
                pass
            else:
                if number >= len(self._victims):
                    return
            await asyncio.to_thread(self._kill, victim)

    def _kill(self, service: ServiceProcess | None) -> None:
        if service is None:
            redis = self._backend.redis
            redis.kill()
            redis.start()
            wait_until_listening(redis, self._backend.redis_port)
        else:
            service.kill()
            service.start().wait()
        self.kills[service.instance if service else "redis-server"] += 1
