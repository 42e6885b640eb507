"""An agent's own tasks, for one that comes back or does not know what became of a call: what it asked for last, and
what it works on."""

from typing import NamedTuple, cast

from pydantic import Field
from redis.asyncio import Redis

from aicp_common.tool import Result
from aicp_router.tasks.holding import HEAD, HEAD_CHARS
from aicp_router.tasks.record import State, at, shown
from aicp_router.tasks.task_scripts import task_script

MOST = 20
"""Of each kind."""


class OwnTask(Result):
    """A task in short."""

    task_id: str
    state: State
    requester: str = Field(description="The agent that asked.")
    agent: str | None = Field(None, description="The agent that has it now, or had it last.")
    attempt: int
    message: str = Field(description="How it begins.")
    created: str = Field(description="UTC, as all times here.")
    ended: str | None = None
    error: str | None = Field(None, description="The code of the error, when there is one.")


class OwnTasks(Result):
    """Of `aicp://tasks`."""

    agent: str
    asked: list[OwnTask] = Field(description="What you asked for, newest first, at most 20.")
    working: list[OwnTask] = Field(description="What you hold, the last claimed first, at most 20.")
    next: str


class _Row(NamedTuple):
    task_id: str
    state: str
    requester: str
    agent: str
    attempt: str
    message: str
    created_ms: str
    ended_ms: str
    error_code: str


_OWN = task_script(
    ["agent"],
    HEAD
    + """
local function row(id)
  local f = redis.call('HMGET', task(id), 'state', 'requester', 'agent', 'attempt', 'message', 'created_ms', 'ended_ms',
    'error_code')
  if not f[1] then return nil end
  return {id, f[1], f[2], f[3], f[4], head(f[5]), f[6], f[7] or '', f[8] or ''}
end
local asked, working, held = {}, {}, {}
for _, id in ipairs(redis.call('LRANGE', prefix .. ':asked:' .. agent, 0, -1)) do
  if #asked == MOST then break end
  asked[#asked + 1] = row(id)
end
for _, id in ipairs(redis.call('SMEMBERS', prefix .. ':working:' .. agent)) do
  held[#held + 1] = {id, tonumber(redis.call('HGET', task(id), 'claimed_ms') or 0)}
end
table.sort(held, function(one, other) return one[2] > other[2] or (one[2] == other[2] and one[1] > other[1]) end)
for n = 1, math.min(#held, MOST) do working[#working + 1] = row(held[n][1]) end
return {asked, working}
""".replace("MOST", str(MOST)),
)


async def own_tasks(redis: Redis, tenant: str, agent: str) -> OwnTasks:
    """The tasks of `agent`. Changes nothing."""
    asked, working = cast("tuple[list[list[str]], list[list[str]]]", await _OWN(redis, tenant, agent=agent))
    return OwnTasks(
        agent=agent,
        asked=[_short(_Row(*row)) for row in asked],
        working=[_short(_Row(*row)) for row in working],
        next="get_task tells all of one; there is none of what is not here, or it is longer ago",
    )


def _short(row: _Row) -> OwnTask:
    return OwnTask(
        task_id=row.task_id,
        state=cast("State", row.state),
        requester=row.requester,
        agent=row.agent or None,
        attempt=int(row.attempt),
        message=shown(row.message, HEAD_CHARS),
        created=at(row.created_ms),
        ended=at(row.ended_ms) if row.ended_ms else None,
        error=row.error_code or None,
    )
