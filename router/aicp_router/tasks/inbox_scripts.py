"""What an agent is told of its inbox, and whether a task has reached its agent: Lua scripts.

A key of a tenant, after its prefix, beside those of tasks: `told:AGENT` (string: how many tasks waited when the agent
was told last, kept while there are more than are looked at one by one). Of each task that an agent was shown, its hash
has the time in `seen_ms`; it starts anew with each queue that the task enters.
"""

from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from aicp_common.store import Script
from aicp_router.agents.profile import DEFAULT_CONCURRENCY
from aicp_router.tasks.task_scripts import task_script

LOOKED_AT = 32
"""Tasks at the head of a queue that are looked at one by one; of those behind them only the number counts."""

TOLD_MS = 86_400_000
"""How long that number is kept."""

_TELL = task_script(
    ["agent", "anyway"],
    """
local queue, told = prefix .. ':queue:' .. agent, prefix .. ':told:' .. agent
local waiting = redis.call('ZCARD', queue)
if waiting == 0 then return {0, {}, {}, 0, {}, ''} end
local ids, requesters, listed, unseen, answered = {}, {}, {}, {}, 0
for _, id in ipairs(redis.call('ZRANGE', queue, 0, LOOKED_AT - 1)) do
  local f = redis.call('HMGET', task(id), 'state', 'agent', 'requester', 'seen_ms', 'answered')
  if f[1] and f[2] == agent and not ended(f[1]) then
    ids[#ids + 1] = id
    if not listed[f[3]] then
      listed[f[3]] = true
      requesters[#requesters + 1] = f[3]
    end
    if f[5] == '1' then answered = answered + 1 end
    if (f[4] or '') == '' then unseen[#unseen + 1] = id end
  else
    waiting = waiting - 1
  end
end
local many = waiting > LOOKED_AT
local before = tonumber(redis.call('GET', told) or 0)
local more = many and waiting > before
-- Fewer wait than it was told: what comes from here on is news.
if before > waiting then redis.call('SET', told, waiting, 'PX', TOLD_MS) end
if anyway == '0' and #unseen == 0 and not more then return {0, {}, {}, 0, {}, ''} end
local now = int(now_ms())
for _, id in ipairs(unseen) do redis.call('HSET', task(id), 'seen_ms', now) end
if many then redis.call('SET', told, waiting, 'PX', TOLD_MS) end
-- On a full desk there is room only for what the agent has begun.
local slots = redis.call('HGET', prefix .. ':slots', agent) or SLOTS
local full = redis.call('SCARD', prefix .. ':working:' .. agent) >= tonumber(slots)
return {waiting, ids, requesters, full and answered or waiting, unseen, now}
""".replace("LOOKED_AT", str(LOOKED_AT))
    .replace("TOLD_MS", str(TOLD_MS))
    .replace("SLOTS", str(DEFAULT_CONCURRENCY)),
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for an agent that is told of it now."""

    count: int
    """0: nothing, or nothing that it was not told of."""
    task_ids: list[str]
    """The first `LOOKED_AT`, in the order in which they are delivered."""
    requesters: list[str]
    """Who asked for these, each one once."""
    ready: int
    """How many of all `receive_tasks` brings as it stands: on a full desk only those whose questions were answered."""
    unseen: list[str]
    """Those of the tasks that it had not seen before."""
    told_ms: str
    """When it was told, by Redis' clock."""


async def tell(redis: Redis, tenant: str, agent: str, *, anyway: bool) -> Waiting:
    """What `agent` is to be told of its inbox; from now on it has seen it.

    Args:
        redis: The store.
        tenant: Whose.
        agent: Its name.
        anyway: Also what it has been told of before.
    """
    told = await _TELL(redis, tenant, agent=agent, anyway=int(anyway))
    return Waiting(*cast("tuple[int, list[str], list[str], int, list[str], str]", told))


_UNTELL = task_script(
    ["agent", "ids", "told_ms"],
    """
for id in string.gmatch(ids, '%S+') do
  if redis.call('HGET', task(id), 'seen_ms') == told_ms then redis.call('HSET', task(id), 'seen_ms', '') end
end
redis.call('DEL', prefix .. ':told:' .. agent)
""",
)


async def untell(redis: Redis, tenant: str, agent: str, told: Waiting) -> None:
    """What `agent` was to be told came too late: it has seen nothing."""
    await _UNTELL(redis, tenant, agent=agent, ids=" ".join(told.unseen), told_ms=told.told_ms)


_REACHED = Script(
    ["agent", "queued_ms", "online_ms"],
    """
local here = redis.call('ZSCORE', prefix .. ':presence', agent)
if here and tonumber(here) + tonumber(online_ms) >= tonumber(queued_ms) then return 1 end
local left = redis.call('ZSCORE', prefix .. ':seen', agent)
return left and tonumber(left) >= tonumber(queued_ms) and 1 or 0
""",
)


async def reached(redis: Redis, tenant: str, agent: str, *, queued_ms: int, online_ms: int) -> bool:
    """Whether `agent` was here at `queued_ms`, in ms since the epoch, or came later.

    Args:
        redis: The store.
        tenant: Whose.
        agent: Its name.
        queued_ms: When something was put into its queue.
        online_ms: How long an agent counts as online after it was seen.
    """
    return bool(await _REACHED(redis, tenant, agent=agent, queued_ms=queued_ms, online_ms=online_ms))
