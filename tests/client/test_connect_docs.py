"""What docs/connect.md tells people to paste."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.processes import GatewayProcess, binary

TEXT = (Path(__file__).parents[2] / "docs" / "connect.md").read_text(encoding="utf-8")
PLACE = "/path/to/.venv/bin/aicp"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)\n```", TEXT, re.DOTALL)


def test_the_configurations_are_json_and_their_options_exist() -> None:
    servers = [server for text in blocks("json") for kind in json.loads(text).values() for server in kind.values()]
    commands = [[server["command"], *server["args"]] for server in servers]
    commands += [shlex.split(text)[shlex.split(text).index("--") + 1 :] for text in blocks("sh") if " -- " in text]
    assert len(commands) == 4
    for command, *arguments in commands:
        assert command == PLACE
        done = subprocess.run([binary("aicp"), *arguments, "--help"], capture_output=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr


def test_the_script_works_as_it_stands(hub: GatewayProcess) -> None:
    (script,) = blocks("python")
    script = script.replace(PLACE, binary("aicp")).replace("ws://127.0.0.1:8765/mcp", hub.ws_url)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "agents" in done.stdout
