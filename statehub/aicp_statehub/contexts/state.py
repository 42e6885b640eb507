"""How a context lies in Redis, and the Lua with which every script of contexts begins.

Keys, after the tenant's prefix `aicp:{tenant}:`

- `context:<key>`: hash of `version`, `author`, `updated_ms`, `kept` (bytes of old versions), `readers` if not everybody
  may read it and, while there is a value, `value` and perhaps `expires_ms`. One without `value` is a tombstone: it
  keeps the version, so that versions go on counting, and who may know of it.
- `context-history:<key>`: list of its old versions, newest first. Versions have no gaps, so the place says which.
- `contexts`: sorted set of the keys with a value that everybody may read, all with score 0, for listing in the order of
  their bytes; `contexts-for:<agent>`: the same of those that only some may read, for each of these. So a list looks at
  nothing that its reader may not know, and its cursor cannot tell of it.
- `context-expiry`: sorted set of keys by the time at which they expire.
- `context-tombstones`: sorted set of deleted keys by the time at which they are forgotten.
- `context-changes`: sorted set of all keys, tombstones too, by the number of their last change; `context-revision`: the
  number of the tenant's last change; `context-forgotten`: the highest number of a change that was forgotten with its
  tombstone.
- `context-bytes`: what values, readers and old versions take together.

A context that has expired counts as deleted from that moment on, under the version that its removal will get.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ENTITY = "context"
"""What events call it; their `id` is the digest of the key, `what` is `changed`, `deleted` or `expired`."""

MAX_VERSION = 2**53 - 1
"""Versions are numbers in Lua and in JavaScript clients."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a key, or of one version of it."""

    key: str
    version: int
    """0: it never was, as far as the reader may know. Of a deleted one: the version that the deletion got."""
    value: bytes | None = None
    """The JSON text; None: there is no such context, or it was not asked for."""
    author: str = ""
    """The agent that made this version."""
    updated_ms: int = 0
    expires_ms: int | None = None
    readers: tuple[str, ...] = ()
    """The agents that may read it; empty: all of the tenant."""
    deleted: bool = False
    """In a list of changes or of versions: whether this one was its end."""


def readers_of(text: str) -> tuple[str, ...]:
    """Readers as they are kept: names separated by commas."""
    return tuple(text.split(",")) if text else ()


def context_of(key: str, seen: Sequence[Any]) -> Context:
    """What the Lua function `seen` returned."""
    if len(seen) == 1:
        return Context(key, seen[0])
    version, value, author, updated_ms, expires_ms, readers = seen
    return Context(key, version, value.encode(), author, updated_ms, expires_ms or None, readers_of(readers))


