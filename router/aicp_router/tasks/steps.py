"""The steps of a collaboration as tasks: many of them read at once, kept at once, and shown with the whole."""

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
from redis.asyncio import Redis

from aicp_router.tasks.record import ENDED, Record, State, StepView, TaskError, at, shown
from aicp_router.tasks.task_scripts import task_script

MAX_READ = 500
"""Tasks that one call reads or keeps."""

MAX_RESULTS_BYTES = 384 * 1024
"""Of the results that one call reads, as JSON. What does not fit is left out; a read of that task alone brings it."""

MAX_SHOWN_BYTES = 4_000
"""Of a step's output where it stands beside others."""

MAX_WORDS = 300
"""Characters of an error or a question where it stands beside others."""

_READ = task_script(
    ["parent", "ids", "settled", "max_bytes"],
    """
local found, bytes = {}, 0
local wanted = {}
if parent ~= '' then
  wanted = redis.call('SMEMBERS', task(parent) .. ':children')
else
  for id in string.gmatch(ids, '%S+') do wanted[#wanted + 1] = id end
end
for _, id in ipairs(wanted) do
  local f = redis.call('HMGET', task(id), 'state', 'step', 'agent', 'attempt', 'created_ms', 'claimed_ms', 'ended_ms',
    'question', 'error_code', 'error')
  if f[1] and (settled == '0' or ended(f[1]) or f[8]) then
    local size, result = redis.call('HSTRLEN', task(id), 'result'), ''
    if size > 0 and (#found == 0 or bytes + size <= tonumber(max_bytes)) then
      bytes, result = bytes + size, redis.call('HGET', task(id), 'result')
    end
    found[#found + 1] = {id, f[1], f[2] or '', f[3] or '', f[4] or '0', f[5], f[6] or '0', f[7] or '0', f[8] or '',
      f[9] or '', f[10] or '', size, result}
  elseif not f[1] and parent == '' then
    found[#found + 1] = {id, '', '', '', '0', '0', '0', '0', '', '', '', 0, ''}
  end
end
return found
""",
)


class StepTask(msgspec.Struct, frozen=True, array_like=True):
    """A task that is a step, as it stands. Times are milliseconds since the epoch, 0 where there was none yet."""

    task_id: str
    state: str
    """Empty when there is no such task any more."""
    step: str
    agent: str
    attempt: int
    created_ms: int
    claimed_ms: int
    ended_ms: int
    question: str
    error_code: str
    error: str
    result_bytes: int
    result: str
    """JSON; empty when there is none, or when it did not fit beside the others."""


async def read_steps(
    redis: Redis, tenant: str, *, parent: str = "", task_ids: Iterable[str] = (), settled: bool = False
) -> list[StepTask]:
    """Read many tasks in one go, in the order in which they were made.

    Args:
        redis: The store.
        tenant: Whose.
        parent: Read all that are steps of this task.
        task_ids: Without a parent: which.
        settled: Only those that have ended or ask something, and those that are gone.
    """
    rows = await _READ(
        redis, tenant, parent=parent, ids=" ".join(task_ids), settled=int(settled), max_bytes=MAX_RESULTS_BYTES
    )
    found = msgspec.convert(rows, list[StepTask], strict=False)
    return sorted(found, key=lambda one: (one.created_ms, one.task_id))


_KEEP = task_script(
    ["agent", "held"],
    """
local lost, now = {}, now_ms()
for id, attempt in string.gmatch(held, '(%S+) (%S+)') do
  local f = redis.call('HMGET', task(id), 'state', 'agent', 'attempt', 'lease_ms')
  if not_held(f, agent, attempt) then
    lost[#lost + 1] = id
  elseif f[1] == 'working' then
    lease(id, now, f[4])
  end
end
return lost
""",
)


async def keep(redis: Redis, tenant: str, *, agent: str, held: Sequence[tuple[str, int]]) -> list[str]:
    """Extend the leases of tasks that `agent` holds, each under its attempt; those that it holds no more."""
    text = " ".join(f"{task_id} {attempt}" for task_id, attempt in held)
    return cast("list[str]", await _KEEP(redis, tenant, agent=agent, held=text))


