"""The relay: brings every event from the outboxes of all tenants to the event log, at least once and in order."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import defaultdict

from aicp_common.cancellation import end
from aicp_common.errors import Unavailable
from aicp_common.ids import is_id
from aicp_common.service import Service
from aicp_common.store import TENANTS, connect_redis, redis_errors
from aicp_statehub.outage import Outage
from aicp_statehub.relay import metrics
from aicp_statehub.relay.event_log import EventLog
from aicp_statehub.relay.leases import RENEW_INTERVAL_S, SHARDS, Leases, shard_of
from aicp_statehub.relay.outbox import measure
from aicp_statehub.relay.shard import Shard, Surroundings
from aicp_statehub.settings import StatehubSettings

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 0.4
"""How often it is asked whether there are new tenants."""
MEASURE_INTERVAL_S = 10.0
CHECK_INTERVAL_S = 1.0
"""How long it can stay unnoticed that the event log's connection is gone, should its client not say so."""
MAX_BACK_OFF_S = 2.0
LEAVE_PATIENCE_S = 1.0
"""For giving the leases back; without that they lapse."""

_NOTHING_LOST = "Nothing is lost: changes are still taken, and their events wait in Redis, up to a cap."


class Relay:
    """One worker's part of the relay: the shards that it holds."""

    def __init__(self, service: Service[StatehubSettings]) -> None:
        self._service = service
        self._redis = connect_redis(service.settings.redis_url, max_connections=SHARDS + 8)
        self._leases = Leases(self._redis, f"{service.instance}.{secrets.token_hex(4)}")
        self._log: EventLog | None = None
        self._opening = asyncio.Lock()
        self._redis_outage = Outage(
            "the relay of events waits for Redis",
            "Nothing is lost: it goes on by itself when Redis answers. Look at redis-server and REDIS_URL",
        )
        self._log_outage = Outage(
            "the relay of events waits for the event log",
            f"{_NOTHING_LOST} Look at nats-server, whether it runs JetStream, and NATS_URL",
        )
        self._shards: dict[int, Shard] = {}
        self._tenants: set[str] = set()
        self._by_shard: dict[int, tuple[str, ...]] = {}
        self._look_now = asyncio.Event()
        self._around = Surroundings(
            store=self._redis,
            leases=self._leases,
            event_log=self._open_log,
            refusal=Outage(
                "the relay of events waits because the event log takes none",
                f"{_NOTHING_LOST} Look at the JetStream storage of nats-server (disk, limits)",
            ),
        )

    def hint(self, tenant: str) -> None:
        """A change of `tenant` was seen: if it is a new one, do not wait for the next look."""
        if tenant not in self._tenants:
            self._look_now.set()

    async def run(self) -> None:
        """Relay, for ever."""
        loops = [
            asyncio.create_task(work)
            for work in (self._keep_log_open(), self._hold_leases(), self._find_tenants(), self._measure())
        ]
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in done:
                loop.result()
        finally:
            leaving = asyncio.create_task(self._leave(loops))
            while not leaving.done():
                # Whoever ends this may say so again and again.
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([leaving])
            leaving.result()

    async def _leave(self, loops: list[asyncio.Task[None]]) -> None:
        await end(loops)
        await asyncio.gather(*(shard.stop() for shard in self._shards.values()))
        self._shards.clear()
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(LEAVE_PATIENCE_S):
                await self._leases.leave()
        if self._log is not None:
            await self._log.close()
        await self._redis.aclose()

    async def _open_log(self) -> EventLog:
        async with self._opening:
            back_off_s = 0.05
            while self._log is None or not self._log.connected:
                metrics.LOG_CONNECTED.set(0)
                fresh = EventLog(self._service.settings, f"aicp-{self._service.instance}-relay")
                try:
                    await fresh.open()
                    self._log = fresh
                    self._log_outage.end()
                except Unavailable as error:
                    metrics.FAILURES.labels("event_log").inc()
                    self._log_outage.begin(error.message)
                    await asyncio.sleep(back_off_s)
                    back_off_s = min(back_off_s * 2, MAX_BACK_OFF_S)
            metrics.LOG_CONNECTED.set(1)
            return self._log

    async def _keep_log_open(self) -> None:
        # Not only when there is an event: the stream should be there from the start, and again soon after an outage.
        while True:
            event_log = await self._open_log()
            while event_log.connected:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event_log.closed.wait(), CHECK_INTERVAL_S)
            metrics.LOG_CONNECTED.set(0)
            await event_log.close()

    async def _hold_leases(self) -> None:
        while True:
            try:
                held = await self._leases.renew()
                # Relaying ends before the lease is given to another worker.
                await self._drop(frozenset(self._shards) - held.shards | held.surplus)
                if held.surplus:
                    await self._leases.release(held.surplus)
                for number in held.shards - held.surplus - self._shards.keys():
                    shard = self._shards[number] = Shard(number, self._around)
                    shard.watch(self._by_shard.get(number, ()))
                    shard.start()
                metrics.SHARDS_HELD.set(len(self._shards))
                self._redis_outage.end()
            except Unavailable as error:
                self._redis_outage.begin(error.message)
            await asyncio.sleep(RENEW_INTERVAL_S)

    async def _drop(self, numbers: frozenset[int]) -> None:
        shards = [shard for number in numbers if (shard := self._shards.pop(number, None)) is not None]
        await asyncio.gather(*(shard.stop() for shard in shards))

    async def _find_tenants(self) -> None:
        known = 0
        while True:
            self._look_now.clear()
            try:
                async with redis_errors():
                    count = await self._redis.scard(TENANTS)
                if count != known:
                    await self._sort_tenants(await self._service.tenants.all())
                    known = count
            except Unavailable:
                metrics.FAILURES.labels("redis").inc()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), LOOK_INTERVAL_S)

    async def _sort_tenants(self, tenants: list[str]) -> None:
        by_shard: dict[int, list[str]] = defaultdict(list)
        for tenant in tenants:
            if is_id(tenant):
                by_shard[shard_of(tenant)].append(tenant)
            elif tenant not in self._tenants:
                log.error("%r in the set %s is no tenant and is not relayed", tenant[:80], TENANTS)
        self._tenants = set(tenants)
        sorted_tenants = {number: tuple(names) for number, names in by_shard.items()}
        for number in sorted_tenants.keys() | self._by_shard.keys():
            names = sorted_tenants.get(number, ())
            shard = self._shards.get(number)
            if shard is not None and names != self._by_shard.get(number, ()):
                shard.watch(names)
        self._by_shard = sorted_tenants

    async def _measure(self) -> None:
        while True:
            tenants = [name for number in list(self._shards) for name in self._by_shard.get(number, ())]
            with contextlib.suppress(Unavailable):
                waiting, oldest_ms = await measure(self._redis, tenants) if tenants else (0, None)
                metrics.OUTBOX_ENTRIES.set(waiting)
                metrics.LAG_SECONDS.set(0 if oldest_ms is None else max(time.time() - oldest_ms / 1000, 0))
            await asyncio.sleep(MEASURE_INTERVAL_S)
