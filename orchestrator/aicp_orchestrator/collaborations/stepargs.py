"""The step of a plan as requesters and planners write it: its fields, and what is wrong with them in words."""

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from aicp_common.ids import ID_PATTERN, is_id
from aicp_common.tool import Arguments
from aicp_orchestrator.collaborations.plan import MAX_RETRIES, MAX_STEPS, Step

MAX_TASK_BYTES = 64 * 1024
MAX_STEP_S = 86_400

STEPS_EXAMPLE = (
    '[{"id": "draft", "task": "Write a draft", "agent": "bob"}, '
    '{"id": "check", "task": "Check the draft", "depends_on": ["draft"]}]'
)


def _id(text: str) -> str:
    if not is_id(text):
        rule = "should be 1 to 64 characters of a-z 0-9 _ -, the first a letter or a digit"
        raise PydanticCustomError("id", "{rule}", {"rule": rule})
    return text


def _agent_name(text: str) -> str:
    # As the gateway does with the name that a connection brings.
    return _id(text.strip().lower())


def _said(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "{rule}", {"rule": "should say what is to be done"})
    return text


StepId = Annotated[str, AfterValidator(_id), WithJsonSchema({"type": "string", "pattern": ID_PATTERN})]
AgentName = Annotated[
    str, AfterValidator(_agent_name), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 64})
]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TASK_BYTES), AfterValidator(_said)]


class StepArguments(Arguments):
    """One step of a plan."""

    id: Annotated[StepId, Field(description="Your name for the step: a-z, 0-9, '_' and '-'.")]
    task: Annotated[Text, Field(description="What is to be done in this step.")]
    agent: Annotated[AgentName | None, Field(description="Who does it; without a name the best fitting agent.")] = None
    capabilities: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]] | None,
        Field(max_length=32, description="What the agent must be good at, in your own words."),
    ] = None
    depends_on: Annotated[
        list[StepId] | None,
        Field(max_length=MAX_STEPS, description="Ids of steps that must complete before; this one gets their results."),
    ] = None
    input_from: Annotated[
        list[StepId] | None,
        Field(max_length=MAX_STEPS, description="Steps whose results it gets, when not of all in depends_on."),
    ] = None
    timeout_s: Annotated[
        float | None, Field(ge=1, le=MAX_STEP_S, description="Seconds for one try; default as long as the whole.")
    ] = None
    retries: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_RETRIES,
            description="How often another agent tries when it fails. Default: 1, or 0 when you name the agent.",
        ),
    ] = None


def step_problem(problem: ErrorDetails) -> str:
    """One thing that is wrong in `steps`, in terms of a step."""
    where = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "missing":
            return f"{where}: missing"
        case "extra_forbidden":
            return f"{where}: a step has no such field"
    was = repr(problem["input"])
    was = was if len(was) <= 60 else was[:60] + "…"
    if len(problem["loc"]) == 2:
        return f"{where}: each step is an object, this was {was}"
    return f"{where}: {problem['msg'].removeprefix('Input ')}, was {was}"


def step_of(step: StepArguments) -> Step:
    """The step of a plan. Whose results it gets, it waits for."""
    fed_by = None if step.input_from is None else tuple(dict.fromkeys(step.input_from))
    retries = step.retries if step.retries is not None else default_retries(step.agent or "")
    return Step(
        id=step.id,
        task=step.task,
        agent=step.agent or "",
        capabilities=tuple(step.capabilities or ()),
        depends_on=tuple(dict.fromkeys((*(step.depends_on or ()), *(fed_by or ())))),
        input_from=fed_by,
        timeout_s=step.timeout_s or 0.0,
        retries=retries,
    )


def default_retries(agent: str) -> int:
    """How often a step is tried elsewhere when nobody said: whoever was named is meant."""
    return 0 if agent else 1
