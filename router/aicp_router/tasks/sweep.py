"""The sweep: what time alone brings about. Every worker runs it; whoever comes first does the work."""

import asyncio
import logging
import random

from aicp_common.errors import Busy, Unavailable
from aicp_common.store import Tenants
from aicp_router.agents import agent_scripts
from aicp_router.agents.profile import is_guest
from aicp_router.tasks import sweep_scripts
from aicp_router.tasks.dispatch import ORCHESTRATOR, Dispatch
from aicp_router.tasks.metrics import TASKS
from aicp_router.tasks.task_scripts import UNASSIGNED_GRACE_MS

log = logging.getLogger(__name__)

_LIMIT = 200
"""Of each kind, in one tenant, in one round: what is left waits for the next."""


class Sweep:
    """Looks through all tenants, again and again."""

    def __init__(self, dispatch: Dispatch, tenants: Tenants) -> None:
        self._dispatch = dispatch
        self._tenants = tenants
        self._settings = dispatch.settings
        self._trouble = ""

    async def run(self) -> None:
        """Never ends."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._dispatch.offers.run())
            both.create_task(self._rounds())

    async def _rounds(self) -> None:
        while True:
            # Workers that were started together shall not sweep together.
            await asyncio.sleep(self._settings.sweep_interval_s * random.uniform(0.7, 1.3))  # noqa: S311 - no secret
            try:
                for tenant in await self._tenants.all():
                    await self._sweep_guarded(tenant)
                self._say("")
            except Unavailable as error:
                self._say(str(error))

    async def _sweep_guarded(self, tenant: str) -> None:
        try:
            await self.sweep(tenant)
        except Busy:
            # This tenant's outbox is full: what is due there waits for the relay, and nobody else for that.
            log.debug("the sweep passes a tenant by", extra={"tenant": tenant})

    def _say(self, trouble: str) -> None:
        # One line for each time that Redis goes away, and one when it is back.
        if trouble and not self._trouble:
            log.warning("the sweep waits: %s", trouble)
        elif self._trouble and not trouble:
            log.info("the sweep goes on")
        self._trouble = trouble

    async def sweep(self, tenant: str) -> None:
        """One round through one tenant."""
        dispatch, settings = self._dispatch, self._settings
        redis, retention_ms = dispatch.redis, dispatch.retention_ms
        online_ms, forget_ms = int(settings.online_s * 1000), int(settings.agent_retention_s * 1000)
        due = await sweep_scripts.due(redis, tenant, limit=_LIMIT, online_ms=online_ms, retention_ms=forget_ms)
        for task_id in due.deadlines:
            if await sweep_scripts.expire(redis, tenant, task_id=task_id, retention_ms=retention_ms):
                TASKS.of("failed").value += 1
                await dispatch.say_changed(tenant, task_id)
        for task_id in due.leases:
            outcome = await sweep_scripts.lapse(
                redis, tenant, task_id=task_id, grace_ms=UNASSIGNED_GRACE_MS, retention_ms=retention_ms
            )
            if outcome:
                TASKS.of("lapsed").value += 1
            if outcome == "failed":
                TASKS.of("failed").value += 1
            if outcome == "requeued":
                await dispatch.reassign(tenant, task_id)
            if outcome:
                await dispatch.say_changed(tenant, task_id)
        for task_id in due.ignored:
            await dispatch.pass_on(tenant, task_id)
        for task_id in due.unassigned:
            await dispatch.reassign(tenant, task_id)
        if due.unclaimed:
            await dispatch.offers.look_after(tenant)
        for task_id in due.orphans:
            record = await dispatch.read(tenant, task_id)
            await dispatch.cancel_children(tenant, task_id, record.children if record else (), "")
        room = _LIMIT
        for agent in due.away:
            if is_guest(agent):
                await agent_scripts.depart(redis, tenant, agent=agent, online_ms=online_ms)
                room -= await dispatch.turn_away(tenant, agent, limit=room, online_ms=online_ms) if room > 0 else 0
            else:
                await agent_scripts.go_offline(redis, tenant, agent=agent, online_ms=online_ms)
        for agent in due.long_away:
            await agent_scripts.forget(redis, tenant, agent=agent, retention_ms=forget_ms)
        if due.orchestrations:
            await dispatch.say_work(tenant, ORCHESTRATOR)
