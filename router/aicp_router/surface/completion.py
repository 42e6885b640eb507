"""Completion: names of agents, capabilities and task ids that could stand where somebody is typing."""

from collections import Counter
from collections.abc import Iterable

from aicp_common.envelope import Envelope
from aicp_common.service import Service
from aicp_common.surface import Complete
from aicp_router.agents.picture import Agent
from aicp_router.matching import capability
from aicp_router.settings import RouterSettings
from aicp_router.surface.resources import TASK_TEMPLATE
from aicp_router.tasks import task_scripts
from aicp_router.tasks.dispatch import Dispatch


def declare(service: Service[RouterSettings], dispatch: Dispatch) -> None:
    """Declare what completes arguments of prompts and of the template of tasks. Other services of the hub ask here
    for the names of agents."""

    @service.completion
    async def complete(envelope: Envelope, wanted: Complete) -> list[str]:
        who, typed = envelope.principal, wanted.argument.value
        if wanted.ref.type == "ref/resource":
            if wanted.ref.uri != TASK_TEMPLATE or not who.may("tasks:read"):
                return []
            return fitting(typed, await task_scripts.of_agent(dispatch.redis, who.tenant, who.agent))
        match wanted.argument.name:
            case "agent" if _may_look(envelope):
                return fitting(typed, _names(await _agents(dispatch, envelope)))
            case "agents" if _may_look(envelope):
                return fitting_last(typed, _names(await _agents(dispatch, envelope)))
            case "capabilities" if _may_look(envelope) or who.may("agents:write"):
                return fitting_last(typed, _capabilities(await _agents(dispatch, envelope)))
        return []


def _may_look(envelope: Envelope) -> bool:
    # Who may ask for work may learn who could do it: an unknown name is answered with the names that there are.
    return envelope.principal.may("agents:read") or envelope.principal.may("tasks:request")


async def _agents(dispatch: Dispatch, envelope: Envelope) -> list[Agent]:
    """The registered agents but the one who asks, those who are online first."""
    who = envelope.principal
    found = [
        agent
        for agent in (await dispatch.registry.agents(who.tenant)).values()
        if agent.profile is not None and agent.name != who.agent and not agent.gone
    ]
    return sorted(found, key=lambda agent: (not agent.online, agent.name))


def _names(agents: Iterable[Agent]) -> list[str]:
    return [agent.name for agent in agents]


def _capabilities(agents: Iterable[Agent]) -> list[str]:
    """What agents can do, each thing once in the words that came first, and what most of them can do first."""
    words: dict[str, str] = {}
    count: Counter[str] = Counter()
    for agent in agents:
        for name in agent.profile.capabilities if agent.profile else ():
            normal = capability.normalise(name)
            words.setdefault(normal, name)
            count[normal] += 1
    return [words[normal] for normal in sorted(words, key=lambda normal: (-count[normal], normal))]


def fitting(typed: str, names: Iterable[str]) -> list[str]:
    """Those of the `names` that begin with what was typed, then those that have it inside."""
    wanted = typed.strip().casefold()
    begin: list[str] = []
    inside: list[str] = []
    for name in names:
        place = name.casefold().find(wanted)
        if place >= 0:
            (inside if place else begin).append(name)
    return begin + inside


def fitting_last(typed: str, names: Iterable[str]) -> list[str]:
    """The same for the last of several names that are separated by commas; what stands before it stays."""
    before, comma, last = typed.rpartition(",")
    if not comma:
        return fitting(typed, names)
    there = {name.strip().casefold() for name in before.split(",")}
    left = (name for name in names if name.casefold() not in there)
    return [f"{before.strip()}, {name}" for name in fitting(last, left)]
