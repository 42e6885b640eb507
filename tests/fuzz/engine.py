"""Fuzz the protocol engine: `python -m tests.fuzz.engine --seconds N [--corpus DIR]`, or play plays again.

Ends with status 1 when a play breaks what has to hold; the play is kept, and its path printed.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.judge import judge
from tests.fuzz.seeds import plays, words

MAX_LENGTH = 16 * 1024
"""Of a play, in bytes."""
TIMEOUT_S = 10
"""For a play; far beyond what `judge` allows, so only what hangs is ended by it."""
MAX_RSS_MB = 1024
"""Of the fuzzer's process: what it keeps of all plays together."""
START_S = 60
"""For the fuzzer to start and to play the corpus."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a campaign came to."""

    executions: int
    coverage: int
    """Branches and comparisons of the engine that were reached, as libFuzzer counts them."""
    findings: list[Path]
    """Plays that break what has to hold."""
    log: str
    """What libFuzzer said."""


def campaign(seconds: int, corpus: Path, findings: Path, seed: int = 0) -> Outcome:
    """Fuzz for some time.

    Args:
        seconds: How long.
        corpus: A folder with plays to begin with; what reaches something new is added to it.
        findings: A folder for plays that break what has to hold.
        seed: The same one tries the same things; 0 draws one.
    """
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="aicp-fuzz-") as name:
        seeds, dictionary = Path(name) / "seeds", Path(name) / "words"
        seeds.mkdir()
        for number, play in enumerate(plays()):
            (seeds / f"{number:03}").write_bytes(play)
        dictionary.write_text("".join(f'"{_escape(word)}"\n' for word in words()))
        options = {
            "max_total_time": seconds,
            "max_len": MAX_LENGTH,
            "timeout": TIMEOUT_S,
            "rss_limit_mb": MAX_RSS_MB,
            "dict": dictionary,
            "artifact_prefix": f"{findings}/",
            "print_final_stats": 1,
            "seed": seed,
        }
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.instrumented",
            *(f"-{key}={value}" for key, value in options.items()),
        ]
        run = subprocess.run(
            [*command, str(corpus), str(seeds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds + START_S + 2 * TIMEOUT_S,
            check=False,
        )
    log = run.stdout.decode(errors="replace")
    executions = re.findall(r"stat::number_of_executed_units: +(\d+)|^#(\d+)\s", log, re.MULTILINE)
    found = sorted(path for path in findings.iterdir() if path.is_file())
    if run.returncode != 0 and not found:
        raise RuntimeError(f"the fuzzer ended with status {run.returncode}:\n{log[-4000:]}")
    return Outcome(
        max((int(final or running) for final, running in executions), default=0),
        max((int(number) for number in re.findall(r" cov: (\d+) ", log)), default=0),
        found,
        log,
    )


def again(paths: list[Path]) -> bool:
    """Play plays again, without the fuzzer; whether all of them hold."""
    holds = True
    for path in paths:
        try:
            judge(path.read_bytes())
        except Exception:
            holds = False
            print(f"{path}:")
            traceback.print_exc()
    return holds


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.engine", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long to fuzz")
    parser.add_argument("--corpus", type=Path, help="a folder that keeps what was learned; by default nothing is kept")
    parser.add_argument("--seed", type=int, default=0, help="the same one tries the same things")
    parser.add_argument("plays", type=Path, nargs="*", help="plays to play again instead")
    options = parser.parse_args()
    if options.plays:
        return 0 if again(options.plays) else 1
    with tempfile.TemporaryDirectory(prefix="aicp-corpus-") as name:
        findings = Path(tempfile.mkdtemp(prefix="aicp-fuzz-findings-"))
        outcome = campaign(options.seconds, options.corpus or Path(name), findings, options.seed)
    print(f"{outcome.executions} plays in {options.seconds} s, coverage {outcome.coverage}")
    if not outcome.findings:
        findings.rmdir()
        return 0
    print(outcome.log[-6000:])
    for path in outcome.findings:
        print(f"found: {path} ({path.stat().st_size} bytes): {path.read_bytes()[:300]!r}")
    print("play it again: python -m tests.fuzz.engine FILE")
    return 1


def _escape(word: bytes) -> str:
    """A word as libFuzzer's dictionaries have it."""
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main())
