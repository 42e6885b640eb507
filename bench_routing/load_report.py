"""Measures how long tasks wait for agents of unequal speed; `--write` puts the report into docs/routing.md."""

import argparse
import asyncio
import datetime
import os
import platform
import sys
import tempfile
from pathlib import Path

from bench_routing.load import UTILISATION, Run, Waits, arrivals, crew
from bench_routing.queueing import Simulation
from tests.support.processes import Backend, ServiceProcess

REPORT = Path(__file__).parents[1] / "docs" / "routing.md"
BEGIN, END = "<!-- load -->", "<!-- /load -->"
"""What stands between them in the report is made here."""

AGENTS = 10
FACTOR = 10
SEED = 1
MANY_SLOTS = 4
_TITLE = ("way", "waiting p50", "p99", "longest", "never claimed", "idle beside a task, share", "p99", "longest")


def _table(rows: list[tuple[str, Waits]]) -> str:
    lines: list[tuple[str, ...]] = [_TITLE, ("---",) + ("---:",) * (len(_TITLE) - 1)]
    for way, found in rows:
        waits = (f"{ms:,.0f}" for ms in (found.p50_ms, found.p99_ms, found.longest_ms))
        idle = (f"{found.idle_share:.1%}", f"{found.idle_p99_ms:,.0f}", f"{found.idle_longest_ms:,.0f}")
        lines.append((way, *waits, str(found.unclaimed), *idle))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def simulated(tasks: int, fastest_s: float) -> str:
    """Without processes."""
    workers = crew(AGENTS, fastest_s, FACTOR)
    coming = arrivals(workers, tasks, SEED)
    return _table(
        [
            ("the router's choice", Simulation(workers, coming).run()),
            ("without offers", Simulation(workers, coming, late=False).run()),
            (f"each says that it takes {MANY_SLOTS}", Simulation(workers, coming, slots=MANY_SLOTS).run()),
            ("the same without offers", Simulation(workers, coming, slots=MANY_SLOTS, late=False).run()),
            ("in turn", Simulation(workers, coming, in_turn=True).run()),
        ]
    )


async def measured(backend: Backend, tasks: int, fastest_s: float) -> str:
    """With the router that runs on `backend`."""
    workers = crew(AGENTS, fastest_s, FACTOR)
    coming = arrivals(workers, tasks, SEED)
    return _table(
        [
            ("the router's choice", await Run(backend, workers, coming).measure(in_turn=False)),
            (
                f"each says that it takes {MANY_SLOTS}",
                await Run(backend, workers, coming, MANY_SLOTS).measure(in_turn=False),
            ),
            ("in turn", await Run(backend, workers, coming).measure(in_turn=True)),
        ]
    )


def report(tasks: int, fastest_s: float) -> str:
    """Both, as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        backend = Backend(Path(folder))
        backend.start()
        # Decisions that cost tens of milliseconds of one of two cores would be measured instead of waiting.
        router = ServiceProcess("router", backend, {"EMBEDDER": "off"}).start().wait()
        try:
            real = asyncio.run(measured(backend, tasks, fastest_s))
        finally:
            router.stop()
            backend.stop()
    today = datetime.datetime.now(datetime.UTC).date()
    setting = (
        f"{AGENTS} agents of {fastest_s:g} to {fastest_s * FACTOR:g} s a task, {tasks:,} tasks, {UTILISATION:.0%} of "
        "what all agents can do. All times in milliseconds."
    )
    return "\n\n".join(
        [
            f"Made by `make load-routing ARGS=--write` on {today}, {platform.machine()}, {os.cpu_count()} cores.",
            setting,
            "With a real router, NATS and Redis, in real time:",
            real,
            "Simulated, where signals take no time:",
            simulated(tasks, fastest_s),
        ]
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench_routing.load_report", description=__doc__)
    parser.add_argument("--tasks", type=int, default=2_000, help="in each run; default: %(default)s")
    parser.add_argument("--fastest", type=float, default=0.2, help="seconds a task, default: %(default)s")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    options = parser.parse_args()
    text = report(options.tasks, options.fastest)
    sys.stdout.write(text + "\n")
    if options.write:
        before, _, rest = REPORT.read_text("utf-8").partition(BEGIN)
        REPORT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
