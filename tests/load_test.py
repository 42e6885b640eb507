"""Puts load on a running hub, or on any MCP server, and says how fast it answers: `python tests/load_test.py --help`.

docs/load-testing.md tells how to read what it measures.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Started as a file, Python looks for modules beside it; the tests are a package of the folder above.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

    from tests.load.command import app

    app()
