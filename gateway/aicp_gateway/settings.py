"""The gateway's settings."""

from typing import Self

from pydantic import Field, model_validator

from aicp_common.settings import Settings


class GatewaySettings(Settings):
    """What the gateway reads beside what every service reads."""

    host: str = "127.0.0.1"
    port: int = Field(8765, ge=0, le=65535)
    """For WebSocket. Both ports serve both transports."""
    http_port: int = Field(8080, ge=0, le=65535)
    """For Streamable HTTP."""
    gateway_sockets: str = Field("", pattern=r"^(\d+(,\d+)*)?$")
    """File descriptors of listening sockets that a supervisor has opened, instead of `host` and the ports."""

    jwt_required: bool = False
    jwt_secret: str = ""
    jwt_audience: str = ""
    jwt_issuer: str = ""
    allowed_hosts: str = ""
    """Host names, separated by commas, that requests may be for beside the ones of this machine."""

    required_services: str = Field("orchestrator,router,statehub", pattern=r"^[a-z0-9_-]+(,[a-z0-9_-]+)*$")
    """Services that a gateway which starts waits for, so that its first clients find all tools; `none`: for none."""

    max_message_bytes: int = Field(1024 * 1024, ge=1024, le=16 * 1024 * 1024)
    max_in_flight: int = Field(64, ge=1, le=10_000)
    """Requests that one client may have under way."""
    client_answer_s: float = Field(120.0, gt=0, le=3600)
    """How long a client may take to answer what a service asks it: a person may have to fill in a form."""
    session_ttl_s: int = Field(24 * 3600, ge=60)
    """How long a Streamable HTTP session lives after its last request."""

    @model_validator(mode="after")
    def _check_secret(self) -> Self:
        if self.jwt_required and len(self.jwt_secret) < 32:
            raise ValueError("JWT_REQUIRED=true needs a JWT_SECRET of at least 32 characters")
        return self
