"""Offers: tasks that wait behind other work of their agent, and who else is told of them."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from aicp_common.errors import Busy, Unavailable
from aicp_router.agents.registry import Registry
from aicp_router.clock import now_ms
from aicp_router.tasks import offer_scripts, task_scripts
from aicp_router.tasks.choice import choices
from aicp_router.tasks.desk import near
from aicp_router.tasks.record import Record
from aicp_router.tasks.wishes import wish_of

log = logging.getLogger(__name__)

PICTURE_S = 0.1
"""How old the picture of who is there may be when a task is routed or offered. How much they have to do is looked at
again when that is written."""

NUDGE_S = 0.05
"""How long an agent that is at work but has room gets for a new task, before the task is offered to all who fit nearly
as well and those of them that have room are woken. One that works on several at once has claimed it by then; one that
says so and does not would let it lie."""

_MAX_LATE = 10_000
"""Tasks that are looked at again; beyond these the sweep does it, later."""

_LOOKED_AFTER = 20
"""Tasks that find other agents in one round of the sweep, in one tenant."""


_WOKEN = 3
"""Idle agents that are woken for one task, drawn by lot; beside them one that is at work and has room."""


class Offers:
    """Offers tasks to those who fit nearly as well as the agent that has them.

    Args:
        redis: The store.
        registry: Who is there.
        say_work: Wakes an agent of a tenant.
    """

    def __init__(self, redis: Redis, registry: Registry, say_work: Callable[[str, str], Awaitable[None]]) -> None:
        self._redis = redis
        self._registry = registry
        self._say_work = say_work
        self._rng = random.Random()  # noqa: S311 - no secret
        self._late: dict[tuple[str, str], float] = {}
        """Tenant and id of tasks, and when they are looked at; in this order."""
        self._more = asyncio.Event()

    async def run(self) -> None:
        """Look at what `look_again` was told of. Never ends."""
        while True:
            await self._more.wait()
            if not self._late:
                self._more.clear()
                continue
            (tenant, task_id), at = next(iter(self._late.items()))
            await asyncio.sleep(at - time.monotonic())
            if self._late.pop((tenant, task_id), None) is None:
                continue
            try:
                await self.widen(tenant, task_id)
            except (Busy, Unavailable) as trouble:
                # The sweep comes by in any case.
                log.debug("an offer waits for the sweep: %s", trouble)

    def look_again(self, tenant: str, task_id: str) -> None:
        """Offer a task to others, unless it is claimed within `NUDGE_S`."""
        if len(self._late) < _MAX_LATE:
            self._late[tenant, task_id] = time.monotonic() + NUDGE_S
            self._more.set()

    def claimed(self, tenant: str, task_id: str) -> None:
        """It does not wait any more."""
        self._late.pop((tenant, task_id), None)

    async def look_after(self, tenant: str) -> None:
        """Offer some of what waits, when anybody has room: who came, or finished, since it was put where it waits."""
        agents = await self._registry.agents(tenant, max_age_s=PICTURE_S)
        if not any(one.online and one.profile and one.load < one.slots for one in agents.values()):
            return
        start = self._rng.random()
        for task_id in await offer_scripts.behind(self._redis, tenant, start=start, limit=_LOOKED_AFTER):
            await self.widen(tenant, task_id)

    async def widen(self, tenant: str, task_id: str) -> None:
        """Offer a task that waits behind other work of its agent to all who fit nearly as well, and wake some of those
        that have room. The longer it has waited, the less they have to fit."""
        record = Record.of(task_id, await task_scripts.read(self._redis, tenant, task_id))
        if record is None or record.state != "submitted" or not record.agent or record.named:
            return
        agents = await self._registry.agents(tenant, max_age_s=PICTURE_S)
        passed, limit = [*record.holders, *record.excluded], offer_scripts.MAX_OFFERED
        matches = await self._registry.match_for(agents, record.requester, wish_of(record), passed=passed, limit=limit)
        found = choices(agents, matches)
        if not found:
            return
        fit = next((one.fit for one in found if one.agent == record.agent), max(one.fit for one in found))
        least = fit - near((now_ms() - int(record.fields["created_ms"])) / 1000)
        desks = [(one.agent, one.slots) for one in found if one.agent != record.agent and one.fit >= least]
        free = await offer_scripts.offer(
            self._redis, tenant, task_id=task_id, agent=record.agent, attempt=record.attempt, desks=desks
        )
        idle = [name for name, has in free.items() if not has]
        others = [name for name, has in free.items() if has]
        # One of them gets it. To wake all who might be waiting costs the more, the more there are.
        woken = self._rng.sample(idle, min(len(idle), _WOKEN)) + self._rng.sample(others, min(len(others), 1))
        for name in woken:
            await self._say_work(tenant, name)