_RECORD = task_script(
    ["task_id", "agent", "attempt", "input"],
    """
if not_held(redis.call('HMGET', task(task_id), 'state', 'agent', 'attempt'), agent, attempt) then return 0 end
redis.call('HSET', task(task_id), 'input', input)
return 1
""",
)


async def record_input(redis: Redis, tenant: str, *, task_id: str, agent: str, attempt: int, text: str) -> bool:
    """Write anew what a task is to be done by, as JSON; False when `agent` does not hold that attempt."""
    return bool(await _RECORD(redis, tenant, task_id=task_id, agent=agent, attempt=attempt, input=text))


class _PlannedStep(msgspec.Struct, frozen=True):
    id: str
    agent: str = ""
    depends_on: tuple[str, ...] = ()


class _Planned(msgspec.Struct, frozen=True):
    """What of a plan is shown; the orchestrator writes it."""

    steps: tuple[_PlannedStep, ...] = ()
    closing: _PlannedStep | None = None
    planner: msgspec.Raw | None = None
    """Until the plan is made; what stands in `steps` is only for when none comes."""


@dataclass(frozen=True, slots=True)
class _Tries:
    last: StepTask
    count: int


def step_views(whole: Record, tasks: Sequence[StepTask], online: Container[str]) -> list[StepView]:
    """The steps of a collaboration: those planned in the order of the plan, and what was done beside it before them.

    Args:
        whole: The collaboration.
        tasks: Of its steps, in the order in which they were made.
        online: Which of their agents are here.
    """
    made: dict[str, list[StepTask]] = defaultdict(list)
    for task in tasks:
        made[task.step].append(task)
    plan = _plan(whole)
    steps = () if plan.planner else (*plan.steps, *([plan.closing] if plan.closing else ()))
    planned = {step.id: step for step in steps}
    order = dict.fromkeys([*(id for id in made if id not in planned), *planned])
    return [
        _view(
            id, planned.get(id), _Tries(made[id][-1], len(made[id])) if id in made else None, online, over=whole.ended
        )
        for id in order
    ]


def _plan(whole: Record) -> _Planned:
    try:
        return msgspec.json.decode(whole.fields["input"], type=_Planned)
    except msgspec.MsgspecError:
        return _Planned()


def waiting_for(tasks: Sequence[StepTask]) -> list[str]:
    """The agents of steps that have not ended."""
    return sorted({task.agent for task in tasks if task.agent and task.state not in ENDED})


def _view(
    id: str, planned: _PlannedStep | None, tries: _Tries | None, online: Container[str], *, over: bool
) -> StepView:
    depends_on = list(planned.depends_on) if planned and planned.depends_on else None
    if tries is None:
        return StepView(
            id=id,
            state="skipped" if over else "waiting",
            agent=planned.agent or None if planned else None,
            depends_on=depends_on,
        )
    task = tries.last
    error = TaskError(code=task.error_code, message=shown(task.error, MAX_WORDS)) if task.error_code else None
    cut = task.result_bytes > MAX_SHOWN_BYTES or (task.result_bytes > 0 and not task.result)
    output = None
    if task.result:
        beginning = task.result.encode()[: MAX_SHOWN_BYTES - 3].decode(errors="ignore") + "…" if cut else ""
        output = beginning or msgspec.json.decode(task.result)
    return StepView(
        id=id,
        state=cast("State", task.state),
        agent=task.agent or None,
        task_id=task.task_id,
        tries=tries.count,
        depends_on=depends_on,
        agent_online=task.agent in online if task.agent and task.state not in ENDED else None,
        created=at(task.created_ms),
        claimed=at(task.claimed_ms) if task.claimed_ms else None,
        ended=at(task.ended_ms) if task.ended_ms else None,
        output=output,
        output_bytes=task.result_bytes if cut else None,
        error=error,
        question=shown(task.question, MAX_WORDS) if task.question and task.state not in ENDED else None,
    )
