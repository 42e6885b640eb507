"""Reading: messages of a room from a number on, its end, who is in it, and what gateways are to tell its members."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from aicp_orchestrator.rooms.posting import no_such_room, not_joined
from aicp_orchestrator.rooms.state import Message, message_of, reading_script

PAGE_BYTES = 128 * 1024
"""Of messages on one page; one message always is there."""

NEWS = 100
"""Messages that gateways get at once."""

NEWS_BYTES = 256 * 1024
SHORT_CHARACTERS = 4_096
"""What is shown of a text where nobody asked for it; `read_room` has the whole."""

_SHORT_BYTES = 4 * SHORT_CHARACTERS
"""No character takes more than four bytes."""


@dataclass(frozen=True, slots=True)
class About:
    """A room, without what was said in it."""

    topic: str
    state: str
    opener: str
    who_may_invite: str
    opened_ms: int
    last: int
    first: int
    """The oldest message that is kept; one more than `last` when none is."""


@dataclass(frozen=True, slots=True)
class Page:
    """Messages of a room, the oldest first."""

    about: About
    after: int
    """They are those after this number."""
    read: int
    """How far the member had read before."""
    moved_to: int
    """How far it has read now."""
    members: int
    """How many there are."""
    messages: list[Message]


_ABOUT = """
local function about(at) return {at.topic, at.state, at.opener, at.invites, at.opened_ms, at.last, at.first} end
"""

_READ = reading_script(
    ["agent", "after", "limit", "max_bytes", "call"],
    _ABOUT
    + """
local at = look()
if not at or not is_member(agent) then return at and is_invited(agent) and 'invited' or false end
local read, from, by = mark_of(agent)
-- A call that comes again, because its answer was lost, finds what it found.
if call ~= '' and by == call and from then read = from end
local start = after == '' and read or tonumber(after)
local found = page(start, tonumber(limit), tonumber(max_bytes))
-- What it says that it has it has read, but a number that is too high hides nothing.
local moved = start <= at.last and math.max(read, start) or read
if #found > 0 then moved = math.max(moved, tonumber(string.match(found[#found][1], '^%d+'))) end
if moved > read then
  redis.call('HSET', marks, agent, int(moved) .. ' ' .. int(read) .. ' ' .. call)
  redis.call('PEXPIRE', marks, redis.call('PTTL', base))
end
return {about(at), start, read, moved, redis.call('HLEN', members), found}
""",
)


async def read(redis: Redis, tenant: str, room: str, *, agent: str, after: int | None, limit: int, call: str) -> Page:
    """Messages after a number, and note that `agent` has read them.

    Args:
        after: None: after the last one that it has read.
        limit: So many at most; also `PAGE_BYTES` at most.
        call: Names the call; the same one once more finds the same.

    Raises:
        NotFound: there is no such room, or `agent` is no member of it.
        Unavailable: Redis is away.
    """
    found = await _READ(
        redis,
        tenant,
        room=room,
        agent=agent,
        after="" if after is None else after,
        limit=limit,
        max_bytes=PAGE_BYTES,
        call=call,
    )
    if not found:
        raise no_such_room(room)
    if found == "invited":
        raise not_joined(room)
    about, start, before, moved_to, members, entries = found
    return Page(About(*about), start, before, moved_to, members, [message_of(entry) for entry in entries])


_UNREAD = reading_script(
    ["agent", "from", "moved_to"],
    """
local read = mark_of(agent)
if read == tonumber(moved_to) and redis.call('EXISTS', marks) == 1 then
  redis.call('HSET', marks, agent, from)
end
""",
)


async def unread(redis: Redis, tenant: str, room: str, *, agent: str, page: Page) -> None:
    """`agent` did not get this page after all."""
    await _UNREAD(redis, tenant, room=room, agent=agent, **{"from": page.read}, moved_to=page.moved_to)


@dataclass(frozen=True, slots=True)
class Member:
    """One that is in a room."""

    agent: str
    joined_ms: int
    read_up_to: int


_ROSTER = reading_script(
    ["agent"],
    """
