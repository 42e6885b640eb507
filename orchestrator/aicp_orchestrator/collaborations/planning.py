"""Planning by an agent: what it is asked, and how its answer becomes steps, or a reason that it can act on."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aicp_common.envelope import encode_json
from aicp_common.errors import InvalidArgument
from aicp_orchestrator.collaborations.plan import MAX_STEPS, PLAN_STEP, Plan, Planner, Step, checked
from aicp_orchestrator.collaborations.stepargs import STEPS_EXAMPLE, StepArguments, step_of, step_problem

PLANNING = "planning"
"""The capability of agents that make plans."""

MAX_TRIES = 3
"""How often the planner may make a plan that can be run."""

PLAN_S = 600.0
"""How long the planner may take for one plan: one that does not look into its inbox holds nothing up for long."""

_ASK = """\
Make a plan for this task. Other agents will carry it out, each step as a task of its own; you are asked for the plan \
only.

<task>
{task}
</task>

Submit as your result a JSON object {{"steps": [...]}} with 1 to {most} steps. The fields of a step:
- "id": a name, a-z 0-9 _ - (not "plan", not "answer")
- "task": what is to be done, with all that its agent has to know; it sees nothing else but the results it depends on
- "agent": one of the names below; or instead "capabilities": ["what the agent must be good at"]
- "depends_on": ids of steps that must complete before; their results are handed to this one (optional)
- "input_from": those of them whose results it needs (optional; all of them without it)
- "timeout_s", "retries": seconds for one try, and how often another agent tries when it fails (optional)
Steps that do not depend on each other run at the same time. For example:
{{"steps": {example}}}

{roster}"""

_AGAIN = """\

The plan that you submitted before cannot be run: {reason}
Submit a whole plan again."""


class Planned(BaseModel):
    """What a planner submits."""

    model_config = ConfigDict(extra="ignore", strict=True)

    steps: list[StepArguments] = Field(min_length=1, max_length=MAX_STEPS)


class Refused(Exception):
    """A plan that cannot be run; the text is for the planner, who makes another one."""


def plan_step(plan: Plan, planner: Planner, reason: str) -> Step:
    """The step in which the plan is made.

    Args:
        plan: Without steps of the planner.
        planner: Who makes it.
        reason: Why the one before was refused; empty for the first.
    """
    task = _ASK.format(task=plan.task, most=MAX_STEPS, example=STEPS_EXAMPLE, roster=planner.roster)
    return Step(
        id=PLAN_STEP,
        agent=planner.agent,
        task=task + (_AGAIN.format(reason=reason) if reason else ""),
        timeout_s=PLAN_S,
    )


def steps_of(result: Any, planner: Planner) -> tuple[Step, ...]:
    """The steps in what a planner has submitted: an object or a list, as JSON or as a text with JSON in it.

    Raises:
        Refused: they cannot be run.
    """
    found = _json_in(result) if isinstance(result, str) else result
    if isinstance(found, list):
        found = {"steps": found}
    if not isinstance(found, Mapping):
        raise Refused('it is no JSON object; expected {"steps": [...]}')
    try:
        planned = Planned.model_validate_json(encode_json(found))
        steps = checked(tuple(step_of(step) for step in planned.steps))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise Refused("; ".join(step_problem(problem) for problem in problems[:8])) from error
    except InvalidArgument as error:
        raise Refused(str(error)) from error
    for place, step in enumerate(steps):
        if step.agent and step.agent not in planner.agents:
            raise Refused(
                f"steps.{place}.agent: {step.agent!r} is none of the agents; expected one of "
                f"{', '.join(planner.agents)}, or no agent and `capabilities`"
            )
    return steps


_FENCED = re.compile(r"```[a-zA-Z]*[ \t\r]*\n(.*?)```", re.DOTALL)


def _json_in(text: str) -> Any:
    """The JSON object or list in a text, which may stand between words or in a fence; None if there is none."""
    for candidate in (text, *_FENCED.findall(text), *_bracketed(text)):
        try:
            return msgspec.json.decode(candidate)
        except (msgspec.MsgspecError, RecursionError):
            continue
    return None


def _bracketed(text: str) -> list[str]:
    """From the first opening bracket to the last closing one, of both kinds, whichever begins first."""
    spans = [(text.find(opening), text.rfind(closing)) for opening, closing in ("{}", "[]")]
    return [text[first : last + 1] for first, last in sorted(spans) if 0 <= first < last]
