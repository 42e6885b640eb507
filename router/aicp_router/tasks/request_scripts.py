"""What those who ask change of tasks, each change one Lua script: making, answering, cancelling, rating."""

from dataclasses import dataclass
from typing import cast

import msgspec
from redis.asyncio import Redis

from aicp_router.tasks import turns
from aicp_router.tasks.desk import NEAR, WAIT_SHARE
from aicp_router.tasks.task_scripts import task_script

MAX_CHILDREN = 1_000
MAX_ASKED = 100
"""Tasks of one requester that are remembered by its name, for those who look for an id."""
IDEMPOTENCY_S = 86_400
MAX_LEARNED = 3
"""Ratings of one task that routing learns from; who changes its mind more often is not heard again."""

_CREATE = task_script(
    [
        *("task_id", "idempotency", "fingerprint", "kind", "requester", "user", "scopes", "message", "priority"),
        *("context", "keys", "capabilities", "input", "parent", "step", "candidates", "load_weight", "named"),
        *("excluded", "attempts", "react_ms", "lease_ms", "deadline_in_ms", "offset_ms", "queue_cap", "retention_ms"),
        *("about", "traceparent", "spread_ms", "requester_cap"),
    ],
    turns.LUA
    + """
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
-- The fit was worked out before, how much each has to do is known here: see `desk.pick`.
local names, desks, best, cap, share, mine = {}, {}, nil, tonumber(queue_cap), tonumber(requester_cap), nil
for name, fit, slots, pace, online in string.gmatch(candidates, '(%S+) (%S+) (%S+) (%S+) (%S+)') do
  names[#names + 1] = name
  desks[#desks + 1] = {name = name, fit = tonumber(fit), slots = tonumber(slots), pace = tonumber(pace),
    online = online == '1'}
end
-- Whoever has left since the candidates were chosen is none any more.
local left = redis.call('ZMSCORE', prefix .. ':left', unpack(names))
if named == '1' and left[1] then return {'left', '', '', names[1]} end
for n, has in ipairs(redis.call('HMGET', prefix .. ':loads', unpack(names))) do
  local desk = desks[n]
  has = tonumber(has or 0)
  desk.has, desk.free = has, has < desk.slots
  local room = 1 - has / desk.slots
  if not desk.free then
    local wait = (has - desk.slots + 1) / desk.slots * desk.pace
    room = -WAIT_SHARE * wait / (1 + wait)
  end
  desk.worth = desk.fit + tonumber(load_weight) * room
  desk.left = left[n]
  local full = has >= cap and redis.call('ZCARD', prefix .. ':queue:' .. desk.name) >= cap
  -- What one requester has there leaves room for others. Only here: what was accepted once is not turned away.
  local its = has >= share and tonumber(redis.call('HGET', prefix .. ':queued:' .. desk.name, requester) or 0) or 0
  desk.closed = desk.left or full or its >= share
  if desk.closed and not desk.left and not full then mine = mine or desk.name end
  if not desk.closed and (not best or desk.worth > best.worth) then best = desk end
end
if not best then return {mine and 'share' or 'full', '', '', mine or names[1]} end
if best.online and not best.free then
  local free
  for _, desk in ipairs(desks) do
    if desk.online and desk.free and not desk.closed and desk.fit >= best.fit - NEAR
      and (not free or desk.worth > free.worth) then free = desk end
  end
  best = free or best
end
local agent = best.name
-- Where it would wait behind other work, those who fit nearly as well may take it, whoever comes first.
local offered = {}
if named == '0' and best.has > 0 then
  for _, desk in ipairs(desks) do
    if desk ~= best and not desk.left and desk.fit >= best.fit - NEAR then offered[#offered + 1] = desk.name end
  end
end
-- Its place in a queue: where its priority puts it, not after its deadline, and its turn where others wait.
local place, spread = math.min(now + tonumber(offset_ms), deadline), best.has > 0 and tonumber(spread_ms) or 0
if spread > 0 then place = turn(agent, requester, priority, place, spread) end
emit('task', task_id, 'created', '{"state":"submitted","agent":"' .. agent .. '",' .. string.sub(about, 2), traceparent)
redis.call('HSET', t, 'kind', kind, 'state', 'submitted', 'requester', requester, 'user', user, 'scopes', scopes,
  'message', message, 'priority', priority, 'context', context, 'keys', keys, 'capabilities', capabilities,
  'input', input, 'parent', parent, 'parent_requester', parent_requester, 'step', step, 'agent', agent, 'named', named,
  'excluded', excluded, 'react_ms', react_ms, 'attempt', 0, 'attempts', attempts, 'lease_ms', lease_ms,
  'deadline_ms', int(deadline), 'created_ms', int(now), 'updated_ms', int(now),
  'score', int(place), 'traceparent', traceparent)
enqueue(task_id, agent, place)
if spread > 0 then took_turn(task_id, agent, requester, priority) end
if #offered > 0 then offer(task_id, place, '', offered) end
redis.call('ZADD', prefix .. ':deadlines', deadline, task_id)
expect(task_id, agent, now)
count(agent)
if parent ~= '' then
  redis.call('SADD', children, task_id)
else
  local asked = prefix .. ':asked:' .. requester
  redis.call('LPUSH', asked, task_id)
  redis.call('LTRIM', asked, 0, MAX_ASKED - 1)
  redis.call('PEXPIRE', asked, int(deadline - now + retention_ms))
end
if idempotency ~= '' then redis.call('SET', idem, task_id .. ' ' .. fingerprint, 'EX', IDEMPOTENCY_S) end
note(task_id, now, 'created', agent, 0, '')
return {'created', task_id, 'submitted', agent, best.has, #offered}
""".replace("MAX_CHILDREN", str(MAX_CHILDREN))
    .replace("WAIT_SHARE", str(WAIT_SHARE))
    .replace("NEAR", str(NEAR))
    .replace("MAX_ASKED", str(MAX_ASKED))
    .replace("IDEMPOTENCY_S", str(IDEMPOTENCY_S)),
)


