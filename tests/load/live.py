"""The live view: what happens now, second by second."""

from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tests.load.book import Second
from tests.load.plan import Plan
from tests.load.report import milliseconds

_BARS = "▁▂▃▄▅▆▇█"
_SHOWN = 60
"""Seconds in the line of bars."""
_BAR_WIDTH = 30


class LiveView:
    """Three lines that are drawn anew each second: how far it is, the last second, and throughput of the last minute.

    Args:
        console: Where to; nothing is drawn unless it is a terminal.
        plan: What runs.
        wanted: False: draw nothing.
    """

    def __init__(self, console: Console, plan: Plan, *, wanted: bool) -> None:
        self._plan = plan
        self._throughput: deque[float] = deque(maxlen=_SHOWN)
        self._errors = 0
        # Drawn when there is something new, not by a thread of its own.
        live = Live(console=console, auto_refresh=False, transient=True)
        self._live = live if wanted and console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
            self._live.update(Text("connecting"), refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, traceback)

    def show(self, second: Second) -> None:
        """Draw another second."""
        if self._live is None:
            return
        self._throughput.append(second.per_second)
        self._errors += second.errors
        self._live.update(Text("\n").join(self._lines(second)), refresh=True)

    def _lines(self, second: Second) -> list[Text]:
        plan = self._plan
        done = min(max(second.ended_s, 0.0) / plan.duration_s, 1.0)
        bar = "█" * round(done * _BAR_WIDTH)
        state = "warming up" if second.ended_s <= 0 else f"{min(second.ended_s, plan.duration_s):.0f} s"
        latencies = second.latencies
        p50, p99 = milliseconds(latencies.percentile_us(50)), milliseconds(latencies.percentile_us(99))
        figures = Text(f"{second.per_second:,.0f} a second   p50 {_ms(p50)}   p99 {_ms(p99)}   ")
        figures.append(f"{self._errors:,} errors", style="red" if self._errors else "")
        return [
            Text.assemble((bar.ljust(_BAR_WIDTH, "░"), "cyan"), f" {state} of {plan.duration_s:g} s   {plan.url}"),
            figures,
            Text(bars(list(self._throughput)), style="green"),
        ]


def bars(values: list[float]) -> str:
    """A line of bars, the highest for the greatest value."""
    most = max(values, default=0.0)
    return "".join(_BARS[round(value / most * (len(_BARS) - 1)) if most > 0 else 0] for value in values)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f} ms"
