"""Tasks in Redis: their keys, what all Lua scripts about them share, and the reads that change nothing.

The changes are in `request_scripts`, `work_scripts` and `sweep_scripts`: each checks, emits the event, then writes.

Keys of a tenant, after its prefix:

- `task:ID` (hash, see `tasks.Record`), `task:ID:history` (list of JSON entries, the last 50), `task:ID:dialog` (list:
  questions and answers as JSON), `task:ID:children` (set of task ids), `task:ID:asking` (set: those of its children
  whose workers wait for an answer);
- `queue:AGENT` (sorted set: what waits for an agent; a lower score is delivered first), `working:AGENT` (set: what it
  has claimed and works on), `loads` (hash: agent to the size of both);
- `offers:AGENT` (sorted set: tasks that wait for another agent behind its other work, and that this one may take
  instead; same order; the task's field `offered` names those that have it there);
- `leases`, `deadlines` (sorted sets: task to the time when it lapses), `unassigned` (sorted set: task without an agent
  to the time from which anybody may look for one), `reacts` (sorted set: unclaimed task to the time when it is passed
  on to another agent), `orphans` (sorted set: ended tasks whose children still have to end);
- `asked:AGENT` (list: the last tasks that an agent asked for by itself, newest first; steps are not in it);
- `outcomes` (stream, see `outcomes`), `learned:AGENT` (how many of an agent's came into it, for a minute);
  `turns:AGENT` (hash, see `turns`); `queued:AGENT` (hash: requester to how many of its tasks are in the queue);
- `idem:DIGEST` (string: task id and fingerprint of an idempotency key, for 24 h).

Texts of users are stored as they came and never decoded here; of a profile it is read who that agent works for. What a
script puts into JSON by itself are ids, numbers and words of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from aicp_common.store import Script
from aicp_router.agents.profile import GUEST_PREFIX

MAX_ASKING = 50
"""Children that ask something, as one read of their parent tells of them."""
OUTCOME_CAP = 10_000
"""Outcomes of one tenant that routing learns from, as many as `learning` keeps."""
OUTCOME_BYTES = 1_000
"""Of a message: what it wants, it says early."""
OUTCOMES_A_MINUTE = 20
"""Of one agent, beside ratings."""
UNASSIGNED_GRACE_MS = 1_500
"""How long the worker that took a task from an agent has to find another one, before every worker may."""

_LIBRARY = (
    """
-- How far before everything else an answered task stands in its agent's queue, in ms.
local ANSWERED_FIRST = 1e12
local function int(n) return string.format('%.0f', tonumber(n)) end
local function task(id) return prefix .. ':task:' .. id end
local function ended(state) return state == 'completed' or state == 'failed' or state == 'cancelled' end
-- One step of the history. `text` is JSON or empty.
local function note(id, at, what, agent, attempt, text)
  local entry = '{"at_ms":' .. int(at) .. ',"what":"' .. what .. '"'
  if agent ~= '' then entry = entry .. ',"agent":"' .. agent .. '"' end
  if tonumber(attempt) > 0 then entry = entry .. ',"attempt":' .. int(attempt) end
  if text ~= '' then entry = entry .. ',"note":' .. text end
  local history = task(id) .. ':history'
  if redis.call('RPUSH', history, entry .. '}') > 50 then redis.call('LTRIM', history, -50, -1) end
end
-- How much an agent has to do, worked out anew from what it is made of, so that it cannot drift.
local function count(agent)
  local n = redis.call('ZCARD', prefix .. ':queue:' .. agent) + redis.call('SCARD', prefix .. ':working:' .. agent)
  if n > 0 then
    redis.call('HSET', prefix .. ':loads', agent, n)
  else
    redis.call('HDEL', prefix .. ':loads', agent)
    redis.call('DEL', prefix .. ':turns:' .. agent)
  end
end
-- Count anew how many tasks each requester has in an agent's queue: where nobody has yet, and where it is not known
-- any more whose task has gone.
local function recount(agent)
  local queued = prefix .. ':queued:' .. agent
  redis.call('DEL', queued)
  for _, id in ipairs(redis.call('ZRANGE', prefix .. ':queue:' .. agent, 0, -1)) do
    local requester = redis.call('HGET', task(id), 'requester')
    if requester then redis.call('HINCRBY', queued, requester, 1) end
  end
end
-- Take a task, the record of which is there, out of an agent's queue, if it is in it.
local function dequeue(id, agent)
  local queue, queued = prefix .. ':queue:' .. agent, prefix .. ':queued:' .. agent
  if redis.call('ZREM', queue, id) == 0 then return end
  if redis.call('EXISTS', queue) == 0 then
    redis.call('DEL', queued)
    return
  end
  local requester = redis.call('HGET', task(id), 'requester')
  if redis.call('HINCRBY', queued, requester, -1) <= 0 then redis.call('HDEL', queued, requester) end
