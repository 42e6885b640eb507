"""Who is in a room: opening, inviting, joining, leaving and closing, each one script."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from aicp_common.errors import Busy, Conflict, Forbidden, NotFound
from aicp_orchestrator.rooms.posting import closed, no_such_room
from aicp_orchestrator.rooms.state import (
    INVITATIONS_OF_AN_AGENT,
    ROOMS_OF_AN_AGENT,
    SHOWN_AGENTS,
    Bounds,
    arguments_of,
    changing_script,
)

WhoInvites = Literal["opener", "members"]

_LUA = (
    """
-- Those of `names` who are neither in nor invited.
local function strangers(names)
  local asked, found = {}, {}
  for name in string.gmatch(names, '%S+') do asked[#asked + 1] = name end
  if #asked == 0 then return found end
  local is_in, may_come = redis.call('HMGET', members, unpack(asked)), redis.call('HMGET', invited, unpack(asked))
  for n, name in ipairs(asked) do
    if not is_in[n] and not may_come[n] then found[#found + 1] = name end
  end
  return found
end
local function people() return redis.call('HLEN', members) + redis.call('HLEN', invited) end
-- Agents as fields of a message.
local function about(names)
  local more = {'agents', table.concat(names, ' ', 1, math.min(#names, SHOWN_AGENTS))}
  if #names > SHOWN_AGENTS then more[3], more[4] = 'agents_count', int(#names) end
  return more
end
local function told(names) return ',"agents":' .. cjson.encode({unpack(names, 1, math.min(#names, SHOWN_AGENTS))}) end
local function invite(at, by, names)
  local number, how, fields = say(at, 'invited', by, '', about(names)), by .. ' ' .. int(now), {}
  for _, name in ipairs(names) do
    fields[#fields + 1], fields[#fields + 2] = name, how
    if note('invited-to', name) > INVITATIONS then
      redis.call('ZREMRANGEBYRANK', prefix .. ':invited-to:' .. name, 0, 0)
    end
  end
  redis.call('HSET', invited, unpack(fields))
  read_own(by, number)
end

-- Take all invitations back. Who had one.
local function withdraw_all()
  local asked = redis.call('HKEYS', invited)
  for _, name in ipairs(asked) do unnote('invited-to', name) end
  redis.call('DEL', invited)
  return asked
end

-- Whether an agent has room for one room more in a list, after what is no longer true was dropped from a full one.
local function fits(list, agent, most, holds)
  local name = prefix .. ':' .. list .. ':' .. agent
  if redis.call('ZCARD', name) < most then return true end
  for _, other in ipairs(redis.call('ZRANGE', name, 0, -1)) do
    if not holds(prefix .. ':room:' .. other, agent) then redis.call('ZREM', name, other) end
  end
  return redis.call('ZCARD', name) < most
end
local function fits_in(agent)
  return fits('rooms-of', agent, ROOMS_OF_AN_AGENT, function(other, agent)
    return redis.call('HEXISTS', other .. ':members', agent) == 1
  end)
end
local function fits_opened(agent)
  return fits('rooms-opened', agent, tonumber(max_opened), function(other, agent)
    local f = redis.call('HMGET', other, 'state', 'opener')
    return f[1] == 'open' and f[2] == agent
  end)
end
""".replace("SHOWN_AGENTS", str(SHOWN_AGENTS))
    .replace("INVITATIONS", str(INVITATIONS_OF_AN_AGENT))
    .replace("ROOMS_OF_AN_AGENT", str(ROOMS_OF_AN_AGENT))
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A room that its opener asked for."""

    is_new: bool
    last: int
    """The number of its last message."""
    invited: list[str]
    """Who was invited by this call."""


_OPEN = changing_script(
    ["agent", "topic", "invites", "names"],
    _LUA
    + """
local at = look()
if at and at.opener ~= agent then
  return {'taken', is_member(agent) and 'member' or is_invited(agent) and 'invited' or 'stranger'}
end
if at and at.state ~= 'open' then return {'closed'} end
if at and at.topic ~= topic then return {'topic', at.topic} end
if at and invites ~= '' and at.invites ~= invites then return {'invites', at.invites} end
local new, asked = not at, strangers(names)
if new and not fits_opened(agent) then return {'opened'} end
if new and not fits_in(agent) then return {'joined'} end
if people() + #asked + (new and 1 or 0) > max_members then return {'full', people()} end
if new then
  tell('opened', 1, 'joined', agent, ',"topic":' .. cjson.encode(topic))
  if #asked > 0 then tell('invited', 2, 'invited', agent, told(asked)) end
  redis.call('DEL', unpack(keys_of_room))
  at = {state = 'open', last = 0, first = 1, bytes = 0}
  redis.call('HSET', base, 'state', 'open', 'topic', topic, 'opener', agent, 'invites',
    invites == '' and 'opener' or invites, 'opened_ms', int(now))
  join(at, agent, 1)
  note('rooms-opened', agent)
  read_own(agent, say(at, 'joined', agent, ''))
elseif #asked > 0 then
  tell('invited', at.last + 1, 'invited', agent, told(asked))
end
if #asked > 0 then invite(at, agent, asked) end
if new or #asked > 0 then live(at) end
return {'ok', new and 1 or 0, at.last, asked}
""",
)


async def open_room(
    redis: Redis,
    tenant: str,
    room: str,
    *,
    agent: str,
    topic: str,
    invites: WhoInvites | None,
    names: Sequence[str],
    bounds: Bounds,
    traceparent: str,
) -> Opened:
    """Make a room, or find the one that the same agent opened with the same topic, and invite `names`.

    Raises:
        Conflict: the name is taken, the room is closed, or it was opened with other words.
        Busy: one of the bounds is reached.
        Unavailable: Redis is away.
    """
    outcome, *found = await _OPEN(
        redis,
        tenant,
        room=room,
        agent=agent,
        topic=topic,
        invites=invites or "",
        names=_others(names, agent),
        traceparent=traceparent,
        **arguments_of(bounds),
    )
    match outcome:
        case "taken":
            hints = {"member": "you are in it: read_room", "invited": "you are invited to it: join_room"}
            raise Conflict(f"room: the name {room} is taken", hint=hints.get(found[0], "choose another one"))
        case "closed":
            raise Conflict(
                f"room: {room} is closed and its name is taken for some time yet", hint="choose another name"
            )
        case "topic":
            raise Conflict(
                f"topic: you have opened {room} already, with another topic: {found[0]!r}",
                hint="repeat that topic, or choose another name for another room",
            )
        case "invites":
            raise Conflict(f"who_may_invite: {room} was opened with {found[0]!r}", hint="leave it out, or repeat that")
        case "opened":
            raise Busy(
                f"room: {room} would be one more than the {bounds.opened} open rooms that one agent may have opened",
                hint="close_room those that are no longer needed",
            )
        case "joined":
            raise _in_too_many(room)
        case "full":
            raise _full(found[0], bounds)
    return Opened(bool(found[0]), found[1], found[2])


_INVITE = changing_script(
    ["agent", "names"],
    _LUA
    + """
local at = look()
if not at or not is_member(agent) then return {'absent'} end
if at.state ~= 'open' then return {'closed'} end
if at.invites ~= 'members' and at.opener ~= agent then return {'forbidden', at.opener} end
local asked = strangers(names)
if #asked == 0 then return {'ok', at.last, asked} end
if people() + #asked > max_members then return {'full', people()} end
tell('invited', at.last + 1, 'invited', agent, told(asked))
invite(at, agent, asked)
live(at)
return {'ok', at.last, asked}
""",
)


async def invite(
    redis: Redis, tenant: str, room: str, *, agent: str, names: Sequence[str], bounds: Bounds, traceparent: str
) -> list[str]:
    """Let `names` join. Those who were neither in nor invited before.

    Raises:
        NotFound: there is no such room, or `agent` is no member of it.
        Conflict: it is closed.
        Forbidden: only the opener invites.
        Busy: it would have too many.
        Unavailable: Redis is away.
    """
    outcome, *found = await _INVITE(
        redis,
        tenant,
        room=room,
        agent=agent,
        names=_others(names, agent),
        traceparent=traceparent,
        **arguments_of(bounds),
    )
    match outcome:
        case "absent":
            raise no_such_room(room)
        case "closed":
            raise closed(room)
        case "forbidden":
            raise Forbidden(f"room: only its opener, {found[0]}, invites to {room}", hint=f"ask {found[0]}")
        case "full":
            raise _full(found[0], bounds)
    invited: list[str] = found[1]
    return invited


_JOIN = changing_script(
    ["agent"],
    _LUA
    + """
local at = look()
if not at then return {'absent'} end
if is_member(agent) then return {'ok', 0, at.last, at.topic, at.opener} end
if not is_invited(agent) then return {'absent'} end
if at.state ~= 'open' then return {'closed'} end
if not fits_in(agent) then return {'joined'} end
tell('joined', at.last + 1, 'joined', agent)
redis.call('HDEL', invited, agent)
unnote('invited-to', agent)
local number = say(at, 'joined', agent, '')
join(at, agent, number)
live(at)
return {'ok', 1, number, at.topic, at.opener}
""",
)


@dataclass(frozen=True, slots=True)
class Joined:
    """A room that an agent is in."""

    is_new: bool
    last: int
    """The number of its last message."""
    topic: str
    opener: str


async def join(redis: Redis, tenant: str, room: str, *, agent: str, bounds: Bounds, traceparent: str) -> Joined:
    """Make an invited agent a member. One that is a member already stays it.

    Raises:
        NotFound: there is no such room, or `agent` is not invited.
        Conflict: it is closed.
        Busy: the agent is in too many rooms.
        Unavailable: Redis is away.
    """
    outcome, *found = await _JOIN(
        redis, tenant, room=room, agent=agent, traceparent=traceparent, **arguments_of(bounds)
    )
    match outcome:
        case "absent":
            raise NotFound(
                f"room: there is no room {room[:80]!r} to which you are invited",
                hint="list_rooms says where you are invited; a member can invite you with invite_to_room",
            )
        case "closed":
            raise Conflict(f"room: {room} is closed")
        case "joined":
            raise _in_too_many(room)
    return Joined(bool(found[0]), *found[1:])


_LEAVE = changing_script(
    ["agent", "who"],
    _LUA
    + """
local at = look()
if not at or not is_member(who) then return {'absent'} end
if agent ~= who and at.opener ~= who then return {'forbidden', at.opener} end
local withdrawn = is_invited(agent)
if not is_member(agent) and not withdrawn then return {'stranger'} end
local more = agent ~= who and {'agents', agent} or {}
local data = agent ~= who and told({agent}) or nil
if withdrawn then
  -- Nobody but the invited one has to know, and it came to nothing.
  tell('withdrawn', at.last, 'left', who, data)
  redis.call('HDEL', invited, agent)
  unnote('invited-to', agent)
  live(at)
  return {'withdrawn', '', {agent}}
end
if redis.call('HLEN', members) == 1 then
  tell('left', at.last + 1, 'left', who, data)
  if at.state == 'open' then tell('closed', at.last + 2, 'closed', who) end
  unnote('rooms-of', agent)
  unnote('rooms-opened', agent)
  local asked = withdraw_all()
  -- Nobody is left who could read it.
  redis.call('UNLINK', unpack(keys_of_room))
  return {'closed', '', asked}
end
tell('left', at.last + 1, 'left', who, data)
redis.call('HDEL', members, agent)
redis.call('HDEL', marks, agent)
unnote('rooms-of', agent)
local opener = ''
if at.opener == agent then
  local first
  local all = redis.call('HGETALL', members)
  for n = 1, #all, 2 do
    local joined = tonumber(string.match(all[n + 1], '^%d+'))
    if not first or joined < first then opener, first = all[n], joined end
  end
  redis.call('HSET', base, 'opener', opener)
  unnote('rooms-opened', agent)
  note('rooms-opened', opener)
  more[#more + 1], more[#more + 2] = 'opener', opener
end
read_own(who, say(at, 'left', who, '', more))
live(at)
return {'left', opener, {}}
""",
)

Left = Literal["left", "withdrawn", "closed"]
"""`withdrawn`: the agent was invited, and is no longer. `closed`: the last one left, and the room is gone."""


async def leave(
    redis: Redis, tenant: str, room: str, *, agent: str, who: str, bounds: Bounds, traceparent: str
) -> tuple[Left, str, list[str]]:
    """Take `agent` out of a room, or its invitation back, because `who` wants it.

    Returns:
        What happened; who is opener from now on, if that changed; and who is invited no more.

    Raises:
        NotFound: there is no such room, `who` is no member of it, or `agent` neither in nor invited.
        Forbidden: only the opener removes others.
        Unavailable: Redis is away.
    """
    outcome, *found = await _LEAVE(
        redis, tenant, room=room, agent=agent, who=who, traceparent=traceparent, **arguments_of(bounds)
    )
    match outcome:
        case "absent":
            raise no_such_room(room)
        case "forbidden":
            raise Forbidden(f"agent: only the opener of {room}, {found[0]}, removes others", hint=f"ask {found[0]}")
        case "stranger":
            raise NotFound(f"agent: {agent!r} is neither in {room} nor invited", hint="read_room lists the members")
    return outcome, found[0], found[1]


_CLOSE = changing_script(
    ["agent"],
    _LUA
    + """
local at = look()
if not at or not is_member(agent) then return {'absent'} end
if at.opener ~= agent then return {'forbidden', at.opener} end
if at.state ~= 'open' then return {'ok', at.last, {}, {}} end
tell('closed', at.last + 1, 'closed', agent)
at.state = 'closed'
redis.call('HSET', base, 'state', 'closed')
local asked = withdraw_all()
unnote('rooms-opened', agent)
local number = say(at, 'closed', agent, '')
read_own(agent, number)
live(at)
return {'ok', number, redis.call('HKEYS', members), asked}
""",
)


async def close(
    redis: Redis, tenant: str, room: str, *, agent: str, bounds: Bounds, traceparent: str
) -> tuple[int, list[str], list[str]]:
    """End a room: members can read it for some time.

    Returns:
        The number of its last message; and, if it was open until now, its members and who is invited no more.

    Raises:
        NotFound: there is no such room, or `agent` is no member of it.
        Forbidden: only the opener closes it.
        Unavailable: Redis is away.
    """
    outcome, *found = await _CLOSE(
        redis, tenant, room=room, agent=agent, traceparent=traceparent, **arguments_of(bounds)
    )
    match outcome:
        case "absent":
            raise no_such_room(room)
        case "forbidden":
            raise Forbidden(f"room: only its opener, {found[0]}, closes {room}", hint="leave_room takes you out of it")
    return found[0], found[1], found[2]


def _others(names: Sequence[str], agent: str) -> str:
    return " ".join(dict.fromkeys(name for name in names if name != agent))


def _in_too_many(room: str) -> Busy:
    return Busy(
        f"room: with {room} you would be in more than {ROOMS_OF_AN_AGENT} rooms",
        hint="leave_room those that you no longer need",
    )


def _full(people: int, bounds: Bounds) -> Busy:
    return Busy(
        f"a room may have {bounds.members} members and invited ones, and this would be more: {people} are there",
        hint="invite fewer, or remove some with leave_room",
    )
