"""Posting: a message of a member, or of the hub for a collaboration, gets the next number of its room."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from aicp_common.envelope import encode_json
from aicp_common.errors import Conflict, InvalidArgument, NotFound
from aicp_common.ids import digest, is_id
from aicp_orchestrator.rooms.state import (
    HUB,
    KEY_LIFETIME_MS,
    MAX_KEYS,
    Bounds,
    Kind,
    arguments_of,
    changing_script,
    reading_script,
)

_POST = changing_script(
    [*("opened_ms", "author", "kind", "text", "reply_to", "mentions", "named", "data", "key", "fingerprint")],
    """
local at = look()
-- Another room of the same name is not the one that was meant.
if at and opened_ms ~= '' and tonumber(opened_ms) ~= at.opened_ms then at = nil end
if not at or not is_member(author) then return {at and is_invited(author) and 'invited' or 'absent'} end
local function due(time) return tonumber(time) + KEY_LIFETIME_MS <= now end
if key ~= '' then
  local time = redis.call('ZSCORE', posted_at, key)
  if time and not due(time) then
    local number, meant = string.match(redis.call('HGET', posted, key) or '', '^(%d+) (.*)$')
    if number then return {meant == fingerprint and 'repeated' or 'other', tonumber(number)} end
  end
end
if at.state ~= 'open' then return {'closed'} end
if reply_to ~= '' and tonumber(reply_to) > at.last then return {'no_such', at.last} end
for name in string.gmatch(mentions, '%S+') do
  if not is_member(name) then return {'stranger', name, is_invited(name) and 1 or 0} end
end
for name in string.gmatch(named, '%S+') do
  if is_member(name) then mentions = mentions == '' and name or mentions .. ' ' .. name end
