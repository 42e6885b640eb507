"""Tallies: what was counted of one kind of call."""

from dataclasses import dataclass

from tests.load.failure import CallFailed
from tests.load.histogram import Histogram

_MAX_CODES = 50
_OTHER = "other"
"""Where the errors go whose codes are too many to be told apart."""


@dataclass(slots=True)
class ErrorCount:
    """How often one error came."""

    message: str
    """Of the first one."""
    count: int = 0


class Tally:
    """Counts successes with their latencies, and errors by their codes: an error is no throughput."""

    __slots__ = ("ended", "errors", "histogram")

    def __init__(self) -> None:
        self.histogram = Histogram()
        """Latencies of the calls that began within the time that is measured."""
        self.ended = 0
        """Calls that succeeded within the time that is measured, whenever they began: what throughput is made of."""
        self.errors: dict[str, ErrorCount] = {}

    def fail(self, failure: CallFailed) -> None:
        """Count an error."""
        self._count_error(failure.code, failure.message, 1)

    def add(self, other: "Tally") -> None:
        """Count what `other` has counted as well."""
        self.histogram.add(other.histogram)
        self.ended += other.ended
        self.add_errors(other)

    def add_errors(self, other: "Tally") -> None:
        """Count the errors of `other` as well."""
        for code, error in other.errors.items():
            self._count_error(code, error.message, error.count)

    @property
    def error_count(self) -> int:
        """How many errors there were."""
        return sum(error.count for error in self.errors.values())

    def _count_error(self, code: str, message: str, count: int) -> None:
        if code not in self.errors and len(self.errors) >= _MAX_CODES:
            code = _OTHER
        self.errors.setdefault(code, ErrorCount(message)).count += count