class NewTask(msgspec.Struct, frozen=True):
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
    candidates: str
    """Who may get it, the best first, each as `candidate` writes it, separated by spaces."""
    named: int
    """1 when the requester named the agent, so that nobody else may get the task."""
    attempts: int
    """How many claims it gets."""
    lease_ms: int
    deadline_in_ms: int
    offset_ms: int
    """How much later than now it stands in the queue, and never later than its deadline."""
    about: str
    """JSON object for the event, not empty."""
    traceparent: str
    idempotency: str = ""
    """Digest of the idempotency key with all that it is valid for."""
    fingerprint: str = ""
    """Digest of what the same key has to mean each time; empty when that is not checked."""
    spread_ms: int = 0
    """How far later tasks of one requester are spread in a queue, see `turns`; 0: not at all."""
    load_weight: float = 0.0
    """What an empty desk adds to a candidate's fit."""
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
    react_ms: int = 0
    """How long its agent has to take it before it is passed on, unless that agent said otherwise; 0: for ever."""


@dataclass(frozen=True, slots=True)
class Created:
    """What became of a new task."""

    outcome: str
    """`created`, `known` (this id or idempotency key was there), `other` (the key stands for something else), `full`,
    `share` (nobody has room, and at the agent only the requester's own tasks are too many), `left` (the agent has
    left), `no_parent`, `parent_ended`, `many_children`."""
    task_id: str
    state: str
    agent: str
    load: int = 0
    """How much the agent had to do before, when the outcome is `created`."""
    offered: int = 0
    """To how many others the task is offered, as it waits behind other work."""


def candidate(agent: str, fit: float = 1.0, slots: int = 1, pace: float = 1.0, *, online: bool = True) -> str:
    """One of those who may get a task, for `NewTask.candidates`: the fields of `desk.Desk`.

    Args:
        agent: Its name.
        fit: Its score without how much it has to do; not negative.
        slots: How many tasks it takes at once.
        pace: How long it takes for one, against the others.
        online: Whether it is here.
    """
    return f"{agent} {fit:.6f} {slots} {pace:.4f} {int(online)}"


async def create(
    redis: Redis, tenant: str, new: NewTask, *, queue_cap: int, requester_cap: int, retention_ms: int
) -> Created:
    """Write a task and put it into its agent's queue. Safe to repeat with the same task id.

    Args:
        redis: The store.
        tenant: Whose.
        new: The task.
        queue_cap: How many tasks may wait for one agent.
        requester_cap: How many of them may be of one requester.
        retention_ms: How long the task is kept when it has ended.
    """
    fields = msgspec.structs.asdict(new)
    caps = {"queue_cap": queue_cap, "requester_cap": requester_cap}
    return Created(*await _CREATE(redis, tenant, retention_ms=retention_ms, **caps, **fields))


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
    was, task_id, state, agent = found
    return Created("known" if was == fingerprint else "other", task_id, state, agent)


