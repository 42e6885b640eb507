"""Changes of tasks, each one Lua script: it checks, emits the event, then writes.

Keys of a tenant, after its prefix:

- `task:ID` (hash, see `tasks.Record`), `task:ID:history` (list of JSON entries, the last 50), `task:ID:dialog` (list:
  questions and answers as JSON), `task:ID:children` (set of task ids);
- `queue:AGENT` (sorted set: what waits for an agent; a lower score is delivered first), `working:AGENT` (set: what it
  has claimed and works on), `loads` (hash: agent to the size of both);
- `leases`, `deadlines` (sorted sets: task to the time when it lapses), `unassigned` (sorted set: task without an agent
  to the time from which anybody may look for one), `orphans` (sorted set: ended tasks whose children still have to
  end);
- `idem:DIGEST` (string: task id and fingerprint of an idempotency key, for 24 h).

Texts of users are stored as they came and never decoded here. What a script puts into JSON by itself are ids, numbers
and words of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from aicp_common.store import Script, key, redis_errors

MAX_CHILDREN = 1_000
MAX_QUESTIONS = 20
IDEMPOTENCY_S = 86_400
UNASSIGNED_GRACE_MS = 1_500
"""How long the worker that took a task from an agent has to find another one, before every worker may."""

_LIBRARY = """
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
  redis.call('RPUSH', history, entry .. '}')
  redis.call('LTRIM', history, -50, -1)
end
-- How much an agent has to do, worked out anew from what it is made of, so that it cannot drift.
local function count(agent)
  local n = redis.call('ZCARD', prefix .. ':queue:' .. agent) + redis.call('SCARD', prefix .. ':working:' .. agent)
  if n > 0 then redis.call('HSET', prefix .. ':loads', agent, n) else redis.call('HDEL', prefix .. ':loads', agent) end
end
-- Take a task from its agent.
local function release(id, agent)
  redis.call('ZREM', prefix .. ':leases', id)
  redis.call('HDEL', task(id), 'lease_until_ms', 'answered')
  if agent == '' then return end
  redis.call('ZREM', prefix .. ':queue:' .. agent, id)
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
  redis.call('ZREM', prefix .. ':deadlines', id)
  redis.call('ZREM', prefix .. ':unassigned', id)
  redis.call('HSET', t, 'state', state, 'updated_ms', int(now), 'ended_ms', int(now))
  if code ~= '' then redis.call('HSET', t, 'error_code', code, 'error', text) end
  if redis.call('EXISTS', t .. ':children') == 1 then redis.call('ZADD', prefix .. ':orphans', now, id) end
  for _, k in ipairs({t, t .. ':history', t .. ':dialog', t .. ':children'}) do
    redis.call('PEXPIRE', k, retention_ms)
  end
end
-- Back to where it waits for another agent.
local function requeue(id, agent, now, grace_ms)
  release(id, agent)
  redis.call('HSET', task(id), 'state', 'submitted', 'agent', '', 'updated_ms', int(now))
  redis.call('HDEL', task(id), 'question')
  redis.call('ZADD', prefix .. ':unassigned', now + tonumber(grace_ms), id)
end
-- Whether `agent` holds `attempt` of a task: nil if so, otherwise what the caller is told.
local function not_held(f, agent, attempt)
  if not f[1] then return {'missing'} end
  if (f[1] == 'working' or f[1] == 'input_required') and f[2] == agent and f[3] == attempt then return nil end
  return {'stale'}
end
"""


def task_script(arguments: Sequence[str], source: str) -> Script:
    """A script with the functions above at hand."""
    return Script(arguments, _LIBRARY + source)


_CREATE = task_script(
    [
        *("task_id", "idempotency", "fingerprint", "kind", "requester", "user", "scopes", "message", "priority"),
        *("context", "keys", "capabilities", "input", "parent", "step", "agent", "named", "excluded", "attempts"),
        *("lease_ms", "deadline_in_ms", "offset_ms", "queue_cap", "data", "traceparent"),
    ],
    """
local t = task(task_id)
local known = redis.call('HMGET', t, 'state', 'agent')
if known[1] then return {'known', task_id, known[1], known[2]} end
local now = now_ms()
local idem = prefix .. ':idem:' .. idempotency
if idempotency ~= '' then
  local seen = redis.call('GET', idem)
  if seen then
    local id, was = string.match(seen, '^(%S+) (.*)$')
    local f = redis.call('HMGET', task(id), 'state', 'agent')
    if f[1] then
      if was ~= fingerprint then return {'other', id, f[1], f[2]} end
      return {'known', id, f[1], f[2]}
    end
  end
