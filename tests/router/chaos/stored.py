"""All that Redis holds of one tenant, read in one step."""

import json
from typing import Any, cast

from redis.asyncio import Redis

from aicp_common.store import key
from tests.router.chaos.task_model import Event

_DUMP = """
local read = {
  string = function(k) return redis.call('GET', k) end,
  hash = function(k) return redis.call('HGETALL', k) end,
  list = function(k) return redis.call('LRANGE', k, 0, -1) end,
  set = function(k) return redis.call('SMEMBERS', k) end,
  zset = function(k) return redis.call('ZRANGE', k, 0, -1, 'WITHSCORES') end,
  stream = function(k)
    local entries = redis.call('XRANGE', k, '-', '+')
    redis.call('XTRIM', k, 'MAXLEN', 0)
    return entries
  end,
}
local found = {}
for _, k in ipairs(redis.call('KEYS', KEYS[1] .. ':*')) do
  local kind = redis.call('TYPE', k).ok
  found[#found + 1] = {string.sub(k, #KEYS[1] + 2), kind, redis.call('PTTL', k), read[kind](k)}
end
return found
"""
"""Everything of a tenant; takes the events out of the outbox, as the relay does."""


class Stored:
    """All keys of the tenant at one moment."""

    def __init__(self, found: list[tuple[str, str, int, Any]]) -> None:
        self.kinds = {name: kind for name, kind, _, _ in found}
        self.lifetimes = {name: ttl for name, _, ttl, _ in found}
        self._content = {name: content for name, _, _, content in found}

    def fields(self, name: str) -> dict[str, str]:
        flat = self._content.get(name, [])
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def scores(self, name: str) -> dict[str, float]:
        """A sorted set, in its order."""
        return {member: float(score) for member, score in self.fields(name).items()}

    def members(self, name: str) -> set[str]:
        return set(self._content.get(name, []))

    def entries(self, name: str) -> list[str]:
        return list(self._content.get(name, []))

    def named(self, start: str) -> set[str]:
        """What follows `start` in the names of the keys that begin with it."""
        return {name.removeprefix(start) for name in self.kinds if name.startswith(start)}

    def events(self) -> list[Event]:
        """What came into the outbox."""
        found = []
        for _, flat in self._content.get("outbox", []):
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            data = json.loads(fields["data"])
            found.append(
                Event(
                    fields["id"], fields["what"], data.get("state", ""), data.get("agent", ""), data.get("attempt", 0)
                )
            )
        return found


async def read_all(redis: Redis, tenant: str) -> Stored:
    """Read it, and empty the outbox."""
    return Stored(cast("list[tuple[str, str, int, Any]]", await redis.eval(_DUMP, 1, key(tenant))))