_ANSWER = task_script(
    ["task_id", "entry", "digest", "place", "by", "traceparent"],
    """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'lease_ms', 'answer_digest', 'parent')
if not f[1] then return {'missing'} end
if f[1] == 'working' and f[5] == digest then return {'again', f[1], f[2]} end
if f[1] ~= 'input_required' then return {'not_asked', f[1], f[2]} end
if place ~= '' and redis.call('LLEN', t .. ':dialog') ~= tonumber(place) then return {'not_asked', f[1], f[2]} end
local now = now_ms()
emit('task', task_id, 'answered', change(f[2], f[3], 'working'), traceparent)
redis.call('HSET', t, 'state', 'working', 'answered', 1, 'answer_digest', digest, 'updated_ms', int(now))
unask(task_id)
-- The same answer may be given again under the parent's id, when nobody asks any more.
local parent = f[6] ~= '' and redis.call('HGET', task(f[6]), 'state')
if parent and not ended(parent) then
  redis.call('HSET', task(f[6]), 'answered_step', task_id)
end
redis.call('RPUSH', t .. ':dialog', entry)
redis.call('SADD', prefix .. ':working:' .. f[2], task_id)
-- Before everything that waits there: the agent has begun with it.
enqueue(task_id, f[2], now - ANSWERED_FIRST)
lease(task_id, now, f[4])
count(f[2])
note(task_id, now, 'answered', by, f[3], '')
return {'answered', 'working', f[2]}
""",
)


async def answer(
    redis: Redis, tenant: str, *, task_id: str, entry: str, digest: str, place: int | None, by: str, traceparent: str
) -> list[str]:
    """Hand the answer to the agent that asked: the same attempt, a fresh lease, first in its queue.

    Args:
        entry: JSON of the answer for the dialog.
        place: How long the dialog must be, when the answer is for one question only; None: for what is asked now.

    Returns:
        `answered` or `again` (the same answer was given before) or `not_asked`, the state and the agent; or `missing`.
    """
    return cast(
        "list[str]",
        await _ANSWER(
            redis,
            tenant,
            task_id=task_id,
            entry=entry,
            digest=digest,
            place="" if place is None else place,
            by=by,
            traceparent=traceparent,
        ),
    )


_CANCEL = task_script(
    ["task_id", "by", "text", "reason", "retention_ms", "traceparent"],
    turns.LUA
    + """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'offered', 'requester', 'priority', 'score')
if not f[1] then return {'missing', '', ''} end
if ended(f[1]) then return {'ended', f[1], f[2]} end
emit('task', task_id, 'cancelled', change(f[2], f[3], 'cancelled'), traceparent)
withdraw(task_id, f[4])
if f[1] == 'submitted' and f[2] ~= '' then gave_up_turn(task_id, f[2], f[5], f[6], f[7]) end
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


_RATE = task_script(
    ["task_id", "score", "comment", "by", "traceparent"],
    """
local t = task(task_id)
local f = redis.call('HMGET', t, 'state', 'agent', 'attempt', 'rating', 'rating_comment', 'holders', 'ratings')
if not f[1] then return {'missing', '', ''} end
if f[1] ~= 'completed' and f[1] ~= 'failed' then return {'not_ended', f[1], f[2]} end
local held = ',' .. (f[6] or '') .. ','
if f[2] == '' or not string.find(held, ',' .. f[2] .. ',', 1, true) then return {'nobody', f[1], f[2]} end
if f[4] == score and f[5] == comment then return {'again', f[1], f[2]} end
emit('task', task_id, 'rated', '{"agent":"' .. f[2] .. '","score":' .. score .. '}', traceparent)
local now = now_ms()
if f[4] ~= score and tonumber(f[7] or 0) < MAX_LEARNED then
  learn(task_id, f[2], 'rated', now, score)
  redis.call('HINCRBY', t, 'ratings', 1)
end
redis.call('HSET', t, 'rating', score, 'rating_comment', comment, 'updated_ms', int(now))
note(task_id, now, 'rated', by, f[3], '{"score":' .. score .. '}')
return {'rated', f[1], f[2]}
""".replace("MAX_LEARNED", str(MAX_LEARNED)),
)


async def rate(
    redis: Redis, tenant: str, *, task_id: str, score: float, comment: str, by: str, traceparent: str
) -> list[str]:
    """Note what its requester thinks of a task that has ended; a later rating takes the place of the one before.

    Returns:
        `rated` or `again` (the same was said before) or `not_ended` or `nobody` (no agent had it), the state and the
        agent; or `missing`.
    """
    return cast(
        "list[str]",
        await _RATE(
            redis, tenant, task_id=task_id, score=f"{score:.4g}", comment=comment, by=by, traceparent=traceparent
        ),
    )
