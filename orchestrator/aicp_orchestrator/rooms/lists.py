"""The rooms of an agent: where it is a member, and where it is invited."""

from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from aicp_common.store import Script


@dataclass(frozen=True, slots=True)
class Mine:
    """A room that an agent is in."""

    room: str
    topic: str
    state: str
    opener: str
    last: int
    """The number of its last message."""
    unread: int
    """How many of those that are kept the agent has not read."""
    members: int


@dataclass(frozen=True, slots=True)
class Invitation:
    """A room that an agent may join."""

    room: str
    topic: str
    opener: str
    by: str
    at_ms: int


_LIST = Script(
    ["agent"],
    """
local mine, invitations = prefix .. ':rooms-of:' .. agent, prefix .. ':invited-to:' .. agent
local rooms, offered = {}, {}
for _, room in ipairs(redis.call('ZREVRANGE', mine, 0, -1)) do
  local base = prefix .. ':room:' .. room
  if redis.call('HEXISTS', base .. ':members', agent) == 1 then
    local f = redis.call('HMGET', base, 'topic', 'state', 'opener', 'last', 'first')
    local read = tonumber(string.match(redis.call('HGET', base .. ':read', agent) or '0', '^%d+'))
    local last = tonumber(f[4])
    rooms[#rooms + 1] = {room, f[1], f[2], f[3], last, last - math.max(read, tonumber(f[5]) - 1),
      redis.call('HLEN', base .. ':members')}
  else
    redis.call('ZREM', mine, room)
  end
end
for _, room in ipairs(redis.call('ZREVRANGE', invitations, 0, -1)) do
  local base = prefix .. ':room:' .. room
  local by = redis.call('HGET', base .. ':invited', agent)
  if by then
    local f = redis.call('HMGET', base, 'topic', 'opener')
    local who, at = string.match(by, '^(%S+) (%d+)$')
    offered[#offered + 1] = {room, f[1], f[2], who, tonumber(at)}
  else
    redis.call('ZREM', invitations, room)
  end
end
return {rooms, offered}
""",
)


async def rooms_of(redis: Redis, tenant: str, agent: str) -> tuple[list[Mine], list[Invitation]]:
    """The rooms that an agent is in and those to which it is invited, the newest first.

    Raises:
        Unavailable: Redis is away.
    """
    rooms, offered = await _LIST(redis, tenant, agent=agent)
    return [Mine(*one) for one in rooms], [Invitation(*one) for one in offered]


_NAMES = Script(
    ["agent"],
    """
local rooms = {}
for _, room in ipairs(redis.call('ZREVRANGE', prefix .. ':rooms-of:' .. agent, 0, -1)) do
  if redis.call('HEXISTS', prefix .. ':room:' .. room .. ':members', agent) == 1 then rooms[#rooms + 1] = room end
end
return rooms
""",
)


async def names_of(redis: Redis, tenant: str, agent: str) -> Sequence[str]:
    """The names of the rooms that an agent is in, the newest first.

    Raises:
        Unavailable: Redis is away.
    """
    names: Sequence[str] = await _NAMES(redis, tenant, agent=agent)
    return names
