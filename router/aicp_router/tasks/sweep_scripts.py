"""What time alone brings about: lapsed leases, passed deadlines, tasks that wait for another agent. Lua scripts, one
change each, every one of them safe to run by many workers at once: it looks again whether there is anything to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from aicp_common.store import Script
from aicp_router.tasks.task_scripts import task_script

_DUE = Script(
    ["limit", "online_ms", "retention_ms"],
    """
local now = now_ms()
local function due(name, until_then)
  return redis.call('ZRANGEBYSCORE', prefix .. name, '-inf', string.format('%.0f', until_then), 'LIMIT', 0, limit)
end
return {
  due(':leases', now), due(':deadlines', now), due(':unassigned', now), due(':orphans', now),
  due(':presence', now - tonumber(online_ms)), due(':seen', now - tonumber(retention_ms)),
  redis.call('ZCARD', prefix .. ':queue:orchestrator'), due(':reacts', now), redis.call('ZCARD', prefix .. ':reacts')
}
""",
)


@dataclass(frozen=True, slots=True)
class Due:
    """What is due in one tenant, at most `limit` of each."""

    leases: Sequence[str]
    deadlines: Sequence[str]
    unassigned: Sequence[str]
    orphans: Sequence[str]
    away: Sequence[str]
    """Agents that are to be called offline."""
    long_away: Sequence[str]
    """Agents that may be forgotten."""
    orchestrations: int
    """Collaborations that wait for an orchestrator."""
    ignored: Sequence[str]
    """Tasks that their agents had the time to take, and did not."""
    unclaimed: int
    """Tasks that wait for an agent and may be passed on, whether or not they are due."""


async def due(redis: Redis, tenant: str, *, limit: int, online_ms: int, retention_ms: int) -> Due:
    """Read what is due; changes nothing."""
    found = await _DUE(redis, tenant, limit=limit, online_ms=online_ms, retention_ms=retention_ms)
    return Due(
        *cast(
            "tuple[list[str], list[str], list[str], list[str], list[str], list[str], int, list[str], int]", tuple(found)
        )
    )


_LAPSE = task_script(
    ["task_id", "grace_ms", "retention_ms"],
    """
local t, now = task(task_id), now_ms()
local lapses = redis.call('ZSCORE', prefix .. ':leases', task_id)
if not lapses or tonumber(lapses) > now then return {'', '', ''} end
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'attempts', 'traceparent')
if f[1] ~= 'working' then
  redis.call('ZREM', prefix .. ':leases', task_id)
  return {'', '', ''}
end
if tonumber(f[3]) >= tonumber(f[4]) then
  emit('task', task_id, 'failed', change(f[2], f[3], 'failed'), f[5])
  local text = f[2] .. ' was silent until its lease lapsed, and that was attempt ' .. int(f[3]) .. ' of ' .. int(f[4])
  learn(task_id, f[2], 'lapsed', now)
  finish(task_id, f[2], now, 'failed', 'attempts', text, retention_ms)
  note(task_id, now, 'lease_lapsed', f[2], f[3], '')
  return {'failed', f[2], f[5]}
end
emit('task', task_id, 'requeued', '{"state":"submitted","agent":"' .. f[2] .. '","attempt":' .. int(f[3]) ..
  ',"reason":"lease_lapsed"}', f[5])
learn(task_id, f[2], 'lapsed', now)
requeue(task_id, f[2], now, grace_ms)
redis.call('HSET', t, 'requeued', 'lease_lapsed')
note(task_id, now, 'lease_lapsed', f[2], f[3], '')
return {'requeued', f[2], f[5]}
""",
)


async def lapse(redis: Redis, tenant: str, *, task_id: str, grace_ms: int, retention_ms: int) -> str:
    """Take a task from an agent whose lease has lapsed: `requeued`, `failed` after the last attempt, or empty."""
    done = await _LAPSE(redis, tenant, task_id=task_id, grace_ms=grace_ms, retention_ms=retention_ms)
    return cast("str", done[0])


_EXPIRE = task_script(
    ["task_id", "retention_ms"],
    """
local t, now = task(task_id), now_ms()
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'deadline_ms', 'traceparent', 'offered')
if not f[1] or ended(f[1]) then
  redis.call('ZREM', prefix .. ':deadlines', task_id)
  return 0
end
if tonumber(f[4]) > now then return 0 end
emit('task', task_id, 'failed', change(f[2], f[3], 'failed'), f[5])
local was = {submitted = 'while it waited for an agent to take it', working = 'while ' .. f[2] .. ' worked on it',
  input_required = 'while ' .. f[2] .. ' waited for an answer'}
withdraw(task_id, f[6])
finish(task_id, f[2], now, 'failed', 'deadline', 'its deadline passed ' .. was[f[1]], retention_ms)
note(task_id, now, 'deadline', f[2], f[3], '')
return 1
""",
)


async def expire(redis: Redis, tenant: str, *, task_id: str, retention_ms: int) -> bool:
    """Fail a task whose deadline has passed."""
    return bool(await _EXPIRE(redis, tenant, task_id=task_id, retention_ms=retention_ms))


_ASSIGN = task_script(
    ["task_id", "attempt", "agent"],
    """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'score', 'traceparent')