end
local deadline = now + tonumber(deadline_in_ms)
local parent_requester = ''
local children = task(parent) .. ':children'
if parent ~= '' then
  local f = redis.call('HMGET', task(parent), 'state', 'requester', 'deadline_ms')
  if not f[1] then return {'no_parent', '', '', ''} end
  if ended(f[1]) then return {'parent_ended', parent, f[1], ''} end
  if redis.call('SCARD', children) >= MAX_CHILDREN then return {'many_children', parent, f[1], ''} end
  parent_requester = f[2]
  deadline = math.min(deadline, tonumber(f[3]))
end
local queue = prefix .. ':queue:' .. agent
if redis.call('ZCARD', queue) >= tonumber(queue_cap) then return {'full', '', '', agent} end
emit('task', task_id, 'created', data, traceparent)
redis.call('HSET', t, 'kind', kind, 'state', 'submitted', 'requester', requester, 'user', user, 'scopes', scopes,
  'message', message, 'priority', priority, 'context', context, 'keys', keys, 'capabilities', capabilities,
  'input', input, 'parent', parent, 'parent_requester', parent_requester, 'step', step, 'agent', agent, 'named', named,
  'excluded', excluded, 'attempt', 0, 'attempts', attempts, 'lease_ms', lease_ms, 'deadline_ms', int(deadline),
  'created_ms', int(now), 'updated_ms', int(now), 'score', int(now + tonumber(offset_ms)), 'traceparent', traceparent)
redis.call('ZADD', queue, now + tonumber(offset_ms), task_id)
redis.call('ZADD', prefix .. ':deadlines', deadline, task_id)
count(agent)
if parent ~= '' then redis.call('SADD', children, task_id) end
if idempotency ~= '' then redis.call('SET', idem, task_id .. ' ' .. fingerprint, 'EX', IDEMPOTENCY_S) end
note(task_id, now, 'created', agent, 0, '')
return {'created', task_id, 'submitted', agent}
""".replace("MAX_CHILDREN", str(MAX_CHILDREN)).replace("IDEMPOTENCY_S", str(IDEMPOTENCY_S)),
)


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task as it is written. Everything that ends in a JSON text is opaque to the script."""

    task_id: str
    kind: str
    requester: str
    user: str
    scopes: str
    """JSON list: the requester's, with which its contexts are read."""
    message: str
    priority: str
    capabilities: str
    """JSON list."""
    agent: str
    named: int
    """1 when the requester named the agent, so that nobody else may get the task."""
    attempts: int
    """How many claims it gets."""
    lease_ms: int
    deadline_in_ms: int
    offset_ms: int
    """How much later than now it stands in the queue."""
    data: str
    """JSON: the event's."""
    traceparent: str
    idempotency: str = ""
    """Digest of the idempotency key with all that it is valid for."""
    fingerprint: str = ""
    """Digest of what the same key has to mean each time; empty when that is not checked."""
    context: str = ""
    """JSON object, inline."""
    keys: str = "[]"
    """JSON list of keys of the shared context."""
    input: str = ""
    """JSON."""
    parent: str = ""
    step: str = ""
    excluded: str = "[]"
    """JSON list of agents."""


@dataclass(frozen=True, slots=True)
class Created:
    """What became of a new task."""

    outcome: str
    """`created`, `known` (this id or idempotency key was there), `other` (the key stands for something else), `full`,
    `no_parent`, `parent_ended`, `many_children`."""
    task_id: str
    state: str
    agent: str


async def create(redis: Redis, tenant: str, new: NewTask, *, queue_cap: int) -> Created:
    """Write a task and put it into its agent's queue. Safe to repeat with the same task id."""
    fields = {name: getattr(new, name) for name in NewTask.__dataclass_fields__}
    return Created(*await _CREATE(redis, tenant, queue_cap=queue_cap, **fields))


_SEEN = task_script(
    ["idempotency"],
    """
local seen = redis.call('GET', prefix .. ':idem:' .. idempotency)
local id, was = string.match(seen or '', '^(%S+) (.*)$')
local f = id and redis.call('HMGET', task(id), 'state', 'agent') or {}
if not f[1] then return false end
return {was, id, f[1], f[2]}
""",
)


async def seen(redis: Redis, tenant: str, idempotency: str, fingerprint: str) -> Created | None:
    """The task that an idempotency key stands for, if there is one; what `create` would answer."""
    found = cast("list[str] | None", await _SEEN(redis, tenant, idempotency=idempotency))
    if found is None:
        return None
    was, *task = found
    return Created("known" if was == fingerprint else "other", *task)


