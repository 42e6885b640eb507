"""`python -m tests.conformance [REVISION ...]`: runs the official conformance suite against a real gateway.

Prints a table, and ends with 1 unless every scenario has passed.
"""

import collections
import signal
import sys
import tempfile
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.conformance import suite
from tests.conformance.hub import conformance_hub
from tests.conformance.requirements import SCENARIOS

COLOURS: dict[suite.Verdict, str] = {"passed": "green", "failed": "red", "skipped": "yellow"}


def table(report: suite.Report) -> Table:
    """One line for each scenario."""
    shown = Table(title=f"MCP {report.revision}", title_justify="left", box=box.SIMPLE)
    for column in ("scenario", "", "checks"):
        shown.add_column(column, no_wrap=True)
    shown.add_column("remarks", overflow="fold")
    for outcome in report.outcomes.values():
        colour = COLOURS[outcome.verdict]
        remarks = "\n".join(outcome.problems or outcome.notes)
        shown.add_row(
            outcome.scenario,
            f"[{colour}]{outcome.verdict}[/{colour}]",
            f"{outcome.succeeded}/{len(outcome.checks)}",
            escape(remarks),
        )
    return shown


def main(revisions: list[str]) -> int:
    """Run them; the exit status."""
    unknown = [revision for revision in revisions if revision not in SCENARIOS]
    if unknown:
        print(f"no revision {unknown[0]!r}; there are: {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 160)
    with tempfile.TemporaryDirectory(prefix="aicp-conformance-") as name:
        folder = Path(name)
        with conformance_hub(folder / "hub") as gateway:
            reports = [suite.run(gateway, revision, folder) for revision in revisions or SCENARIOS]
    for report in reports:
        console.print(table(report))
    for report in reports:
        verdicts = collections.Counter(outcome.verdict for outcome in report.outcomes.values())
        told = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in COLOURS)
        console.print(f"MCP {report.revision}, {len(report.outcomes)} scenarios: {told}")
    return 0 if all(report.passed for report in reports) else 1


if __name__ == "__main__":
    # Told to stop, it unwinds, so that nothing that it has started goes on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
