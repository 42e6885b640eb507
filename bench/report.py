"""The report in Markdown: a section for each part; those that were not measured this time stay as they were."""

import datetime
import re
from collections.abc import Mapping, Sequence

from bench.rounds import machine

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)


def section(title: str, text: str, found: str) -> str:
    """One part: what was done, and what came of it."""
    return "\n\n".join([f"## {title}", text.strip(), found])


def whole(sections: Sequence[str], rounds: int) -> str:
    """The report of one run of all parts."""
    head = (
        f"Made by `make bench` on {_today()}: {machine()}.\n"
        f"Medians of {rounds} rounds that take turns. With another machine's compare the ratios, not the figures."
    )
    return "\n\n".join(["# Benchmarks", head, *sections]) + "\n"


def renewed(report: str, sections: Mapping[str, str], titles: Sequence[str], command: str) -> str:
    """The report with some sections new, each of which says when it was measured.

    Args:
        report: As it was.
        sections: By title.
        titles: Of all sections, in their order.
        command: What was run.
    """
    head, *rest = _SECTION.split(report)
    old = {title: f"## {title}{text}".rstrip() for title, text in zip(rest[::2], rest[1::2], strict=True)}
    note = f"Measured by itself: {_today()}, `{command}`, {machine()}."
    new = {title: f"{text}\n\n{note}" for title, text in sections.items()}
    both = old | new
    # What is no part any more is left out.
    return "\n\n".join([head.rstrip(), *(both[title] for title in titles if title in both)]) + "\n"


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()
