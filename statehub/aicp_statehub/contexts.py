"""The contexts of a tenant in Redis: each change is one script that also leaves the event in the outbox.

Keys, after the tenant's prefix `aicp:{tenant}:`

- `context:<key>`: hash of `version`, `author`, `updated_ms` and, while there is a value, `value` and perhaps
  `expires_ms`. One without `value` is a tombstone: it keeps the version, so that versions go on counting.
- `contexts`: sorted set of the keys that have a value, all with score 0, for listing in the order of their bytes.
- `context-expiry`: sorted set of keys by the time at which they expire.
- `context-tombstones`: sorted set of deleted keys by the time at which they are forgotten.

A context that has expired counts as deleted from that moment on, under the version that its removal will get.
"""

from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from aicp_common.errors import Busy
from aicp_common.ids import digest
from aicp_common.store import Script

ENTITY = "context"
"""What events call it; their `id` is the digest of the key, `what` is `changed`, `deleted` or `expired`."""

MAX_VERSION = 2**53 - 1
"""Versions are numbers in Lua and in JavaScript clients."""

_STATE = """
local contexts, expiry, tombstones = prefix .. ':contexts', prefix .. ':context-expiry', prefix .. ':context-tombstones'

-- The version of a key (0: it never was), whether it has a value, and whether that value's time is over.
local function state(name, now)
  local hash = prefix .. ':context:' .. name
  local f = redis.call('HMGET', hash, 'version', 'expires_ms')
  local version = tonumber(f[1] or 0)
  local live = redis.call('HEXISTS', hash, 'value') == 1
  local lapsed = live and f[2] and tonumber(f[2]) <= now
  if lapsed then return version + 1, false, true end
  return version, live, false
end

local function tell(name, id, what, version, author, traceparent)
  local data = string.format('{"key":"%s","version":%.0f,"author":%s}', name, version, cjson.encode(author))
  emit('@ENTITY@', id, what, data, traceparent)
end

local function bury(name, version, author, now, tombstone_ms, max_keys)
  local hash = prefix .. ':context:' .. name
  redis.call('HDEL', hash, 'value', 'expires_ms')
  redis.call('HSET', hash, 'version', version, 'author', author, 'updated_ms', now)
  redis.call('ZREM', contexts, name)
  redis.call('ZREM', expiry, name)
  redis.call('ZADD', tombstones, now + tombstone_ms, name)
  if redis.call('ZCARD', tombstones) > max_keys then
    redis.call('DEL', prefix .. ':context:' .. redis.call('ZPOPMIN', tombstones)[1])
  end
end

-- As `state`, after whatever has expired was removed.
local function settle(name, id, now, tombstone_ms, max_keys)
  local version, live, lapsed = state(name, now)
  if lapsed then
    tell(name, id, 'expired', version, 'statehub', '')
    bury(name, version, 'statehub', now, tombstone_ms, max_keys)
  end
  return version, live
end

-- What a reader gets to see.
local function seen(name, version, live)
  if not live then return {version} end
  local f = redis.call('HMGET', prefix .. ':context:' .. name, 'value', 'author', 'updated_ms', 'expires_ms')
  return {version, f[1], f[2], tonumber(f[3]), tonumber(f[4] or 0)}
end

-- A version matches the state that it stands for, 0 every state without a value.
local function expects(expected, version, live)
  if expected == '' then return true end
  return tonumber(expected) == version or (tonumber(expected) == 0 and not live)
end
""".replace("@ENTITY@", ENTITY)


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a key."""

    key: str
    version: int
    """0: it never was. Of a deleted one: the version that the deletion got."""
    value: bytes | None = None
    """The JSON text; None: there is no such context, or it was not asked for."""
    author: str = ""
    """The agent that made this version."""
    updated_ms: int = 0
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one tenant may have."""

    max_keys: int
    tombstone_ms: int


Outcome = Literal["done", "conflict", "absent"]

