"""Wishes: what a task wants of the agent that gets it."""

from collections.abc import Sequence

from aicp_router.clock import now_ms
from aicp_router.matching import intent
from aicp_router.matching.index import Wish
from aicp_router.matching.scoring import Urgency
from aicp_router.tasks.record import Priority, Record

SOON_S = 120.0
"""Work that has to be done within this time is urgent."""


def wish_for(message: str, capabilities: Sequence[str], priority: Priority, left_s: float) -> Wish:
    """What is wanted, `left_s` seconds before its deadline."""
    urgency: Urgency = "batch" if priority == "batch" else "normal"
    asked_soon = priority == "normal" and intent.urgency(message) == "urgent"
    if priority == "interactive" or asked_soon or left_s <= SOON_S:
        urgency = "urgent"
    return Wish(message, tuple(capabilities), urgency)


def wish_of(record: Record) -> Wish:
    """What a task wants now."""
    left_s = (int(record.fields["deadline_ms"]) - now_ms()) / 1000
    return wish_for(record.fields["message"], record.capabilities, record.priority, left_s)
