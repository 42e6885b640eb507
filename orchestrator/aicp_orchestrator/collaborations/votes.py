"""Votes: what each agent chose, and what that comes to. Pure functions."""

import contextlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aicp_common.envelope import encode_json

MAX_CHOICE_CHARACTERS = 200

MAX_LOOKED_AT = 4_096
"""Characters of what an agent chose."""

_NAMES = ("choice", "vote", "answer")
"""Under which an agent may have put it."""

_AROUND = " \t\r\n\"'`*_.,;:!?()[]{}<>「」『』“”‘’。、！？"
"""What stands around a choice without being a part of it."""

_FENCED = re.compile(r"\s*```\w*[ \t]*\n(.*?)```", re.DOTALL)
"""A block of Markdown, with which the result begins."""


class Tally(msgspec.Struct, frozen=True):
    """How a vote has gone."""

    votes: dict[str, list[str]]
    """By choice, the one with most votes first: the steps that chose it."""
    unclear: list[str]
    """Steps that completed without a choice that could be read."""
    asked: int
    """How many votes there could be."""
    winner: str | None
    """What more than half of those chose who were asked."""
    repeated: list[str] = []
    """Steps that were not counted, because their agent has voted before."""


def tally(results: Mapping[str, Any], choices: Sequence[str], asked: int) -> Tally:
    """Count votes.

    Args:
        results: What each voter submitted, by step.
        choices: What could be chosen; empty: anything, and equal words are equal choices whatever their case.
        asked: How many were asked, or how many were enough; never fewer than have voted.
    """
    words: dict[str, Counter[str]] = {}
    by: dict[str, list[str]] = {}
    unclear: list[str] = []
    for step, result in results.items():
        chosen = _chosen(result, choices)
        if not chosen:
            unclear.append(step)
            continue
        folded = chosen.casefold()
        words.setdefault(folded, Counter())[chosen] += 1
        by.setdefault(folded, []).append(step)
    order = sorted(by, key=lambda folded: -len(by[folded]))
    votes = {words[folded].most_common(1)[0][0]: by[folded] for folded in order}
    first = next(iter(votes), None)
    won = first is not None and 2 * len(votes[first]) > asked
    return Tally(votes, unclear, asked, first if won else None)


def _chosen(result: Any, choices: Sequence[str]) -> str:
    """What an agent chose; empty when that cannot be said."""
    if isinstance(result, str) and (fenced := _FENCED.match(result)):
        result = fenced[1]
    if isinstance(result, str) and result.lstrip().startswith("{"):
        with contextlib.suppress(msgspec.MsgspecError, RecursionError):
            result = msgspec.json.decode(result)
    if isinstance(result, dict):
        result = next((result[name] for name in _NAMES if name in result), None)
    if isinstance(result, bool):
        result = "yes" if result else "no"
    if isinstance(result, (int, float)):
        result = encode_json(result).decode()
    if not isinstance(result, str):
        return ""
    # Whoever chooses says it early.
    result = result[:MAX_LOOKED_AT]
    said = result.strip().casefold()
    # A choice may be made of signs alone.
    if same := [choice for choice in choices if choice.strip().casefold() == said]:
        return same[0]
    line = next((line.strip(_AROUND) for line in result.splitlines() if line.strip(_AROUND)), "")
    if not choices:
        return line if len(line) <= MAX_CHOICE_CHARACTERS else ""
    begun = [choice for choice in choices if _begins(line.casefold(), choice.strip(_AROUND).casefold())]
    # Of "yes" and "yes, but later" the longer one is meant.
    return max(begun, key=len, default="")


def _begins(line: str, choice: str) -> bool:
    """Whether a line is a choice, or says it first and the reason after it."""
    return bool(choice) and line.startswith(choice) and not line[len(choice) : len(choice) + 1].isalnum()
