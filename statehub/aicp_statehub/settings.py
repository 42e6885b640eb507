"""What the state hub reads from the environment."""

from typing import Annotated

from pydantic import AfterValidator, Field

from aicp_common.settings import Settings

DUPLICATE_WINDOW_S = 120


def _postgres_url(url: str) -> str:
    if url and not url.startswith(("postgres://", "postgresql://")):
        raise ValueError("postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or nothing for no archive")
    return url


class StatehubSettings(Settings):
    """Beside what every service reads: the bounds of the contexts and of the event log."""

    context_max_keys: int = Field(100_000, ge=1, le=10_000_000)
    """Contexts that one tenant may have. As many deleted ones are remembered, so that their versions go on counting."""
    context_max_bytes: int = Field(1024**3, ge=1024**2)
    """What the contexts of one tenant may take together, old versions included. These give way first."""
    context_versions: int = Field(100, ge=1, le=10_000)
    """Versions of each context that can be read, the current one included."""
    context_history_bytes: int = Field(1024**2, ge=0, le=64 * 1024**2)
    """How much the old versions of one context may take together; beyond it the oldest go."""
    context_tombstone_s: int = Field(7 * 86_400, ge=1)
    """How long a deleted context's version is remembered."""
    postgres_url: Annotated[str, AfterValidator(_postgres_url)] = ""
    """Where the event log is archived; empty: nowhere."""
    archive_retention_days: int = Field(0, ge=0, le=36_500)
    """After how long an archived event is deleted; 0: never."""
    events_max_age_s: int = Field(7 * 86_400, ge=DUPLICATE_WINDOW_S)
    """How long the event log keeps an event."""
    events_max_bytes: int = Field(1024**3, ge=1024**2)
    """How large the event log grows before it drops its oldest events."""
    events_replicas: int = Field(1, ge=1, le=5)
    """On how many servers of a NATS cluster the event log lies."""