_write = Script(
    ["name", "id", "value", "expected", "author", "ttl_ms", "keep_ttl", "tombstone_ms", "max_keys", "traceparent"],
    _STATE
    + """
local now = now_ms()
tombstone_ms, max_keys = tonumber(tombstone_ms), tonumber(max_keys)
local version, live = settle(name, id, now, tombstone_ms, max_keys)
if not expects(expected, version, live) then return {'conflict', seen(name, version, live)} end
if not live and redis.call('ZCARD', contexts) >= max_keys then return {'full'} end
version = version + 1
tell(name, id, 'changed', version, author, traceparent)
local hash = prefix .. ':context:' .. name
redis.call('HSET', hash, 'version', version, 'value', value, 'author', author, 'updated_ms', now)
redis.call('ZADD', contexts, 0, name)
redis.call('ZREM', tombstones, name)
local expires = redis.call('HGET', hash, 'expires_ms')
if ttl_ms ~= '' then
  expires = now + tonumber(ttl_ms)
  redis.call('HSET', hash, 'expires_ms', expires)
  redis.call('ZADD', expiry, expires, name)
elseif expires and keep_ttl == '' then
  expires = false
  redis.call('HDEL', hash, 'expires_ms')
  redis.call('ZREM', expiry, name)
end
return {'done', {version, value, author, now, expires and tonumber(expires) or 0}}
""",
)


async def write(
    redis: Redis,
    tenant: str,
    key: str,
    value: bytes,
    *,
    author: str,
    bounds: Bounds,
    traceparent: str,
    expected: int | None = None,
    ttl_ms: int | None = None,
    keep_ttl: bool = False,
) -> tuple[bool, Context]:
    """Give `key` a new value and version, and emit `changed`.

    Args:
        value: JSON text.
        expected: The version that must be the current one; 0: there must be no value. None: whatever there is.
        ttl_ms: The value expires after so long; None: never, or with `keep_ttl` when the old one would have.

    Returns:
        True and the new state, or False and the current one, whose version is not `expected`.

    Raises:
        Busy: the tenant has as many contexts as it may have, or its outbox is full.
        Unavailable: Redis is away.
    """
    answer = await _write(
        redis,
        tenant,
        name=key,
        id=digest(key),
        value=value.decode(),
        expected="" if expected is None else expected,
        author=author,
        ttl_ms="" if ttl_ms is None else ttl_ms,
        keep_ttl="1" if keep_ttl else "",
        tombstone_ms=bounds.tombstone_ms,
        max_keys=bounds.max_keys,
        traceparent=traceparent,
    )
    if answer[0] == "full":
        raise Busy(
            f"context_key: {key!r} would be one more than the {bounds.max_keys} contexts that a tenant may have",
            hint="delete what is no longer needed with delete_context, or share with ttl_s",
        )
    outcome, now = answer
    return outcome == "done", _context(key, now)


def _context(key: str, seen: list[Any]) -> Context:
    if len(seen) == 1:
        return Context(key, seen[0])
    version, value, author, updated_ms, expires_ms = seen
    return Context(key, version, value.encode(), author, updated_ms, expires_ms or None)


_delete = Script(
    ["name", "id", "expected", "author", "tombstone_ms", "max_keys", "traceparent"],
    _STATE
    + """
local now = now_ms()
tombstone_ms, max_keys = tonumber(tombstone_ms), tonumber(max_keys)
local version, live = settle(name, id, now, tombstone_ms, max_keys)
if not expects(expected, version, live) then return {'conflict', version} end
if not live then return {'absent', version} end
version = version + 1
tell(name, id, 'deleted', version, author, traceparent)
bury(name, version, author, now, tombstone_ms, max_keys)
return {'done', version}
""",
)


async def delete(
    redis: Redis, tenant: str, key: str, *, author: str, bounds: Bounds, traceparent: str, expected: int | None = None
) -> tuple[Outcome, int]:
    """Remove the value of `key`, which is a version of its own, and emit `deleted`.

    Returns:
        What happened, and the version that the key has now.
    """
    outcome, version = await _delete(
        redis,
        tenant,
        name=key,
        id=digest(key),
        expected="" if expected is None else expected,
        author=author,
        tombstone_ms=bounds.tombstone_ms,
        max_keys=bounds.max_keys,
        traceparent=traceparent,
    )
    return outcome, version


_read = Script(
    ["name"],
    _STATE
    + """
local version, live = state(name, now_ms())
return seen(name, version, live)
""",
)


async def read(redis: Redis, tenant: str, key: str) -> Context:
    """The state of `key` now."""
    return _context(key, await _read(redis, tenant, name=key))


