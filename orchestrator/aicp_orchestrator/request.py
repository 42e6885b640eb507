"""The request for a collaboration: its arguments, and the plan that is made of them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from aicp_common.envelope import Envelope, encode_json
from aicp_common.errors import InvalidArgument, NotFound
from aicp_common.ids import ID_PATTERN
from aicp_common.tool import MAX_WAIT_S, Arguments
from aicp_orchestrator.handover import RESERVED_CONTEXT, message_of
from aicp_orchestrator.plan import MAX_STEPS, OnFailure, Pattern, Plan, Step, checked, one_after_the_other, side_by_side
from aicp_orchestrator.router_client import RouterClient

MAX_TASK_BYTES = 64 * 1024
MAX_PLAN_BYTES = 256 * 1024
MAX_CONTEXT_BYTES = 32 * 1024
"""Of an object as `context`: half of what a task may have, so that results fit beside it."""
MAX_CHOSEN = 3
"""How many agents are asked when the requester names none."""
MAX_LISTED = 200
"""The most agents that the router lists in one answer."""
MAX_DEADLINE_S = 86_400
"""The router remembers for a day which steps were made; a collaboration must not outlive that."""

SHARE_IT = "put long material into a shared context with share_context and name its key in `context`"

Name = Annotated[str, Field(pattern=ID_PATTERN)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TASK_BYTES)]


class StepArguments(Arguments):
    """One step of a plan."""

    id: Annotated[Name, Field(description="Your name for the step: a-z, 0-9, '_' and '-'.")]
    task: Annotated[Text, Field(description="What is to be done in this step.")]
    agent: Annotated[Name | None, Field(description="Who does it; without a name the best fitting agent.")] = None
    capabilities: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]] | None,
        Field(max_length=32, description="What the agent must be good at, in your own words."),
    ] = None
    depends_on: Annotated[
        list[Name] | None,
        Field(max_length=MAX_STEPS, description="Ids of steps that must complete before; this one gets their results."),
    ] = None


class CollaborationArguments(Arguments):
    """Arguments of orchestrate_collaboration."""

    task: Annotated[Text, Field(description="The whole task, with all that the agents need to know.")]
    agents: Annotated[
        list[Name] | None,
        Field(
            min_length=1,
            max_length=MAX_STEPS,
            description="Who takes part, by name. Without agents and steps: up to 3 others that are online and fit.",
        ),
    ] = None
    pattern: Annotated[
        Literal["parallel", "pipeline"] | None,
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
        await _must_be_registered(router, envelope, steps)
    elif arguments.agents is not None:
        steps = one_after_the_other(arguments.agents) if pattern == "pipeline" else side_by_side(arguments.agents)
        await _must_be_registered(router, envelope, steps)
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
                f"the task of {step.id!r}, with the keys of `context`, has {size} bytes",
                expected=f"at most {MAX_TASK_BYTES}",
                hint=SHARE_IT,
            )
    return plan


async def _must_be_registered(router: RouterClient, envelope: Envelope, steps: tuple[Step, ...]) -> None:
    """Refuse a name that nobody has at once, before the others have worked for nothing."""
    names = {step.agent for step in steps if step.agent}
    if not names:
        return
    found = await router.agents(envelope.principal, envelope.traceparent, limit=MAX_LISTED)
    missing = sorted(names.difference(found.names))
    # In a larger network those that are not on the list may be there; the router says so when their step starts.
    if missing and found.total <= MAX_LISTED:
        others = [name for name in found.names if name != envelope.principal.agent]
        raise NotFound(
            f"agents: there is no agent {missing[0]!r}",
            expected=f"some of {', '.join(others[:20])}" if others else "nobody else has registered yet",
            hint="list_agents shows who is there and what they can do",
        )


def _step(step: StepArguments) -> Step:
    return Step(
        id=step.id,
        task=step.task,
        agent=step.agent or "",
        capabilities=tuple(step.capabilities or ()),
        depends_on=tuple(dict.fromkeys(step.depends_on or ())),
    )


async def _fitting(router: RouterClient, envelope: Envelope, task: str) -> list[str]:
    """The agents to ask when none is named."""
    # One more than needed: the requester may be among them.
    me = envelope.principal
    found = await router.agents(me, envelope.traceparent, query=task, online_only=True, limit=MAX_CHOSEN + 1)
    others = [name for name in found.names if name != me.agent]
    if others:
        return others[:MAX_CHOSEN]
    known = await router.agents(me, envelope.traceparent, query=task, limit=10)
    away = [name for name in known.names if name != me.agent]
    raise NotFound(
        "no other agent is online that could take part",
        hint=f"offline are: {', '.join(away)}; named in `agents` they get their part when they are back"
        if away
        else "nobody else has registered yet: other agents join with register_agent",
    )
