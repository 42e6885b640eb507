"""What the orchestrator reads from its environment."""

from pydantic import Field

from aicp_common.settings import Settings


class OrchestratorSettings(Settings):
    """Settings of one worker."""

    max_collaborations: int = Field(500, ge=1, le=10_000)
    """Collaborations that this worker runs at once; what is beyond waits in the queue for any worker."""
    collaboration_lease_s: float = Field(15.0, ge=1, le=3600)
    """How long a collaboration stands still, at most, when its worker is killed: then another one takes it over."""
