"""What those who work change of tasks, each change one Lua script: claiming them, reporting, submitting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from redis.asyncio import Redis

from aicp_common.ids import digest
from aicp_router.tasks.task_scripts import pairs, task_script

MAX_QUESTIONS = 20
MAX_ASKED_BYTES = 64 * 1024
"""Of the questions of one task that wait for an answer together."""

_RECORD = """
local waiting = redis.call('ZCARD', queue)
return {redis.call('HGETALL', t), redis.call('LRANGE', t .. ':dialog', 0, -1), waiting, id, registered, from}
"""

PASSED_OVER = 2_000
"""Tasks in a queue that are looked at by a claim that passes over some requesters."""

_CLAIM = task_script(
    ["agent", "unlimited", "default_slots", "traceparent", "not_from"],
    """
-- Whether what waits for another agent may be taken by this one. A profile is JSON that the router wrote.
local function may_take(f)
  if f[9] == '1' or string.find(',' .. (f[7] or '') .. ',', ',' .. agent .. ',', 1, true)
    or string.find(f[10], '"' .. agent .. '"', 1, true) then return false end
  local profile = cjson.decode(redis.call('HGET', prefix .. ':agents', agent) or '{}')
  if #(profile.accept_from or {}) == 0 then return true end
  for _, name in ipairs(profile.accept_from) do
    if name == f[11] then return true end
  end
  return false
end
local queue, working, now = prefix .. ':queue:' .. agent, prefix .. ':working:' .. agent, now_ms()
local slots = redis.call('HGET', prefix .. ':slots', agent)
local registered = slots and 1 or 0
local full = unlimited == '0' and redis.call('SCARD', working) >= tonumber(slots or default_slots)
-- Who passes over some looks further.
local far = not_from ~= '' and PASSED_OVER or 31
local gone, left, mine, score, record = {}, redis.call('ZRANGE', queue, 0, far, 'WITHSCORES'), '', nil, nil
local read = {'state', 'agent', 'answered', 'deadline_ms', 'lease_ms', 'attempt', 'holders', 'offered', 'named',
  'excluded', 'requester'}