_RECORD = """
local left = redis.call('ZCARD', queue)
return {redis.call('HGETALL', t), redis.call('LRANGE', t .. ':dialog', 0, -1), left, id, registered}
"""

_CLAIM = task_script(
    ["agent", "unlimited", "default_slots", "traceparent"],
    """
local queue, working, now = prefix .. ':queue:' .. agent, prefix .. ':working:' .. agent, now_ms()
local slots = redis.call('HGET', prefix .. ':slots', agent)
local registered = slots and 1 or 0
local full = unlimited == '0' and redis.call('SCARD', working) >= tonumber(slots or default_slots)
local gone = {}
for _, id in ipairs(redis.call('ZRANGE', queue, 0, 31)) do
  local t = task(id)
  local f = redis.call('HMGET', t, 'state', 'agent', 'answered', 'deadline_ms', 'lease_ms', 'attempt')
  if f[1] == 'working' and f[2] == agent and f[3] == '1' then
    emit('task', id, 'claimed', change(agent, f[6], 'working'), traceparent)
    redis.call('ZREM', queue, id)
    redis.call('HSET', t, 'updated_ms', int(now), 'redelivered', 1)
    redis.call('HDEL', t, 'answered')
    lease(id, now, f[5])
    count(agent)
    RECORD
  elseif f[1] == 'submitted' and f[2] == agent then
    if not full and tonumber(f[4]) > now then
      local attempt = tonumber(f[6]) + 1
      emit('task', id, 'claimed', change(agent, attempt, 'working'), traceparent)
      local holders = redis.call('HGET', t, 'holders')
      redis.call('ZREM', queue, id)
      redis.call('SADD', working, id)
      redis.call('HSET', t, 'state', 'working', 'attempt', attempt, 'updated_ms', int(now),
        'holders', (holders and holders .. ',' or '') .. agent)
      redis.call('HDEL', t, 'progress', 'progress_message', 'redelivered')
      lease(id, now, f[5])
      count(agent)
      note(id, now, 'claimed', agent, attempt, '')
      RECORD
    end
  else
    gone[#gone + 1] = id
  end
end
-- What ended by a way that could not reach this queue: its record has expired.
for _, id in ipairs(gone) do redis.call('ZREM', queue, id) end
if #gone > 0 then count(agent) end
return {{}, {}, redis.call('ZCARD', queue), full and 'full' or '', registered}
""".replace("RECORD", "do " + _RECORD.strip() + " end"),
)


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim."""

    task_id: str
    """Empty when there was nothing to claim."""
    fields: dict[str, str]
    """The task's hash."""
    dialog: list[str]
    waiting: int
    """How many more are in the queue."""
    full: bool
    """The agent works on as many tasks as it takes at once."""
    registered: bool


async def claim(
    redis: Redis, tenant: str, *, agent: str, unlimited: bool, default_slots: int, traceparent: str
) -> Claim:
    """Give the first task of its queue to `agent`: a new one as its next attempt, an answered one as the same."""
    fields, dialog, waiting, rest, registered = cast(
        "tuple[list[str], list[str], int, str, int]",
        await _CLAIM(
            redis,
            tenant,
            agent=agent,
            unlimited=int(unlimited),
            default_slots=default_slots,
            traceparent=traceparent,
        ),
    )
    return Claim(
        task_id=rest if fields else "",
        fields=_pairs(fields),
        dialog=dialog,
        waiting=waiting,
        full=rest == "full",
        registered=bool(registered),
    )


_GIVE_BACK = task_script(
    ["task_id", "agent", "attempt"],
    """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'attempts', 'score', 'redelivered', 'traceparent')
if f[1] ~= 'working' or f[2] ~= agent or f[3] ~= attempt then return 0 end
local now = now_ms()
local queue = prefix .. ':queue:' .. agent
if f[6] == '1' then
  emit('task', task_id, 'answered', change(agent, attempt, 'working'), f[7])
  redis.call('HSET', t, 'answered', 1, 'updated_ms', int(now))
  redis.call('ZADD', queue, now - 1e12, task_id)
else
  emit('task', task_id, 'requeued', '{"state":"submitted","agent":"' .. agent .. '","attempt":' .. int(attempt) ..
    ',"reason":"not_delivered"}', f[7])
  release(task_id, agent)
  -- The number is spent, the chance is not.
  redis.call('HSET', t, 'state', 'submitted', 'attempts', tonumber(f[4]) + 1, 'updated_ms', int(now))
  redis.call('ZADD', queue, f[5], task_id)
  note(task_id, now, 'not_delivered', agent, attempt, '')
end
count(agent)
return 1
""",
)


