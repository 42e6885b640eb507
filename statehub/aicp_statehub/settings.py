"""What the state hub reads from the environment."""

from pydantic import Field

from aicp_common.settings import Settings

DUPLICATE_WINDOW_S = 120


class StatehubSettings(Settings):
    """Beside what every service reads: the bounds of the contexts and of the event log."""

    context_max_keys: int = Field(100_000, ge=1, le=10_000_000)
    """Contexts that one tenant may have. As many deleted ones are remembered, so that their versions go on counting."""
    context_tombstone_s: int = Field(7 * 86_400, ge=1)
    """How long a deleted context's version is remembered."""
    events_max_age_s: int = Field(7 * 86_400, ge=DUPLICATE_WINDOW_S)
    """How long the event log keeps an event."""
    events_max_bytes: int = Field(1024**3, ge=1024**2)
    """How large the event log grows before it drops its oldest events."""
    events_replicas: int = Field(1, ge=1, le=5)
    """On how many servers of a NATS cluster the event log lies."""