end
-- Let a task wait for an agent. A guest that has gone meanwhile counts as seen long ago, so that the sweep finds here
-- what came too late.
local function enqueue(id, agent, score)
  if redis.call('ZADD', prefix .. ':queue:' .. agent, score, id) == 1 then
    local queued = prefix .. ':queued:' .. agent
    if redis.call('EXISTS', queued) == 1 then
      redis.call('HINCRBY', queued, redis.call('HGET', task(id), 'requester'), 1)
    else
      recount(agent)
    end
  end
  redis.call('HSET', task(id), 'queued_ms', int(now_ms()), 'seen_ms', '')
  if string.sub(agent, 1, #'GUEST_PREFIX') == 'GUEST_PREFIX' then
    redis.call('ZADD', prefix .. ':presence', 'NX', 0, agent)
  end
end
-- Let these agents take a task that waits for another one. `offered` names those that have it by now.
local function offer(id, score, offered, names)
  for _, name in ipairs(names) do redis.call('ZADD', prefix .. ':offers:' .. name, score, id) end
  redis.call('HSET', task(id), 'offered', (offered ~= '' and offered .. ' ' or '') .. table.concat(names, ' '))
end
-- It is somebody's now, or nobody's any more.
local function withdraw(id, offered)
  if not offered then return end
  for name in string.gmatch(offered, '%S+') do redis.call('ZREM', prefix .. ':offers:' .. name, id) end
  redis.call('HDEL', task(id), 'offered')
end
-- The worker asks: its task has the question, and the task that it is a step of knows which step asks.
local function ask(id, question)
  redis.call('HSET', task(id), 'question', question)
  local parent = redis.call('HGET', task(id), 'parent') or ''
  local state = parent ~= '' and redis.call('HGET', task(parent), 'state')
  if state and not ended(state) then redis.call('SADD', task(parent) .. ':asking', id) end
  return parent
end
-- Nobody waits for an answer any more.
local function unask(id)
  if redis.call('HDEL', task(id), 'question') == 0 then return end
  local parent = redis.call('HGET', task(id), 'parent') or ''
  if parent ~= '' then redis.call('SREM', task(parent) .. ':asking', id) end
end
-- What came of a task at an agent, for those who learn from it. The hub's own workers have nothing to learn, and of an
-- agent that ends many in a minute some tell enough: the others would push out what came of those who end few.
local function learn(id, agent, what, now, score)
  if agent == '' or agent == 'orchestrator' then return end
  if what ~= 'rated' then
    local learned = prefix .. ':learned:' .. agent
    local count = redis.call('INCR', learned)
    if count == 1 then redis.call('PEXPIRE', learned, 60000) end
    if count > OUTCOMES_A_MINUTE then return end
  end
  local f = redis.call('HMGET', task(id), 'message', 'claimed_ms', 'user', 'named')
  if not f[1] then return end
  redis.call('XADD', prefix .. ':outcomes', 'MAXLEN', '~', OUTCOME_CAP, '*', 'agent', agent,
    'message', string.sub(f[1], 1, OUTCOME_BYTES), 'what', what, 'ms', f[2] and int(now - tonumber(f[2])) or '',
    'score', score or '', 'user', f[3] or '', 'named', f[4] or '')
end
-- From now on its agent has so long to take a task before it is passed on: as it said, or as the task says.
local function expect(id, agent, now)
  local react_ms = tonumber(redis.call('HGET', task(id), 'react_ms') or 0)
  if react_ms == 0 then return end
  react_ms = tonumber(redis.call('HGET', prefix .. ':patience', agent) or react_ms)
  redis.call('ZADD', prefix .. ':reacts', now + react_ms, id)
end
-- Take a task from its agent.
local function release(id, agent)
  redis.call('ZREM', prefix .. ':leases', id)
  redis.call('ZREM', prefix .. ':reacts', id)
  redis.call('HDEL', task(id), 'lease_until_ms', 'answered')
  if agent == '' then return end
  dequeue(id, agent)
  redis.call('SREM', prefix .. ':working:' .. agent, id)
  count(agent)
end
local function lease(id, now, lease_ms)
  local lapses = now + tonumber(lease_ms)
  redis.call('HSET', task(id), 'lease_until_ms', int(lapses))
  redis.call('ZADD', prefix .. ':leases', lapses, id)
end
local function change(agent, attempt, state)
  return '{"state":"' .. state .. '","agent":"' .. agent .. '","attempt":' .. int(attempt) .. '}'
end
-- The end of a task, after its event.
local function finish(id, agent, now, state, code, text, retention_ms)
  local t = task(id)
  release(id, agent)
  unask(id)
  redis.call('ZREM', prefix .. ':deadlines', id)
  redis.call('ZREM', prefix .. ':unassigned', id)
  redis.call('HSET', t, 'state', state, 'updated_ms', int(now), 'ended_ms', int(now))
  if code ~= '' then redis.call('HSET', t, 'error_code', code, 'error', text) end
  if redis.call('EXISTS', t .. ':children') == 1 then redis.call('ZADD', prefix .. ':orphans', now, id) end
  -- A step is kept for as long as the whole may need its result.
  local parent = redis.call('HGET', t, 'parent') or ''
  local until_ms = parent ~= '' and redis.call('HGET', task(parent), 'deadline_ms')
  if until_ms then retention_ms = int(math.max(0, until_ms - now) + retention_ms) end
  for _, k in ipairs({t, t .. ':history', t .. ':dialog', t .. ':children', t .. ':asking'}) do
    redis.call('PEXPIRE', k, retention_ms)
  end
end
-- Back to where it waits for another agent.
local function requeue(id, agent, now, grace_ms)
  release(id, agent)
  unask(id)
  redis.call('HSET', task(id), 'state', 'submitted', 'agent', '', 'updated_ms', int(now))
  redis.call('ZADD', prefix .. ':unassigned', now + tonumber(grace_ms), id)
end
-- Whether `agent` holds `attempt` of a task: nil if so, otherwise what the caller is told.
local function not_held(f, agent, attempt)
  if not f[1] then return {'missing'} end
  if (f[1] == 'working' or f[1] == 'input_required') and f[2] == agent and f[3] == attempt then return nil end
  return {'stale'}
end
""".replace("GUEST_PREFIX", GUEST_PREFIX)
    .replace("OUTCOME_CAP", str(OUTCOME_CAP))
    .replace("OUTCOME_BYTES", str(OUTCOME_BYTES))
    .replace("OUTCOMES_A_MINUTE", str(OUTCOMES_A_MINUTE))
)


def task_script(arguments: Sequence[str], source: str) -> Script:
    """A script with the functions above at hand."""
    return Script(arguments, _LIBRARY + source)


_PEEK = Script(
    ["task_id"],
    """
local f = redis.call('HMGET', prefix .. ':task:' .. task_id, 'state', 'agent', 'progress', 'progress_message')
return {f[1] or '', f[2] or '', f[3] or '', f[4] or ''}
""",
)


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What a client that waits for a task is told of it."""

    state: str
    """Empty when there is no such task."""
    agent: str
    progress: str
    """0 to 1; empty when the worker has not said."""
    message: str
    """What the worker said last."""


async def peek(redis: Redis, tenant: str, task_id: str) -> Glimpse:
    """Look at a task."""
    return Glimpse(*await _PEEK(redis, tenant, task_id=task_id))


_READ = task_script(
    ["task_id"],
    """
local t = task(task_id)
local children, asking = redis.call('SMEMBERS', t .. ':asking'), {}
table.sort(children)
for i = 1, math.min(#children, MAX_ASKING) do
  local f = redis.call('HMGET', task(children[i]), 'step', 'agent', 'question')
  if f[3] then
    asking[#asking + 1] = {children[i], f[1], f[2], f[3], redis.call('LLEN', task(children[i]) .. ':dialog')}
  end
end
return {
  redis.call('HGETALL', t),
  redis.call('LRANGE', t .. ':history', 0, -1),
  redis.call('LRANGE', t .. ':dialog', 0, -1),
  redis.call('SMEMBERS', t .. ':children'),
  asking
}
""".replace("MAX_ASKING", str(MAX_ASKING)),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """All that Redis holds of one task; `fields` is empty when there is none."""

    fields: dict[str, str]
    history: list[str]
    dialog: list[str]
    children: list[str]
    asking: list[tuple[str, str, str, str, int]]
    """Of each child that asks something, the first `MAX_ASKING`: task id, step, agent, question, and how long the
    dialog is that ends with the question."""


async def read(redis: Redis, tenant: str, task_id: str) -> Stored:
    """Read a task."""
    fields, history, dialog, children, asking = cast(
        "tuple[list[str], list[str], list[str], list[str], list[tuple[str, str, str, str, int]]]",
        await _READ(redis, tenant, task_id=task_id),
    )
    return Stored(pairs(fields), history, dialog, sorted(children), asking)


_OF_AGENT = task_script(
    ["agent"],
    """
local found = {}
for _, ids in ipairs({redis.call('LRANGE', prefix .. ':asked:' .. agent, 0, -1),
  redis.call('SMEMBERS', prefix .. ':working:' .. agent)}) do
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', task(id)) == 1 then found[#found + 1] = id end
  end
end
return found
""",
)


async def of_agent(redis: Redis, tenant: str, agent: str) -> list[str]:
    """The tasks that an agent asked for last, newest first, then those that it works on."""
    return cast("list[str]", await _OF_AGENT(redis, tenant, agent=agent))


def pairs(flat: list[Any]) -> dict[str, str]:
    """A hash as Redis lists it."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
