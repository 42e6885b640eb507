"""Rounds that take turns, so that a noisy machine is noisy for all of them alike."""

import asyncio
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Work = Callable[[], Awaitable[None]]
"""One operation."""


@dataclass
class Contestant:
    """One way of doing the same thing, and what was measured of it."""

    name: str
    workers: list[Work]
    """One operation for each connection or task that works at the same time."""
    per_second: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def median_per_second(self) -> float:
        return statistics.median(self.per_second)

    @property
    def p50_ms(self) -> float:
        """Of one operation alone."""
        return statistics.median(self.latencies_ms)

    def beside(self, other: "Contestant") -> float:
        """How many times as many a second. The rounds are compared one by one: the machine's speed changes."""
        return statistics.median(mine / its for mine, its in zip(self.per_second, other.per_second, strict=True))

    def latency_beside(self, other: "Contestant") -> float:
        """How many times as long one operation alone takes, likewise."""
        return statistics.median(mine / its for mine, its in zip(self.latencies_ms, other.latencies_ms, strict=True))


async def take_turns(contestants: list[Contestant], rounds: int, operations: int) -> None:
    """Every contestant once a round, in changing order: `operations` with all workers, then a tenth of it with one."""
    for number in range(rounds + 1):
        order = contestants[number % len(contestants) :] + contestants[: number % len(contestants)]
        for contestant in order:
            share = max(1, operations // len(contestant.workers))
            started = time.perf_counter()
            await asyncio.gather(*(_repeat(work, share) for work in contestant.workers))
            elapsed_s = time.perf_counter() - started
            alone = [await _timed(contestant.workers[0]) for _ in range(max(1, operations // 10))]
            if number > 0:  # The first round warms up.
                contestant.per_second.append(share * len(contestant.workers) / elapsed_s)
                contestant.latencies_ms.append(statistics.median(alone))


async def _repeat(work: Work, times: int) -> None:
    for _ in range(times):
        await work()


async def _timed(work: Work) -> float:
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) * 1000


def table(contestants: list[Contestant]) -> str:
    """A Markdown table; the first contestant is what the others are compared with."""
    base = contestants[0]
    lines = [
        "| | a second | ratio | one alone, p50 ms | ratio |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {each.name} | {each.median_per_second:,.0f} | {each.beside(base):.2f} "
        f"| {each.p50_ms:.2f} | {each.latency_beside(base):.2f} |"
        for each in contestants
    ]
    return "\n".join(lines)


def machine() -> str:
    """What was measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0] if names else platform.machine()}, Python {platform.python_version()}"


def rows(figures: dict[str, str]) -> str:
    """A Markdown table of figures by name."""
    return "\n".join(["| | |", "| --- | ---: |", *(f"| {name} | {figure} |" for name, figure in figures.items())])


def grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table: names in the first column, figures in the others."""
    ruled = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ruled, *lines)).replace("|  |", "| |")
