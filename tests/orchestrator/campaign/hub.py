"""The hub of a campaign: two of each service that can have a second one at work, and what kills them all in turn."""

import asyncio
import itertools
from collections import Counter
from pathlib import Path

from tests.support.processes import Backend, GatewayProcess, Process, ServiceProcess, wait_until_listening

SWIFT = {
    "WORKER_PATIENCE_S": "2",
    "TASK_LEASE_S": "5",
    "COLLABORATION_LEASE_S": "2",
    "SWEEP_INTERVAL_S": "0.2",
    # A step whose agent was too slow because the hub was away is no failed step.
    "TASK_ATTEMPTS": "20",
}
"""A hub that soon misses what is gone."""


class Hub:
    """Processes of one hub.

    Args:
        folder: For their data and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.backend = Backend(folder)
        counts = {"statehub": 1, "router": 2, "orchestrator": 2}
        self.services = [
            ServiceProcess(name, self.backend, SWIFT) for name, count in counts.items() for _ in range(count)
        ]
        required = {"REQUIRED_SERVICES": ",".join(counts)}
        self.gateways = [GatewayProcess(self.backend, {**SWIFT, **required}, module="aicp_gateway") for _ in range(2)]

    @property
    def workers(self) -> list[ServiceProcess]:
        """All but NATS and Redis."""
        return [*self.services, *self.gateways]

    @property
    def urls(self) -> list[str]:
        """Of the gateways."""
        return [gateway.ws_url for gateway in self.gateways]

    def start(self) -> None:
        """Start all of it, and wait until it works."""
        self.backend.start()
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.wait()

    def stop(self) -> dict[str, int]:
        """Stop all of it; the exit statuses of the workers that did not end in an orderly way."""
        statuses = {worker.instance: worker.stop() for worker in reversed(self.workers)}
        self.backend.stop()
        return {instance: status for instance, status in statuses.items() if status}


class Reaper:
    """Kills each part of a hub in turn with SIGKILL, and starts it again as a supervisor would.

    Args:
        hub: Whose.
        pause_s: Between the return of one part and the end of the next.
        each: Only one worker of each service.
    """

    def __init__(self, hub: Hub, pause_s: float, *, each: bool) -> None:
        self.kills: Counter[str] = Counter()
        """By service, how often one of its workers was killed."""
        self._pause_s = pause_s
        self._backend = hub.backend
        self._stop = asyncio.Event()
        rounds: dict[str, list[ServiceProcess | Process]] = {"nats-server": [hub.backend.nats]}
        rounds["redis-server"] = [hub.backend.redis]
        for worker in hub.workers:
            rounds.setdefault(worker.name, []).append(worker)
        # Not all workers of a service one after the other.
        turns = itertools.zip_longest(*([(name, one) for one in found] for name, found in rounds.items()))
        victims = [turn for several in turns for turn in several if turn is not None]
        self._victims = victims[: len(rounds)] if each else victims

    def stop(self) -> None:
        """No more, once each part was killed; what was killed last comes back."""
        self._stop.set()

    async def run(self) -> None:
        """Until it is told to stop."""
        for number, (name, victim) in enumerate(itertools.cycle(self._victims)):
            try:
                await asyncio.wait_for(self._stop.wait(), self._pause_s)
            except TimeoutError:
                pass
            else:
                if number >= len(self._victims):
                    return
            await asyncio.to_thread(self._kill, victim)
            self.kills[name] += 1

    def _kill(self, victim: ServiceProcess | Process) -> None:
        victim.kill()
        victim.start()
        if isinstance(victim, ServiceProcess):
            victim.wait()
        else:
            backend = self._backend
            wait_until_listening(victim, backend.nats_port if victim is backend.nats else backend.redis_port)