_list = Script(
    ["beginning", "after", "limit", "max_bytes"],
    _STATE
    + """
local now = now_ms()
limit, max_bytes = tonumber(limit), tonumber(max_bytes)
local first = '[' .. beginning
if after ~= '' and after >= beginning then first = '(' .. after end
if first == '[' then first = '-' end
local last = beginning == '' and '+' or '(' .. beginning .. '\\255'
local names = redis.call('ZRANGEBYLEX', contexts, first, last, 'LIMIT', 0, limit + 1)
local found, bytes, cursor = {}, 0, ''
for index, name in ipairs(names) do
  local hash = prefix .. ':context:' .. name
  bytes = bytes + redis.call('HSTRLEN', hash, 'value')
  -- The first one always fits, or a page could stand still.
  if index > limit or (max_bytes > 0 and bytes > max_bytes and index > 1) then
    cursor = names[index - 1]
    break
  end
  local f = redis.call('HMGET', hash, 'version', 'author', 'updated_ms', 'expires_ms')
  if not f[4] or tonumber(f[4]) > now then
    local value = max_bytes > 0 and redis.call('HGET', hash, 'value') or false
    found[#found + 1] = {name, tonumber(f[1]), value, f[2], tonumber(f[3]), tonumber(f[4] or 0)}
  end
end
return {redis.call('ZCARD', contexts), cursor, found}
""",
)


@dataclass(frozen=True, slots=True)
class Page:
    """Some contexts in the order of their keys."""

    contexts: list[Context]
    cursor: str
    """List on after this key; empty at the end."""
    total: int
    """Contexts that the tenant has, whatever their keys."""


async def list_page(
    redis: Redis, tenant: str, *, prefix: str = "", after: str = "", limit: int = 100, max_value_bytes: int = 0
) -> Page:
    """The contexts whose keys begin with `prefix`, in the order of their bytes.

    Args:
        after: Only keys that come after this one.
        limit: Contexts at most.
        max_value_bytes: Read values too, until they have so many bytes together; 0: without values.
    """
    total, cursor, found = await _list(
        redis, tenant, beginning=prefix, after=after, limit=limit, max_bytes=max_value_bytes
    )
    contexts = [
        Context(key, version, None if value is None else value.encode(), author, updated_ms, expires_ms or None)
        for key, version, value, author, updated_ms, expires_ms in found
    ]
    return Page(contexts, cursor, total)


_sweep = Script(
    ["limit"],
    """
local now = now_ms()
local expiry, tombstones = prefix .. ':context-expiry', prefix .. ':context-tombstones'
for _, name in ipairs(redis.call('ZRANGEBYSCORE', tombstones, '-inf', now, 'LIMIT', 0, limit)) do
  redis.call('DEL', prefix .. ':context:' .. name)
  redis.call('ZREM', tombstones, name)
end
local next_ms = -1
for _, set in ipairs({expiry, tombstones}) do
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if first[2] then
    local left = math.max(tonumber(first[2]) - now, 0)
    if next_ms < 0 or left < next_ms then next_ms = left end
  end
end
return {next_ms, redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, limit)}
""",
)


async def sweep(redis: Redis, tenant: str, limit: int = 100) -> tuple[list[str], int | None]:
    """Forget up to `limit` tombstones whose time is over.

    Returns:
        Up to `limit` keys whose values have expired, for `expire`; and in how many ms there is more to do, if ever.
    """
    next_ms, due = await _sweep(redis, tenant, limit=limit)
    return due, None if next_ms < 0 else next_ms


_expire = Script(
    ["name", "id", "tombstone_ms", "max_keys"],
    _STATE
    + """
local _, live, lapsed = state(name, now_ms())
if not lapsed then
  -- Somebody was faster. Make the set agree with the hash, or the sweep would find this key for ever.
  local expires = live and redis.call('HGET', prefix .. ':context:' .. name, 'expires_ms')
  if expires then redis.call('ZADD', expiry, expires, name) else redis.call('ZREM', expiry, name) end
  return 0
end
settle(name, id, now_ms(), tonumber(tombstone_ms), tonumber(max_keys))
return 1
""",
)


async def expire(redis: Redis, tenant: str, key: str, bounds: Bounds) -> bool:
    """Remove the value of `key` if its time is over, and emit `expired`. Whether it was so."""
    return bool(
        await _expire(
            redis, tenant, name=key, id=digest(key), tombstone_ms=bounds.tombstone_ms, max_keys=bounds.max_keys
        )
    )
