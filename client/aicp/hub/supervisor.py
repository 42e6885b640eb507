"""Runs all processes of a hub: in order, until a signal, and leaves none behind."""

import asyncio
import contextlib
import datetime
import json
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from aicp import __version__
from aicp.hub.datadir import DataDir, write_private
from aicp.hub.exceptions import HubError
from aicp.hub.output import Log, Output
from aicp.hub.ports import FreePorts
from aicp.hub.process import Process, ProcessSpec, Stage

READY_TIMEOUT_S = 30.0
"""How long the first start may take; a Redis that reads its data may take longer."""

_QUIET_START_S = 5.0
"""A start that takes longer shows what its processes say, before it is known how it ends."""

_STOP_DEADLINES_S = {Stage.GATEWAY: 2.2, Stage.SERVICE: 3.8, Stage.SERVER: 4.3}
"""From the signal on: when to go on to the next stage, whatever still runs. After the last one everything is killed.
A gateway lets answers that are under way go on for 2 s; without any, all of it takes a fraction of a second."""
_KILL_TIMEOUT_S = 0.4


@dataclass
class HubPlan:
    """What one hub is made of, decided before anything starts."""

    datadir: DataDir
    ports: FreePorts
    servers: list[ProcessSpec]
    """NATS and Redis, unless others are used."""
    services: list[ProcessSpec]
    urls: dict[str, str]
    """For clients: `websocket` and `http`."""
    nats_url: str
    redis_url: str
    welcome: str
    """What is printed once all is ready."""
    check_outside: Callable[[], Coroutine[Any, Any, None]]
    """Raises `HubError` when a NATS or Redis that we do not start is not there."""
    before_stop: Callable[[], None]
    """Called when no more clients are wanted."""
    started_at: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))


class Supervisor:
    """Starts what a plan says, restarts what dies, stops everything at a signal."""

    def __init__(self, plan: HubPlan, output: Output, log: Log) -> None:
        self._plan = plan
        self._output = output
        self._log = log
        self._processes: list[Process] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = False
        self._stop = asyncio.Event()
        self._stop_reason = ""
        self._kill = asyncio.Event()
        self._broken: BaseException | None = None

    async def run(self) -> None:
        """Run until a signal asks to stop.

        Raises:
            HubError: something did not start; everything has been stopped again.
        """
        self._listen_to_signals()
        try:
            await self._until_stop(self._start())
            if not self._stop.is_set():
                self._ready = True
                self._write_state()
                self._release_lines()
                self._output.write(self._plan.welcome)
                await self._stop.wait()
            if self._broken is not None:
                raise self._broken
            self._log.say("info", f"stopping ({self._stop_reason})")
        finally:
            await self._stop_all()
            if self._stop.is_set():
                self._log.say("info", f"stopped; the data is in {self._plan.datadir.path}")
            await self._output.drain(0.3)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGINT, self._on_signal, signal.SIGINT)
        loop.add_signal_handler(signal.SIGTERM, self._on_signal, signal.SIGTERM)
        # Under nohup, the end of the terminal is to be ignored.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._on_signal, signal.SIGHUP)

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._stop.is_set():
            self._stop_reason = number.name
            self._stop.set()
        elif number == signal.SIGINT:
            self._kill.set()

    def _reap(self) -> None:
        for process in self._processes:
            process.reap()

    async def _until_stop(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, but leave it as soon as a signal asks to stop."""
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
        finally:
            for each in (task, stop):
                each.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    async def _start(self) -> None:
        await self._plan.check_outside()
        await self._start_group(self._plan.servers)
        await self._start_group(self._plan.services)

    async def _start_group(self, specs: Sequence[ProcessSpec]) -> None:
        """Start all of `specs` at once and wait until each is ready."""
        group = [Process(spec, self._plan.ports, self._log, self._write_state) for spec in specs]
        self._processes += group
        for process in group:
            task = asyncio.create_task(process.run())
            task.add_done_callback(self._on_task_done)
            self._tasks.append(task)
        waiting: set[asyncio.Future[None]] = {process.first_ready for process in group}
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + READY_TIMEOUT_S
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            for ready in done:
                ready.result()
            if any(process.is_loading for process in group if not process.first_ready.done()):
                deadline = loop.time() + READY_TIMEOUT_S
            if loop.time() > began + _QUIET_START_S:
                self._release_lines()
            if waiting and loop.time() > deadline:
                raise HubError(_late(group))

    def _release_lines(self) -> None:
        for process in self._processes:
            process.release_lines()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """A fault in the supervision itself: better no hub than one that restarts nothing."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error
            self._stop_reason = repr(error)
            self._stop.set()

    async def _stop_all(self) -> None:
        """Stop stage by stage, then kill what remains; within 5 seconds."""
        self._plan.before_stop()
        began = asyncio.get_running_loop().time()
        for stage, deadline_s in _STOP_DEADLINES_S.items():
            members = [process for process in self._processes if process.spec.stage == stage]
            for process in members:
                process.stop()
            await self._wait_until_gone(members, began + deadline_s)
        remaining = [process for process in self._processes if process.pid is not None]
        for process in remaining:
            if not self._kill.is_set():
                self._log.say("warning", f"{process.spec.name} (pid {process.pid}) did not stop in time; killed")
            process.kill()
        self._kill.clear()
        await self._wait_until_gone(remaining, asyncio.get_running_loop().time() + _KILL_TIMEOUT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self._processes:
            # Nobody may be waiting for it any more; then its failure is no news.
            with contextlib.suppress(asyncio.InvalidStateError, asyncio.CancelledError):
                process.first_ready.exception()

    async def _wait_until_gone(self, processes: Sequence[Process], deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while any(process.pid is not None for process in processes) and loop.time() < deadline:
            if self._kill.is_set():
                return
            await asyncio.sleep(0.01)

    def _write_state(self) -> None:
        """Tell in hub.json what runs, for tools and tests."""
        plan = self._plan
        state = {
            "version": __version__,
            "pid": os.getpid(),
            "ready": self._ready,
            "started_at": plan.started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "urls": plan.urls,
            "nats_url": plan.nats_url,
            "redis_url": plan.redis_url,
            "processes": {
                process.spec.name: {"pid": process.pid}
                | ({"admin_port": process.admin_port} if process.admin_port is not None else {})
                for process in self._processes
            },
        }
        try:
            write_private(plan.datadir.hub_json, json.dumps(state, indent=2) + "\n")
        except OSError as error:
            self._log.say("warning", f"{plan.datadir.hub_json} cannot be written: {error.strerror}")


def _late(group: Sequence[Process]) -> str:
    late = [process for process in group if not process.first_ready.done()]
    return "; ".join(
        f"{process.spec.name} was not ready after {READY_TIMEOUT_S:g} s: it {process.not_ready_because}"
        f"{process.last_lines()}"
        for process in late
    )
