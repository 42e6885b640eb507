"""The first session of the README, as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.processes import GatewayProcess

README = Path(__file__).parents[2] / "README.md"


def test_the_first_session_of_the_readme_works_as_it_stands(hub: GatewayProcess) -> None:
    text = README.read_text(encoding="utf-8")
    scripts = re.findall(r"\.venv/bin/python - <<'END'\n(.*?)\nEND\n", text, re.DOTALL)
    assert len(scripts) == 2
    bobs, alices = (script.replace("http://localhost:8080/mcp", hub.http_url) for script in scripts)
    bob = subprocess.Popen([sys.executable, "-u", "-c", bobs], stdout=subprocess.PIPE, text=True)
    try:
        assert bob.stdout is not None
        assert bob.stdout.readline() == "Bob waits for work\n"
        for _ in range(2):
            alice = subprocess.run(
                [sys.executable, "-c", alices], capture_output=True, text=True, timeout=60, check=True
            )
            assert alice.stdout.startswith("completed bob Sales grew by 12 %.\n")
            assert bob.stdout.readline() == "alice asks: How did sales develop?\n"
    finally:
        bob.kill()
        bob.wait()
        if bob.stdout is not None:
            bob.stdout.close()
