"""Notes: what an agent is to be told of rooms, for LLMs that do not look there by themselves; and who is online.

A key of a tenant, after its prefix: `notes:AGENT` (sorted set of `kind room by`, by the time of each). They are told
once, at the end of a tool's result or when the agent connects, and are gone then; the oldest goes where there are too
many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from pydantic import BaseModel, Field
from redis.asyncio import Redis

from aicp_common import subjects
from aicp_common.envelope import Envelope
from aicp_common.ids import ID_PATTERN, RESERVED_AGENTS
from aicp_common.service import Service
from aicp_common.store import Script
from aicp_common.tool import Arguments
from aicp_router.settings import RouterSettings

SCOPE = "rooms:read"
"""What an agent needs to be told of rooms."""

MAX_NOTES = 20
LIFETIME_MS = 7 * 86_400_000
"""Since the last note."""

MAX_AGENTS = 1_000

Kind = Literal["invited", "mentioned", "removed"]

_WORDS: dict[str, str] = {
    "invited": "{by} invites you to {room} (join_room)",
    "mentioned": "{by} mentions you in {room} (read_room)",
    "removed": "{by} took you out of {room}",
}

_Id = Annotated[str, Field(pattern=ID_PATTERN)]
_Agents = Annotated[list[_Id], Field(max_length=MAX_AGENTS)]


class TellArguments(Arguments):
    """For `tell_agents`."""

    agents: _Agents
    kind: Kind
    room: _Id
    by: _Id


class DropArguments(Arguments):
    """For `drop_notes`."""

    agents: _Agents
    room: _Id


class OnlineArguments(Arguments):
    """For `who_is_online` and `who_is_unknown`."""

    agents: _Agents


class Online(BaseModel):
    """Of `who_is_online`."""

    online: list[str]


class Unknown(BaseModel):
    """Of `who_is_unknown`."""

    unknown: list[str]


@dataclass(frozen=True, slots=True)
class Note:
    """Something about a room that an agent does not know yet."""

    kind: str
    room: str
    by: str
    at_ms: int

    @property
    def words(self) -> str:
        """As the agent is told. All names are ids: none of them can look like a part of the sentence."""
        return _WORDS[self.kind].format(by=self.by, room=self.room)


def line(notes: Sequence[Note]) -> str:
    """One line for an agent that has just called some tool; empty without notes."""
    return f"rooms: {'; '.join(note.words for note in notes)}" if notes else ""


def greeting(notes: Sequence[Note]) -> str:
    """What an agent is told that connects; empty without notes."""
    return f"Rooms: {'; '.join(note.words for note in notes)}." if notes else ""


_ADD = Script(
    ["agents", "note"],
    """
local now = now_ms()
for agent in string.gmatch(agents, '%S+') do
  local notes = prefix .. ':notes:' .. agent
  redis.call('ZADD', notes, now, note)
  if redis.call('ZCARD', notes) > MAX_NOTES then redis.call('ZREMRANGEBYRANK', notes, 0, 0) end
  redis.call('PEXPIRE', notes, LIFETIME_MS)
end
""".replace("MAX_NOTES", str(MAX_NOTES)).replace("LIFETIME_MS", str(LIFETIME_MS)),
)

_TAKE = Script(
    ["agent"],
    """
local notes = prefix .. ':notes:' .. agent
local found = redis.call('ZRANGE', notes, 0, -1, 'WITHSCORES')
if #found > 0 then redis.call('DEL', notes) end
return found
""",
)

_PUT_BACK = Script(
    ["agent", "taken"],
    """
local notes = prefix .. ':notes:' .. agent
for at, note in string.gmatch(taken, '(%d+) ([^\\n]+)') do redis.call('ZADD', notes, 'NX', at, note) end
redis.call('ZREMRANGEBYRANK', notes, 0, -MAX_NOTES - 1)
redis.call('PEXPIRE', notes, LIFETIME_MS)
""".replace("MAX_NOTES", str(MAX_NOTES)).replace("LIFETIME_MS", str(LIFETIME_MS)),
)

_DROP = Script(
    ["agents", "room"],
    """
