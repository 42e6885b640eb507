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

PING_S = 20.0
"""Between two pings of a WebSocket; the pong has to come before the next ping."""

SIGN_OF_LIFE_S = 15.0
"""How often a stream with nothing to say says so, for proxies that cut silent connections."""


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
    heartbeat: Heartbeat = field(default_factory=lambda: Heartbeat(PING_S))
    """Pings WebSockets, and ends those that did not answer the last ping."""
    signs_of_life: Heartbeat = field(default_factory=lambda: Heartbeat(SIGN_OF_LIFE_S))
    """Says in answers over HTTP that they are still coming."""
    clients: set[Notices] = field(default_factory=set)
    """Everyone who can be told something now."""
    connections: set[Closable] = field(default_factory=set)
    """What is to be closed in good order when this gateway stops."""
