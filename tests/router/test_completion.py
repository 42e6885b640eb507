"""Completion of agents' names, capabilities and task ids."""

import asyncio

import pytest

from aicp_router.surface.completion import fitting, fitting_last
from tests.router.conftest import Network
from tests.router.mcp_client import McpClient

TASKS = "aicp://tasks/{id}"


@pytest.fixture
def alice(net: Network) -> McpClient:
    """A client of alice."""
    return McpClient(net.bus, net.tenant)


async def test_names_of_other_agents_complete(net: Network, alice: McpClient) -> None:
    for agent in ("alice", "alfred", "bob", "carol"):
        await net.register(agent, "work")
    assert await alice.complete("agent", "") == ["alfred", "bob", "carol"]
    assert await alice.complete("agent", "Al") == ["alfred"]
    assert await alice.complete("agents", "bob, ") == ["bob, alfred", "bob, carol"]
    assert await alice.complete("agents", "bob,alfred,c") == ["bob,alfred, carol"]
    assert await alice.complete("task", "b") == []


async def test_capabilities_complete_with_the_most_common_first(net: Network, alice: McpClient) -> None:
    await net.register("bob", "Data Analysis", "번역")
    await net.register("carol", "data analysis", "cooking")
    await net.register("dave", "cooking")
    await net.register("erin", "cooking")
    assert await alice.complete("capabilities", "") == ["cooking", "Data Analysis", "번역"]
    assert await alice.complete("capabilities", "ana") == ["Data Analysis"]
    assert await alice.complete("capabilities", "cooking, 번") == ["cooking, 번역"]


async def test_own_tasks_complete_newest_first(net: Network, alice: McpClient) -> None:
    await net.register("bob", "work")
    mine = [(await net.route("alice", agent="bob"))["task_id"] for _ in range(3)]
    other = (await net.route("carol", agent="bob"))["task_id"]
    assert await alice.complete("id", "", uri=TASKS) == mine[::-1]
    assert await alice.complete("id", mine[1], uri=TASKS) == [mine[1]]
    assert await alice.complete("id", other, uri=TASKS) == []
    # Who works on a task may read it as well.
    task = await net.claim("bob")
    assert await McpClient(net.bus, net.tenant, "bob").complete("id", "t-", uri=TASKS) == [task["task_id"]]


async def test_a_hundred_tasks_of_a_requester_are_remembered_and_no_steps(net: Network, alice: McpClient) -> None:
    await net.register("bob", "work", max_concurrency=100)
    whole = (await net.method("alice", "create_task", message="x", kind="collaboration"))["task_id"]
    step = (await net.method("alice", "create_task", message="x", agent="bob", parent=whole))["task_id"]
    assert await alice.complete("id", "", uri=TASKS) == [whole]
    await asyncio.gather(*(net.route("alice", agent="bob") for _ in range(105)))
    known = await alice.complete("id", "", uri=TASKS)
    assert len(known) == len(set(known)) == 100
    assert whole not in known
    assert step not in known


async def test_tenants_and_those_without_the_scope_learn_nothing(net: Network, alice: McpClient) -> None:
    await net.register("bob", "work")
    await net.route("alice", agent="bob")
    stranger = McpClient(net.bus, net.tenant + "x")
    poor = McpClient(net.bus, net.tenant, scopes=("context:read",))
    for client in (stranger, poor):
        assert await client.complete("agents", "") == []
        assert await client.complete("capabilities", "") == []
        assert await client.complete("id", "", uri=TASKS) == []
    assert await alice.complete("id", "", uri="aicp://context/{key}") == []


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("", ["data analysis", "analysis", "Banana"]),
        ("ANA", ["analysis", "data analysis", "Banana"]),
        (" b", ["Banana"]),
        ("x", []),
    ],
)
def test_what_begins_as_typed_comes_before_what_has_it_inside(typed: str, values: list[str]) -> None:
    assert fitting(typed, ["data analysis", "analysis", "Banana"]) == values


def test_in_a_list_what_is_there_is_not_offered_again() -> None:
    assert fitting_last("b, c,", ["a", "B", "c"]) == ["b, c, a"]
    assert fitting_last("", ["a", "b"]) == ["a", "b"]
