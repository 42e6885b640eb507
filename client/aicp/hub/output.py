"""What the hub prints: its own log lines and those of its processes, on one stream that may be slow or gone."""

import asyncio
import contextlib
import datetime
import json
import os
import re
import select
from collections import deque
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")

_MAX_WAITING_BYTES = 1 << 20
_RETRY_S = 0.05
_ANSI = re.compile(r"\033\[[0-9;]*m")

_RESET = "\033[0m"
_LEVEL_COLOURS = {"debug": "\033[2m", "info": "", "warning": "\033[33m", "error": "\033[31m"}
_SERVICE_COLOURS = {
    "gateway": "\033[36m",
    "router": "\033[32m",
    "orchestrator": "\033[35m",
    "statehub": "\033[34m",
    "nats": "\033[33m",
    "redis": "\033[91m",
    "hub": "\033[1m",
}


class Output:
    """Writes to a file descriptor without ever blocking the event loop.

    A supervisor that hangs in a write (a pager that is not scrolled, a terminal after Ctrl-S) could neither restart nor
    stop anything, and its children would hang as their pipes fill. So what cannot be written waits, up to 1 MiB;
    beyond that, lines are dropped and counted. A reader that has gone away ends the printing, nothing else.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._retry: asyncio.TimerHandle | None = None
        self._all_written = asyncio.Event()
        self._all_written.set()

    def write(self, text: str) -> None:
        """Print `text` and a line break, now or as soon as the reader takes it."""
        if self._fd is None:
            return
        line = text.encode("utf-8", "replace") + b"\n"
        if self._waiting_bytes + len(line) > _MAX_WAITING_BYTES:
            self._dropped += 1
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self._retry is None:
            self._flush()

    async def drain(self, timeout_s: float) -> None:
        """Wait until everything is written, but not longer than `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_written.wait(), timeout_s)
        if self._retry is not None:
            self._retry.cancel()

    def _flush(self) -> None:
        self._retry = None
        while self._waiting and self._fd is not None:
            line = self._waiting[0]
            try:
                # After a positive poll a pipe takes PIPE_BUF bytes without blocking.
                written = os.write(self._fd, line[: select.PIPE_BUF]) if _takes_a_write(self._fd) else 0
            except BlockingIOError:
                written = 0
            except OSError:
                self._fd = None
                self._waiting.clear()
                break
            if written == 0:
                self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._flush)
                self._all_written.clear()
                return
            self._waiting_bytes -= written
            if written < len(line):
                self._waiting[0] = line[written:]
            else:
                self._waiting.popleft()
            if not self._waiting and self._dropped:
                dropped, self._dropped = self._dropped, 0
                self.write(f"({dropped} lines were dropped because nobody read them)")
        self._all_written.set()


def _takes_a_write(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


class Log:
    """Log lines in the chosen form: JSON for machines, prefixed lines for people."""

    def __init__(self, output: Output, *, plain: bool, colour: bool, level: Level, name_width: int = 8) -> None:
        self._output = output
        self._plain = plain
        self._colour = colour
        self._name_width = name_width
        self.level: Level = level
        """Lines of the hub itself below this level are left out."""

    def say(self, level: Level, message: str, *, service: str = "hub", instance: str = "hub") -> None:
        """A line of the hub itself, or of a server whose own log is not JSON."""
        if LEVELS.index(level) >= LEVELS.index(self.level):
            self._output.write(self._format(level, message, service, instance))

    def forward(self, line: str, *, service: str, instance: str) -> None:
        """A line that a service wrote, already in its final form."""
        if self._plain:
            line = self._prefix(service, instance) + (line if self._colour else _ANSI.sub("", line))
        self._output.write(line)

    def _format(self, level: Level, message: str, service: str, instance: str) -> str:
        now = datetime.datetime.now(datetime.UTC)
        if self._plain:
            line = f"{now.astimezone():%H:%M:%S}.{now.microsecond // 1000:03} {level:7} {message}"
            colour = _LEVEL_COLOURS[level] if self._colour else ""
            return self._prefix(service, instance) + (f"{colour}{line}{_RESET}" if colour else line)
        return json.dumps(
            {
                "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "level": level,
                "service": service,
                "instance": instance,
                "message": message,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )

    def _prefix(self, service: str, instance: str) -> str:
        name = f"{instance:{self._name_width}} |"
        colour = _SERVICE_COLOURS.get(service, "") if self._colour else ""
        return f"{colour}{name}{_RESET} " if colour else f"{name} "
