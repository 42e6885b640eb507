"""Presence: tells the router which agents are connected to this gateway."""

import asyncio
from collections import Counter

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.envelope import Principal, encode_json

INTERVAL_S = 10.0
AT_ONCE = 1000
"""Agents that are told of in one message, so that it fits on the bus."""


class Presence:
    """Counts the connections of each agent; says so at once when one comes or goes, and all of them regularly."""

    def __init__(self, bus: Bus, gateway: str) -> None:
        self._bus = bus
        self._gateway = gateway
        self._connections: Counter[tuple[str, str]] = Counter()

    @property
    def connections(self) -> int:
        """Open connections and streams."""
        return self._connections.total()

    async def joined(self, principal: Principal) -> None:
        """One more connection of this agent."""
        agent = (principal.tenant, principal.agent)
        self._connections[agent] += 1
        if self._connections[agent] == 1:
            await self._publish(agents=[agent])

    async def left(self, principal: Principal) -> None:
        """One connection of this agent less."""
        agent = (principal.tenant, principal.agent)
        self._connections[agent] -= 1
        if self._connections[agent] <= 0:
            del self._connections[agent]
            await self._publish(left=[agent])

    async def repeat_for_ever(self) -> None:
        """Say who is here every `INTERVAL_S` seconds, for routers that missed it."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            agents = list(self._connections)
            for first in range(0, len(agents), AT_ONCE):
                await self._publish(agents=agents[first : first + AT_ONCE])

    async def _publish(self, **change: list[tuple[str, str]]) -> None:
        await self._bus.publish(subjects.PRESENCE, encode_json({"gateway": self._gateway, **change}))
