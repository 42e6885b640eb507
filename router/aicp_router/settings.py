"""What the router reads from the environment."""

from pydantic import Field

from aicp_common.settings import Settings


class RouterSettings(Settings):
    """Limits and times. Each is a variable of the same name in capitals."""

    task_lease_s: float = Field(300.0, ge=0.2, le=3600)
    """How long a worker may be silent before its task goes to somebody else."""
    react_s: float = Field(60.0, ge=0.1, le=86_400)
    """How long a task waits for an agent that does not take it, before it is passed on to another one that fits. An
    agent may say in its profile that it needs longer, or less."""
    task_retention_s: float = Field(7 * 86400.0, ge=1, le=90 * 86400)
    """How long an ended task can still be read."""
    task_attempts: int = Field(3, ge=1, le=20)
    """How many claims a task gets before it has failed."""
    queue_cap: int = Field(1000, ge=1, le=100_000)
    """Tasks that may wait for one agent."""
    agent_cap: int = Field(10_000, ge=1, le=100_000)
    """Profiles of one tenant."""
    agent_retention_s: float = Field(30 * 86400.0, ge=60, le=365 * 86400)
    """How long an agent may be away before its profile is forgotten."""
    online_s: float = Field(30.0, ge=1, le=600)
    """An agent seen within this time counts as online."""
    leave_grace_s: float = Field(5.0, ge=0, le=60)
    """How long an agent whose last connection closed still counts as online."""
    sweep_interval_s: float = Field(1.0, ge=0.05, le=60)
    """How often each worker looks for lapsed leases, passed deadlines and tasks without an agent."""
