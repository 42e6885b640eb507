"""Removes contexts whose lifetime is over, and forgets deleted ones after theirs."""

import asyncio
import contextlib
import logging
import time

from aicp_common.errors import Busy
from aicp_common.ids import is_id
from aicp_common.service import Service
from aicp_common.store import key, redis_errors
from aicp_statehub.contexts import scripts
from aicp_statehub.contexts.keys import signal
from aicp_statehub.contexts.scripts import Bounds
from aicp_statehub.settings import StatehubSettings

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 60.0
"""How long a lost signal can delay the removal; readers see nothing of it."""
LOOK_CHUNK = 500
"""Tenants that one pipeline asks about."""


class Expiry:
    """Knows when each tenant has something to remove next: from signals, and now and then from Redis.

    Every worker does all tenants: each removal is one script, so whoever comes second finds nothing.
    """

    def __init__(self, service: Service[StatehubSettings], bounds: Bounds) -> None:
        self._service = service
        self._bounds = bounds
        self._due: dict[str, float] = {}
        """Tenant to monotonic time."""
        self._sooner = asyncio.Event()

    def on_signal(self, tenant: str, said: bytes) -> None:
        """A context has changed; the first word says in how many ms it expires, if it does."""
        lifetime_ms = said.partition(b" ")[0]
        if lifetime_ms:
            self._expect(tenant, int(lifetime_ms))

    async def run(self) -> None:
        """Remove what is due, for ever.

        Raises:
            Unavailable: Redis is away.
        """
        look_at = 0.0
        while True:
            self._sooner.clear()
            now = time.monotonic()
            if now >= look_at:
                await self._look()
                look_at = time.monotonic() + LOOK_INTERVAL_S
            for tenant in [tenant for tenant, at in self._due.items() if at <= now]:
                await self._sweep(tenant)
            next_at = min(self._due.values(), default=look_at)
            wait_s = min(next_at, look_at) - time.monotonic()
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._sooner.wait(), wait_s)

    def _expect(self, tenant: str, in_ms: float) -> None:
        at = time.monotonic() + in_ms / 1000
        if at < self._due.get(tenant, float("inf")):
            self._due[tenant] = at
            self._sooner.set()

    async def _look(self) -> None:
        tenants = [tenant for tenant in await self._service.tenants.all() if is_id(tenant)]
        for start in range(0, len(tenants), LOOK_CHUNK):
            chunk = tenants[start : start + LOOK_CHUNK]
            async with redis_errors(), self._service.redis.pipeline(transaction=False) as pipe:
                pipe.time()
                for tenant in chunk:
                    pipe.zrange(key(tenant, "context-expiry"), 0, 0, withscores=True)
                    pipe.zrange(key(tenant, "context-tombstones"), 0, 0, withscores=True)
                (seconds, micros), *firsts = await pipe.execute()
            now_ms = seconds * 1000 + micros / 1000
            for index, tenant in enumerate(chunk):
                for first in firsts[2 * index : 2 * index + 2]:
                    if first:
                        self._expect(tenant, first[0][1] - now_ms)

    async def _sweep(self, tenant: str) -> None:
        redis = self._service.redis
        self._due.pop(tenant, None)
        due, next_ms = await scripts.sweep(redis, tenant)
        try:
            for name in due:
                if await scripts.expire(redis, tenant, name, self._bounds):
                    self._service.waiters.tell(self._service.bus, signal(tenant, name))
        except Busy as error:
            log.warning("an expired context was not removed: %s", error)
            next_ms = 1000
        if next_ms is not None:
            self._expect(tenant, next_ms)
