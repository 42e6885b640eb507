"""Claims collaborations and runs them side by side, no more than this worker may."""

import asyncio
import logging

import msgspec
from nats.aio.msg import Msg
from prometheus_client import Gauge

from aicp_common.errors import AicpError
from aicp_common.waiting import Waiters
from aicp_orchestrator.plan import Plan
from aicp_orchestrator.router_client import Claim, RouterClient
from aicp_orchestrator.runner import Collaboration

log = logging.getLogger(__name__)

RUNNING = Gauge("aicp_collaborations_running", "Collaborations that this worker runs now.")

CLAIM_AT_ONCE = 20
"""The most that the router hands out in one call."""

_decode_plan = msgspec.json.Decoder(Plan).decode


class Worker:
    """This worker's collaborations.

    A signal says that collaborations of a tenant wait. The router repeats it for as long as that is so, therefore a
    signal, a claim or a worker that gets lost costs time and nothing else.
    """

    def __init__(self, router: RouterClient, waiters: Waiters, max_collaborations: int) -> None:
        self._router = router
        self._waiters = waiters
        self._max = max_collaborations
        self._running: set[asyncio.Task[None]] = set()
        self._tenants: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()

    async def on_signal(self, message: Msg) -> None:
        """Work has entered the orchestrator's queue of a tenant."""
        self._want(message.subject.split(".")[3])

    async def run(self) -> None:
        """Claim and run for ever. When cancelled, leave what runs to other workers."""
        try:
            while True:
                tenant = await self._tenants.get()
                self._queued.discard(tenant)
                while len(self._running) >= self._max:
                    await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                await self._claim(tenant, min(CLAIM_AT_ONCE, self._max - len(self._running)))
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _claim(self, tenant: str, most: int) -> None:
        try:
            claims = await self._router.claim(tenant, most)
        except AicpError as error:
            log.warning("collaborations could not be claimed: %s", error)
            return
        for claim in claims:
            task = asyncio.create_task(self._run(tenant, claim))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if len(claims) == most:
            # There may be more. Other tenants come first.
            self._want(tenant)

    def _want(self, tenant: str) -> None:
        if tenant not in self._queued:
            self._queued.add(tenant)
            self._tenants.put_nowait(tenant)

    async def _run(self, tenant: str, claim: Claim) -> None:
        with RUNNING.track_inprogress():
            try:
                if claim.kind != "collaboration":
                    await self._refuse(tenant, claim, "the orchestrator takes collaborations only")
                    return
                try:
                    plan = _decode_plan(claim.input)
                except msgspec.MsgspecError as error:
                    log.error("a plan cannot be read: %s", error, extra={"task": claim.task_id})
                    await self._refuse(tenant, claim, f"the plan cannot be read: {error}")
                    return
                await Collaboration(tenant, claim, plan, self._router, self._waiters).run()
            except Exception:
                # Its lease lapses, and it is tried again, here or elsewhere, until its attempts are used up.
                log.exception("a collaboration could not be run", extra={"task": claim.task_id})

    async def _refuse(self, tenant: str, claim: Claim, reason: str) -> None:
        await self._router.submit(tenant, "", claim.task_id, claim.attempt, status="failed", result=reason)
