"""Runs the measurements and prints the report; `--write` puts it into docs/benchmarks.md."""

import argparse
import asyncio
import datetime
import tempfile
from pathlib import Path

from bench import envelope, hand_over, tool_call
from bench.rounds import machine, table
from tests.support.processes import Backend

REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"

PARTS = {
    "envelope": (
        envelope.measure,
        8000,
        "What the envelope costs",
        """
Request and reply with another process over NATS, 64 in flight. The envelope carries tenant, agent, user, scopes,
deadline, trace and request id.
""",
    ),
    "tool_call": (
        tool_call.measure,
        4000,
        "A tool call through the gateway",
        """
20 connections with 4 calls in flight, client and servers on the same machine. The gateway counts, times and traces
(unsampled), the service checks the arguments against the tool's model, as users run it.
""",
    ),
    "hand_over": (
        hand_over.measure,
        800,
        "The whole loop",
        """
16 requesters and 16 workers over WebSocket through one gateway, one router, one state hub and a Redis with
`appendfsync always`: `route_to_agent`, `receive_tasks`, `submit_result`, and the requester has the result.
""",
    ),
}


async def run(names: list[str], rounds: int) -> str:
    """The report."""
    today = datetime.datetime.now(datetime.UTC).date()
    report = [
        "# Benchmarks",
        (
            f"Made by `make bench` on {today}: {machine()}.\n"
            f"Medians of {rounds} rounds that take turns. With another machine's compare the ratios, not the figures."
        ),
    ]
    for name in names:
        measure, operations, title, text = PARTS[name]
        with tempfile.TemporaryDirectory() as folder:
            backend = Backend(Path(folder))
            backend.start()
            try:
                contestants = await measure(backend, rounds, operations)
            finally:
                backend.stop()
        report += [f"## {title}", text.strip(), table(contestants)]
        print("\n\n".join(report[-3:]), flush=True)
    return "\n\n".join(report) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    options = parser.parse_args()
    report = asyncio.run(run(options.parts or list(PARTS), options.rounds))
    if options.write:
        REPORT.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
