"""What the router reads from the environment."""

import math
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from aicp_common.settings import Settings
from aicp_router.matching import embedding
from aicp_router.matching.scoring import Weights


def _checked_weights(text: str) -> str:
    Weights.parse(text)
    return text


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
    queue_share: float = Field(0.5, gt=0, le=1)
    """The share of these that one requester may have there, so that there is room for others."""
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
    routing_weights: Annotated[str, AfterValidator(_checked_weights)] = ""
    """How much each part of a score counts, where not as usual: `load=0.3,speed=0.1` (see `scoring.Weights`)."""
    embedder: str = "auto"
    """Where embeddings come from: `auto` (the bundled model where it is installed), `bundled`, `off`, `model2vec:PATH`,
    or the URL of an OpenAI-compatible service."""
    embedder_model: str = Field("", max_length=200)
    """The name of the model at that URL."""
    embedder_key: SecretStr = SecretStr("")
    """Its bearer token."""
    embedding_budget_ms: int = Field(150, ge=1, le=10_000)
    """How long a decision that is in doubt waits for the embedding of its message."""

    @property
    def requester_cap(self) -> int:
        """Tasks of one requester that may wait for one agent."""
        return math.ceil(self.queue_cap * self.queue_share)

    @property
    def weights(self) -> Weights:
        """How much each part of a score counts."""
        return Weights.parse(self.routing_weights)

    @property
    def embedding_source(self) -> embedding.Source | None:
        """Where embeddings come from; None for none."""
        return embedding.source(
            self.embedder, model=self.embedder_model, key=self.embedder_key.get_secret_value().strip()
        )

    @model_validator(mode="after")
    def _embedder_is_there(self) -> Self:
        try:
            _ = self.embedding_source
        except ValueError as error:
            raise ValueError(f"EMBEDDER: was {self.embedder!r}; allowed: {error}") from error
        return self
