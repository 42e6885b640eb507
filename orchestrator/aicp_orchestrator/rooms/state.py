"""How a room lies in Redis, and the Lua with which every script of rooms begins.

Keys, after the tenant's prefix `aicp:{tenant}:`

- `room:<id>`: hash of `topic`, `state` (open, closed), `opener`, `invites` (opener, members: who may invite),
  `opened_ms`, `last` (number of the last message), `first` (of the oldest that is kept; one more than `last` when none
  is), `bytes` (what the kept ones take).
- `room:<id>:messages`: stream of the messages that are kept; the entry of message N has the id `N-0`.
- `room:<id>:members`: hash, member to the number of the message that tells that it joined and the time of it.
- `room:<id>:invited`: hash, agent that may join to the one that invited it and the time of it.
- `room:<id>:read`: hash, member to the number of the last message that it has read; of the last read that moved it also
  from where, and in which call, so that the same call, when it comes again, finds the same.
- `room:<id>:posted`: hash, author and idempotency key to the number and the fingerprint of the message;
  `room:<id>:posted-at`: sorted set of the same by time.
- `rooms-of:<agent>`, `invited-to:<agent>`, `rooms-opened:<agent>`: sorted sets of rooms by the time at which the agent
  joined, was invited, became opener. A room of which an entry is no longer true is left out, and dropped, by who reads.

All keys of a room expire together, some time after its last change or after it was closed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aicp_common.store import Script
from aicp_orchestrator.settings import OrchestratorSettings

ENTITY = "room"
"""What events call it; their `id` is the room, `what` is opened, invited, withdrawn, joined, left, posted or
closed."""

HUB = "aicp"
"""Under this name the hub posts for a collaboration where idempotency keys are concerned: no member has it."""

MAX_NUMBER = 2**53 - 1
"""Numbers are numbers in Lua and in JavaScript clients."""

MAX_KEYS = 10_000
"""Idempotency keys that one room remembers."""

KEY_LIFETIME_MS = 86_400_000
"""How long it remembers one."""

ROOMS_OF_AN_AGENT = 200
"""Rooms that an agent may be in."""

INVITATIONS_OF_AN_AGENT = 200
"""Invitations that an agent is shown; beyond it the oldest is no longer shown, and still holds. Twice as many as one
opener has rooms by default: nobody hides the invitations of others."""

SHOWN_AGENTS = 50
"""Names that a message of kind `invited` has; of more it has these and how many there are."""

Kind = Literal["message", "joined", "left", "invited", "closed", "collaboration"]
"""What a message tells."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What rooms may have."""

    messages: int = 2_000
    """Messages that are kept of each room."""
    bytes: int = 8 * 1024**2
    """What they may take together."""
    members: int = 1_000
    """Of a room, with those that are invited."""
    opened: int = 100
    """Open rooms of one opener."""
    lifetime_ms: int = 30 * 86_400_000
    """How long a room stays without any change."""
    closed_ms: int = 86_400_000
    """How long a closed one stays."""


def bounds_of(settings: OrchestratorSettings) -> Bounds:
    """The bounds that an operator has set."""
    return Bounds(
        messages=settings.room_messages,
        bytes=settings.room_bytes,
        members=settings.room_members,
        opened=settings.rooms_opened,
        lifetime_ms=settings.room_lifetime_s * 1000,
        closed_ms=settings.room_closed_s * 1000,
    )


_BOUNDS = ("max_messages", "max_bytes", "max_members", "max_opened", "lifetime_ms", "closed_ms")


def arguments_of(bounds: Bounds) -> dict[str, int]:
    """For a script of `changing_script`."""
    return {
        "max_messages": bounds.messages,
        "max_bytes": bounds.bytes,
        "max_members": bounds.members,
        "max_opened": bounds.opened,
        "lifetime_ms": bounds.lifetime_ms,
        "closed_ms": bounds.closed_ms,
    }


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a room."""

    number: int
    kind: Kind
    author: str
    at_ms: int
    text: str = ""
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    """Whom it is about: who was invited, removed, or is opener from now on. At most `SHOWN_AGENTS`."""
    agents_count: int | None = None
    """How many they are, where that is more."""
    opener: str = ""
    """Who is opener from now on, when the one before has left."""
    data: str = ""
    """A JSON object; empty: none."""
    shortened: bool = False
    """Whether the text goes on."""


def message_of(entry: Sequence[Any]) -> Message:
    """What is in an entry of the stream, as `XRANGE` returns it."""
    id, flat = entry
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return Message(
        number=int(id.partition("-")[0]),
        kind=fields["kind"],
        author=fields["author"],
        at_ms=int(fields["at"]),
        text=fields.get("text", ""),
        reply_to=int(fields["reply_to"]) if "reply_to" in fields else None,
        mentions=tuple(fields.get("mentions", "").split()),
        agents=tuple(fields.get("agents", "").split()),
        agents_count=int(fields["agents_count"]) if "agents_count" in fields else None,
        opener=fields.get("opener", ""),
        data=fields.get("data", ""),
        shortened="shortened" in fields,
    )


def reading_script(arguments: Sequence[str], source: str) -> Script:
    """A script about the room `room`, that changes at most who has read how far."""
    return Script(["room", *arguments], _LOOK + source)


def changing_script(arguments: Sequence[str], source: str) -> Script:
    """A script that changes the room `room`, within the bounds of `arguments_of`. It is given `traceparent` too."""
    return Script(["room", *arguments, "traceparent", *_BOUNDS], _LOOK + _CHANGE + source)


_LOOK = """
local base = prefix .. ':room:' .. room
local members, invited, marks, messages = base .. ':members', base .. ':invited', base .. ':read', base .. ':messages'
local function int(number) return string.format('%.0f', number) end

