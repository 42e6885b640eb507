"""One process of the hub: start it, see it ready, carry its output, start it again when it dies."""

import asyncio
import contextlib
import ctypes
import enum
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aicp.hub.exceptions import HubError
from aicp.hub.output import LEVELS, Level, Log
from aicp.hub.ports import FreePorts
from aicp.hub.servers import LOADING

EX_CONFIG = 78
"""Exit status of a service whose environment is wrong (sysexits.h): starting it again would not help."""

DEATHS_BEFORE_READY = 3
"""So often may a process die before it was ready once; then the hub gives up."""

_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 10.0
_HEALTHY_S = 30.0
_PROBE_EVERY_S = 0.05
_LAST_LINES = 200
_LONGEST_LINE = 256 * 1024


class Stage(enum.IntEnum):
    """Order of stopping: who takes work from clients first, who keeps the data last."""

    GATEWAY = 0
    SERVICE = 1
    SERVER = 2


@dataclass(frozen=True)
class ProcessSpec:
    """What to run, and how to know that it is ready."""

    name: str
    """Of this process, as in logs: `router-1`."""
    service: str
    """What kind of process it is: `router`."""
    argv: tuple[str, ...]
    stage: Stage
    probe: Callable[["Process"], Awaitable[str | None]]
    """Asked again and again: None when the process is ready, else what it does instead."""
    death_signal: signal.Signals
    """What the kernel sends it when the supervisor is gone."""
    env: Mapping[str, str]
    cwd: Path | None = None
    pass_fds: tuple[int, ...] = ()
    has_admin_port: bool = False
    """It is told ADMIN_PORT, a port of its own for /health, /ready and /metrics."""
    read_line: Callable[[str], tuple[str, str]] | None = None
    """For servers whose log is not ours: level and message of a line."""


class Backoff:
    """How long to wait before the next start: 0.2 s, doubled up to 10 s, forgotten after 30 s of health."""

    def __init__(self) -> None:
        self._next_s = _FIRST_DELAY_S

    def after(self, healthy_s: float) -> float:
        """The delay after a process died that had been ready for `healthy_s` seconds."""
        if healthy_s >= _HEALTHY_S:
            self._next_s = _FIRST_DELAY_S
        delay, self._next_s = self._next_s, min(self._next_s * 2, _LONGEST_DELAY_S)
        return delay


def describe_exit(returncode: int) -> str:
    """How a process ended, from `Popen.returncode`, for people."""
    if returncode >= 0:
        return f"exited with status {returncode}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-returncode).name}"
    return f"was killed by signal {-returncode}"


