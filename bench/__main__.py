"""Runs the measurements and prints the report; `--write` puts it into docs/benchmarks.md."""

import argparse
import datetime
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import envelope, fan_out, hand_over, idle, tool_call
from bench.rounds import machine
from tests.support.processes import Backend

REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Part:
    """One measurement."""

    title: str
    text: str
    """What was done, for the report."""
    measure: Callable[[Backend, int, int], Awaitable[str]]
    """Called with rounds and size; gives a Markdown table."""
    size: int
    """Operations a round, sessions or subscribers."""
    rounds: int | None = None
    """Where a round takes so long that fewer must do."""


PARTS = {
    "envelope": Part(
        "What the envelope costs",
        """
Request and reply with another process over NATS, 64 in flight. The envelope carries tenant, agent, user, scopes,
deadline, trace and request id.
""",
        envelope.measure,
        8000,
    ),
    "tool_call": Part(
        "A tool call through the gateway",
        """
20 clients with 4 calls in flight each, all on the same machine. The gateway checks each client's token, counts, times
and traces (unsampled), and the service checks the arguments against the tool's model, as users run it. The official
Python SDK's server has a one-line tool in its own process, no authentication and no bus behind it, and runs on
uvicorn with uvloop and httptools, of which the gateway has all but the HTTP connections.
""",
        tool_call.measure,
        4000,
    ),
    "hand_over": Part(
        "The whole loop",
        """
64 requesters and 64 workers over WebSocket through one gateway, one router, one state hub and a Redis with
`appendfsync always`, on the same cores: `route_to_agent`, `receive_tasks`, `submit_result`, and the requester has the
result. Once with a Redis that was empty before, once with one that holds a million finished tasks. Each message is new.
""",
        hand_over.measure,
        2_000,
    ),
    "fan_out": Part(
        "One change, many listeners",
        """
2,000 WebSocket clients of one gateway are subscribed to one resource, and a tool call changes it. The clients are one
process on the same machine.
""",
        fan_out.measure,
        2000,
    ),
    "idle": Part(
        "Idle sessions",
        """
10,000 WebSocket sessions on one gateway, each of an agent and with a token of its own. Memory is what the process of
the gateway has more than before, resident, divided by the sessions; the buffers of the sockets are the system's.
""",
        idle.measure,
        10_000,
        rounds=1,
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
        part = PARTS[name]
        with tempfile.TemporaryDirectory() as folder:
            backend = Backend(Path(folder))
            backend.start()
            try:
                found = await part.measure(backend, min(rounds, part.rounds or rounds), part.size)
            finally:
                backend.stop()
        report += [f"## {part.title}", part.text.strip(), found]
        print("\n\n".join(report[-3:]), flush=True)
    return "\n\n".join(report) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    options = parser.parse_args()
    report = uvloop.run(run(options.parts or list(PARTS), options.rounds))
    if options.write:
        REPORT.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
