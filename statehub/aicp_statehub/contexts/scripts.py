"""The contexts of a tenant: each change is one script that also leaves the event in the outbox."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from aicp_common.errors import Busy, Forbidden
from aicp_common.ids import digest
from aicp_common.store import Script
from aicp_statehub.contexts.state import LUA, Context, context_of

EVERYBODY = "*"
"""In place of readers: all of the tenant."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one tenant may have."""

    max_keys: int
    tombstone_ms: int
    max_bytes: int = 1024**3
    """Of values and old versions together."""
    versions: int = 100
    """Of each key, the current one included."""
    history_bytes: int = 1024**2
    """Of the old versions of each key, together."""
    archived: bool = False
    """Whether events carry values, for an archive that keeps all versions."""


Outcome = Literal["done", "conflict", "absent", "cleared"]
"""`cleared`: there was no value, and the old versions went."""

_BOUNDS = ["tombstone_ms", "max_keys", "max_bytes", "keep", "keep_bytes"]
_READ_BOUNDS = """
local bounds = {tombstone_ms = tonumber(tombstone_ms), max_keys = tonumber(max_keys), max_bytes = tonumber(max_bytes),
  keep = tonumber(keep), keep_bytes = tonumber(keep_bytes)}
local now = now_ms()
"""


def _arguments_of(bounds: Bounds) -> dict[str, int]:
    return {
        "tombstone_ms": bounds.tombstone_ms,
        "max_keys": bounds.max_keys,
        "max_bytes": bounds.max_bytes,
        "keep": bounds.versions - 1,
        "keep_bytes": bounds.history_bytes,
    }


_write = Script(
    [
        *("name", "id", "value", "expected", "author", "readers", "ttl_ms", "keep_ttl", "with_value", "traceparent"),
        *_BOUNDS,
    ],
    LUA
    + _READ_BOUNDS
    + """
local at = settle(name, id, now, bounds)
if at.live and not may(at.readers, author) then return {'forbidden'} end
if not expects(expected, at) then return {'conflict', may(at.readers, author) and seen(at) or {0}} end
if not at.live and count() >= bounds.max_keys then return {'full'} end
local before, used = size_of(at), tonumber(redis.call('GET', prefix .. ':context-bytes') or 0)
if used + #value > bounds.max_bytes then
  -- Old versions give way first.
  if used - before + #value > bounds.max_bytes then return {'large'} end
  bounds.keep = 0
end
if readers == '' then readers = at.live and at.readers or '' elseif readers == '@EVERYBODY@' then readers = '' end
local version = at.version + 1
tell(name, id, 'changed', version, author, told(readers) .. (with_value == '' and '' or ',"value":' .. value),
  traceparent)
local hash = hash_of(name)
local kept = shelve(name, at, bounds.keep, bounds.keep_bytes)
redis.call('HSET', hash, 'version', version, 'value', value, 'author', author, 'updated_ms', now, 'kept', kept)
grow(#value + #readers + kept - before)
number_change(name)
if readers ~= '' then redis.call('HSET', hash, 'readers', readers)
elseif at.readers ~= '' then redis.call('HDEL', hash, 'readers') end
if not at.live then
  redis.call('ZREM', tombstones, name)
  list('ZADD', name, readers)
elseif readers ~= at.readers then
  list('ZREM', name, at.readers)
  list('ZADD', name, readers)
end
local expires = at.expires_ms
if ttl_ms ~= '' then
  expires = now + tonumber(ttl_ms)
  redis.call('HSET', hash, 'expires_ms', expires)
  redis.call('ZADD', expiry, expires, name)
elseif expires > 0 and keep_ttl == '' then
  expires = 0
  redis.call('HDEL', hash, 'expires_ms')
  redis.call('ZREM', expiry, name)
end
return {'done', {version, value, author, now, expires, readers}}
""".replace("@EVERYBODY@", EVERYBODY),
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
    readers: Sequence[str] = (),
    ttl_ms: int | None = None,
    keep_ttl: bool = False,
) -> tuple[bool, Context]:
    """Give `key` a new value and version, and emit `changed`.

    Args:
        value: JSON text.
        expected: The version that must be the current one; 0: there must be no value. None: whatever there is.
        readers: Agents that may read it from now on, or `EVERYBODY` alone; empty: who may now, of a new one everybody.
        ttl_ms: The value expires after so long; None: never, or with `keep_ttl` when the old one would have.

    Returns:
        True and the new state, or False and the current one, whose version is not `expected`.

    Raises:
        Forbidden: the author may not read it.
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
        readers=",".join(readers),
        ttl_ms="" if ttl_ms is None else ttl_ms,
        keep_ttl="1" if keep_ttl else "",
        with_value="1" if bounds.archived else "",
        traceparent=traceparent,
        **_arguments_of(bounds),
    )
    match answer[0]:
        case "forbidden":
            raise _not_yours(key)
        case "large":
            raise Busy(
                f"context_value: with these {len(value)} bytes the contexts would take more than the "
                f"{bounds.max_bytes} bytes that a tenant may have",
                hint="delete what is no longer needed with delete_context and with_history, or share with ttl_s",
            )
        case "full":
            raise Busy(
                f"context_key: {key!r} would be one more than the {bounds.max_keys} contexts that a tenant may have",
                hint="delete what is no longer needed with delete_context, or share with ttl_s",
            )
    outcome, now = answer
    return outcome == "done", context_of(key, now)


_delete = Script(
    ["name", "id", "expected", "author", "with_history", "archived", "traceparent", *_BOUNDS],
    LUA
    + _READ_BOUNDS
    + """