end
local unread = at.last - math.max((mark_of(author)), at.first - 1)
tell('posted', at.last + 1, kind, author)
local more = {}
for name, value in pairs({reply_to = reply_to, mentions = mentions, data = data}) do
  if value ~= '' then more[#more + 1], more[#more + 2] = name, value end
end
local number = say(at, kind, author, text, more)
read_own(author, number)
if key ~= '' then
  redis.call('HSET', posted, key, int(number) .. ' ' .. fingerprint)
  redis.call('ZADD', posted_at, now, key)
  local old = redis.call('ZRANGE', posted_at, 0, 1, 'WITHSCORES')
  for n = 1, #old, 2 do
    if old[n] ~= key and (due(old[n + 1]) or redis.call('ZCARD', posted_at) > MAX_KEYS) then
      redis.call('ZREM', posted_at, old[n])
      redis.call('HDEL', posted, old[n])
    end
  end
end
live(at)
return {'posted', number, unread, mentions}
""".replace("KEY_LIFETIME_MS", str(KEY_LIFETIME_MS)).replace("MAX_KEYS", str(MAX_KEYS)),
)


@dataclass(frozen=True, slots=True)
class Posted:
    """A message that is in the room."""

    number: int
    repeated: bool
    """It was there already, under the same idempotency key."""
    unread: int = 0
    """How many messages before it the author has not read."""
    mentions: tuple[str, ...] = ()
    """Who should look."""


async def post(
    redis: Redis,
    tenant: str,
    room: str,
    *,
    author: str,
    text: str,
    bounds: Bounds,
    traceparent: str = "",
    kind: Kind = "message",
    reply_to: int | None = None,
    mentions: tuple[str, ...] = (),
    named: tuple[str, ...] = (),
    data: str = "",
    idempotency_key: str = "",
    keys_of: str = "",
    opened_ms: int = 0,
) -> Posted:
    """Give a message the next number of the room.

    Args:
        mentions: Members who should look.
        named: Who should look as well, as far as they are members.
        data: A JSON object; empty: none.
        idempotency_key: The same one again gives the number of then.
        keys_of: Who chose the key; default: the author.
        opened_ms: When the room was opened that is meant; 0: the one that has the name now.

    Raises:
        NotFound: there is no such room, or the author is no member of it.
        Conflict: the room is closed, or the key stands for another message.
        InvalidArgument: `reply_to` names no message, or `mentions` somebody who is no member.
        Busy: the outbox is full.
        Unavailable: Redis is away.
    """
    meant = encode_json([kind, text, reply_to, list(mentions), data]).decode()
    outcome, *found = await _POST(
        redis,
        tenant,
        room=room,
        opened_ms=opened_ms or "",
        author=author,
        kind=kind,
        text=text,
        named=" ".join(name for name in named if name not in mentions),
        reply_to="" if reply_to is None else reply_to,
        mentions=" ".join(mentions),
        data=data,
        key=f"{keys_of or author}/{digest(idempotency_key)}" if idempotency_key else "",
        fingerprint=digest(meant) if idempotency_key and not keys_of else "",
        traceparent=traceparent,
        **arguments_of(bounds),
    )
    match outcome:
        case "absent":
            raise no_such_room(room)
        case "invited":
            raise not_joined(room)
        case "closed":
            raise closed(room)
        case "other":
            raise Conflict(
                f"idempotency_key: {idempotency_key[:80]!r} stands for another message, number {found[0]}",
                hint="use a new key for a new message",
            )
        case "no_such":
            raise InvalidArgument(
                f"reply_to: there is no message {reply_to} in {room}", expected=f"a number from 1 to {found[0]}"
            )
        case "stranger":
            name, is_invited = found
            if is_invited:
                raise InvalidArgument(f"mentions: {name!r} is invited to {room} and has not joined yet")
            raise InvalidArgument(
                f"mentions: {name!r} is no member of {room}", expected="members", hint="invite_to_room invites others"
            )
    if outcome == "repeated":
        return Posted(found[0], repeated=True)
    return Posted(found[0], False, found[1], tuple(found[2].split()))


async def post_as_hub(
    redis: Redis,
    tenant: str,
    room: str,
    *,
    author: str,
    kind: Kind = "collaboration",
    text: str,
    data: Mapping[str, Any] | None,
    idempotency_key: str,
    bounds: Bounds,
    opened_ms: int = 0,
    traceparent: str = "",
) -> int:
    """Post in the name of a collaboration. Then tell who watches or waits:
    `service.waiters.tell(service.bus, subjects.room(tenant, room))`.

    Args:
        author: The agent that asked for the collaboration.
        text: What happened, in words; for the members' LLMs.
        data: The same for programs, such as `{"task_id", "step", "status"}`.
        idempotency_key: The same one again, whatever the text, is the message of then. Keys of members are others.
        bounds: `bounds_of` the worker's settings.
        opened_ms: As for `post`.

    Returns:
        The message's number.

    Raises:
        NotFound: there is no such room, or the author is no member of it any more.
        Conflict: the room is closed.
        Busy: the outbox is full.
        Unavailable: Redis is away.
    """
    posted = await post(
        redis,
        tenant,
        room,
        author=author,
        kind=kind,
        text=text,
        data=encode_json(data).decode() if data else "",
        idempotency_key=idempotency_key,
        keys_of=HUB,
        opened_ms=opened_ms,
        bounds=bounds,
        traceparent=traceparent,
    )
    return posted.number


_MEMBERS = reading_script(
    ["agent"],
    """
local at = look()
if not at or not is_member(agent) then return false end
return {at.state, at.opened_ms, redis.call('HGETALL', members)}
""",
)


async def members_of(redis: Redis, tenant: str, room: str, agent: str) -> tuple[int, list[str]]:
    """When an open room in which `agent` is was opened, in ms; and its members, in the order in which they joined.

    Raises:
        NotFound: there is no such room, or `agent` is no member of it.
        Conflict: it is closed.
        Unavailable: Redis is away.
    """
    found = await _MEMBERS(redis, tenant, room=room, agent=agent) if is_id(room) else None
    if not found:
        raise no_such_room(room)
    state, opened_ms, who = found
    if state != "open":
        raise closed(room)
    joined = {name: int(when.split()[0]) for name, when in zip(who[::2], who[1::2], strict=True)}
    return opened_ms, sorted(joined, key=joined.__getitem__)


def no_such_room(room: str) -> NotFound:
    """The same whether there is none, or the caller is no member."""
    return NotFound(f"room: there is no room {room[:80]!r} that you are in", hint="list_rooms says which there are")


def not_joined(room: str) -> Conflict:
    """For whoever is invited, and so may know that there is such a room."""
    return Conflict(f"room: you are invited to {room} and not in it yet", hint="join_room brings you in")


def closed(room: str) -> Conflict:
    """Nobody posts to or joins a closed room."""
    return Conflict(f"room: {room} is closed", hint="read_room still shows what was said; open_room opens another one")
