"""Desks: who of those that fit gets a task, by how much each has to do.

Pure functions on the few that are left in the end. The script that writes a task (`request_scripts.create`) goes by the
same rule, with what Redis says at that moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

WAIT_SHARE = 0.4
"""How much of an empty desk's worth the longest wait costs beyond that of a desk that is just full. Small enough that
a busy agent which is here goes before an idle one that is away."""

NEAR = 0.25
"""Whose fit is at most this far below the best one's is near enough to it: it gets the task before a better one that
has no room, and may take what waits for that one. Among those that have all the wanted capabilities hardly anybody lies
further off; who has half of them does."""

PATIENCE_S = 20.0
"""When a task has waited this long, it is half as particular about who may take it."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One who may get a task, and how much it has to do."""

    fit: float
    """Its score without how much it has to do."""
    has: int
    """How many tasks it has, or wait for it."""
    slots: int
    """How many it takes at once."""
    pace: float
    """How long it takes for one, against the others: 1 is usual."""
    online: bool


def room(desk: Desk) -> float:
    """1 for an empty desk, 0 for one with a single place too few; below 0 the less, the longer a task waits there."""
    if desk.has < desk.slots:
        return 1 - desk.has / desk.slots
    wait = (desk.has - desk.slots + 1) / desk.slots * desk.pace
    return -WAIT_SHARE * wait / (1 + wait)


def near(waited_s: float = 0.0) -> float:
    """How far below another's fit one may lie that takes its task, because the task has to wait or has done so for
    `waited_s` seconds."""
    return NEAR * (1 + waited_s / PATIENCE_S)


def pick(desks: Sequence[Desk], load_weight: float) -> int:
    """The place of the one that gets a task, in a sequence that is not empty.

    It is the best of fit and room. When that one is here and has no room, it is the best among those that are here,
    have room and fit nearly as well, if there are any: no task shall wait while somebody near enough is idle.
    """
    worth = [desk.fit + load_weight * room(desk) for desk in desks]
    best = max(range(len(desks)), key=worth.__getitem__)
    if desks[best].online and desks[best].has >= desks[best].slots:
        least = desks[best].fit - near()
        near_enough = [place for place, desk in enumerate(desks) if desk.online and desk.fit >= least]
        free = (place for place in near_enough if desks[place].has < desks[place].slots)
        best = max(free, key=worth.__getitem__, default=best)
    return best
