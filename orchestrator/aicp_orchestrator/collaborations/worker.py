"""Claims collaborations and runs them side by side, no more than this worker may, and hands them over when it stops."""

import asyncio
import logging
from collections import Counter
from functools import partial

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
from aicp_orchestrator.collaborations.hands import Surroundings, patiently
from aicp_orchestrator.collaborations.plan import Plan
from aicp_orchestrator.collaborations.room_news import Post
from aicp_orchestrator.collaborations.runner import Collaboration
from aicp_orchestrator.collaborations.turnstile import Turnstile
from aicp_orchestrator.collaborations.watch import Watch
from aicp_orchestrator.router_client import MAX_AT_ONCE, ORCHESTRATOR, Claim, RouterClient

log = logging.getLogger(__name__)

RUNNING = Gauge("aicp_collaborations_running", "Collaborations that this worker runs now.")

STEPS_AT_ONCE = 32
"""Steps that this worker hands to the router at the same moment."""

MAX_FAULTS = 3
"""After so many attempts of this worker that ended in a fault a collaboration fails. A killed worker is none."""
MAX_REASON = 1_000

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

    def __init__(self, router: RouterClient, bus: Bus, watch: Watch, post: Post, max_collaborations: int) -> None:
        self._router = router
        self._bus = bus
        self._around = Surroundings(router, watch, Turnstile(STEPS_AT_ONCE), post)
        self._max = max_collaborations
        self._held: dict[str, Collaboration] = {}
        """By task id."""
        self._begins = asyncio.Event()
        self._failed: Counter[str] = Counter()
        """Faults of collaborations that were running here, by task id."""
        self._passed_over: set[str] = set()
        """Tenants of which some requesters had enough here."""
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
            self._start(_decode_handed_over(message.data), begun=True)

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
                # All of them may be one requester's, so never more than half of the places that are left.
                await self._claim(tenant, min(CLAIM_AT_ONCE, (self._max - len(self._running) + 1) // 2))
        finally:
            await end(self._running)

    def _has_enough(self, tenant: str) -> list[str]:
        """The requesters of a tenant of whom this worker takes no more now: each has half of the places that the others
        leave. So there is always a place for one more requester, and who is alone has half of all."""
        running = Counter((what.tenant, what.claim.asker.agent) for what in self._running.values())
        all_ = running.total()
        return [
            agent
            for (of, agent), count in running.items()
            if of == tenant and 2 * count >= max(2, self._max - (all_ - count))
        ]

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        # There is a place again for those who were passed over.
        for tenant in self._passed_over:
            self._want(tenant)
        self._passed_over.clear()

    async def keep_leases(self) -> None:
        """Extend the leases of all that runs here, for ever."""
        while True:
            if not self._held:
                self._begins.clear()
                await self._begins.wait()
            await asyncio.sleep(min(held.claim.lease_s for held in self._held.values()) / 3)
            for tenant in {held.tenant for held in self._held.values()}:
                await self._keep(tenant)

    async def _keep(self, tenant: str) -> None:
        mine = [held for held in self._held.values() if held.tenant == tenant]
        for first in range(0, len(mine), MAX_AT_ONCE):
            portion = {held.claim.task_id: held for held in mine[first : first + MAX_AT_ONCE]}
            claims = [held.claim for held in portion.values()]
            for task_id in await patiently(partial(self._router.keep, tenant, claims)):
                # This one and no other: it may have been claimed again meanwhile.
                portion[task_id].lose()

    async def _claim(self, tenant: str, most: int) -> None:
        enough = self._has_enough(tenant)
        if enough:
            self._passed_over.add(tenant)
        try:
            claims = await self._router.claim(tenant, most, enough)
        except AicpError as error:
            log.warning("collaborations could not be claimed: %s", error)
            return
        for claim in claims:
            if self._stopping:
                await self._bus.publish(subjects.HANDED_OVER, encode_json(HandedOver(tenant, claim)))
            else:
                self._start(HandedOver(tenant, claim), begun=claim.attempt > 1)
        if len(claims) == most:
            # There may be more. Other tenants come first.
            self._want(tenant)

    def _start(self, what: HandedOver, *, begun: bool) -> None:
        # What this worker has lost without having heard of it, it may get back.
        lost = [task for task, other in self._running.items() if other.claim.task_id == what.claim.task_id]
        task = asyncio.create_task(self._run(what.tenant, what.claim, lost, begun=begun))
        self._running[task] = what
        task.add_done_callback(self._ended)

    def _want(self, tenant: str) -> None:
        if self._stopping:
            return
        if tenant not in self._queued:
            self._queued.add(tenant)
            self._tenants.put_nowait(tenant)

    async def _run(self, tenant: str, claim: Claim, lost: list[asyncio.Task[None]], *, begun: bool) -> None:
        await end(lost)
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
                held = self._held[claim.task_id] = Collaboration(tenant, claim, plan, self._around, begun=begun)
                self._begins.set()
                try:
                    await held.run()
                    self._failed.pop(claim.task_id, None)
                finally:
                    if self._held.get(claim.task_id) is held:
                        del self._held[claim.task_id]
            except Exception as error:
                # Its lease lapses, and it is tried again, here or elsewhere. What fails each time is a fault of ours or
                # of what its agents have handed in, and would fail for ever.
                log.exception("a collaboration could not be run", extra={"task": claim.task_id})
                if len(self._failed) >= self._max:
                    self._failed.clear()
                self._failed[claim.task_id] += 1
                if self._failed[claim.task_id] >= MAX_FAULTS:
                    del self._failed[claim.task_id]
                    await self._give_up(tenant, claim, f"the hub could not run it: {type(error).__name__}: {error}")

    async def _give_up(self, tenant: str, claim: Claim, reason: str) -> None:
        try:
            await self._refuse(tenant, claim, reason[:MAX_REASON])
        except AicpError as error:
            log.warning("a collaboration could not be ended: %s", error, extra={"task": claim.task_id})

    async def _refuse(self, tenant: str, claim: Claim, reason: str) -> None:
        await self._router.submit(tenant, "", claim.task_id, claim.attempt, status="failed", result=reason)
