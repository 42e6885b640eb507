"""What the orchestrator reads from its environment."""

from pydantic import Field

from aicp_common.settings import Settings


class OrchestratorSettings(Settings):
    """Settings of one worker."""

    max_collaborations: int = Field(2_000, ge=2, le=20_000)
    """Collaborations that this worker runs at once; what is beyond waits in the queue for any worker. One requester
    gets half of the places that the others leave."""
    collaboration_lease_s: float = Field(15.0, ge=1, le=3600)
    """How long a collaboration stands still, at most, when its worker is killed: then another one takes it over."""
    room_messages: int = Field(2_000, ge=10, le=100_000)
    """Messages that are kept of each room; beyond it the oldest go, and numbers go on."""
    room_bytes: int = Field(8 * 1024**2, ge=64 * 1024, le=512 * 1024**2)
    """What the kept messages of a room may take together."""
    room_members: int = Field(1_000, ge=2, le=1_000)
    """Members of a room, together with those that are invited."""
    rooms_opened: int = Field(100, ge=1, le=1_000)
    """Open rooms of which one agent is the opener."""
    room_lifetime_s: int = Field(30 * 86_400, ge=1, le=10 * 365 * 86_400)
    """After so long without any change a room is gone."""
    room_closed_s: int = Field(86_400, ge=1, le=10 * 365 * 86_400)
    """How long a closed room can still be read."""