async def give_back(redis: Redis, tenant: str, *, task_id: str, agent: str, attempt: int) -> bool:
    """Undo a claim that could not be delivered: the task waits for the same agent again."""
    return bool(await _GIVE_BACK(redis, tenant, task_id=task_id, agent=agent, attempt=attempt))


_REPORT = task_script(
    ["task_id", "agent", "attempt", "progress", "message", "question", "entry", "text", "traceparent"],
    """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'lease_ms')
local stale = not_held(f, agent, attempt)
if stale then return stale end
if question ~= '' and redis.call('LLEN', t .. ':dialog') >= MAX_DIALOG then return {'many_questions'} end
local now = now_ms()
if question == '' and progress == '' and message == '' then
  -- A sign of life: no news, so neither an event nor a step of the history.
  if f[1] == 'working' then lease(task_id, now, f[4]) end
  return {'ok', f[1], redis.call('HGET', t, 'lease_until_ms') or ''}
end
local state = question ~= '' and 'input_required' or f[1]
emit('task', task_id, question ~= '' and 'question' or 'progress', change(agent, attempt, state), traceparent)
redis.call('HSET', t, 'state', state, 'updated_ms', int(now))
if progress ~= '' then redis.call('HSET', t, 'progress', progress) end
if message ~= '' then redis.call('HSET', t, 'progress_message', message) end
if question ~= '' then
  release(task_id, agent)
  redis.call('HSET', t, 'question', question)
  redis.call('RPUSH', t .. ':dialog', entry)
elseif state == 'working' then
  lease(task_id, now, f[4])
end
note(task_id, now, question ~= '' and 'question' or 'progress', agent, attempt, text)
return {'ok', state, redis.call('HGET', t, 'lease_until_ms') or ''}
""".replace("MAX_DIALOG", str(2 * MAX_QUESTIONS)),
)


async def report(
    redis: Redis,
    tenant: str,
    *,
    task_id: str,
    agent: str,
    attempt: int,
    progress: str,
    message: str,
    question: str,
    entry: str,
    text: str,
    traceparent: str,
) -> list[str]:
    """Extend the lease and note how the work goes; with a `question` wait for the requester instead.

    Args:
        entry: JSON of the question for the dialog.
        text: JSON for the history, or empty.

    Returns:
        `ok`, the state and the end of the lease in ms (empty without one); or `missing`, `stale`, `many_questions`.
    """
    return cast(
        "list[str]",
        await _REPORT(
            redis,
            tenant,
            task_id=task_id,
            agent=agent,
            attempt=attempt,
            progress=progress,
            message=message,
            question=question,
            entry=entry,
            text=text,
            traceparent=traceparent,
        ),
    )


_SUBMIT = task_script(
    [
        *("task_id", "agent", "attempt", "status", "result", "text", "reason"),
        *("grace_ms", "retention_ms", "traceparent"),
    ],
    """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'outcome', 'attempts', 'named')
local outcome = attempt .. ':' .. agent .. ':' .. status
if f[4] == outcome then return {'again', f[1]} end
local stale = not_held(f, agent, attempt)
if stale then return stale end
local now = now_ms()
if status == 'declined' and f[6] == '0' and tonumber(attempt) < tonumber(f[5]) then
  emit('task', task_id, 'requeued', '{"state":"submitted","agent":"' .. agent .. '","attempt":' .. int(attempt) ..
    ',"reason":"declined"}', traceparent)
  requeue(task_id, agent, now, grace_ms)
  redis.call('HSET', t, 'outcome', outcome, 'requeued', 'declined', 'refusal', text)
  note(task_id, now, 'declined', agent, attempt, reason)
  return {'requeued', 'submitted'}
end
local state = status == 'completed' and 'completed' or 'failed'
emit('task', task_id, state, change(agent, attempt, state), traceparent)
redis.call('HSET', t, 'outcome', outcome, 'result', result)
redis.call('HDEL', t, 'question')
finish(task_id, agent, now, state, state == 'failed' and status or '', text, retention_ms)
note(task_id, now, status, agent, attempt, reason)
return {'ended', state}
""",
)


