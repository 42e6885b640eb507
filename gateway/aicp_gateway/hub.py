"""What every connection of this gateway shares."""

from dataclasses import dataclass, field
from typing import Protocol

from aicp_common.bus import Bus
from aicp_gateway.asks import Asks
from aicp_gateway.catalogue import Catalogue
from aicp_gateway.dispatch import Dispatch
from aicp_gateway.heartbeat import Heartbeat
from aicp_gateway.identity import Identity
from aicp_gateway.notices import Notices
from aicp_gateway.presence import Presence
from aicp_gateway.protocol.requeststate import StateSealer
from aicp_gateway.sessions import Sessions
from aicp_gateway.settings import GatewaySettings
from aicp_gateway.streams import Streams
from aicp_gateway.watches import Watches


class Closable(Protocol):
    """A connection or an event stream."""

    async def close(self) -> None:
        """End it in good order."""


@dataclass
class Hub:
    """The parts that a transport drives."""

    settings: GatewaySettings
    bus: Bus
    catalogue: Catalogue
    identity: Identity
    sessions: Sessions
    watches: Watches
    presence: Presence
    dispatch_websocket: Dispatch
    dispatch_http: Dispatch
    asks: Asks
    streams: Streams
    sealer: StateSealer
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    clients: set[Notices] = field(default_factory=set)
    """Everyone who can be told something now."""
    connections: set[Closable] = field(default_factory=set)
    """What is to be closed in good order when this gateway stops."""
