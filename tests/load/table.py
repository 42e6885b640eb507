"""The table: the report for people."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.load.report import Report, Row
from tests.load.workers import RECEIVE

_BUSY = 0.8
"""Share of a core from which on the load test itself is likely to be what was measured."""
_SHOWN_ERRORS = 20


def print_report(console: Console, report: Report) -> None:
    """Print everything that was measured."""
    load = report.load
    pace = f"{load.rate:g} a second, at most {load.in_flight} in flight each" if load.rate else f"{load.in_flight} each"
    console.print(
        f"{escape(report.url)}  {report.transport}, {report.revision}; {load.connections} connections, {pace}; "
        f"{report.measured_s:g} s after {report.warm_up.duration_s:g} s of warming up",
        soft_wrap=True,
        highlight=False,
    )
    table = Table("call", box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("count", "per second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "errors"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in report.calls.items():
        _add(table, name, row)
    for name, row in report.worker_calls.items():
        waits = ", waits for work" if name == RECEIVE else ""
        _add(table, f"  {name} (worker{waits})", row, style="dim")
    table.add_section()
    _add(table, "total", report.total, style="bold")
    console.print(table)
    for note in _notes(report):
        console.print(note, soft_wrap=True, highlight=False)


def _add(table: Table, name: str, row: Row, style: str = "") -> None:
    latency = row.latency_ms
    times = (latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max)
    errors = f"[red]{row.error_count:,}[/red]" if row.error_count else "0"
    table.add_row(
        name,
        f"{row.count:,}",
        f"{row.per_second:,.1f}",
        *("-" if time is None else f"{time:,.2f}" for time in times),
        errors,
        style=style,
    )


def _notes(report: Report) -> Iterator[str]:
    rows = {**report.calls, **{f"{name} (worker)": row for name, row in report.worker_calls.items()}}
    errors = [(name, code, error) for name, row in rows.items() for code, error in row.errors.items()]
    for name, code, error in errors[:_SHOWN_ERRORS]:
        message = " ".join(error.message.split())
        yield f"[red]{error.count:,} x {escape(name)} {escape(code)}[/red]  {escape(message)}"
    if len(errors) > _SHOWN_ERRORS:
        yield f"[red]and {len(errors) - _SHOWN_ERRORS} more kinds of errors[/red]; --json has them all"
    if report.warm_up.error_count:
        yield f"[yellow]{report.warm_up.error_count:,} errors while warming up[/yellow], which are not counted above"
    if report.reconnects:
        yield f"[yellow]{report.reconnects:,} reconnects[/yellow]"
    if report.unsent:
        yield (
            f"[yellow]{report.unsent:,} calls were not made[/yellow]: their time came while all that may be in flight "
            "was. The rate was not reached, and the latencies of these calls are in no figure above."
        )
    if report.unfinished:
        yield f"[yellow]{report.unfinished:,} calls were given up without an answer[/yellow]"
    if report.client_cpu >= _BUSY:
        yield (
            f"[yellow]The load test used {report.client_cpu:.0%} of a core[/yellow]: it may be what was measured, not "
            "the hub. Run several of them at once."
        )
    if report.interrupted:
        yield "[yellow]interrupted[/yellow]"