for agent in string.gmatch(agents, '%S+') do
  local notes = prefix .. ':notes:' .. agent
  for _, note in ipairs(redis.call('ZRANGE', notes, 0, -1)) do
    if string.match(note, '^%S+ (%S+)') == room then redis.call('ZREM', notes, note) end
  end
end
""",
)

_ONLINE = Script(
    ["agents", "online_ms"],
    """
local since, names, found = now_ms() - tonumber(online_ms), {}, {}
for agent in string.gmatch(agents, '%S+') do names[#names + 1] = agent end
if #names == 0 then return found end
for n, seen in ipairs(redis.call('ZMSCORE', prefix .. ':presence', unpack(names))) do
  if seen and tonumber(seen) >= since then found[#found + 1] = names[n] end
end
return found
""",
)


_UNKNOWN = Script(
    ["agents"],
    """
local registered, presence, found = prefix .. ':agents', prefix .. ':presence', {}
for agent in string.gmatch(agents, '%S+') do
  if redis.call('HEXISTS', registered, agent) == 0 and not redis.call('ZSCORE', presence, agent) then
    found[#found + 1] = agent
  end
end
return found
""",
)


async def take(redis: Redis, tenant: str, agent: str) -> list[Note]:
    """What `agent` is to be told of rooms, the oldest first. From now on it counts as told."""
    found = await _TAKE(redis, tenant, agent=agent)
    notes = []
    for note, at in zip(found[::2], found[1::2], strict=True):
        kind, room, by = note.split(" ")
        notes.append(Note(kind, room, by, int(at)))
    return notes


async def put_back(redis: Redis, tenant: str, agent: str, notes: Sequence[Note]) -> None:
    """What `agent` was to be told came too late: it knows nothing of it."""
    taken = "\n".join(f"{note.at_ms} {note.kind} {note.room} {note.by}" for note in notes)
    await _PUT_BACK(redis, tenant, agent=agent, taken=taken)


async def online(redis: Redis, tenant: str, agents: Sequence[str], *, online_ms: int) -> list[str]:
    """Which of these agents, at most `MAX_AGENTS`, are here now.

    Args:
        online_ms: How long an agent counts as online after it was seen.
    """
    return cast("list[str]", await _ONLINE(redis, tenant, agents=" ".join(agents), online_ms=online_ms))


def declare(service: Service[RouterSettings]) -> None:
    """Declare what the service of the rooms asks."""
    redis, online_ms = service.redis, int(service.settings.online_s * 1000)

    @service.method(TellArguments)
    async def tell_agents(envelope: Envelope, asked: TellArguments) -> dict[str, int]:
        """Leave a note for agents. Whoever is here hears of it with the next result of a tool."""
        tenant = envelope.principal.tenant
        agents = [agent for agent in asked.agents if agent not in RESERVED_AGENTS]
        await _ADD(redis, tenant, agents=" ".join(agents), note=f"{asked.kind} {asked.room} {asked.by}")
        for agent in agents:
            # Gateways ask now what is to be told. Who waits for work looks once, and waits on.
            service.waiters.tell(service.bus, subjects.agent(tenant, agent), envelope.traceparent)
        return {"told": len(agents)}

    @service.method(DropArguments)
    async def drop_notes(envelope: Envelope, asked: DropArguments) -> dict[str, int]:
        """Agents have seen by themselves what is new about a room, or it is no longer so."""
        await _DROP(redis, envelope.principal.tenant, agents=" ".join(asked.agents), room=asked.room)
        return {}

    @service.method(OnlineArguments)
    async def who_is_online(envelope: Envelope, asked: OnlineArguments) -> Online:
        """Which of these agents are here now, whether they are registered or not."""
        return Online(online=await online(redis, envelope.principal.tenant, asked.agents, online_ms=online_ms))

    @service.method(OnlineArguments)
    async def who_is_unknown(envelope: Envelope, asked: OnlineArguments) -> Unknown:
        """Under which of these names nobody has registered and nobody is here now."""
        return Unknown(unknown=await _UNKNOWN(redis, envelope.principal.tenant, agents=" ".join(asked.agents)))
