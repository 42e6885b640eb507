"""Opening, inviting, joining, leaving, closing: who may, and what others see of it."""

from typing import Any

import pytest

from aicp_common import subjects
from tests.orchestrator.network import Refused
from tests.orchestrator.rooms.circle import Circle, kinds

NO_SUCH = "not_found: room: there is no room 'launch' that you are in"


async def test_who_opens_a_room_is_in_it_and_whom_it_names_is_invited(circle: Circle) -> None:
    opened = await circle.tool("alice", "open_room", room="launch", topic="Plan the launch", members=["bob", "alice"])
    assert (opened["status"], opened["invited"], opened["last"]) == ("opened", ["bob"], 2)
    read = await circle.read("launch", "alice", after=0)
    assert kinds(read) == ["1 joined", "2 invited"]
    assert read["messages"][1]["agents"] == ["bob"]
    assert [member["agent"] for member in read["members"]] == ["alice"]
    assert (read["topic"], read["opener"], read["state"]) == ("Plan the launch", "alice", "open")
    mine = await circle.tool("bob", "list_rooms")
    assert mine["rooms"] == []
    assert [(one["room"], one["topic"], one["by"]) for one in mine["invitations"]] == [
        ("launch", "Plan the launch", "alice")
    ]


async def test_opening_again_with_the_same_topic_is_the_same_room_and_invites_who_is_new(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    again = await circle.tool(
        "alice", "open_room", room="launch", topic="About launch", members=["bob", "carol", "carol"]
    )
    assert (again["status"], again["invited"]) == ("exists", ["carol"])
    once_more = await circle.tool("alice", "open_room", room="launch", topic="About launch", members=["bob", "carol"])
    assert (once_more["invited"], once_more["last"]) == ([], again["last"])


async def test_the_same_opener_cannot_open_a_room_with_other_words(circle: Circle) -> None:
    await circle.open("launch", "alice")
    with pytest.raises(Refused, match=r"conflict: topic: .*'About launch'"):
        await circle.tool("alice", "open_room", room="launch", topic="Something else")
    with pytest.raises(Refused, match=r"conflict: who_may_invite: .*'opener'"):
        await circle.tool("alice", "open_room", room="launch", topic="About launch", who_may_invite="members")


async def test_a_name_that_somebody_else_has_is_taken_and_a_stranger_learns_no_more(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    await circle.tool("alice", "invite_to_room", room="launch", agents=["carol"])
    answers = {}
    for agent in ("bob", "carol", "dave"):
        with pytest.raises(Refused) as refused:
            await circle.tool(agent, "open_room", room="launch", topic="About launch")
        answers[agent] = str(refused.value)
    assert answers == {
        "bob": "conflict: room: the name launch is taken; you are in it: read_room",
        "carol": "conflict: room: the name launch is taken; you are invited to it: join_room",
        "dave": "conflict: room: the name launch is taken; choose another one",
    }


async def test_only_the_opener_invites_unless_members_may(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    with pytest.raises(Refused, match="forbidden: room: only its opener, alice, invites"):
        await circle.tool("bob", "invite_to_room", room="launch", agents=["carol"])
    await circle.open("party", "alice", "bob", who_may_invite="members")
    invited = await circle.tool("bob", "invite_to_room", room="party", agents=["carol", "alice", "carol"])
    assert (invited["invited"], invited["already"]) == (["carol"], ["alice"])
    await circle.tool("carol", "join_room", room="party")
    assert [member["agent"] for member in (await circle.read("party", "carol"))["members"]] == ["alice", "bob", "carol"]


async def test_only_who_is_invited_joins_and_joining_twice_changes_nothing(circle: Circle) -> None:
    await circle.tool("alice", "open_room", room="launch", topic="t", members=["bob"])
    first = await circle.tool("bob", "join_room", room="launch")
    assert (first["status"], first["topic"], first["opener"], first["last"]) == ("joined", "t", "alice", 3)
    again = await circle.tool("bob", "join_room", room="launch")
    assert (again["status"], again["last"]) == ("member", 3)
    assert [one["room"] for one in (await circle.tool("bob", "list_rooms"))["rooms"]] == ["launch"]
    assert (await circle.tool("bob", "list_rooms"))["invitations"] == []


async def test_who_is_not_in_is_told_the_same_of_every_room_whether_it_is_there_or_not(circle: Circle) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("read_room", {}),
        ("post_message", {"text": "hello"}),
        ("invite_to_room", {"agents": ["dave"]}),
        ("leave_room", {}),
        ("leave_room", {"agent": "alice"}),
        ("close_room", {}),
        ("join_room", {}),
    ]

    async def answers() -> list[str]:
        said = []
        for tool, arguments in calls:
            with pytest.raises(Refused) as refused:
                await circle.tool("dave", tool, room="launch", **arguments)
            said.append(str(refused.value))
        return said

    before = await answers()
    await circle.open("launch", "alice")
    assert await answers() == before
    assert all(text.startswith("not_found: room: there is no room 'launch'") for text in before)


async def test_who_is_invited_cannot_read_or_post_before_it_joins(circle: Circle) -> None:
    await circle.open("launch", "alice")
    await circle.tool("alice", "invite_to_room", room="launch", agents=["bob"])
    for tool, arguments in (("read_room", {}), ("post_message", {"text": "hello"})):
        with pytest.raises(Refused, match="conflict: room: you are invited to launch and not in it yet; join_room"):
            await circle.tool("bob", tool, room="launch", **arguments)
    with pytest.raises(Refused, match=NO_SUCH):
        await circle.tool("bob", "close_room", room="launch")


async def test_who_left_must_be_invited_again(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    left = await circle.tool("bob", "leave_room", room="launch")
    assert left == {"status": "left", "room": "launch"}
    with pytest.raises(Refused, match="to which you are invited"):
        await circle.tool("bob", "join_room", room="launch")
    with pytest.raises(Refused, match=NO_SUCH):
        await circle.read("launch", "bob")
    assert (await circle.tool("bob", "list_rooms"))["rooms"] == []
    assert kinds(await circle.read("launch", "alice"))[-1] == "4 left"


async def test_the_opener_takes_others_out_and_takes_invitations_back_and_nobody_else_does(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob", "carol")
    await circle.tool("alice", "invite_to_room", room="launch", agents=["dave"])
    for agent in ("carol", "dave"):
        with pytest.raises(Refused, match="forbidden: agent: only the opener of launch, alice"):
            await circle.tool("bob", "leave_room", room="launch", agent=agent)
    assert (await circle.tool("alice", "leave_room", room="launch", agent="carol"))["status"] == "removed"
    assert (await circle.tool("alice", "leave_room", room="launch", agent="dave"))["status"] == "withdrawn"
    with pytest.raises(Refused, match="not_found: agent: 'erin' is neither in launch nor invited"):
        await circle.tool("alice", "leave_room", room="launch", agent="erin")
    for agent in ("carol", "dave"):
        with pytest.raises(Refused, match="to which you are invited"):
            await circle.tool(agent, "join_room", room="launch")
        assert await circle.tool(agent, "list_rooms") == {"rooms": [], "invitations": []}
    last = (await circle.read("launch", "bob"))["messages"][-1]
    assert (last["kind"], last["author"], last["agents"]) == ("left", "alice", ["carol"])


async def test_when_the_opener_leaves_who_joined_first_is_opener(circle: Circle) -> None:
    await circle.open("launch", "alice", "zoe", "bob")
    left = await circle.tool("alice", "leave_room", room="launch")
    assert left["opener"] == "zoe"
    read = await circle.read("launch", "bob")
    assert read["opener"] == "zoe"
    assert read["messages"][-1]["opener"] == "zoe"
    await circle.tool("zoe", "close_room", room="launch")


async def test_when_the_last_one_leaves_the_room_is_gone_and_its_name_is_free(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    await circle.tool("alice", "invite_to_room", room="launch", agents=["carol"])
    await circle.tool("alice", "leave_room", room="launch")
    assert (await circle.tool("bob", "leave_room", room="launch"))["status"] == "closed"
    assert await circle.tool("carol", "list_rooms") == {"rooms": [], "invitations": []}
    again = await circle.tool("dave", "open_room", room="launch", topic="Another one")
    assert (again["status"], again["last"]) == ("opened", 1)
    # Nothing of the first one is left in the second.
    with pytest.raises(Refused, match="to which you are invited"):
        await circle.tool("carol", "join_room", room="launch")
    assert kinds(await circle.read("launch", "dave", after=0)) == ["1 joined"]


async def test_a_closed_room_is_read_and_nothing_else(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    await circle.tool("alice", "invite_to_room", room="launch", agents=["carol"])
    await circle.post("launch", "bob", "last words")
    with pytest.raises(Refused, match="forbidden: room: only its opener, alice, closes launch"):
        await circle.tool("bob", "close_room", room="launch")
    closed = await circle.tool("alice", "close_room", room="launch")
    assert await circle.tool("alice", "close_room", room="launch") == closed
    read = await circle.read("launch", "bob")
    assert (read["state"], kinds(read)[-1]) == ("closed", f"{closed['last']} closed")
    assert "closed" in read["next"]
    for tool, arguments in (
        ("post_message", {"text": "one more"}),
        ("invite_to_room", {"agents": ["dave"]}),
        ("open_room", {"topic": "About launch"}),
    ):
        with pytest.raises(Refused, match=r"conflict: .*closed"):
            await circle.tool("alice", tool, room="launch", **arguments)
    with pytest.raises(Refused, match="to which you are invited"):
        await circle.tool("carol", "join_room", room="launch")
    assert (await circle.tool("carol", "list_rooms"))["invitations"] == []
    assert [one["state"] for one in (await circle.tool("bob", "list_rooms"))["rooms"]] == ["closed"]
    # A wait ends at once: nothing comes any more.
    assert (await circle.read("launch", "bob", wait_s=40))["messages"] == []


async def test_tenants_do_not_see_each_others_rooms(circle: Circle) -> None:
    other = Circle(circle.bus, f"{circle.tenant}-b")
    await circle.open("launch", "alice", "bob")
    await circle.post("launch", "alice", "secret")
    with pytest.raises(Refused, match=NO_SUCH):
        await other.read("launch", "alice")
    await other.open("launch", "alice")
    assert (await other.read("launch", "alice"))["last"] == 1
    assert (await circle.read("launch", "alice"))["last"] == 4


async def test_a_list_of_rooms_tells_who_watches_it_of_invitations_and_of_what_became_of_them(circle: Circle) -> None:
    watch = await circle.method("bob", "resource_watch", uri="aicp://rooms")
    assert watch == {"subject": subjects.rooms_of(circle.tenant, "bob")}
    async with circle.listening(watch["subject"]) as heard:
        await circle.tool("alice", "open_room", room="launch", topic="t", members=["bob"])
        await heard.get()
        await circle.tool("bob", "join_room", room="launch")
        await heard.get()
        await circle.post("launch", "alice", "no reason to read the list")
        await circle.tool("alice", "leave_room", room="launch", agent="bob")
        await heard.get()
        assert heard.empty()


@pytest.mark.parametrize(
    ("tool", "arguments", "complaint"),
    [
        ("open_room", {"room": "Launch!", "topic": "t"}, "room: should be 1 to 64 characters a-z 0-9 _ -"),
        ("open_room", {"room": "launch"}, "topic: missing"),
        ("open_room", {"room": "launch", "topic": ""}, "topic: is empty"),
        ("open_room", {"room": "launch", "topic": "t" * 501}, "topic: has 501 characters, at most 500 fit"),
        ("open_room", {"room": "launch", "topic": "t", "members": "bob"}, "members: should be a list"),
        ("open_room", {"room": "launch", "topic": "t", "members": ["statehub"]}, "members.0: is a name of the hub"),
        ("open_room", {"room": "launch", "topic": "t", "members": [f"a{n}" for n in range(201)]}, "at most 200"),
        ("open_room", {"room": "launch", "topic": "t", "who_may_invite": "all"}, "who_may_invite: should be 'opener'"),
        ("invite_to_room", {"room": "launch", "agents": []}, "agents: has no items, at least 1"),
        ("post_message", {"room": "launch", "text": ""}, "text: is empty"),
        ("post_message", {"room": "launch", "text": "x", "reply_to": 0}, "reply_to: should be greater than or equal"),
        ("post_message", {"room": "launch", "text": "x", "mentions": ["Bob"]}, "mentions.0: should be 1 to 64"),
        ("read_room", {"room": "launch", "after": -1}, "after: should be greater than or equal to 0"),
        ("read_room", {"room": "launch", "after": 2**53}, "after: should be less than or equal"),
        ("read_room", {"room": "launch", "limit": 201}, "limit: should be less than or equal to 200"),
        ("read_room", {"room": "launch", "wait_s": 41}, "wait_s: should be less than or equal to 40"),
        ("list_rooms", {"room": "launch"}, "room: no such argument"),
    ],
)
async def test_a_wrong_argument_is_named_with_what_was_expected(
    circle: Circle, tool: str, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(Refused) as refused:
        await circle.tool("alice", tool, **arguments)
    assert complaint in str(refused.value)