LUA = """
local contexts, expiry, tombstones = prefix .. ':contexts', prefix .. ':context-expiry', prefix .. ':context-tombstones'
local changes = prefix .. ':context-changes'
local function hash_of(name) return prefix .. ':context:' .. name end
local function history_of(name) return prefix .. ':context-history:' .. name end

-- A key as it is now. `version` and `live` count a value whose time is over as deleted; `stored` is what Redis has.
local function look(name, now)
  local f = redis.call('HMGET', hash_of(name), 'version', 'value', 'author', 'updated_ms', 'expires_ms', 'readers',
    'kept')
  local at = {stored = tonumber(f[1] or 0), value = f[2], author = f[3], updated_ms = f[4],
    expires_ms = tonumber(f[5] or 0), readers = f[6] or '', kept = tonumber(f[7] or 0)}
  at.lapsed = at.value and at.expires_ms > 0 and at.expires_ms <= now
  at.live = at.value and not at.lapsed
  at.version = at.lapsed and at.stored + 1 or at.stored
  return at
end

local function may(readers, agent)
  return readers == '' or string.find(',' .. readers .. ',', ',' .. agent .. ',', 1, true) ~= nil
end

local function tell(name, id, what, version, author, more, traceparent)
  local data = string.format('{"key":"%s","version":%.0f,"author":%s', name, version, cjson.encode(author))
  emit('@ENTITY@', id, what, data .. more .. '}', traceparent)
end

-- Readers as a member of an event's data.
local function told(readers)
  return readers == '' and '' or ',"readers":["' .. string.gsub(readers, ',', '","') .. '"]'
end

-- Add to or take from what readers find in lists.
local function list(command, name, readers)
  local function change(set)
    if command == 'ZADD' then redis.call('ZADD', set, 0, name) else redis.call('ZREM', set, name) end
  end
  if readers == '' then return change(contexts) end
  for agent in string.gmatch(readers, '[^,]+') do change(contexts .. '-for:' .. agent) end
end

-- How many have a value: all that are known but the deleted ones.
local function count() return redis.call('ZCARD', changes) - redis.call('ZCARD', tombstones) end

-- What is stored, as it stands in the history: version, time, author, readers (`-`: everybody), and the value if there
-- is one.
local function as_old(at)
  local readers = at.readers == '' and '-' or at.readers
  local old = string.format('%.0f %s %s %s', at.stored, at.updated_ms, at.author, readers)
  return at.value and old .. ' ' .. at.value or old
end

-- Put what is stored into the history; as many old versions and bytes are kept as may be.
local function shelve(name, at, keep, keep_bytes)
  if at.stored == 0 then return 0 end
  if keep < 1 then
    if at.kept > 0 then redis.call('DEL', history_of(name)) end
    return 0
  end
  local old, list = as_old(at), history_of(name)
  local count, bytes = redis.call('LPUSH', list, old), at.kept + #old
  while count > 0 and (count > keep or bytes > keep_bytes) do
    count, bytes = count - 1, bytes - #redis.call('RPOP', list)
  end
  return bytes
end

-- How much a key takes, and that it takes more or less from now on.
local function size_of(at) return (at.value and #at.value or 0) + #at.readers + at.kept end
local function grow(by) if by ~= 0 then redis.call('INCRBY', prefix .. ':context-bytes', by) end end

local function number_change(name)
  redis.call('ZADD', changes, redis.call('INCR', prefix .. ':context-revision'), name)
end

-- Drop a tombstone, and remember that whoever knows less than its change cannot learn of it any more.
local function forget(name)
  local change = tonumber(redis.call('ZSCORE', changes, name) or 0)
  local forgotten = prefix .. ':context-forgotten'
  if change > tonumber(redis.call('GET', forgotten) or 0) then redis.call('SET', forgotten, change) end
  redis.call('ZREM', changes, name)
  redis.call('ZREM', tombstones, name)
  grow(-size_of(look(name, 0)))
  redis.call('DEL', hash_of(name), history_of(name))
end

-- Drop the old versions that an agent may read. Those of others stay, and the places of the dropped ones, with `!` for
-- readers.
local function clear(name, agent)
  local olds, foreign, bytes = redis.call('LRANGE', history_of(name), 0, -1), false, 0
  for n, old in ipairs(olds) do
    local head, readers = string.match(old, '^(%d+ %d+ %S+) (%S+)')
    if readers == '-' or readers == '!' or may(readers, agent) then olds[n] = head .. ' !' else foreign = true end
    bytes = bytes + #olds[n]
  end
  redis.call('DEL', history_of(name))
  if not foreign then return 0 end
  for _, old in ipairs(olds) do redis.call('RPUSH', history_of(name), old) end
  return bytes
end

local function bury(name, at, version, author, now, bounds)
  local hash = hash_of(name)
  local before = size_of(at)
  local kept = shelve(name, at, bounds.keep, bounds.keep_bytes)
  if bounds.clear then kept = clear(name, author) end
  redis.call('HDEL', hash, 'value', 'expires_ms')
  redis.call('HSET', hash, 'version', version, 'author', author, 'updated_ms', now, 'kept', kept)
  grow(kept + #at.readers - before)
  list('ZREM', name, at.readers)
  redis.call('ZREM', expiry, name)
  redis.call('ZADD', tombstones, now + bounds.tombstone_ms, name)
  number_change(name)
  if redis.call('ZCARD', tombstones) > bounds.max_keys then forget(redis.call('ZRANGE', tombstones, 0, 0)[1]) end
end

-- As `look`, after what has expired was removed.
local function settle(name, id, now, bounds)
  local at = look(name, now)
  if not at.lapsed then return at end
  tell(name, id, 'expired', at.version, 'statehub', told(at.readers), '')
  bury(name, at, at.version, 'statehub', now, bounds)
  return look(name, now)
end

-- What a reader gets to see.
local function seen(at)
  if not at.live then return {at.version} end
  return {at.version, at.value, at.author, tonumber(at.updated_ms), at.expires_ms, at.readers}
end

-- A version matches the state that it stands for, 0 every state without a value.
local function expects(expected, at)
  if expected == '' then return true end
  return tonumber(expected) == at.version or (tonumber(expected) == 0 and not at.live)
end
""".replace("@ENTITY@", ENTITY)
