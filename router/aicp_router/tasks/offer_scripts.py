"""Offers: tasks that wait behind other work of their agent, and who may take them instead. Lua scripts.

A task is offered when it is created (`request_scripts.create`) or later (`offer`), and taken by `work_scripts.claim`.
Whatever takes it out of its agent's queue withdraws the offers, so none of them outlives what it offers.
"""

from collections.abc import Iterable
from typing import cast

from redis.asyncio import Redis

from aicp_router.tasks.task_scripts import task_script

MAX_OFFERED = 64
"""Agents to which one task is offered."""

_WINDOW = 100
"""Unclaimed tasks that one look for those that wait behind others goes through."""

_WAITS_BEHIND = """
local function waits_behind(id, agent)
  return redis.call('EXISTS', prefix .. ':working:' .. agent) == 1
    or (redis.call('ZRANK', prefix .. ':queue:' .. agent, id) or 0) > 0
end
"""
"""Whether a task in an agent's queue has to wait for other work of it."""

_OFFER = task_script(
    ["task_id", "agent", "attempt", "desks"],
    _WAITS_BEHIND
    + """
local f = redis.call('HMGET', task(task_id), 'state', 'agent', 'attempt', 'named', 'score', 'offered', 'holders')
if f[1] ~= 'submitted' or f[2] ~= agent or f[3] ~= attempt or f[4] == '1' then return {} end
if not waits_behind(task_id, agent) then return {} end
local offered, held = f[6] or '', ',' .. (f[7] or '') .. ','
local _, many = string.gsub(offered, '%S+', '')
local new, free = {}, {}
for name, slots in string.gmatch(desks, '(%S+) (%S+)') do
  local known = string.find(' ' .. offered .. ' ', ' ' .. name .. ' ', 1, true)
  if name ~= agent and not string.find(held, ',' .. name .. ',', 1, true) and (known or many < MAX_OFFERED) then
    if not known then
      new[#new + 1] = name
      many = many + 1
    end
    local has = tonumber(redis.call('HGET', prefix .. ':loads', name) or 0)
    if has < tonumber(slots) then free[#free + 1] = {name, has} end
  end
end
if #new > 0 then offer(task_id, f[5], offered, new) end
return free
""".replace("MAX_OFFERED", str(MAX_OFFERED)),
)


async def offer(
    redis: Redis, tenant: str, *, task_id: str, agent: str, attempt: int, desks: Iterable[tuple[str, int]]
) -> dict[str, int]:
    """Let others take a task that waits behind other work of `agent`, unless anything has changed since `attempt` was
    read.

    Args:
        redis: The store.
        tenant: Whose.
        task_id: Of the task.
        agent: In whose queue it stands.
        attempt: Its number of claims.
        desks: Who may take it, and how many tasks each takes at once. Who held it before does not get it.

    Returns:
        Those of them that have room now, and how much they have to do.
    """
    names = " ".join(f"{name} {slots}" for name, slots in desks)
    free = await _OFFER(redis, tenant, task_id=task_id, agent=agent, attempt=attempt, desks=names)
    return dict(cast("list[tuple[str, int]]", free))


_BEHIND = task_script(
    ["start", "limit"],
    _WAITS_BEHIND
    + """
local reacts, found = prefix .. ':reacts', {}
local first = math.floor(tonumber(start) * math.max(0, redis.call('ZCARD', reacts) - WINDOW + 1))
for _, id in ipairs(redis.call('ZRANGE', reacts, first, first + WINDOW - 1)) do
  local f = redis.call('HMGET', task(id), 'state', 'agent')
  if f[1] == 'submitted' and f[2] ~= '' and waits_behind(id, f[2]) then
    found[#found + 1] = id
    if #found >= tonumber(limit) then break end
  end
end
return found
""".replace("WINDOW", str(_WINDOW)),
)


async def behind(redis: Redis, tenant: str, *, start: float, limit: int) -> list[str]:
    """Unclaimed tasks that anybody may have and that wait behind other work of their agent; changes nothing.

    Args:
        redis: The store.
        tenant: Whose.
        start: Where to begin among all the unclaimed, 0 to 1. Who draws it anew each time sees all of them in time.
        limit: How many at most.
    """
    return cast("list[str]", await _BEHIND(redis, tenant, start=start, limit=limit))
