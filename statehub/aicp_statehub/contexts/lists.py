"""Contexts in lists: by name, by what has changed, and the versions of one."""

from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from aicp_common.store import Script
from aicp_statehub.contexts.state import LUA, Context, context_of, readers_of

CHANGES_AT_ONCE = 200
"""Changes that one script looks at; those of other names than the wanted ones count."""

_FIELDS = """
local wants_values, limit, max_bytes = tonumber(max_bytes) > 0, tonumber(limit), tonumber(max_bytes)
local bytes = 0
-- A context as an entry; false for one that is not to be seen; nil where it would not fit.
local function entry(name, now, is_first)
  local hash = hash_of(name)
  -- Values are read where they are wanted only.
  local f = redis.call('HMGET', hash, 'version', 'author', 'updated_ms', 'expires_ms', 'readers',
    wants_values and 'value' or 'version')
  if not f[1] or not may(f[5] or '', reader) then return false end
  local version, expires, value = tonumber(f[1]), tonumber(f[4] or 0), wants_values and f[6]
  local live = value or not wants_values and redis.call('HSTRLEN', hash, 'value') > 0
  if live and expires > 0 and expires <= now then
    live, value, version = false, false, version + 1
  end
  if value then
    bytes = bytes + #value
    if bytes > max_bytes and not is_first then return nil end
  end
  return {name, version, value, f[2], tonumber(f[3]), live and expires or 0, f[5] or '', live and 1 or 0}
end
"""

_list = Script(
    ["beginning", "after", "reader", "limit", "max_bytes"],
    LUA
    + _FIELDS
    + """
local now = now_ms()
local first = '[' .. beginning
if after ~= '' and after >= beginning then first = '(' .. after end
if first == '[' then first = '-' end
local last = beginning == '' and '+' or '(' .. beginning .. '\\255'
local mine = contexts .. '-for:' .. reader
local open = redis.call('ZRANGEBYLEX', contexts, first, last, 'LIMIT', 0, limit + 1)
local closed = redis.call('ZRANGEBYLEX', mine, first, last, 'LIMIT', 0, limit + 1)
-- Both in the order of their bytes, one after the other.
local names, n, m = {}, 1, 1
while #names <= limit and (open[n] or closed[m]) do
  if not closed[m] or open[n] and open[n] < closed[m] then
    names[#names + 1], n = open[n], n + 1
  else
    names[#names + 1], m = closed[m], m + 1
  end
end
local found, cursor = {}, ''
for index, name in ipairs(names) do
  local one = index <= limit and entry(name, now, #found == 0)
  if index > limit or one == nil then
    cursor = names[index - 1]
    break
  end
  if one and one[8] == 1 then found[#found + 1] = one end
end
local revision = tonumber(redis.call('GET', prefix .. ':context-revision') or 0)
return {redis.call('ZCARD', contexts) + redis.call('ZCARD', mine), revision, cursor, found}
""",
)


@dataclass(frozen=True, slots=True)
class Page:
    """Some contexts in the order of their keys."""

    contexts: list[Context]
    cursor: str
    """List on after this key; empty at the end."""
    total: int
    """Contexts that the reader may read, whatever their keys."""
    revision: int
    """The number of the tenant's last change, for `changed_since`."""


async def list_page(
    redis: Redis,
    tenant: str,
    *,
    reader: str,
    prefix: str = "",
    after: str = "",
    limit: int = 100,
    max_value_bytes: int = 0,
) -> Page:
    """The contexts whose keys begin with `prefix` and that `reader` may read, in the order of their bytes.

    Args:
        after: Only keys that come after this one.
        limit: Contexts that are looked at.
        max_value_bytes: Read values too, until they have so many bytes together; 0: without values.
    """
    total, revision, cursor, found = await _list(
        redis, tenant, beginning=prefix, after=after, reader=reader, limit=limit, max_bytes=max_value_bytes
    )
    return Page([_entry(one) for one in found], cursor, total, revision)


