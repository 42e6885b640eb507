"""Claims collaborations and runs them side by side, no more than this worker may, and hands them over when it stops."""

import asyncio
import logging

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from prometheus_client import Gauge

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.cancellation import end
from aicp_common.envelope import encode_json
from aicp_common.errors import AicpError, Unavailable
from aicp_common.waiting import Waiters
from aicp_orchestrator.collaborations.plan import Plan
from aicp_orchestrator.collaborations.runner import Collaboration
from aicp_orchestrator.router_client import ORCHESTRATOR, Claim, RouterClient

log = logging.getLogger(__name__)

RUNNING = Gauge("aicp_collaborations_running", "Collaborations that this worker runs now.")

CLAIM_AT_ONCE = 20
"""The most that the router hands out in one call."""


class HandedOver(msgspec.Struct, frozen=True):
    """A collaboration that another worker has claimed and does not run any more. Its claim still holds."""

    tenant: str
    claim: Claim


_decode_handed_over = msgspec.json.Decoder(HandedOver).decode
_decode_plan = msgspec.json.Decoder(Plan).decode


class Worker:
    """This worker's collaborations.

    A signal says that collaborations of a tenant wait. The router repeats it for as long as that is so, therefore a
    signal, a claim or a worker that gets lost costs time and nothing else.
    """

    def __init__(self, router: RouterClient, bus: Bus, waiters: Waiters, max_collaborations: int) -> None:
        self._router = router
        self._bus = bus
        self._waiters = waiters
        self._max = max_collaborations
        self._running: dict[asyncio.Task[None], HandedOver] = {}
        self._listening: Subscription | None = None
        self._stopping = False
        self._tenants: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()

    async def on_signal(self, message: Msg) -> None:
        """Work has entered the orchestrator's queue of a tenant."""
        self._want(message.subject.split(".")[3])

    async def listen(self) -> None:
        """Take over what other workers hand over, from now on."""
        self._listening = await self._bus.subscribe(subjects.HANDED_OVER, self._on_handed_over, ORCHESTRATOR)

    async def _on_handed_over(self, message: Msg) -> None:
        # One that is not taken, like a message that gets lost, stands still until its lease lapses.
        if len(self._running) < self._max and not self._stopping:
            self._start(_decode_handed_over(message.data))

    async def hand_over(self) -> None:
        """Stop what runs here, and let other workers go on with it at once."""
        self._stopping = True
        running = dict(self._running)
        await end(running)
        if not self._bus.connected or self._listening is None:
            return
        try:
            # Before anything is published, so that none of it comes back to this worker.
            await self._listening.unsubscribe()
            await self._bus.flush()
            for task, what in running.items():
                if task.cancelled():
                    await self._bus.publish(subjects.HANDED_OVER, encode_json(what))
            await self._bus.flush()
        except (Unavailable, nats.errors.Error) as error:
            log.warning("collaborations could not be handed over and wait for their leases to lapse: %s", error)

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
            await end(self._running)

    async def _claim(self, tenant: str, most: int) -> None:
        try:
            claims = await self._router.claim(tenant, most)
        except AicpError as error:
            log.warning("collaborations could not be claimed: %s", error)
            return
        for claim in claims:
            if self._stopping:
                await self._bus.publish(subjects.HANDED_OVER, encode_json(HandedOver(tenant, claim)))
            else:
                self._start(HandedOver(tenant, claim))
        if len(claims) == most:
            # There may be more. Other tenants come first.
            self._want(tenant)

    def _start(self, what: HandedOver) -> None:
        task = asyncio.create_task(self._run(what.tenant, what.claim))
        self._running[task] = what
        task.add_done_callback(self._running.pop)

    def _want(self, tenant: str) -> None:
        if self._stopping:
            return
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
