"""`aicp hub` as a process of a test: start it, read what it prints, know what it runs, see that nothing is left."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STANDIN = Path(__file__).with_name("standin.py")
SERVICES = ("gateway", "orchestrator", "router", "statehub")
PATIENCE_S = 20.0
"""How long a test waits for something that shall happen; far more than it takes."""


def install_standins(folder: Path) -> Path:
    """Packages with the names of the four services, that do nothing but be ready; to be put on PYTHONPATH."""
    for service in SERVICES:
        package = folder / f"aicp_{service}"
        package.mkdir(parents=True)
        package.joinpath("__init__.py").touch()
        package.joinpath("__main__.py").write_text(f"import standin\n\nstandin.main({service!r})\n")
    (folder / "standin.py").write_text(STANDIN.read_text())
    return folder


class Hub:
    """One `aicp hub`."""

    def __init__(self, data_dir: Path, *arguments: str, env: dict[str, str] | None = None, python: str = "") -> None:
        """Start it on free ports.

        Args:
            data_dir: its --data-dir.
            arguments: more of the command line.
            env: variables on top of those of the test.
            python: code to run first in the hub's interpreter, to change what it sees of the machine.
        """
        self.data_dir = data_dir
        self.mark = uuid.uuid4().hex
        self.lines: list[str] = []
        self._changed = threading.Condition()
        ours = ("PORT", "HTTP_PORT", "HOST", "NATS_URL", "REDIS_URL", "LOG_FORMAT", "LOG_LEVEL", "JWT_REQUIRED")
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
        if "--port" not in arguments:
            arguments = ("--port", "0", *arguments)
        if "--http-port" not in arguments:
            arguments = ("--http-port", "0", *arguments)
        self.started = time.monotonic()
        self.ready_after_s = 0.0
        """From the command to the end of the welcome."""
        self.popen = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"{python}\nimport sys\nsys.argv[0] = 'aicp'\nfrom aicp.__main__ import main\nmain()",
                *("hub", "--data-dir", str(data_dir), *arguments),
            ],
            env=inherited | {"AICP_TEST_MARK": self.mark} | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def expect(self, pattern: str, *, count: int = 1) -> str:
        """Wait for the `count`-th line that matches `pattern`."""
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while True:
                found = [line for line in self.lines if re.search(pattern, line)]
                if len(found) >= count:
                    return found[count - 1]
                ended = not self._reader.is_alive()
                if ended or not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"{pattern!r} did not come; the hub said:\n" + self.output)

    def wait_until_ready(self) -> "Hub":
        """Wait for the welcome; returns itself."""
        self.expect("is ready$")
        self.expect("^END$")
        if not self.ready_after_s:
            self.ready_after_s = time.monotonic() - self.started
        return self

    @property
    def output(self) -> str:
        """All that it has printed."""
        return "\n".join(self.lines)

    @property
    def state(self) -> dict[str, Any]:
        """hub.json."""
        state: dict[str, Any] = json.loads((self.data_dir / "hub.json").read_text())
        return state

    def pid_of(self, name: str) -> int:
        """Process id of one of its processes."""
        pid: int = self.state["processes"][name]["pid"]
        return pid

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self) -> int:
        """Wait until it has ended by itself; returns its exit status."""
        status = self.popen.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return status

    def stop(self) -> float:
        """Ctrl-C; returns how long it took."""
        began = time.monotonic()
        self.signal(signal.SIGINT)
        assert self.wait() == 0, self.output
        return time.monotonic() - began

    def left_behind(self) -> list[str]:
        """Command lines of the processes of this hub that still run, itself and all that use its data included."""
        return list(_processes(self.mark, self.data_dir))

    def wait_until_none_left(self) -> None:
        """Wait until nothing of it runs any more."""
        deadline = time.monotonic() + PATIENCE_S
        while self.left_behind():
            assert time.monotonic() < deadline, self.left_behind()
            time.sleep(0.02)

    def kill(self) -> None:
        """End of a test, whatever happened in it."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()

    def end(self) -> None:
        """After `kill`: see that nothing of it is left."""
        self.wait_until_none_left()
        if self.popen.stdout is not None:
            self._reader.join(PATIENCE_S)
            self.popen.stdout.close()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with contextlib.suppress(ValueError):
            for line in self.popen.stdout:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def _processes(mark: str, data_dir: Path) -> Iterator[str]:
    """Processes that have `mark` in their environment, or work in `data_dir` (Redis overwrites its environment)."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            folder = (entry / "cwd").readlink()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark.encode() in environment or folder.is_relative_to(data_dir):
            yield f"{entry.name} {command}"
