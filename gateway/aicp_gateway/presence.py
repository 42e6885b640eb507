"""Presence: tells the router which agents are connected to this gateway, or call it without a connection."""

import asyncio
from collections import Counter

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.envelope import Principal, encode_json

INTERVAL_S = 10.0
GATHER_S = 0.2
"""Agents that call for the first time are told of together."""
AT_ONCE = 1000
"""Agents that are told of in one message, so that it fits on the bus."""


class Presence:
    """Counts the connections of each agent; says so at once when one comes or goes, and all of them regularly."""

    def __init__(self, bus: Bus, gateway: str) -> None:
        self._bus = bus
        self._gateway = gateway
        self._connections: Counter[tuple[str, str]] = Counter()
        self._calls: Counter[tuple[str, str]] = Counter()
        """Under way."""
        self._called: dict[tuple[str, str], None] = {}
        """Agents without a connection that called since all were told of last."""
        self._new: list[tuple[str, str]] = []
        self._telling: asyncio.Task[None] | None = None

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

    def calls(self, principal: Principal) -> None:
        """A call of this agent begins, which may have no connection of its own: it is here as well."""
        agent = (principal.tenant, principal.agent)
        self._calls[agent] += 1
        if agent in self._connections or agent in self._called:
            return
        self._called[agent] = None
        self._new.append(agent)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_new())

    def called(self, principal: Principal) -> None:
        """That call is over."""
        agent = (principal.tenant, principal.agent)
        self._calls[agent] -= 1
        if self._calls[agent] <= 0:
            del self._calls[agent]
        if agent not in self._connections:
            self._called[agent] = None

    async def repeat_for_ever(self) -> None:
        """Say who is here every `INTERVAL_S` seconds, for routers that missed it."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            agents = list({**self._connections, **self._calls, **self._called})
            self._called.clear()
            await self._tell(agents)

    async def _tell_new(self) -> None:
        await asyncio.sleep(GATHER_S)
        new, self._new = self._new, []
        await self._tell(new)

    async def _tell(self, agents: list[tuple[str, str]]) -> None:
        for first in range(0, len(agents), AT_ONCE):
            await self._publish(agents=agents[first : first + AT_ONCE])

    async def _publish(self, **change: list[tuple[str, str]]) -> None:
        await self._bus.publish(subjects.PRESENCE, encode_json({"gateway": self._gateway, **change}))