local at = settle(name, id, now, bounds)
if not may(at.readers, author) then return {at.live and 'forbidden' or 'absent', {0}} end
if not expects(expected, at) then return {'conflict', seen(at)} end
if not at.live then
  -- An archive may have what is kept here no longer.
  if with_history ~= '' and (at.kept > 0 or archived ~= '') then
    tell(name, id, 'deleted', at.version, author, told(at.readers) .. ',"forgotten":true', traceparent)
    local kept = clear(name, author)
    if at.stored > 0 then redis.call('HSET', hash_of(name), 'kept', kept) end
    grow(kept - at.kept)
    return {'cleared', seen(at)}
  end
  return {'absent', seen(at)}
end
local version = at.version + 1
local forgotten = with_history ~= ''
tell(name, id, 'deleted', version, author, told(at.readers) .. (forgotten and ',"forgotten":true' or ''), traceparent)
bounds.clear = forgotten
bury(name, at, version, author, now, bounds)
return {'done', {version}}
""",
)


async def delete(
    redis: Redis,
    tenant: str,
    key: str,
    *,
    author: str,
    bounds: Bounds,
    traceparent: str,
    expected: int | None = None,
    with_history: bool = False,
) -> tuple[Outcome, Context]:
    """Remove the value of `key`, which is a version of its own, and emit `deleted`.

    Args:
        with_history: Remove its old versions too, now and in an archive.

    Returns:
        What happened, and how the key is now.

    Raises:
        Forbidden: the author may not read it.
        Busy: the outbox is full.
        Unavailable: Redis is away.
    """
    outcome, now = await _delete(
        redis,
        tenant,
        name=key,
        id=digest(key),
        expected="" if expected is None else expected,
        author=author,
        with_history="1" if with_history else "",
        archived="1" if bounds.archived else "",
        traceparent=traceparent,
        **_arguments_of(bounds),
    )
    if outcome == "forbidden":
        raise _not_yours(key)
    return outcome, context_of(key, now)


def _not_yours(key: str) -> Forbidden:
    return Forbidden(
        f"context_key: {key!r} belongs to agents who keep it to themselves, and you are none of them",
        hint="choose another name, or ask its readers",
    )


_read = Script(
    ["name", "reader"],
    LUA
    + """
local at = look(name, now_ms())
if not may(at.readers, reader) then return {0} end
return seen(at)
""",
)


async def read(redis: Redis, tenant: str, key: str, *, reader: str) -> Context:
    """The state of `key` now. For who may not read it, there never was any."""
    return context_of(key, await _read(redis, tenant, name=key, reader=reader))


_sweep = Script(
    ["limit"],
    LUA
    + """
local now = now_ms()
for _, name in ipairs(redis.call('ZRANGEBYSCORE', tombstones, '-inf', now, 'LIMIT', 0, limit)) do forget(name) end
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
    ["name", "id", *_BOUNDS],
    LUA
    + _READ_BOUNDS
    + """
local at = look(name, now)
if not at.lapsed then
  -- Somebody was faster. Make the set agree with the hash, or the sweep would find this key for ever.
  if at.live and at.expires_ms > 0 then redis.call('ZADD', expiry, at.expires_ms, name)
  else redis.call('ZREM', expiry, name) end
  return 0
end
settle(name, id, now, bounds)
return 1
""",
)


async def expire(redis: Redis, tenant: str, key: str, bounds: Bounds) -> bool:
    """Remove the value of `key` if its time is over, and emit `expired`. Whether it was so."""
    return bool(await _expire(redis, tenant, name=key, id=digest(key), **_arguments_of(bounds)))


_may_read = Script(
    ["name", "reader"],
    LUA
    + """
return may(look(name, now_ms()).readers, reader) and 1 or 0
""",
)


async def may_read(redis: Redis, tenant: str, key: str, *, reader: str) -> bool:
    """Whether `reader` may know what there is, or was last, under `key`; of what was forgotten everybody."""
    return bool(await _may_read(redis, tenant, name=key, reader=reader))