async def submit(
    redis: Redis,
    tenant: str,
    *,
    task_id: str,
    agent: str,
    attempt: int,
    status: str,
    result: str,
    text: str,
    reason: str,
    grace_ms: int,
    retention_ms: int,
    traceparent: str,
) -> list[str]:
    """End an attempt as `completed`, `failed` or `declined`.

    Args:
        result: JSON.
        text: The error in words, for `failed` and `declined`.
        reason: JSON for the history, or empty.

    Returns:
        `ended` or `requeued` or `again` (said before) and the state after it; or `missing`, `stale`.
    """
    return cast(
        "list[str]",
        await _SUBMIT(
            redis,
            tenant,
            task_id=task_id,
            agent=agent,
            attempt=attempt,
            status=status,
            result=result,
            text=text,
            reason=reason,
            grace_ms=grace_ms,
            retention_ms=retention_ms,
            traceparent=traceparent,
        ),
    )


_ANSWER = task_script(
    ["task_id", "entry", "digest", "by", "traceparent"],
    """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'lease_ms', 'answer_digest')
if not f[1] then return {'missing'} end
if f[1] == 'working' and f[5] == digest then return {'again', f[1], f[2]} end
if f[1] ~= 'input_required' then return {'not_asked', f[1], f[2]} end
local now = now_ms()
emit('task', task_id, 'answered', change(f[2], f[3], 'working'), traceparent)
redis.call('HSET', t, 'state', 'working', 'answered', 1, 'answer_digest', digest, 'updated_ms', int(now))
redis.call('HDEL', t, 'question')
redis.call('RPUSH', t .. ':dialog', entry)
redis.call('SADD', prefix .. ':working:' .. f[2], task_id)
-- Before everything that waits there: the agent has begun with it.
redis.call('ZADD', prefix .. ':queue:' .. f[2], now - 1e12, task_id)
lease(task_id, now, f[4])
count(f[2])
note(task_id, now, 'answered', by, f[3], '')
return {'answered', 'working', f[2]}
""",
)


async def answer(
    redis: Redis, tenant: str, *, task_id: str, entry: str, digest: str, by: str, traceparent: str
) -> list[str]:
    """Hand the answer to the agent that asked: the same attempt, a fresh lease, first in its queue.

    Returns:
        `answered` or `again` (the same answer was given before) or `not_asked`, the state and the agent; or `missing`.
    """
    return cast(
        "list[str]",
        await _ANSWER(redis, tenant, task_id=task_id, entry=entry, digest=digest, by=by, traceparent=traceparent),
    )


_CANCEL = task_script(
    ["task_id", "by", "text", "reason", "retention_ms", "traceparent"],
    """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt')
if not f[1] then return {'missing', '', ''} end
if ended(f[1]) then return {'ended', f[1], f[2]} end
emit('task', task_id, 'cancelled', change(f[2], f[3], 'cancelled'), traceparent)
redis.call('HDEL', t, 'question')
finish(task_id, f[2], now_ms(), 'cancelled', 'cancelled', text, retention_ms)
note(task_id, now_ms(), 'cancelled', by, f[3], reason)
return {'cancelled', 'cancelled', f[2]}
""",
)


async def cancel(
    redis: Redis,
    tenant: str,
    *,
    task_id: str,
    by: str,
    text: str,
    reason: str,
    retention_ms: int,
    traceparent: str,
) -> list[str]:
    """End a task as cancelled, whatever it was in.

    Returns:
        `cancelled` or `ended` (it had ended before) or `missing`, the state and the agent.
    """
    return cast(
        "list[str]",
        await _CANCEL(
            redis,
            tenant,
            task_id=task_id,
            by=by,
            text=text,
            reason=reason,
            retention_ms=retention_ms,
            traceparent=traceparent,
        ),
    )


async def peek(redis: Redis, tenant: str, task_id: str) -> tuple[str, str]:
    """The state and the agent of a task, both empty if there is none: what waiting for a change needs to know."""
    async with redis_errors():
        state, agent = cast("list[str | None]", await redis.hmget(key(tenant, "task", task_id), "state", "agent"))
    return state or "", agent or ""


_READ = task_script(
    ["task_id"],
    """
local t = task(task_id)
return {
  redis.call('HGETALL', t),
  redis.call('LRANGE', t .. ':history', 0, -1),
  redis.call('LRANGE', t .. ':dialog', 0, -1),
  redis.call('SMEMBERS', t .. ':children')
}
""",
)


@dataclass(frozen=True, slots=True)
class Stored:
    """All that Redis holds of one task; `fields` is empty when there is none."""

    fields: dict[str, str]
    history: list[str]
    dialog: list[str]
    children: list[str]


async def read(redis: Redis, tenant: str, task_id: str) -> Stored:
    """Read a task."""
    fields, history, dialog, children = cast(
        "tuple[list[str], list[str], list[str], list[str]]", await _READ(redis, tenant, task_id=task_id)
    )
    return Stored(_pairs(fields), history, dialog, sorted(children))


def _pairs(flat: list[Any]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
