"""Workers of the orchestrator that die: inside this process, where that takes no time, and processes of their own."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.cancellation import end
from aicp_orchestrator.collaborations.watch import Watch
from aicp_orchestrator.collaborations.worker import Worker
from aicp_orchestrator.router_client import ORCHESTRATOR, RouterClient
from tests.support.processes import ServiceProcess


async def nowhere(
    tenant: str, room: str, *, opened_ms: int, author: str, text: str, data: Mapping[str, Any], key: str
) -> None:
    """Of plans that have no room, no room hears."""
    raise AssertionError(f"{room} was told {text!r}")


class Mortal(Protocol):
    """A worker of the orchestrator."""

    async def start(self) -> None:
        """Begin to work."""

    async def die(self) -> None:
        """End at once, and tell nobody."""


class InnerWorker:
    """A worker inside this process. All that it knows is in the state of the hub, so when its connection is cut and its
    tasks are gone, that is for everybody else as if it had been killed.

    Args:
        nats_url: Of its hub.
    """

    def __init__(self, nats_url: str) -> None:
        self._bus = Bus(nats_url, "orchestrator")
        self._loops: list[asyncio.Task[None]] = []
        self._worker: Worker | None = None
        self._leases: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """As `python -m aicp_orchestrator` does, without the tools."""
        await self._bus.connect()
        router = RouterClient(self._bus)
        watch = Watch(router)
        worker = self._worker = Worker(router, self._bus, watch, nowhere, max_collaborations=50)
        await self._bus.subscribe(subjects.agent("*", ORCHESTRATOR), worker.on_signal, ORCHESTRATOR)
        await self._bus.take(subjects.ANY_TASK, watch.on_signal)
        self._leases = asyncio.create_task(worker.keep_leases())
        self._loops = [asyncio.create_task(worker.run()), asyncio.create_task(watch.run())]
        await worker.listen()
        await self._bus.flush()

    async def go_deaf(self) -> None:
        """Work on, and extend no lease any more."""
        assert self._leases is not None
        await end([self._leases])

    def hear_again(self) -> None:
        """Extend what leases it has by now."""
        assert self._worker is not None
        self._leases = asyncio.create_task(self._worker.keep_leases())

    @property
    def running(self) -> int:
        """How many collaborations it runs, or believes to run."""
        assert self._worker is not None
        return len(self._worker._running)

    async def idle(self) -> None:
        """Wait until it runs nothing any more."""
        assert self._worker is not None
        while self._worker._running:
            await asyncio.wait(self._worker._running)

    async def die(self) -> None:
        """Its connection first, so that it says nothing of its end."""
        assert self._leases is not None
        await self._bus.client.close()
        loops = [*self._loops, self._leases]
        failed = [task for task in loops if task.done() and not task.cancelled()]
        await end(loops)
        for task in failed:
            task.result()


class OuterWorker:
    """A process, which is killed with SIGKILL."""

    def __init__(self, process: ServiceProcess) -> None:
        self._process = process

    async def start(self) -> None:
        """Without waiting until it is ready: others notice nothing of that."""
        self._process.start()

    async def die(self) -> None:
        """`kill -9`."""
        await asyncio.to_thread(self._process.kill)


Birth = Callable[[], Mortal]
"""Makes the next worker."""