for n = 1, #left, 2 do
  local id = left[n]
  local t = task(id)
  local f = redis.call('HMGET', t, unpack(read))
  if f[1] == 'working' and f[2] == agent and f[3] == '1' then
    emit('task', id, 'claimed', change(agent, f[6], 'working'), traceparent)
    dequeue(id, agent)
    redis.call('HSET', t, 'updated_ms', int(now), 'redelivered', 1)
    redis.call('HDEL', t, 'answered')
    lease(id, now, f[5])
    count(agent)
    local from = ''
    RECORD
  elseif f[1] == 'submitted' and f[2] == agent then
    local passed = not_from ~= '' and string.find(not_from, ' ' .. f[11] .. ' ', 1, true)
    if not full and not passed and tonumber(f[4]) > now then
      mine, score, record = id, tonumber(left[n + 1]), f
      break
    end
  else
    gone[#gone + 1] = id
  end
end
-- What waits for others behind their work, and comes before that. Only who is registered has said what it does.
local offers, refused = prefix .. ':offers:' .. agent, {}
local offered = (full or not slots) and {} or redis.call('ZRANGE', offers, 0, 31, 'WITHSCORES')
for n = 1, #offered, 2 do
  if score and score <= tonumber(offered[n + 1]) then break end
  local f = redis.call('HMGET', task(offered[n]), unpack(read))
  if f[1] ~= 'submitted' or f[2] == '' or f[2] == agent or not may_take(f) then
    refused[#refused + 1] = offered[n]
  elseif tonumber(f[4]) > now then
    mine, record = offered[n], f
    break
  end
end
if mine ~= '' then
  local id, f, t, attempt = mine, record, task(mine), tonumber(record[6]) + 1
  emit('task', id, 'claimed', change(agent, attempt, 'working'), traceparent)
  withdraw(id, f[8])
  for _, other in ipairs(refused) do redis.call('ZREM', offers, other) end
  dequeue(id, f[2])
  redis.call('ZREM', prefix .. ':reacts', id)
  redis.call('SADD', working, id)
  redis.call('HSET', t, 'state', 'working', 'agent', agent, 'attempt', attempt, 'updated_ms', int(now),
    'claimed_ms', int(now), 'holders', (f[7] and f[7] .. ',' or '') .. agent)
  redis.call('HDEL', t, 'progress', 'progress_message', 'redelivered')
  lease(id, now, f[5])
  count(agent)
  if f[2] ~= agent then
    count(f[2])
    redis.call('HSET', t, 'seen_ms', '')
    note(id, now, 'passed_on', agent, 0, '')
  end
  note(id, now, 'claimed', agent, attempt, '')
  local from = f[2] ~= agent and f[2] or ''
  RECORD
end
-- What ended by a way that could not reach this queue: its record has expired.
for _, id in ipairs(gone) do redis.call('ZREM', queue, id) end
for _, id in ipairs(refused) do redis.call('ZREM', offers, id) end
if #gone > 0 then
  recount(agent)
  count(agent)
end
return {{}, {}, #left < 64 and #left / 2 - #gone or redis.call('ZCARD', queue), full and 'full' or '', registered, ''}
""".replace("RECORD", "do " + _RECORD.strip() + " end").replace("PASSED_OVER", str(PASSED_OVER)),
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
    relieved: str = ""
    """Whose queue the task stood in, when it was not the agent's own."""


async def claim(
    redis: Redis,
    tenant: str,
    *,
    agent: str,
    unlimited: bool,
    default_slots: int,
    traceparent: str,
    not_from: Sequence[str] = (),
) -> Claim:
    """Give `agent` the first task of its queue and of what is offered to it: a new one as its next attempt, an answered
    one, which only its own queue can hold, as the same attempt and before everything else. New ones of the requesters
    `not_from` are passed over."""
    fields, dialog, waiting, rest, registered, relieved = cast(
        "tuple[list[str], list[str], int, str, int, str]",
        await _CLAIM(
            redis,
            tenant,
            agent=agent,
            unlimited=int(unlimited),
            default_slots=default_slots,
            traceparent=traceparent,
            not_from=f" {' '.join(not_from)} " if not_from else "",
        ),
    )
    return Claim(
        task_id=rest if fields else "",
        fields=pairs(fields),
        dialog=dialog,
        waiting=waiting,
        full=rest == "full",
        registered=bool(registered),
        relieved=relieved,
    )


_GIVE_BACK = task_script(
    ["task_id", "agent", "attempt"],
    """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'attempts', 'score', 'redelivered', 'traceparent',
  'holders')
if f[1] ~= 'working' or f[2] ~= agent or f[3] ~= attempt then return 0 end
local now = now_ms()
if f[6] == '1' then
  emit('task', task_id, 'answered', change(agent, attempt, 'working'), f[7])
  redis.call('HSET', t, 'answered', 1, 'updated_ms', int(now))
  enqueue(task_id, agent, now - ANSWERED_FIRST)
else
  emit('task', task_id, 'requeued', '{"state":"submitted","agent":"' .. agent .. '","attempt":' .. int(attempt) ..
    ',"reason":"not_delivered"}', f[7])
  release(task_id, agent)
  -- The number is spent, the chance is not.
  redis.call('HSET', t, 'state', 'submitted', 'attempts', tonumber(f[4]) + 1, 'updated_ms', int(now))
  -- Who was given nothing held nothing; whoever held it before stands in front.
  local before = string.match(f[8], '^(.*),')
  if before then redis.call('HSET', t, 'holders', before) else redis.call('HDEL', t, 'holders') end
  enqueue(task_id, agent, f[5])
  expect(task_id, agent, now)
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
local asked = question
local before = question ~= '' and f[1] == 'input_required' and redis.call('HGET', t, 'question')
if before then
  -- The answer will be for both. The same words again are a repetition.
  asked = (before == question or string.sub(before, -#question - 2) == '\\n\\n' .. question) and before
    or before .. '\\n\\n' .. question
  if #asked > MAX_ASKED_BYTES then return {'long_question'} end
end
local now = now_ms()
if question == '' and progress == '' and message == '' then
  -- A sign of life: no news, so neither an event nor a step of the history.
  if f[1] == 'working' then lease(task_id, now, f[4]) end
  return {'ok', f[1], redis.call('HGET', t, 'lease_until_ms') or '', ''}
end
local state, parent = question ~= '' and 'input_required' or f[1], ''
emit('task', task_id, question ~= '' and 'question' or 'progress', change(agent, attempt, state), traceparent)
redis.call('HSET', t, 'state', state, 'updated_ms', int(now))
if progress ~= '' then redis.call('HSET', t, 'progress', progress) end
if message ~= '' then redis.call('HSET', t, 'progress_message', message) end
if question ~= '' then
  release(task_id, agent)
  parent = ask(task_id, asked)
  if asked ~= before then redis.call('RPUSH', t .. ':dialog', entry) end
elseif state == 'working' then
  lease(task_id, now, f[4])
end
note(task_id, now, question ~= '' and 'question' or 'progress', agent, attempt, text)
return {'ok', state, redis.call('HGET', t, 'lease_until_ms') or '', parent}
""".replace("MAX_DIALOG", str(2 * MAX_QUESTIONS)).replace("MAX_ASKED_BYTES", str(MAX_ASKED_BYTES)),
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
    """Extend the lease and note how the work goes; with a `question` wait for the requester instead. One that comes
    while another waits for its answer joins it.

    Args:
        entry: JSON of the question for the dialog.
        text: JSON for the history, or empty.

    Returns:
        `ok`, the state, the end of the lease in ms (empty without one) and, for a question, the parent (or empty); or
        `missing`, `stale`, `many_questions`, `long_question` (with those that wait).
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
        *("task_id", "agent", "attempt", "status", "result", "digest", "text", "reason"),
        *("grace_ms", "retention_ms", "whole", "traceparent"),
    ],
    """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'outcome', 'attempts', 'named', 'outcome_digest')
local outcome = attempt .. ':' .. agent .. ':' .. status
local function told(what, state, record)
  return {what, state, redis.call('ZCARD', prefix .. ':queue:' .. agent),
    redis.call('EXISTS', prefix .. ':offers:' .. agent), record or {}}
end
if f[4] == outcome then return told(f[7] == digest and 'again' or 'kept', f[1]) end
local stale = not_held(f, agent, attempt)
if stale then return stale end
local now = now_ms()
if status == 'declined' and f[6] == '0' and tonumber(attempt) < tonumber(f[5]) then
  emit('task', task_id, 'requeued', '{"state":"submitted","agent":"' .. agent .. '","attempt":' .. int(attempt) ..
    ',"reason":"declined"}', traceparent)
  learn(task_id, agent, 'declined', now)
  requeue(task_id, agent, now, grace_ms)
  redis.call('HSET', t, 'outcome', outcome, 'outcome_digest', digest, 'requeued', 'declined', 'refusal', text)
  note(task_id, now, 'declined', agent, attempt, reason)
  return told('requeued', 'submitted')
end
local state = status == 'completed' and 'completed' or 'failed'
emit('task', task_id, state, change(agent, attempt, state), traceparent)
redis.call('HSET', t, 'outcome', outcome, 'outcome_digest', digest, 'result', result)
learn(task_id, agent, status, now)
finish(task_id, agent, now, state, state == 'failed' and status or '', text, retention_ms)
note(task_id, now, status, agent, attempt, reason)
return told('ended', state, whole == '1' and redis.call('HGETALL', t) or nil)
""",
)


class Submitted(NamedTuple):
    """What became of an attempt."""

    outcome: str
    """`ended`, `requeued`, `again` (the same was said before), `kept` (the same with another result, and the first one
    stands), `missing` or `stale`; with the last two nothing else is known."""
    state: str = ""
    """Of the task."""
    waiting: int = 0
    """How many tasks are left in the agent's queue."""
    offered: bool = False
    """Whether others' tasks are offered to it."""
    fields: Mapping[str, str] = {}
    """The task's hash, when it has ended and was asked for."""


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
    whole: bool = False,
) -> Submitted:
    """End an attempt as `completed`, `failed` or `declined`.

    Args:
        result: JSON.
        text: The error in words, for `failed` and `declined`.
        reason: JSON for the history, or empty.
        whole: Whether the hash of a task that has ended is wanted.
    """
    told = await _SUBMIT(
        redis,
        tenant,
        task_id=task_id,
        agent=agent,
        attempt=attempt,
        status=status,
        result=result,
        digest=digest(result),
        text=text,
        reason=reason,
        grace_ms=grace_ms,
        retention_ms=retention_ms,
        whole=int(whole),
        traceparent=traceparent,
    )
    if len(told) == 1:
        return Submitted(told[0])
    outcome, state, waiting, offered, flat = cast("tuple[str, str, int, int, list[str]]", told)
    return Submitted(outcome, state, waiting, bool(offered), pairs(flat))
