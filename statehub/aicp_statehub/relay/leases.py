"""Who relays what: tenants fall into shards, and each shard is leased to one worker at a time."""

import time
import zlib
from dataclasses import dataclass

from redis.asyncio import Redis

from aicp_common.store import redis_errors

SHARDS = 16
"""Never change it while workers run: two of them would relay the same tenant."""

LEASE_MS = 2500
RENEW_INTERVAL_S = 0.5
MARGIN_S = 0.3
"""A worker stops to believe in its leases so long before Redis does."""

_KEY = "aicp:relay:leases"
"""Hash: `worker:<token>` = when that worker's leases end, `shard:<number>` = the token of its worker."""

_RENEW = """
local key, me, lease_ms, shards = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', key, 'worker:' .. me, now + lease_ms)
local alive, workers, owners = {}, 0, {}
local all = redis.call('HGETALL', key)
for i = 1, #all, 2 do
  local kind, name = all[i]:match('^(%a+):(.*)$')
  if kind == 'shard' then
    owners[name] = all[i + 1]
  elseif tonumber(all[i + 1]) > now then
    alive[name] = true
    workers = workers + 1
  else
    redis.call('HDEL', key, all[i])
  end
end
local share, mine = math.ceil(shards / workers), {}
for n = 0, shards - 1 do
  if owners[tostring(n)] == me then mine[#mine + 1] = n end
end
for n = 0, shards - 1 do
  local owner = owners[tostring(n)]
  if #mine < share and not (owner and alive[owner]) then
    redis.call('HSET', key, 'shard:' .. n, me)
    mine[#mine + 1] = n
  end
end
return {workers, mine}
"""

_RELEASE = """
local key, me = KEYS[1], ARGV[1]
for i = 2, #ARGV do
  if redis.call('HGET', key, 'shard:' .. ARGV[i]) == me then redis.call('HDEL', key, 'shard:' .. ARGV[i]) end
end
"""


def shard_of(tenant: str) -> int:
    """The shard that a tenant belongs to."""
    return zlib.crc32(tenant.encode()) % SHARDS


@dataclass(frozen=True, slots=True)
class Held:
    """What a worker may relay now."""

    shards: frozenset[int]
    surplus: frozenset[int]
    """Of these, what it should give to workers that have less: stop relaying first, then `release`."""


class Leases:
    """The leases of one worker.

    Args:
        token: Of this process alone, so that a restarted worker is not taken for the one that was killed.
    """

    def __init__(self, redis: Redis, token: str) -> None:
        self._redis = redis
        self._token = token
        self._valid_until = 0.0
        self._held: frozenset[int] = frozenset()
        self._renew = redis.register_script(_RENEW)
        self._release = redis.register_script(_RELEASE)

    def holds(self, shard: int) -> bool:
        """Whether the last renewal gave this worker `shard`, and its leases still hold, for certain."""
        return shard in self._held and time.monotonic() < self._valid_until

    async def renew(self) -> Held:
        """Prolong the leases of this worker, and take over what nobody alive holds, up to a fair share.

        Raises:
            Unavailable: Redis is away.
        """
        # Redis counts from when it runs the script, so counting from before can only be too careful.
        asked_at = time.monotonic()
        async with redis_errors():
            workers, mine = await self._renew(keys=[_KEY], args=[self._token, LEASE_MS, SHARDS])
        # Together: a worker that stood still may hold leases again, and not those that it had.
        self._held = frozenset(mine)
        self._valid_until = asked_at + LEASE_MS / 1000 - MARGIN_S
        share = -(-SHARDS // workers)
        return Held(self._held, frozenset(sorted(mine)[share:]))

    async def release(self, shards: frozenset[int]) -> None:
        """Give shards back.

        Raises:
            Unavailable: Redis is away.
        """
        async with redis_errors():
            await self._release(keys=[_KEY], args=[self._token, *shards])

    async def leave(self) -> None:
        """Give everything back: this worker ends.

        Raises:
            Unavailable: Redis is away.
        """
        self._valid_until = 0.0
        await self.release(frozenset(range(SHARDS)))
        async with redis_errors():
            await self._redis.hdel(_KEY, f"worker:{self._token}")