_changes = Script(
    ["since", "beginning", "reader", "limit", "max_bytes"],
    LUA
    + _FIELDS
    + """
local now, since = now_ms(), tonumber(since)
local newest = tonumber(redis.call('GET', prefix .. ':context-revision') or 0)
local forgotten = tonumber(redis.call('GET', prefix .. ':context-forgotten') or 0)
-- Whoever knows nothing misses no deletion; who knows more than there is knows another state.
local complete = (since == 0 or since >= forgotten) and since <= newest
if since > newest then return {newest, 0, 0, {}} end
local after = '(' .. string.format('%.0f', since)
local names = redis.call('ZRANGEBYSCORE', changes, after, '+inf', 'WITHSCORES', 'LIMIT', 0, @AT_ONCE@)
local found, reached, more = {}, since, #names == 2 * @AT_ONCE@
for place = 1, #names, 2 do
  local name = names[place]
  if string.sub(name, 1, #beginning) == beginning then
    local one = #found < limit and entry(name, now, #found == 0)
    if #found == limit or one == nil then
      more = true
      break
    end
    if one then found[#found + 1] = one end
  end
  reached = tonumber(names[place + 1])
end
return {more and reached or newest, more and 1 or 0, complete and 1 or 0, found}
""".replace("@AT_ONCE@", str(CHANGES_AT_ONCE)),
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed, each key with its newest state, in the order of their last changes."""

    contexts: list[Context]
    revision: int
    """Ask again with this."""
    more: bool
    """Whether there is more already."""
    complete: bool
    """False: deletions may be missing, because they were forgotten, or the state was restored."""


async def changes(
    redis: Redis,
    tenant: str,
    *,
    since: int,
    reader: str,
    prefix: str = "",
    limit: int = 100,
    max_value_bytes: int = 0,
) -> Changes:
    """What of the keys that begin with `prefix` has changed after the change numbered `since`; see `list_page`."""
    revision, more, complete, found = await _changes(
        redis, tenant, since=since, beginning=prefix, reader=reader, limit=limit, max_bytes=max_value_bytes
    )
    return Changes([_entry(one) for one in found], revision, bool(more), bool(complete))


_ENDED = """
-- The end of what has ended as it stands in the history, or would.
local function ended(at)
  if not at.lapsed then return as_old(at) end
  return string.format('%.0f %.0f statehub %s', at.version, at.expires_ms, at.readers == '' and '-' or at.readers)
end
"""

_version = Script(
    ["name", "reader", "version"],
    LUA
    + _ENDED
    + """
local at, wanted = look(name, now_ms()), tonumber(version)
if not may(at.readers, reader) or at.version == 0 then return {'absent', 0} end
if wanted > at.version then return {'later', at.version} end
if wanted == at.version and at.live then return {'current', seen(at)} end
if wanted == at.version then return {'old', ended(at)} end
local count = redis.call('LLEN', history_of(name))
if wanted == at.stored then return {'old', as_old(at)} end
local old = redis.call('LINDEX', history_of(name), at.stored - wanted - 1)
if not old or string.find(old, '^%d+ %d+ %S+ !') then
  return {'dropped', count > 0 and not old and at.stored - count or at.version}
end
return {'old', old}
""",
)


@dataclass(frozen=True, slots=True)
class Version:
    """What is known of one version of a key."""

    status: Literal["found", "deleted", "absent", "later", "dropped"]
    """`deleted`: this version was its end; `absent`: there is no such key; `later`: it has not come to this version;
    `dropped`: it is no longer kept."""
    context: Context
    bound: int = 0
    """With `later` the newest version, with `dropped` the oldest that is kept."""


async def version(redis: Redis, tenant: str, key: str, number: int, *, reader: str) -> Version:
    """One version of a key. An old one is for who might read it then and may read the key now."""
    outcome, found = await _version(redis, tenant, name=key, reader=reader, version=number)
    if outcome == "current":
        return Version("found", context_of(key, found))
    if outcome != "old":
        return Version(outcome, Context(key, number), found)
    old = _old(key, found)
    if old.readers and reader not in old.readers:
        return Version("absent", Context(key, 0))
    return Version("deleted" if old.deleted else "found", old)


_versions = Script(
    ["name", "reader", "limit", "max_bytes"],
    LUA
    + _ENDED
    + """
local at, bytes, limit = look(name, now_ms()), 0, tonumber(limit)
if not may(at.readers, reader) or at.version == 0 then return {} end
local all = redis.call('LRANGE', history_of(name), 0, limit)
if at.lapsed then table.insert(all, 1, as_old(at)) end
table.insert(all, 1, at.live and as_old(at) or ended(at))
local olds = {}
for n = 1, math.min(#all, limit + 1) do
  local old = all[n]
  local _, head = string.find(old, '^%d+ %d+ %S+ %S+')
  bytes = bytes + #old - head
  -- Without its value, of which only a mark is left.
  if bytes > tonumber(max_bytes) then old = string.sub(old, 1, head) .. (#old > head and ' ' or '') end
  olds[n] = old
end
return olds
""",
)


async def versions(
    redis: Redis, tenant: str, key: str, *, reader: str, limit: int = 100, max_value_bytes: int = 0
) -> list[Context]:
    """The versions of a key that are kept, the newest first; see `version` for who may see which.

    Args:
        limit: Versions at most, and one more to tell that there are more.
        max_value_bytes: With the values of the newest ones, until they have so many bytes together.
    """
    olds = await _versions(redis, tenant, name=key, reader=reader, limit=limit, max_bytes=max_value_bytes)
    found = [_old(key, old) for old in olds if not _is_dropped(old)]
    return [old for old in found if not old.readers or reader in old.readers]


def _is_dropped(old: str) -> bool:
    return old.split(" ", 4)[3] == "!"


def _entry(found: list[Any]) -> Context:
    key, version, value, author, updated_ms, expires_ms, readers, live = found
    text = None if value is None else value.encode()
    return Context(key, version, text, author, updated_ms, expires_ms or None, readers_of(readers), not live)


def _old(key: str, text: str) -> Context:
    """An old version as `as_old` wrote it: version, time, author, readers (`-`: everybody), and the value if it had one
    (empty: it was not asked for)."""
    number, updated_ms, author, readers, *value = text.split(" ", 4)
    return Context(
        key,
        int(number),
        value[0].encode() if value and value[0] else None,
        author,
        int(updated_ms),
        readers=() if readers == "-" else readers_of(readers),
        deleted=not value,
    )