if f[1] ~= 'submitted' or f[2] ~= '' or f[3] ~= attempt then return 0 end
local now = now_ms()
emit('task', task_id, 'assigned', change(agent, attempt, 'submitted'), f[5])
redis.call('HSET', t, 'agent', agent, 'updated_ms', int(now))
redis.call('ZREM', prefix .. ':unassigned', task_id)
enqueue(task_id, agent, f[4])
expect(task_id, agent, now)
count(agent)
note(task_id, now, 'assigned', agent, 0, '')
return 1
""",
)


async def assign(redis: Redis, tenant: str, *, task_id: str, attempt: int, agent: str) -> bool:
    """Put a task without an agent into `agent`'s queue, unless anything has changed since `attempt` was read.

    The queue's cap does not hold here: what was accepted once is not turned away.
    """
    return bool(await _ASSIGN(redis, tenant, task_id=task_id, attempt=attempt, agent=agent))


_FAIL = task_script(
    ["task_id", "attempt", "code", "text", "retention_ms"],
    """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'traceparent')
if f[1] ~= 'submitted' or f[2] ~= '' or f[3] ~= attempt then return 0 end
local now = now_ms()
emit('task', task_id, 'failed', change('', attempt, 'failed'), f[4])
finish(task_id, '', now, 'failed', code, text, retention_ms)
note(task_id, now, 'failed', '', attempt, '')
return 1
""",
)


async def fail(
    redis: Redis, tenant: str, *, task_id: str, attempt: int, code: str, text: str, retention_ms: int
) -> bool:
    """Fail a task that waits for another agent, unless anything has changed since `attempt` was read."""
    return bool(
        await _FAIL(redis, tenant, task_id=task_id, attempt=attempt, code=code, text=text, retention_ms=retention_ms)
    )


_TURN_AWAY = task_script(
    ["task_id", "agent", "online_ms", "text", "grace_ms"],
    """
local seen, now = redis.call('ZSCORE', prefix .. ':presence', agent), now_ms()
if seen and tonumber(seen) > now - tonumber(online_ms) then return 0 end
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'traceparent', 'offered')
if not f[1] or ended(f[1]) then
  -- Its record has expired, or it ended by a way that could not reach this queue.
  redis.call('ZREM', prefix .. ':queue:' .. agent, task_id)
  recount(agent)
  count(agent)
end
if f[1] ~= 'submitted' or f[2] ~= agent then return 0 end
emit('task', task_id, 'requeued', '{"state":"submitted","agent":"' .. agent .. '","attempt":' .. int(f[3]) ..
  ',"reason":"agent_left"}', f[4])
withdraw(task_id, f[5])
requeue(task_id, agent, now, grace_ms)
redis.call('HSET', t, 'requeued', 'agent_left', 'refusal', text)
note(task_id, now, 'agent_left', agent, 0, '')
return 1
""",
)


async def turn_away(
    redis: Redis, tenant: str, *, task_id: str, agent: str, online_ms: int, text: str, grace_ms: int
) -> bool:
    """Take a task that nobody has claimed out of the queue of an agent that has left, unless that agent was seen within
    `online_ms`.

    Args:
        text: What the requester is told when nobody else can have the task.
    """
    return bool(
        await _TURN_AWAY(redis, tenant, task_id=task_id, agent=agent, online_ms=online_ms, text=text, grace_ms=grace_ms)
    )


_PASS_ON = task_script(
    ["task_id", "agent", "attempt", "successor"],
    """
local t, now = task(task_id), now_ms()
local until_then = redis.call('ZSCORE', prefix .. ':reacts', task_id)
if not until_then or tonumber(until_then) > now then return 0 end
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'score', 'traceparent', 'passed', 'offered')
if f[1] ~= 'submitted' or f[2] == '' then
  redis.call('ZREM', prefix .. ':reacts', task_id)
  return 0
end
-- It went to another agent since it was read: that one's time counts.
if f[2] ~= agent or f[3] ~= attempt then return 0 end
if successor == '' then
  -- Nobody else could do it now: it stays where it is, and is looked at again.
  expect(task_id, agent, now)
  return 0
end
emit('task', task_id, 'passed_on', change(successor, attempt, 'submitted'), f[5])
learn(task_id, agent, 'ignored', now)
withdraw(task_id, f[7])
release(task_id, agent)
redis.call('HSET', t, 'agent', successor, 'updated_ms', int(now), 'passed', (f[6] and f[6] .. ',' or '') .. agent)
enqueue(task_id, successor, f[4])
count(successor)
expect(task_id, successor, now)
note(task_id, now, 'passed_on', successor, 0, '')
return 1
""",
)


async def pass_on(redis: Redis, tenant: str, *, task_id: str, agent: str, attempt: int, successor: str) -> bool:
    """Give a task that `agent` did not take in time to `successor`; without one, let it wait on."""
    done = await _PASS_ON(redis, tenant, task_id=task_id, agent=agent, attempt=attempt, successor=successor)
    return bool(done)


_WAITING = Script(
    ["agent", "limit"],
    """
-- Answered tasks stand far before these; their agent has them already.
local since = string.format('%.0f', now_ms() - 5e11)
return redis.call('ZRANGEBYSCORE', prefix .. ':queue:' .. agent, since, '+inf', 'LIMIT', 0, limit)
""",
)


async def waiting(redis: Redis, tenant: str, *, agent: str, limit: int) -> list[str]:
    """The first tasks in an agent's queue that it has not claimed; changes nothing."""
    return cast("list[str]", await _WAITING(redis, tenant, agent=agent, limit=limit))


_DROP = task_script(
    ["name", "task_id"],
    """
local k = prefix .. ':' .. name
if name == 'unassigned' and redis.call('HGET', task(task_id), 'state') == 'submitted' then return end
redis.call('ZREM', k, task_id)
""",
)


async def settle_orphans(redis: Redis, tenant: str, task_id: str) -> None:
    """The children of an ended task have ended."""
    await _DROP(redis, tenant, name="orphans", task_id=task_id)


async def drop_unassigned(redis: Redis, tenant: str, task_id: str) -> None:
    """An entry whose task is not there any more."""
    await _DROP(redis, tenant, name="unassigned", task_id=task_id)