class Process:
    """Keeps one process running until it is told to stop. All methods belong to the event loop's thread."""

    def __init__(self, spec: ProcessSpec, ports: FreePorts, log: Log, on_change: Callable[[], None]) -> None:
        self.spec = spec
        self.first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done at the first readiness; holds a `HubError` if that can no longer come."""
        self.admin_port: int | None = None
        self.not_ready_because = "has not started"
        """What the last probe found."""
        self._ports = ports
        self._log = log
        self._on_change = on_change
        self._popen: subprocess.Popen[bytes] | None = None
        self._exit: asyncio.Future[int] | None = None
        self._pipe: int | None = None
        self._partial = b""
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._holds_lines = log.level != "debug"
        """During the start its lines wait: if something fails, the reason is told once, not among hundreds of lines."""
        self._stopping = asyncio.Event()
        self._ready_at: float | None = None

    @property
    def pid(self) -> int | None:
        """Of the running process, None between two of them."""
        return self._popen.pid if self._popen is not None else None

    async def run(self) -> None:
        """Start the process again and again until `stop`."""
        backoff = Backoff()
        deaths_before_ready = 0
        while not self._stopping.is_set():
            started_at = time.monotonic()
            ending = await self._run_once()
            if self._stopping.is_set():
                return
            now = time.monotonic()
            if not self.first_ready.done():
                deaths_before_ready += 1
                if deaths_before_ready >= DEATHS_BEFORE_READY:
                    self.first_ready.set_exception(
                        HubError(
                            f"{self.spec.name} does not start: it died {deaths_before_ready} times before it was "
                            f"ready; the last one {ending}{self.last_lines()}"
                        )
                    )
                    return
                # Why it died, before that it died.
                self._print_held_lines()
            delay_s = backoff.after(now - self._ready_at if self._ready_at is not None else 0.0)
            self._log.say(
                "error", f"{self.spec.name} {ending} after {now - started_at:.1f} s; starting it again in {delay_s:g} s"
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)

    def reap(self) -> None:
        """Notice whether the process has ended. To be called on SIGCHLD."""
        if self._popen is None or self._exit is None or self._popen.poll() is None:
            return
        self._read_rest()
        if not self._exit.done():
            self._exit.set_result(self._popen.returncode)

    def stop(self) -> None:
        """Ask the process to end, and do not start it again."""
        self._stopping.set()
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End the process, and whatever it started, at once."""
        self._stopping.set()
        self._send(signal.SIGKILL)

    def last_lines(self, count: int = 20) -> str:
        """The end of what it printed, indented, for a message; empty if it printed nothing."""
        return "".join(f"\n    {line}" for line in list(self._last_lines)[-count:])

    def release_lines(self) -> None:
        """Print what it has said so far, and from now on each line as it comes."""
        self._print_held_lines()
        self._holds_lines = False

    async def _run_once(self) -> str:
        try:
            self._start()
        except OSError as error:
            return f"could not be started ({error})"
        assert self._popen is not None
        assert self._exit is not None
        pid = self._popen.pid
        watch = asyncio.create_task(self._watch_readiness())
        try:
            returncode = await self._exit
        finally:
            watch.cancel()
        self._popen = None
        if not self._stopping.is_set():
            self._on_change()
        if returncode == EX_CONFIG and not self.first_ready.done():
            reason = self._last_lines[-1] if self._last_lines else "wrong configuration"
            self.first_ready.set_exception(HubError(reason))
            self._stopping.set()
        return f"(pid {pid}) {describe_exit(returncode)}"

    def _start(self) -> None:
        self._ready_at = None
        self._last_lines.clear()
        env = dict(self.spec.env)
        if self.spec.has_admin_port:
            if self.admin_port is None:
                self.admin_port = self._ports.take()
            env["ADMIN_PORT"] = str(self.admin_port)
        parent = os.getpid()
        death_signal = self.spec.death_signal

        def die_with_supervisor() -> None:
            _set_death_signal(death_signal)
            if os.getppid() != parent:
                # The supervisor died before the kernel was told; no signal will come any more.
                os._exit(1)

        popen = subprocess.Popen(
            self.spec.argv,
            env=env,
            cwd=self.spec.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self.spec.pass_fds,
            # In sessions of their own: a Ctrl-C of the terminal reaches only the supervisor, which stops them in order.
            start_new_session=True,
            # Safe here: the supervisor has one thread.
            preexec_fn=die_with_supervisor if sys.platform == "linux" else None,
            umask=0o077,
        )
        assert popen.stdout is not None
        self._pipe = os.dup(popen.stdout.fileno())
        popen.stdout.close()
        os.set_blocking(self._pipe, False)
        self._partial = b""
        self._popen = popen
        loop = asyncio.get_running_loop()
        self._exit = loop.create_future()
        loop.add_reader(self._pipe, self._read)
        self._on_change()
        # It may have ended before SIGCHLD could find it here.
        self.reap()

    async def _watch_readiness(self) -> None:
        while (reason := await self.spec.probe(self)) is not None:
            self.not_ready_because = reason
            await asyncio.sleep(_PROBE_EVERY_S)
        self._ready_at = time.monotonic()
        if self.first_ready.done():
            self._log.say("info", f"{self.spec.name} is ready again (pid {self.pid})")
        else:
            self.first_ready.set_result(None)
        self._on_change()

    def _print_held_lines(self) -> None:
        if self._holds_lines:
            for line in self._last_lines:
                self._print(line)

    @property
    def is_loading(self) -> bool:
        """It works on its data, which may take as long as it takes."""
        return self.not_ready_because == LOADING

    def _send(self, number: signal.Signals) -> None:
        if self._popen is None or self._popen.poll() is not None:
            self.reap()
            return
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self._popen.pid, number)
            else:
                self._popen.send_signal(number)

    def _read(self) -> bool:
        """Take one piece of output; False when there is none."""
        if self._pipe is None:
            return False
        try:
            data = os.read(self._pipe, 64 * 1024)
        except BlockingIOError:
            return False
        if not data:
            self._close_pipe()
            return False
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > _LONGEST_LINE:
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            self._take_line(line)
        return True

    def _read_rest(self) -> None:
        # More than a pipe holds (64 KiB, at most 1 MiB); the bound is for a grandchild that goes on writing.
        for _ in range(17):
            if not self._read():
                break
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe is None:
            return
        asyncio.get_running_loop().remove_reader(self._pipe)
        os.close(self._pipe)
        self._pipe = None
        if self._partial:
            self._take_line(self._partial)
            self._partial = b""

    def _take_line(self, raw: bytes) -> None:
        line = raw.decode("utf-8", "replace").rstrip("\r")
        self._last_lines.append(line)
        if not self._holds_lines:
            self._print(line)

    def _print(self, line: str) -> None:
        service, instance = self.spec.service, self.spec.name
        if self.spec.read_line is None:
            self._log.forward(line, service=service, instance=instance)
            return
        level, message = self.spec.read_line(line)
        known = level_named(level)
        # Servers talk at info about what only their developers follow.
        if self._log.level == "debug" or LEVELS.index(known) >= LEVELS.index("warning"):
            self._log.say(known, message, service=service, instance=instance)


def level_named(name: str) -> Level:
    """The level of that name in any case; `info` for one we do not know."""
    return next((level for level in LEVELS if level == name.lower()), "info")


_libc = ctypes.CDLL(None, use_errno=True)
# Loaded before any fork: the child may not import.
_PR_SET_PDEATHSIG = 1


def _set_death_signal(number: signal.Signals) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
