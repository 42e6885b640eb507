"""Which agents a request without names goes to."""

from typing import Any

import pytest

from aicp_common.errors import Forbidden, NotFound
from aicp_orchestrator.collaborations.arguments import CollaborationArguments
from aicp_orchestrator.collaborations.request import plan_of
from aicp_orchestrator.router_client import Agents, ListedAgent
from tests.conftest import envelope


class Router:
    """A router that lists these agents, best fitting first, whatever it is asked for."""

    def __init__(self, *agents: ListedAgent) -> None:
        self._agents = agents

    async def agents(self, *_: Any, **__: Any) -> Agents:
        return Agents(self._agents, len(self._agents))


async def chosen(*agents: ListedAgent) -> list[str]:
    """Whom the plan of a request of alice without names gives the task to."""
    router: Any = Router(*agents)
    plan = await plan_of(router, envelope("t", "alice"), CollaborationArguments(task="t"))
    return [step.agent for step in plan.steps]


def here(name: str) -> ListedAgent:
    return ListedAgent(name, online=True)


def choosy(name: str) -> ListedAgent:
    """One that is here, and takes no work from the requester."""
    return ListedAgent(name, online=True, accepts_you=False)


def away(name: str) -> ListedAgent:
    return ListedAgent(name, online=False)


async def test_the_three_that_fit_best_are_asked_and_not_the_requester() -> None:
    assert await chosen(here("dave"), here("alice"), here("bob"), here("carol"), here("erin")) == [
        "dave",
        "bob",
        "carol",
    ]


async def test_an_agent_that_is_not_online_is_not_asked() -> None:
    assert await chosen(away("dave"), here("bob"), away("guest-1")) == ["bob"]


async def test_guests_are_asked_only_where_there_are_not_enough_others() -> None:
    assert await chosen(here("guest-1"), here("guest-2"), here("bob"), here("carol")) == ["bob", "carol", "guest-1"]
    assert await chosen(here("guest-1"), here("guest-2")) == ["guest-1", "guest-2"]


async def test_when_nobody_is_online_those_who_will_come_back_are_named() -> None:
    with pytest.raises(NotFound) as refused:
        await chosen(away("guest-1"), away("bob"))
    assert refused.value.hint is not None
    assert refused.value.hint.startswith("offline are: bob;")


async def test_who_takes_no_work_from_the_requester_is_not_asked() -> None:
    assert await chosen(choosy("dave"), here("bob")) == ["bob"]
    with pytest.raises(NotFound):
        await chosen(choosy("dave"))


async def test_naming_somebody_who_takes_no_work_from_the_requester_is_refused_at_once() -> None:
    router: Any = Router(here("bob"), choosy("dave"))
    asked = CollaborationArguments(task="t", agents=["bob", "dave"])
    with pytest.raises(Forbidden, match=r"agents\.1: 'dave' takes no work from 'alice'"):
        await plan_of(router, envelope("t", "alice"), asked)


async def test_who_takes_no_work_from_the_requester_neither_makes_the_plan_nor_stands_in_it() -> None:
    planners = [
        ListedAgent("dave", online=True, capabilities=("planning",), accepts_you=False),
        ListedAgent("bob", online=True, capabilities=("planning",)),
    ]
    router: Any = Router(*planners, here("carol"))
    plan = await plan_of(router, envelope("t", "alice"), CollaborationArguments(task="t"))
    assert plan.planner is not None
    assert (plan.planner.agent, plan.planner.agents) == ("bob", ("bob", "carol"))
    assert "dave" not in plan.planner.roster
