"""The time of this process, as callers see it. Leases and deadlines go by Redis' clock instead."""

import time

from aicp_common.envelope import Envelope
from aicp_common.tool import MAX_WAIT_S
from aicp_router.tasks.record import at


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def now() -> str:
    """ISO 8601, UTC."""
    return at(now_ms())


def wait_for(envelope: Envelope, wait_s: float) -> float:
    """How long a call may wait: as long as it asked for, and so that its answer still comes in time."""
    return max(0.0, min(wait_s, MAX_WAIT_S, envelope.remaining_s() - 1.0))
