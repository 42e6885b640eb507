"""The request for a collaboration: its arguments, and the plan that is made of them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from aicp_common.envelope import Envelope, encode_json
from aicp_common.errors import InvalidArgument, NotFound
from aicp_common.ids import ID_PATTERN, is_id
from aicp_common.tool import MAX_WAIT_S, Arguments
from aicp_orchestrator.collaborations.handover import RESERVED_CONTEXT, message_of
from aicp_orchestrator.collaborations.plan import (
    MAX_STEPS,
    OnFailure,
    Pattern,
    Plan,
    Step,
    checked,
    one_after_the_other,
    side_by_side,
)
from aicp_orchestrator.router_client import RouterClient

MAX_TASK_BYTES = 64 * 1024
MAX_PLAN_BYTES = 256 * 1024
MAX_CONTEXT_BYTES = 32 * 1024
"""Of an object as `context`: half of what a task may have, so that results fit beside it."""
MAX_CHOSEN = 3
"""How many agents are asked when the requester names none."""
MAX_CANDIDATES = 50
"""How many of those that fit best are looked at, when the requester names none."""
MAX_LISTED = 200
"""The most agents that the router lists in one answer."""
MAX_DEADLINE_S = 86_400
"""The router remembers for a day which steps were made; a collaboration must not outlive that."""

SHARE_IT = "put long material into a shared context with share_context and name its key in `context`"

STEPS_EXAMPLE = (
    'for example [{"id": "draft", "task": "Write a draft", "agent": "bob"}, '
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


AskedPattern = Literal["parallel", "pipeline"]
"""What a requester may ask for by name; a plan of its own has the pattern `steps`."""

StepId = Annotated[str, AfterValidator(_id), WithJsonSchema({"type": "string", "pattern": ID_PATTERN})]
AgentName = Annotated[
    str, AfterValidator(_agent_name), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 64})
]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TASK_BYTES)]


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


class CollaborationArguments(Arguments):
    """Arguments of orchestrate_collaboration."""

    task: Annotated[Text, Field(description="The whole task, with all that the agents need to know.")]
    agents: Annotated[
        list[AgentName] | None,
        Field(
            min_length=1,
            max_length=MAX_STEPS,
            description="Which others take part, by name. Without agents and steps: up to 3 that are online and fit.",
        ),
    ] = None
    pattern: Annotated[
        AskedPattern | None,
        Field(
            description="parallel (default): each agent works on the whole task. pipeline: one after the other in the "
            "order of `agents`, each with the result of the one before."
        ),
    ] = None
    steps: Annotated[
        list[StepArguments] | None,
        Field(min_length=1, max_length=MAX_STEPS, description="A plan of your own, instead of `agents` and `pattern`."),
    ] = None
    context: Annotated[
        Annotated[str, Field(min_length=1, max_length=512)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=512)]], Field(max_length=20)]
        | dict[str, Any]
        | None,
        Field(description="For each step: keys of shared contexts, or an object with what the agents should know."),
    ] = None
    on_failure: Annotated[
        OnFailure | None,
        Field(
            description="continue (default of parallel): go on without a step that fails. "
            "fail_fast (default otherwise): the first failure ends the whole."
        ),
    ] = None
    deadline_s: Annotated[
        float | None, Field(ge=1, le=MAX_DEADLINE_S, description="Seconds for the whole; default one day.")
    ] = None
    wait_s: Annotated[
        float, Field(ge=0, le=MAX_WAIT_S, description="Seconds to wait here for the result; get_task waits on.")
    ] = 20
    idempotency_key: Annotated[
        str | None,
        Field(min_length=1, max_length=128, description="The same key again gives the same collaboration, no new one."),
    ] = None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """As pydantic's, with errors in `steps` told in terms of a step.

        Raises:
            InvalidArgument: something in `steps` is wrong.
            ValidationError: another argument is wrong.
        """
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            problems = [problem for problem in error.errors(include_url=False) if problem["loc"][:1] == ("steps",)]
            if not problems:
                raise
            raise InvalidArgument(
                "; ".join(_step_problem(problem) for problem in problems[:8]),
                expected=f"the fields of a step are: {', '.join(StepArguments.model_fields)}",
                hint=STEPS_EXAMPLE,
            ) from error


async def plan_of(router: RouterClient, envelope: Envelope, arguments: CollaborationArguments) -> Plan:
    """The plan that `arguments` ask for.

    Raises:
        InvalidArgument: they contradict each other, or the plan cannot be run or is too large.
        NotFound: no agents are named and none is there.
    """
    if len(arguments.task.encode()) > MAX_TASK_BYTES:
        raise InvalidArgument(
            f"task has {len(arguments.task.encode())} bytes", expected=f"at most {MAX_TASK_BYTES}", hint=SHARE_IT
        )
    if isinstance(arguments.context, dict):
        size = len(encode_json(arguments.context))
        if size > MAX_CONTEXT_BYTES:
            raise InvalidArgument(
                f"context has {size} bytes as JSON",
                expected=f"at most {MAX_CONTEXT_BYTES}",
                hint=SHARE_IT,
            )
        taken = sorted(RESERVED_CONTEXT.intersection(arguments.context))
        if taken:
            raise InvalidArgument(f"context: {taken[0]!r} is written by the hub", expected="another name for it")
    pattern: Pattern = arguments.pattern or "parallel"
    if arguments.steps is not None:
        if arguments.agents is not None or arguments.pattern is not None:
            raise InvalidArgument(
                "steps is a whole plan: it goes without agents and pattern",
                expected="in each step an `agent` and, for the order, `depends_on`",
            )
        pattern = "steps"
        steps = checked(tuple(_step(step) for step in arguments.steps))
        named = {step.agent: f"steps.{place}.agent" for place, step in enumerate(steps) if step.agent}
        await _must_be_registered(router, envelope, named)
    elif arguments.agents is not None:
        named = {name: f"agents.{place}" for place, name in enumerate(arguments.agents)}
        if envelope.principal.agent in named:
            raise InvalidArgument(
                f"{named[envelope.principal.agent]}: {envelope.principal.agent!r} is you, the caller",
                expected="names of others",
                hint="list_agents shows who is there; what they hand in comes back to you",
            )
        steps = one_after_the_other(arguments.agents) if pattern == "pipeline" else side_by_side(arguments.agents)
        await _must_be_registered(router, envelope, named)
    elif pattern == "pipeline":
        raise InvalidArgument("pattern 'pipeline' needs `agents`, in the order in which they work", expected="agents")
    else:
        steps = side_by_side(await _fitting(router, envelope, arguments.task))
    context = [arguments.context] if isinstance(arguments.context, str) else arguments.context
    plan = Plan(
        task=arguments.task,
        pattern=pattern,
        on_failure=arguments.on_failure or ("continue" if pattern == "parallel" else "fail_fast"),
        steps=steps,
        context=context or None,
        traceparent=envelope.traceparent,
    )
    size = len(encode_json(plan))
    if size > MAX_PLAN_BYTES:
        raise InvalidArgument(
            f"task, steps and context have {size} bytes as JSON", expected=f"at most {MAX_PLAN_BYTES}", hint=SHARE_IT
        )
    for step in plan.steps:
        size = len(message_of(plan, step).encode())
        if size > MAX_TASK_BYTES:
            raise InvalidArgument(
                f"the task of {step.id!r}, with what the hub adds to it, has {size} bytes",
                expected=f"at most {MAX_TASK_BYTES}",
                hint=SHARE_IT,
            )
    return plan


async def _must_be_registered(router: RouterClient, envelope: Envelope, named: Mapping[str, str]) -> None:
    """Refuse a name that nobody has at once, before the others have worked for nothing.

    Args:
        named: Names of agents, and where in the arguments each stands.
    """
    if not named:
        return
    me = envelope.principal.agent
    found = await router.agents(envelope.principal, envelope.traceparent, limit=MAX_LISTED)
    missing = [name for name in named if name not in found.names]
    # In a larger network those that are not on the list may be there; the router says so when their step starts.
    if missing and found.total <= MAX_LISTED:
        others = [name for name in found.names if name != me]
        what = f"{missing[0]!r} is you, and you are not registered" if missing[0] == me else ""
        raise NotFound(
            f"{named[missing[0]]}: {what or f'there is no agent {missing[0]!r}'}",
            expected=f"some of {', '.join(others[:20])}" if others else "nobody else has registered yet",
            hint="list_agents shows who is there and what they can do",
        )


def _step_problem(problem: ErrorDetails) -> str:
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


def _step(step: StepArguments) -> Step:
    return Step(
        id=step.id,
        task=step.task,
        agent=step.agent or "",
        capabilities=tuple(step.capabilities or ()),
        depends_on=tuple(dict.fromkeys(step.depends_on or ())),
    )


async def _fitting(router: RouterClient, envelope: Envelope, task: str) -> list[str]:
    """The agents to ask when none is named: those that fit best, and guests only where there are not enough others."""
    me = envelope.principal
    found = await router.agents(me, envelope.traceparent, query=task, online_only=True, limit=MAX_CANDIDATES)
    others = [agent.agent for agent in found.agents if agent.agent != me.agent and agent.online]
    if others:
        return sorted(others, key=_is_guest)[:MAX_CHOSEN]
    known = await router.agents(me, envelope.traceparent, query=task, limit=10)
    away = [name for name in known.names if name != me.agent and not _is_guest(name)]
    raise NotFound(
        "no other agent is online that could take part",
        hint=f"offline are: {', '.join(away)}; named in `agents` they get their part when they are back"
        if away
        else "nobody else has registered yet: other agents join with register_agent",
    )


def _is_guest(name: str) -> bool:
    """Whether the gateway made the name, for one connection: when that is closed, nobody comes back under it."""
    return name.startswith("guest-")