-- The room as it is; nil when there is none.
local function look()
  local f = redis.call('HMGET', base, 'state', 'topic', 'opener', 'invites', 'last', 'first', 'bytes', 'opened_ms')
  if not f[1] then return nil end
  return {state = f[1], topic = f[2], opener = f[3], invites = f[4], last = tonumber(f[5]), first = tonumber(f[6]),
    bytes = tonumber(f[7]), opened_ms = tonumber(f[8])}
end
local function is_member(agent) return redis.call('HEXISTS', members, agent) == 1 end
local function is_invited(agent) return redis.call('HEXISTS', invited, agent) == 1 end

-- How far a member has read; of the last move from where, and in which call.
local function mark_of(agent)
  local read, from, call = string.match(redis.call('HGET', marks, agent) or '0  ', '^(%d+) ?(%d*) ?(.*)$')
  return tonumber(read), tonumber(from), call
end

-- Cut a text to so many bytes, between two characters.
local function cut(text, bytes)
  if #text <= bytes then return text, false end
  while bytes > 0 do
    local next = string.byte(text, bytes + 1)
    if next < 0x80 or next >= 0xC0 then break end
    bytes = bytes - 1
  end
  return string.sub(text, 1, bytes), true
end

-- The messages after a number, the oldest first: so many, and so many bytes of text; at least one. Longer texts than
-- `most` are cut to that, when it is given, and have the field `shortened`.
local function page(after, count, bytes, most)
  local found, from = {}, int(after) .. '-0'
  while #found < count and bytes > 0 do
    local chunk = redis.call('XRANGE', messages, '(' .. from, '+', 'COUNT', math.min(16, count - #found))
    for _, entry in ipairs(chunk) do
      local fields, size = entry[2], 0
      for n = 1, #fields, 2 do
        if fields[n] == 'text' and most then
          local short, shortened = cut(fields[n + 1], most)
          if shortened then
            fields[n + 1] = short
            fields[#fields + 1], fields[#fields + 2] = 'shortened', '1'
          end
        end
        size = size + #fields[n + 1]
      end
      if #found > 0 and size > bytes then return found end
      found[#found + 1], bytes, from = entry, bytes - size, entry[1]
    end
    if #chunk < 16 then return found end
  end
  return found
end
"""

_CHANGE = """
local now = tonumber(now_ms())
max_messages, max_bytes, max_members = tonumber(max_messages), tonumber(max_bytes), tonumber(max_members)
lifetime_ms, closed_ms = tonumber(lifetime_ms), tonumber(closed_ms)
local posted, posted_at = base .. ':posted', base .. ':posted-at'
local keys_of_room = {base, members, invited, marks, messages, posted, posted_at}

local function tell(what, number, kind, author, more)
  emit('@ENTITY@', room, what, string.format('{"number":%.0f,"kind":"%s","author":"%s"%s}', number, kind, author,
    more or ''), traceparent)
end

-- Let the room, or a closed one, live on from now.
local function live(at)
  local left = at.state == 'open' and lifetime_ms or closed_ms
  for _, name in ipairs(keys_of_room) do redis.call('PEXPIRE', name, left) end
end

-- Drop the oldest messages until the rest is within the bounds. The newest stays.
local function trim(at)
  local first = at.first
  while first < at.last and (at.last - first >= max_messages or at.bytes > max_bytes) do
    for _, entry in ipairs(redis.call('XRANGE', messages, int(first) .. '-0', '+', 'COUNT', 64)) do
      if first >= at.last or not (at.last - first >= max_messages or at.bytes > max_bytes) then break end
      for n = 2, #entry[2], 2 do at.bytes = at.bytes - #entry[2][n] end
      first = first + 1
    end
  end
  if first > at.first then
    redis.call('XTRIM', messages, 'MINID', int(first) .. '-0')
    at.first = first
  end
end

-- Append a message; `more` has further fields and their values. Its number.
local function say(at, kind, author, text, more)
  at.last = at.last + 1
  local fields = {'kind', kind, 'author', author, 'at', int(now), 'text', text}
  for _, field in ipairs(more or {}) do fields[#fields + 1] = field end
  for n = 2, #fields, 2 do at.bytes = at.bytes + #fields[n] end
  redis.call('XADD', messages, int(at.last) .. '-0', unpack(fields))
  trim(at)
  redis.call('HSET', base, 'last', int(at.last), 'first', int(at.first), 'bytes', int(at.bytes))
  return at.last
end

local function mark(agent, number) redis.call('HSET', marks, agent, int(number)) end

-- Who has read all that was there before it said something has read that too.
local function read_own(author, number)
  if (mark_of(author)) == number - 1 then mark(author, number) end
end

-- Note the room in a list of an agent, and say how long that is. Lists live longer than rooms.
local list_ms = int(2 * lifetime_ms)
local function note(list, agent)
  local name = prefix .. ':' .. list .. ':' .. agent
  redis.call('ZADD', name, now, room)
  redis.call('PEXPIRE', name, list_ms)
  return redis.call('ZCARD', name)
end
local function unnote(list, agent) redis.call('ZREM', prefix .. ':' .. list .. ':' .. agent, room) end

local function join(at, agent, number)
  redis.call('HSET', members, agent, int(number) .. ' ' .. int(now))
  note('rooms-of', agent)
end
""".replace("@ENTITY@", ENTITY)
