"""Turns: in an agent's queue, tasks of one requester leave room for those of others. Lua for the script that makes
them.

A task stands where its priority and its time put it. When a task of the same requester and priority waits there
already, the new one stands a step behind that, `SPREAD_MS` behind its own place at most. So whoever puts many tasks at
once into a queue does not keep others from it: the second requester's first task comes before most of them. A requester
that is alone waits no longer than without, and its own tasks keep their order.

An agent with nothing to do gets its task without any of this, and one that has done everything has no turns any more.

The spread is less than the distance to the next priority, so that what was put there by many goes before later work
of a lower priority all the same.

Key of a tenant, after its prefix: `turns:AGENT` (hash: priority and requester to the last task put there, until the
agent has nothing to do, a day at most).
"""

SPREAD_MS = {"interactive": 540_000, "normal": 2_400_000, "batch": 2_400_000}
"""How far behind its place a task may be put, by priority."""

STEPS = 40
"""A step is the spread divided by this: 13.5 s for interactive work, 60 s for other work."""

MAX_TURNS = 2_000
"""Requesters that are remembered for one agent; beyond, all are forgotten and begin anew."""

_LIFETIME_MS = 86_400_000

LUA = (
    """
-- The place of a new task in an agent's queue; `place` when its requester has nothing there.
local function turn(agent, requester, priority, place, spread)
  local last = redis.call('HGET', prefix .. ':turns:' .. agent, priority .. ' ' .. requester)
  local at = last and tonumber(string.match(last, '^=(.+)$') or redis.call('ZSCORE', prefix .. ':queue:' .. agent, last)
    or nil)
  if not at then return place end
  return math.max(place, at + 1, math.min(at + spread / STEPS, place + spread))
end
-- The last one is taken back before it was claimed: its place is used up all the same, or a turn costs nothing.
local function gave_up_turn(id, agent, requester, priority, place)
  local turns, field = prefix .. ':turns:' .. agent, priority .. ' ' .. requester
  if redis.call('HGET', turns, field) == id then redis.call('HSET', turns, field, '=' .. place) end
end
-- Remember it.
local function took_turn(id, agent, requester, priority)
  local turns = prefix .. ':turns:' .. agent
  if redis.call('HLEN', turns) >= MAX_TURNS then redis.call('DEL', turns) end
  redis.call('HSET', turns, priority .. ' ' .. requester, id)
  redis.call('PEXPIRE', turns, LIFETIME_MS)
end
""".replace("STEPS", str(STEPS))
    .replace("MAX_TURNS", str(MAX_TURNS))
    .replace("LIFETIME_MS", str(_LIFETIME_MS))
)
