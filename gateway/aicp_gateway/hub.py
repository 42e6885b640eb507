"""What every connection of this gateway shares."""

import asyncio
from dataclasses import dataclass, field

from aicp_common.bus import Bus
from aicp_gateway.catalogue import Catalogue
from aicp_gateway.identity import Identity
from aicp_gateway.notices import Notices
from aicp_gateway.presence import Presence
from aicp_gateway.sessions import Sessions
from aicp_gateway.settings import GatewaySettings
from aicp_gateway.watches import Watches


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
    clients: set[Notices] = field(default_factory=set)
    """Everyone who can be told something now."""
    streams: set[asyncio.Event] = field(default_factory=set)
    """Set one of these to end that event stream."""
