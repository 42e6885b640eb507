"""Changes of agents: profiles and presence, each one Lua script.

Keys of a tenant, after its prefix: `agents` (hash: name to profile), `agents:version` (counts changes of it), `slots`
(hash: name to max_concurrency), `patience` (hash: name to how long a task may wait for it, in ms; only those who said),
`presence` (sorted set: agent, last seen in ms; those who are online), `seen` (sorted set: registered agent, when it was
last known to be online), `left` (sorted set: agent that left the network by itself, when), `loads` (hash: agent to
tasks that it has or that wait for it; kept by the scripts of tasks).

Events: `registered`, `online`, `offline`, `left` (a guest that has gone, or an agent that said so), `forgotten` (one
that was away for long).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from aicp_common.store import Script

_DROP = """
local function drop(agent, what, traceparent)
  emit('agent', agent, what, '{"agent":"' .. agent .. '"}', traceparent)
  redis.call('HDEL', prefix .. ':agents', agent)
  redis.call('HDEL', prefix .. ':slots', agent)
  redis.call('HDEL', prefix .. ':patience', agent)
  redis.call('INCR', prefix .. ':agents:version')
  redis.call('ZREM', prefix .. ':seen', agent)
end
"""

_REGISTER = Script(
    ["agent", "profile", "slots", "react_ms", "cap", "data", "traceparent"],
    """
local agents = prefix .. ':agents'
local known = redis.call('HEXISTS', agents, agent) == 1
if not known and redis.call('HLEN', agents) >= tonumber(cap) then return 0 end
local now = now_ms()
emit('agent', agent, 'registered', data, traceparent)
redis.call('HSET', agents, agent, profile)
redis.call('HSET', prefix .. ':slots', agent, slots)
if react_ms == '' then redis.call('HDEL', prefix .. ':patience', agent)
else redis.call('HSET', prefix .. ':patience', agent, react_ms) end
redis.call('INCR', agents .. ':version')
redis.call('ZADD', prefix .. ':presence', now, agent)
redis.call('ZADD', prefix .. ':seen', now, agent)
redis.call('ZREM', prefix .. ':left', agent)
return 1
""",
)


async def register(
    redis: Redis,
    tenant: str,
    *,
    agent: str,
    profile: str,
    slots: int,
    react_ms: int | None,
    cap: int,
    data: str,
    traceparent: str,
) -> bool:
    """Write a profile, or write it anew; False when the tenant has `cap` others already."""
    return bool(
        await _REGISTER(
            redis,
            tenant,
            agent=agent,
            profile=profile,
            slots=slots,
            react_ms="" if react_ms is None else react_ms,
            cap=cap,
            data=data,
            traceparent=traceparent,
        )
    )


_SEE = Script(
    ["names"],
    """
local presence, agents, now = prefix .. ':presence', prefix .. ':agents', now_ms()
for agent in string.gmatch(names, '%S+') do
  if not redis.call('ZSCORE', presence, agent) and redis.call('HEXISTS', agents, agent) == 1 then
    emit('agent', agent, 'online', '{"agent":"' .. agent .. '"}', '')
  end
end
for agent in string.gmatch(names, '%S+') do redis.call('ZADD', presence, now, agent) end
""",
)


async def see(redis: Redis, tenant: str, agents: Iterable[str]) -> None:
    """These agents are here now."""
    await _SEE(redis, tenant, names=" ".join(agents))


_LEAVE = Script(
    ["names", "online_ms", "grace_ms"],
    """
local presence = prefix .. ':presence'
local until_then = now_ms() - tonumber(online_ms) + tonumber(grace_ms)
for agent in string.gmatch(names, '%S+') do
  local seen = redis.call('ZSCORE', presence, agent)
  if seen and tonumber(seen) > until_then then redis.call('ZADD', presence, until_then, agent) end
end
""",
)


async def leave(redis: Redis, tenant: str, agents: Iterable[str], *, online_ms: int, grace_ms: int) -> None:
    """These agents' last connections closed: unless they are seen again, they are offline in `grace_ms`.

    Changes no state that anybody was told of, so it emits nothing; `go_offline` does.
    """
    await _LEAVE(redis, tenant, names=" ".join(agents), online_ms=online_ms, grace_ms=grace_ms)


_GO_OFFLINE = Script(
    ["agent", "online_ms"],
    """
local presence = prefix .. ':presence'
local seen = redis.call('ZSCORE', presence, agent)
if not seen or tonumber(seen) > now_ms() - tonumber(online_ms) then return end
local known = redis.call('HEXISTS', prefix .. ':agents', agent) == 1
if known then emit('agent', agent, 'offline', '{"agent":"' .. agent .. '"}', '') end
redis.call('ZREM', presence, agent)
-- Since then, however late somebody looks.
local left = math.min(now_ms(), tonumber(seen) + tonumber(online_ms))
if known then redis.call('ZADD', prefix .. ':seen', left, agent) end
""",
)


async def go_offline(redis: Redis, tenant: str, *, agent: str, online_ms: int) -> None:
    """Tell that `agent` is offline, if it has not been seen for `online_ms`."""
    await _GO_OFFLINE(redis, tenant, agent=agent, online_ms=online_ms)


LEFT_MS = 30 * 86_400_000
MAX_LEFT = 10_000
"""How long, and of how many, it is remembered that they left."""

_LEAVE_NETWORK = Script(
    ["agent", "traceparent"],
    _DROP
    + """
