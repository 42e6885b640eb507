"""The report: what was measured, in the form that `--json` gives (docs/load-testing.md)."""

from typing import Any

import msgspec

from tests.load.book import Book, Second
from tests.load.histogram import Histogram
from tests.load.plan import Plan
from tests.load.run import Run
from tests.load.tally import Tally

FORMAT = 1
"""Raised when a field changes its meaning or goes; new fields may come at any time."""


class Latency(msgspec.Struct):
    """Milliseconds; null when there was no success."""

    min: float | None
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    p99_9: float | None
    max: float | None


class ErrorCount(msgspec.Struct):
    """How often one error came, and what the first of them said."""

    count: int
    message: str


class Row(msgspec.Struct):
    """What was measured of one kind of call, or of all."""

    count: int
    """Successes that began within the time that is measured."""
    per_second: float
    """Successes that ended within it, by its length."""
    latency_ms: Latency
    error_count: int
    errors: dict[str, ErrorCount]


class SecondRow(msgspec.Struct):
    """What ended within about a second."""

    at_s: float
    """When it was over, from the beginning of the time that is measured."""
    count: int
    per_second: float
    p50_ms: float | None
    p99_ms: float | None
    errors: int


class WarmUp(msgspec.Struct):
    """What began before the time that is measured."""

    duration_s: float
    count: int
    error_count: int
    errors: dict[str, ErrorCount]


class Load(msgspec.Struct):
    """What was asked for."""

    connections: int
    in_flight: int
    rate: float | None
    duration_s: float
    timeout_s: float
    mix: dict[str, int]
    workers: int
    payload_bytes: int
    tool: str
    arguments: dict[str, Any]


class Report(msgspec.Struct):
    """Everything that was measured."""

    format: int
    url: str
    transport: str
    era: str
    revision: str
    started: str
    """UTC."""
    load: Load
    measured_s: float
    """Length of the time that is measured: less than what was asked for after an interruption."""
    interrupted: bool
    total: Row
    calls: dict[str, Row]
    worker_calls: dict[str, Row]
    """Calls of the workers: their errors are in `total`, their successes are not."""
    warm_up: WarmUp
    reconnects: int
    unsent: int
    """Calls whose time came and that were never made: the rate was not reached."""
    unfinished: int
    """Calls that were given up without an answer."""
    client_cpu: float
    """How much of one core the load test itself used: near 1 it is what was measured."""
    seconds: list[SecondRow]

    @property
    def ok(self) -> bool:
        """Whether every call had its result."""
        return not self.total.error_count and (self.interrupted or not self.unfinished)


def report_of(
    plan: Plan, run: Run, book: Book, seconds: list[Second], *, started: str, reconnects: int, client_cpu: float
) -> Report:
    """The report of a run that has ended."""
    measured_s = max(book.ends - book.begins, 0.0)
    return Report(
        format=FORMAT,
        url=plan.url,
        transport=plan.transport,
        era=plan.era.value,
        revision=plan.era.revision,
        started=started,
        load=Load(
            connections=plan.connections,
            in_flight=plan.in_flight,
            rate=plan.rate,
            duration_s=plan.duration_s,
            timeout_s=plan.timeout_s,
            mix=dict(plan.weights),
            workers=plan.workers,
            payload_bytes=plan.payload_bytes,
            tool=plan.tool,
            arguments=dict(plan.arguments),
        ),
        measured_s=round(measured_s, 3),
        interrupted=run.interrupted,
        total=_row(book.total, measured_s),
        calls={name: _row(tally, measured_s) for name, tally in book.calls.items()},
        worker_calls={name: _row(tally, measured_s) for name, tally in book.helpers.items()},
        warm_up=WarmUp(
            duration_s=plan.warm_up_s,
            count=book.warm_up.histogram.count,
            error_count=book.warm_up.error_count,
            errors=_errors(book.warm_up),
        ),
        reconnects=reconnects,
        unsent=run.unsent,
        unfinished=run.unfinished,
        client_cpu=round(client_cpu, 3),
        seconds=[_second(second) for second in seconds],
    )


def milliseconds(value_us: float | None) -> float | None:
    """Microseconds as milliseconds."""
    return None if value_us is None else round(value_us / 1000, 3)


def _row(tally: Tally, measured_s: float) -> Row:
    return Row(
        count=tally.histogram.count,
        per_second=round(tally.ended / measured_s, 3) if measured_s else 0.0,
        latency_ms=_latency(tally.histogram),
        error_count=tally.error_count,
        errors=_errors(tally),
    )


def _latency(histogram: Histogram) -> Latency:
    any_at_all = histogram.count > 0
    return Latency(
        min=milliseconds(histogram.min_us if any_at_all else None),
        mean=milliseconds(histogram.mean_us),
        p50=milliseconds(histogram.percentile_us(50)),
        p90=milliseconds(histogram.percentile_us(90)),
        p99=milliseconds(histogram.percentile_us(99)),
        p99_9=milliseconds(histogram.percentile_us(99.9)),
        max=milliseconds(histogram.max_us if any_at_all else None),
    )


def _errors(tally: Tally) -> dict[str, ErrorCount]:
    ordered = sorted(tally.errors.items(), key=lambda item: -item[1].count)
    return {code: ErrorCount(error.count, error.message) for code, error in ordered}


def _second(second: Second) -> SecondRow:
    return SecondRow(
        at_s=round(second.ended_s, 3),
        count=second.latencies.count,
        per_second=round(second.per_second, 3),
        p50_ms=milliseconds(second.latencies.percentile_us(50)),
        p99_ms=milliseconds(second.latencies.percentile_us(99)),
        errors=second.errors,
    )
