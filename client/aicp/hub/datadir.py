"""The data directory: one hub at a time, private files, secrets made once, ports remembered."""

import contextlib
import fcntl
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from aicp.hub.exceptions import HubError

_HANDOVER_S = 5.0
"""How long to wait for the NATS and Redis of a hub that was killed to let go of their data."""


@dataclass
class LocalServers:
    """Secrets and ports of the NATS and Redis that belong to one data directory."""

    nats_token: str
    redis_password: str
    nats_port: int | None = None
    """Of the last run: taken again when it is free."""
    redis_port: int | None = None


class DataDir:
    """A data directory that this process holds.

    Layout: `redis/` and `nats/` (data), `redis.conf` and `nats.conf` (written at each start), `servers.json` (secrets
    and ports), `hub.json` (what runs now), `lock`.
    """

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        """Absolute."""
        self.lock_fd = lock_fd
        """Holds the lock as long as any process has it open. NATS and Redis inherit it, so that after a `kill -9` of
        the supervisor no second hub opens their files while they are still writing."""
        self.nats_conf = path / "nats.conf"
        self.redis_conf = path / "redis.conf"
        self.hub_json = path / "hub.json"
        self._servers_json = path / "servers.json"

    @classmethod
    def take(cls, path: Path) -> "DataDir":
        """Create the directory (mode 0700) if need be, and lock it.

        Raises:
            HubError: it cannot be created or written, or another hub holds it.
        """
        path = path.expanduser().absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("nats", "redis"):
                (path / name).mkdir(mode=0o700, exist_ok=True)
            # Under a work tree, nobody shall commit secrets by accident.
            (path / ".gitignore").write_text("*\n", encoding="utf-8")
            lock_fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HubError(
                f"data directory {path} cannot be used ({error.strerror}: {error.filename}); "
                "choose another with --data-dir"
            ) from None
        try:
            _lock(lock_fd, path)
        except BaseException:
            os.close(lock_fd)
            raise
        return cls(path, lock_fd)

    def release(self) -> None:
        """Let another hub have the directory."""
        with contextlib.suppress(FileNotFoundError):
            self.hub_json.unlink()
        os.ftruncate(self.lock_fd, 0)
        os.close(self.lock_fd)

    def load_servers(self) -> LocalServers:
        """Secrets and ports of the last run, or new secrets.

        Raises:
            HubError: the file that keeps them is damaged.
        """
        try:
            text = self._servers_json.read_text(encoding="utf-8")
        except FileNotFoundError:
            return LocalServers(nats_token=secrets.token_urlsafe(24), redis_password=secrets.token_urlsafe(24))
        try:
            return LocalServers(**json.loads(text))
        except (ValueError, TypeError):
            raise HubError(f"{self._servers_json} is damaged; delete it, new secrets are then made") from None

    def save_servers(self, servers: LocalServers) -> None:
        """Remember secrets and ports for the next run."""
        write_private(self._servers_json, json.dumps(asdict(servers), indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step; only its owner may read it."""
    draft = path.with_name(f".{path.name}.new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _lock(fd: int, path: Path) -> None:
    deadline = time.monotonic() + _HANDOVER_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            if not _is_gone(holder) or time.monotonic() > deadline:
                raise HubError(
                    f"data directory {path} is held by another hub (pid {holder or 'unknown'}); "
                    "stop that one, or choose another directory with --data-dir"
                ) from None
            time.sleep(0.05)
        except OSError as error:
            raise HubError(
                f"data directory {path} cannot be locked ({error.strerror}); choose another with --data-dir"
            ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def _is_gone(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