if not look() or not is_member(agent) then return false end
return {redis.call('HGETALL', members), redis.call('HGETALL', marks)}
""",
)


async def roster(redis: Redis, tenant: str, room: str, *, agent: str) -> list[Member]:
    """The members in the order in which they joined.

    Raises:
        NotFound: there is no such room, or `agent` is no member of it.
        Unavailable: Redis is away.
    """
    found = await _ROSTER(redis, tenant, room=room, agent=agent)
    if not found:
        raise no_such_room(room)
    return _members(*found)


def _members(joined: Sequence[str], read: Sequence[str]) -> list[Member]:
    marks = {name: int(mark.split()[0]) for name, mark in zip(read[::2], read[1::2], strict=True)}
    when = {name: _two(value) for name, value in zip(joined[::2], joined[1::2], strict=True)}
    ordered = sorted(when, key=lambda name: when[name][0])
    return [Member(name, when[name][1], marks.get(name, 0)) for name in ordered]


def _two(value: str) -> tuple[int, int]:
    number, _, ms = value.partition(" ")
    return int(number), int(ms)


@dataclass(frozen=True, slots=True)
class Ending:
    """A room as it is now: its last messages, and who is in it."""

    about: About
    members: list[Member]
    messages: list[Message]


_ENDING = reading_script(
    ["agent", "count", "max_bytes", "most"],
    _ABOUT
    + """
local at = look()
if not at or not is_member(agent) then return false end
local start = math.max(at.first, at.last - tonumber(count) + 1) - 1
local found = page(start, tonumber(count), tonumber(max_bytes), tonumber(most))
return {about(at), redis.call('HGETALL', members), redis.call('HGETALL', marks), found}
""",
)


async def ending(redis: Redis, tenant: str, room: str, *, agent: str, count: int) -> Ending:
    """The last `count` messages, long texts shortened, and the members.

    Raises:
        NotFound: there is no such room, or `agent` is no member of it.
        Unavailable: Redis is away.
    """
    found = await _ENDING(
        redis, tenant, room=room, agent=agent, count=count, max_bytes=count * _SHORT_BYTES * 2, most=_SHORT_BYTES
    )
    if not found:
        raise no_such_room(room)
    about, joined, read, entries = found
    return Ending(About(*about), _members(joined, read), [message_of(entry) for entry in entries])


_LAST = reading_script(
    ["agent"],
    """
local at = look()
if not at or not is_member(agent) then return false end
return at.last
""",
)


async def last(redis: Redis, tenant: str, room: str, *, agent: str) -> int:
    """The number of the last message.

    Raises:
        NotFound: there is no such room, or `agent` is no member of it.
        Unavailable: Redis is away.
    """
    number: int | None = await _LAST(redis, tenant, room=room, agent=agent)
    if number is None:
        raise no_such_room(room)
    return number


@dataclass(frozen=True, slots=True)
class News:
    """What is new in a room, and who may hear of it, of the same moment."""

    after: int
    """The number of the last of the messages."""
    members: list[str]
    messages: list[Message]
    more: bool
    """Whether there are newer ones."""


_NEWS = reading_script(
    ["after", "count", "max_bytes", "most"],
    """
local at = look()
if not at then return false end
local start = tonumber(after)
-- The room of that number is gone, and this is another one of its name.
if start > at.last then start = 0 end
local found = page(start, tonumber(count), tonumber(max_bytes), tonumber(most))
return {start, at.last, redis.call('HKEYS', members), found}
""",
)


async def news(redis: Redis, tenant: str, room: str, *, after: int) -> News:
    """The messages after a number: up to `NEWS` and `NEWS_BYTES`, long texts shortened. Of no room there are none.

    Raises:
        Unavailable: Redis is away.
    """
    found: Sequence[Any] | None = await _NEWS(
        redis, tenant, room=room, after=after, count=NEWS, max_bytes=NEWS_BYTES, most=_SHORT_BYTES
    )
    if not found:
        return News(after, [], [], more=False)
    start, newest, members, entries = found
    messages = [message_of(entry) for entry in entries]
    reached = messages[-1].number if messages else start
    return News(reached, members, messages, more=reached < newest)