if redis.call('HEXISTS', prefix .. ':agents', agent) == 0 then return 0 end
drop(agent, 'left', traceparent)
-- It may stay connected, and nobody shall reach it by its name until it registers again.
local left, now = prefix .. ':left', now_ms()
redis.call('ZADD', left, now, agent)
redis.call('ZREMRANGEBYSCORE', left, '-inf', string.format('%.0f', now - LEFT_MS))
redis.call('ZREMRANGEBYRANK', left, 0, -MAX_LEFT - 1)
return 1
""".replace("LEFT_MS", str(LEFT_MS)).replace("MAX_LEFT", str(MAX_LEFT)),
)


async def leave_network(redis: Redis, tenant: str, *, agent: str, traceparent: str) -> bool:
    """Drop the profile of an agent that wants to leave; False when it has none."""
    return bool(await _LEAVE_NETWORK(redis, tenant, agent=agent, traceparent=traceparent))


_DEPART = Script(
    ["agent", "online_ms"],
    _DROP
    + """
local presence = prefix .. ':presence'
local seen, now = redis.call('ZSCORE', presence, agent), now_ms()
if not seen or tonumber(seen) > now - tonumber(online_ms) then return end
if redis.call('HEXISTS', prefix .. ':agents', agent) == 1 then drop(agent, 'left', '') end
-- As long as anything waits for it, the sweep has to find it again. Answered tasks stand far before these.
local since = string.format('%.0f', now - 5e11)
if redis.call('ZCOUNT', prefix .. ':queue:' .. agent, since, '+inf') == 0 then redis.call('ZREM', presence, agent) end
""",
)


async def depart(redis: Redis, tenant: str, *, agent: str, online_ms: int) -> None:
    """Drop the profile of a guest that has not been seen for `online_ms`: it will not come back under this name.

    It stays due for the sweep until nothing waits for it any more.
    """
    await _DEPART(redis, tenant, agent=agent, online_ms=online_ms)


_FORGET = Script(
    ["agent", "retention_ms"],
    _DROP
    + """
local seen, now = prefix .. ':seen', now_ms()
if redis.call('ZSCORE', prefix .. ':presence', agent) then
  redis.call('ZADD', seen, now, agent)
  return
end
local last = redis.call('ZSCORE', seen, agent)
if not last or tonumber(last) > now - tonumber(retention_ms) then return end
if redis.call('HEXISTS', prefix .. ':loads', agent) == 1 then return end
drop(agent, 'forgotten', '')
""",
)


async def forget(redis: Redis, tenant: str, *, agent: str, retention_ms: int) -> None:
    """Drop the profile of an agent that was away for `retention_ms` and has no work."""
    await _FORGET(redis, tenant, agent=agent, retention_ms=retention_ms)


_LOOK = Script(
    ["online_ms"],
    """
local since = '(' .. string.format('%.0f', now_ms() - tonumber(online_ms))
-- Joined, as names have no spaces: a client in Python takes longer to read a long list than Redis to find it.
return {
  redis.call('GET', prefix .. ':agents:version') or '0',
  table.concat(redis.call('ZRANGEBYSCORE', prefix .. ':presence', since, '+inf'), ' '),
  table.concat(redis.call('HGETALL', prefix .. ':loads'), ' '),
  (redis.call('XREVRANGE', prefix .. ':outcomes', '+', '-', 'COUNT', 1)[1] or {'0-0'})[1],
  table.concat(redis.call('ZRANGE', prefix .. ':left', 0, -1), ' ')
}
""",
)


@dataclass(frozen=True, slots=True)
class Look:
    """Who is there at one moment, without the profiles."""

    version: str
    """Of the profiles."""
    online: frozenset[str]
    loads: dict[str, int]
    """Tasks that an agent has or that wait for it; agents without any are left out."""
    last_outcome: str
    """The id of the newest outcome; `0-0` when there is none."""


async def look(redis: Redis, tenant: str, *, online_ms: int) -> Look:
    """Read presence and load. Redis' own clock decides who is online; who left the network is not."""
    version, online, flat, last, left = cast(
        "tuple[str, str, str, str, str]", await _LOOK(redis, tenant, online_ms=online_ms)
    )
    loads = flat.split()
    there = frozenset(online.split()).difference(left.split())
    return Look(version, there, dict(zip(loads[::2], map(int, loads[1::2]), strict=True)), last)
