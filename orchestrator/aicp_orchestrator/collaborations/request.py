"""The plan that a request for a collaboration asks for."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aicp_common.envelope import Envelope, encode_json
from aicp_common.errors import Forbidden, InvalidArgument, NotFound
from aicp_orchestrator.collaborations import patterns
from aicp_orchestrator.collaborations.arguments import (
    AUTO,
    SHARE_IT,
    CollaborationArguments,
    check_sizes,
    pattern_of,
)
from aicp_orchestrator.collaborations.handover import message_of
from aicp_orchestrator.collaborations.patterns import DEFAULT_ROUNDS
from aicp_orchestrator.collaborations.plan import OnFailure, Pattern, Plan, Planner, Step, checked, sinks
from aicp_orchestrator.collaborations.planning import PLANNING, plan_step
from aicp_orchestrator.collaborations.roster import is_guest, roster
from aicp_orchestrator.collaborations.stepargs import MAX_TASK_BYTES, default_retries, step_of
from aicp_orchestrator.router_client import Agents, RouterClient

MAX_PLAN_BYTES = 256 * 1024
MAX_CHOSEN = 3
"""How many agents are asked when the requester names none."""
MAX_CANDIDATES = 50
"""How many of those that fit best are looked at, when the requester names none."""
MAX_LISTED = 200
"""The most agents that the router lists in one answer."""


async def plan_of(
    router: RouterClient, envelope: Envelope, arguments: CollaborationArguments, members: Sequence[str] = ()
) -> Plan:
    """The plan that `arguments` ask for.

    Args:
        router: Knows who is there.
        envelope: Of the requester.
        arguments: What was asked for.
        members: Of the room, if there is one: who is asked when nobody is named.

    Raises:
        InvalidArgument: they contradict each other, or the plan cannot be run or is too large.
        NotFound: no agents are named and none is there.
    """
    check_sizes(arguments)
    plan = await _expanded(router, envelope, arguments, members)
    plan = _closed(plan, envelope, arguments)
    if arguments.synthesizer and arguments.synthesizer not in (AUTO, envelope.principal.agent):
        await _must_be_registered(router, envelope, {arguments.synthesizer: "synthesizer"})
    if plan.quorum > len(plan.targets) and plan.planner is None:
        raise InvalidArgument(
            f"quorum: {plan.quorum} of {len(plan.targets)} results", expected=f"at most {len(plan.targets)}"
        )
    check_plan(plan)
    return plan


async def _expanded(
    router: RouterClient, envelope: Envelope, arguments: CollaborationArguments, members: Sequence[str]
) -> Plan:
    """The plan without a closing step."""
    pattern = pattern_of(arguments)
    policy = _policy(arguments, "steps" if arguments.steps is not None else pattern or "parallel")
    agents = arguments.agents
    named: dict[str, str] = {}
    planner: Planner | None = None
    whose: Pattern
    if arguments.steps is not None:
        if agents is not None or pattern is not None:
            raise InvalidArgument(
                "steps is a whole plan: it goes without agents and pattern",
                expected="in each step an `agent` and, for the order, `depends_on`",
            )
        whose, steps = "steps", checked(tuple(step_of(step) for step in arguments.steps))
        named = {step.agent: f"steps.{place}.agent" for place, step in enumerate(steps) if step.agent}
    else:
        whose = pattern or "parallel"
        if agents is not None:
            named = {name: f"agents.{place}" for place, name in enumerate(agents)}
            if envelope.principal.agent in named:
                raise InvalidArgument(
                    f"{named[envelope.principal.agent]}: {envelope.principal.agent!r} is you, the caller",
                    expected="names of others",
                    hint="list_agents shows who is there; what they hand in comes back to you",
                )
        elif pattern == "pipeline":
            raise InvalidArgument(
                "pattern 'pipeline' needs `agents`, in the order in which they work", expected="agents"
            )
        if pattern is None:
            planner = await _planner(router, envelope, arguments)
        found = agents
        if found is None and pattern != "map_reduce":
            found = await _fitting(router, envelope, arguments.task, members)
        if planner is not None and found is not None:
            # Without a plan of its own it has no part, unless there is nobody else.
            found = [name for name in found if name != planner.agent] or found
        match pattern:
            case "pipeline":
                steps = patterns.one_after_the_other(found or ())
            case "debate":
                needs = {"continue": 1, "quorum": arguments.quorum or 1, "fail_fast": 0}[policy]
                steps = patterns.debate(found or (), arguments.rounds or DEFAULT_ROUNDS, needs)
            case "vote":
                steps = patterns.vote(found or (), arguments.choices or ())
            case "map_reduce":
                steps = patterns.map_inputs(arguments.inputs or (), found or ())
            case _:
                steps = patterns.side_by_side(found or ())
        # Whom the hub has chosen it may replace.
        retries = default_retries("named" if agents else "")
        steps = tuple(msgspec.structs.replace(step, retries=retries) for step in steps)
    await _must_be_registered(router, envelope, named)
    steps = tuple(_as_asked(step, arguments, place) for place, step in enumerate(steps))
    if planner is not None:
        whose = "planned"
    context = [arguments.context] if isinstance(arguments.context, str) else arguments.context
    return Plan(
        task=arguments.task,
        pattern=whose,
        on_failure=policy,
        quorum=arguments.quorum or 0,
        steps=steps,
        context=context or None,
        choices=tuple(arguments.choices or ()),
        planner=planner,
        room=arguments.room or "",
        traceparent=envelope.traceparent,
    )


def _policy(arguments: CollaborationArguments, pattern: Pattern) -> OnFailure:
    if arguments.quorum is not None:
        return "quorum"
    return arguments.on_failure or ("fail_fast" if pattern in ("pipeline", "steps") else "continue")


def _as_asked(step: Step, arguments: CollaborationArguments, place: int) -> Step:
    """A step with what was said for all steps, unless it says something itself."""
    own = arguments.steps[place] if arguments.steps is not None else None
    changed: dict[str, Any] = {}
    if arguments.retries is not None and (own is None or own.retries is None):
        changed["retries"] = arguments.retries
    if arguments.step_timeout_s is not None and (own is None or own.timeout_s is None):
        changed["timeout_s"] = arguments.step_timeout_s
    return msgspec.structs.replace(step, **changed) if changed else step


def _closed(plan: Plan, envelope: Envelope, arguments: CollaborationArguments) -> Plan:
    """The plan with the step that makes one answer, if somebody else is to make it."""
    who = arguments.synthesizer
    if who is None or who == envelope.principal.agent:
        return plan
    closing = patterns.closing(plan.pattern, "" if who == AUTO else who, sinks(plan.steps), plan.choices)
    return msgspec.structs.replace(plan, closing=_as_closing(closing, arguments))


def _as_closing(closing: Step, arguments: CollaborationArguments) -> Step:
    timeout_s = arguments.step_timeout_s or 0.0
    retries = closing.retries if arguments.retries is None else arguments.retries
    return msgspec.structs.replace(closing, timeout_s=timeout_s, retries=retries)


def check_plan(plan: Plan) -> None:
    """Check the size of a plan.

    Raises:
        InvalidArgument: it, or what one of its agents is told, is too large.
    """
    size = len(encode_json(plan))
    if size > MAX_PLAN_BYTES:
        raise InvalidArgument(
            f"task, steps and context have {size} bytes as JSON", expected=f"at most {MAX_PLAN_BYTES}", hint=SHARE_IT
        )
    planning = () if plan.planner is None else (plan_step(plan, plan.planner, ""),)
    for step in (*plan.all_steps, *planning):
        size = len(message_of(plan, step).encode())
        if size > MAX_TASK_BYTES:
            raise InvalidArgument(
                f"the task of {step.id!r}, with what the hub adds to it, has {size} bytes",
                expected=f"at most {MAX_TASK_BYTES}",
                hint=SHARE_IT,
            )


async def _must_be_registered(router: RouterClient, envelope: Envelope, named: Mapping[str, str]) -> None:
    """Refuse at once a name that nobody has, or of an agent that takes no work from the requester, before the others
    have worked for nothing.

    Args:
        named: Names of agents, and where in the arguments each stands.
    """
    if not named:
        return
    me = envelope.principal.agent
    found = await router.agents(envelope.principal, envelope.traceparent, limit=MAX_LISTED)
    for agent in found.agents:
        if agent.agent in named and not agent.accepts_you:
            raise Forbidden(
                f"{named[agent.agent]}: {agent.agent!r} takes no work from {me!r}",
                hint="name others; list_agents says with accepts_you false who does not take yours",
            )
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


async def _planner(router: RouterClient, envelope: Envelope, arguments: CollaborationArguments) -> Planner | None:
    """Who is asked for a plan: the best fitting agent that is online and offers it; None when there is none."""
    me = envelope.principal
    able = await router.agents(
        me, envelope.traceparent, capabilities=[PLANNING], query=arguments.task, online_only=True, limit=MAX_CANDIDATES
    )
    asked = [
        agent.agent for agent in able.agents if agent.agent != me.agent and agent.accepts_you and agent.offers(PLANNING)
    ]
    # Who names the agents wants no others to know of the task.
    who = next((name for name in asked if not arguments.agents or name in arguments.agents), None)
    if who is None:
        return None
    # The best fitting ones, of those that may be named.
    found = await router.agents(me, envelope.traceparent, query=arguments.task, limit=MAX_CANDIDATES)
    wanted = set(arguments.agents or (agent.agent for agent in found.agents if agent.accepts_you)) - {me.agent}
    known = [agent for agent in found.agents if agent.agent in wanted]
    names = tuple(dict.fromkeys([*(agent.agent for agent in known), *sorted(wanted)]))
    return Planner(
        agent=who,
        agents=names,
        roster=roster(Agents(tuple(known), len(known)), me.agent),
        on_failure=arguments.on_failure or ("quorum" if arguments.quorum else "fail_fast"),
    )


async def _fitting(router: RouterClient, envelope: Envelope, task: str, members: Sequence[str]) -> list[str]:
    """The agents to ask when none is named: those that fit best, of a room's members if it is for a room, and guests
    only where there are not enough others."""
    me = envelope.principal
    found = await router.agents(me, envelope.traceparent, query=task, online_only=True, limit=MAX_CANDIDATES)
    others = [agent.agent for agent in found.agents if agent.agent != me.agent and agent.online and agent.accepts_you]
    others = [name for name in others if name in members] or others
    if others:
        return sorted(others, key=is_guest)[:MAX_CHOSEN]
    known = await router.agents(me, envelope.traceparent, query=task, limit=10)
    away = [
        agent.agent
        for agent in known.agents
        if agent.agent != me.agent and agent.accepts_you and not is_guest(agent.agent)
    ]
    raise NotFound(
        "no other agent is online that could take part",
        hint=f"offline are: {', '.join(away)}; named in `agents` they get their part when they are back"
        if away
        else "nobody else has registered yet: other agents join with register_agent",
    )
