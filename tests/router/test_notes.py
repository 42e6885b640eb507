"""What agents are told of rooms without looking there, and who of them is online."""

import asyncio
from typing import Any

import msgspec
import pytest

from aicp_common import subjects
from aicp_common.errors import InvalidArgument
from aicp_router.tasks.notes import MAX_AGENTS, MAX_NOTES
from tests.router.conftest import Network


async def said(net: Network, agent: str = "bob", *, scopes: tuple[str, ...] = ("*",), **arguments: Any) -> str:
    """What a gateway would tell the agent now."""
    text: str = msgspec.json.decode((await net.raw(agent, "inbox_hint", arguments, scopes=scopes)).body)["text"]
    return text


async def tell(net: Network, *agents: str, kind: str = "invited", room: str = "launch", by: str = "alice") -> None:
    """As the service of the rooms does."""
    await net.method("orchestrator", "tell_agents", agents=list(agents), kind=kind, room=room, by=by)


async def test_an_agent_is_told_once_where_it_is_invited_and_mentioned(net: Network) -> None:
    await tell(net, "bob", "carol")
    await tell(net, "bob", kind="mentioned", by="dave")
    assert await said(net) == (
        "rooms: alice invites you to launch (join_room); dave mentions you in launch (read_room)"
    )
    assert await said(net) == ""
    assert await said(net, "carol") == "rooms: alice invites you to launch (join_room)"


async def test_what_waits_in_the_inbox_stands_on_a_line_of_its_own(net: Network) -> None:
    await net.register("bob", "work")
    await net.route("alice", agent="bob")
    await tell(net, "bob")
    assert (await said(net)).split("\n") == [
        "inbox: 1 waiting (from alice; receive_tasks brings it)",
        "rooms: alice invites you to launch (join_room)",
    ]


async def test_who_connects_is_greeted_with_it(net: Network) -> None:
    await tell(net, "bob")
    await tell(net, "bob", kind="mentioned", room="party")
    assert await said(net, greeting=True) == (
        "Rooms: alice invites you to launch (join_room); alice mentions you in party (read_room)."
    )
    assert await said(net, greeting=True) == ""


async def test_the_same_note_is_told_once_and_of_many_the_newest(net: Network) -> None:
    await tell(net, "bob")
    await tell(net, "bob")
    assert await said(net) == "rooms: alice invites you to launch (join_room)"
    for n in range(MAX_NOTES + 3):
        await tell(net, "bob", room=f"room-{n:02}")
    line = await said(net)
    assert line.count("invites you") == MAX_NOTES
    assert f"room-{MAX_NOTES + 2:02}" in line


async def test_only_agents_that_may_read_rooms_are_told(net: Network) -> None:
    await tell(net, "bob")
    assert await said(net, scopes=("tasks:work",)) == ""
    assert await said(net, scopes=("tasks:work", "rooms:read")) != "", "and it was kept until then"


async def test_what_an_agent_has_seen_by_itself_is_not_told(net: Network) -> None:
    await tell(net, "bob")
    await tell(net, "bob", kind="mentioned")
    await tell(net, "bob", room="launch-2")
    await net.method("orchestrator", "drop_notes", agents=["bob"], room="launch")
    assert await said(net) == "rooms: alice invites you to launch-2 (join_room)"


async def test_gateways_hear_that_there_is_something_to_tell(net: Network) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: Any) -> None:
        heard.put_nowait(message.subject)

    await net.bus.subscribe(subjects.agent(net.tenant, "*"), hear)
    await net.bus.flush()
    await tell(net, "bob", "statehub")
    assert await asyncio.wait_for(heard.get(), 5) == subjects.agent(net.tenant, "bob")
    await net.bus.flush()
    assert heard.empty(), "the hub's own agents are told nothing"


async def test_who_waits_for_work_waits_on_when_it_is_invited_and_gets_what_comes(net: Network) -> None:
    await net.register("bob", "work")
    receiving = asyncio.create_task(net.claim("bob", wait_s=20))
    await net.tool("alice", "list_agents")  # behind the call that waits
    await tell(net, "bob")
    await net.tool("alice", "list_agents")
    assert not receiving.done()
    routed = await net.route("alice", agent="bob")
    assert (await receiving)["task_id"] == routed["task_id"]
    assert await said(net) == "rooms: alice invites you to launch (join_room)"


async def test_tenants_are_told_of_their_own_rooms_only(net: Network) -> None:
    await tell(net, "bob")
    assert await said(Network(net.bus, f"{net.tenant}-b")) == ""


async def test_who_is_online_is_known_of_registered_agents_and_of_others(net: Network) -> None:
    await net.register("alice", "work")
    # Whoever waits for work is here, registered or not.
    await net.tool("bob", "receive_tasks")
    asked = ["bob", "carol", "alice"]
    assert await net.method("orchestrator", "who_is_online", agents=asked) == {"online": ["bob", "alice"]}
    assert await net.method("orchestrator", "who_is_online", agents=[]) == {"online": []}


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("who_is_online", {"agents": ["a"] * (MAX_AGENTS + 1)}),
        ("who_is_online", {"agents": ["Not An Id"]}),
        ("tell_agents", {"agents": ["bob"], "kind": "praised", "room": "launch", "by": "alice"}),
        ("tell_agents", {"agents": ["bob"], "kind": "invited", "room": "a b", "by": "alice"}),
        ("drop_notes", {"agents": ["bob"]}),
    ],
)
async def test_wrong_calls_are_refused(net: Network, method: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        await net.method("orchestrator", method, **fields)


async def test_who_only_waits_for_work_hears_of_rooms_when_nothing_came(net: Network) -> None:
    await tell(net, "bob")
    first = await net.tool("bob", "receive_tasks")
    assert first["rooms"] == ["alice invites you to launch (join_room)"]
    assert "rooms" not in await net.tool("bob", "receive_tasks")
