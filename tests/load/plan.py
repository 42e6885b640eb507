"""The plan: what is wanted of a run, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.load.message import Era
from tests.load.workers import RECEIVERS


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted of a run."""

    url: str
    era: Era
    token: str
    """Of the agents that put load on the hub; empty on an open hub, where each has a name of its own."""
    worker_token: str
    connections: int
    in_flight: int
    """Calls that each connection may have under way."""
    rate: float | None
    """Calls that begin in a second; None: as fast as the hub answers."""
    duration_s: float
    warm_up_s: float
    timeout_s: float
    weights: Mapping[str, int]
    """The mix."""
    workers: int
    """For the call `route`; 0 without it."""
    payload_bytes: int
    tool: str
    arguments: Mapping[str, Any]

    @property
    def transport(self) -> str:
        """`websocket` or `http`."""
        return "websocket" if self.url.startswith("ws") else "http"

    @property
    def sockets(self) -> int:
        """How many sockets it takes."""
        if self.transport == "websocket":
            return self.connections + self.workers
        return self.connections * self.in_flight + self.workers * RECEIVERS
