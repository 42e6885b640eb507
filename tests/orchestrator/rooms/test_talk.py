"""Posting and reading: numbers, marks, waiting, keys."""

import asyncio
import json

import pytest

from tests.conftest import envelope
from tests.orchestrator.network import Refused
from tests.orchestrator.rooms.circle import Circle, kinds
from tests.support.processes import ServiceProcess


async def test_messages_have_numbers_without_gaps_and_tell_all_that_was_given(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    number = await circle.post("launch", "alice", "What does it cost? 한국어 🚀 \x00")
    answer = await circle.post("launch", "bob", "40,000", reply_to=number, mentions=["alice", "alice"])
    assert (number, answer) == (4, 5)
    read = await circle.read("launch", "bob", after=0)
    assert kinds(read) == ["1 joined", "2 invited", "3 joined", "4 message", "5 message"]
    first, second = read["messages"][3:]
    assert (first["author"], first["text"]) == ("alice", "What does it cost? 한국어 🚀 \x00")
    assert {name: second[name] for name in ("author", "text", "reply_to", "mentions")} == {
        "author": "bob",
        "text": "40,000",
        "reply_to": 4,
        "mentions": ["alice"],
    }
    assert second["at"].endswith("Z")
    assert (read["last"], read["first"], read["member_count"]) == (5, 1, 2)
    assert "missed" not in read


async def test_without_after_a_member_reads_what_it_has_not_read(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    assert len((await circle.read("launch", "alice"))["messages"]) == 1, "who opened and invited knows of that"
    assert len((await circle.read("launch", "bob"))["messages"]) == 3, "who comes in reads all that is there"
    await circle.post("launch", "alice", "one")
    await circle.post("launch", "alice", "two")
    assert await circle.said("launch", "bob", limit=1) == ["one"]
    assert await circle.said("launch", "bob") == ["two"]
    assert await circle.said("launch", "bob") == []
    assert await circle.said("launch", "alice") == [], "one's own messages are read"
    assert await circle.said("launch", "bob", after=3) == ["one", "two"], "and what was read is still there"
    assert await circle.said("launch", "bob") == [], "reading older ones again moves nothing back"


async def test_a_page_says_how_to_read_on(circle: Circle) -> None:
    await circle.open("launch", "alice")
    for n in range(5):
        await circle.post("launch", "alice", str(n))
    page = await circle.read("launch", "alice", after=0, limit=2)
    assert kinds(page) == ["1 joined", "2 message"]
    assert page["next"] == "4 more: read_room again, with after 2"
    page = await circle.read("launch", "alice", after=2)
    assert page["next"] == "this is all for now: read_room with after 6 and wait_s 30 waits for more"
    beyond = await circle.read("launch", "alice", after=99)
    assert beyond["messages"] == []
    assert beyond["next"].startswith("there is no message 99 yet, the last one is 6")


async def test_a_page_ends_at_128_kib_and_has_at_least_one_message(circle: Circle) -> None:
    await circle.open("launch", "alice")
    for _ in range(6):
        await circle.post("launch", "alice", "x" * 32 * 1024)
    page = await circle.read("launch", "alice", after=1)
    assert kinds(page) == ["2 message", "3 message", "4 message"]
    assert len(page["messages"][0]["text"]) == 32 * 1024


async def test_a_text_is_up_to_32_kib_of_utf_8(circle: Circle) -> None:
    await circle.open("launch", "alice")
    text = "한" * (32 * 1024 // 3)
    await circle.post("launch", "alice", text)
    assert await circle.said("launch", "alice", after=1) == [text]
    with pytest.raises(Refused, match="text: has 32769 bytes, at most 32768 fit; share_context takes more"):
        await circle.post("launch", "alice", text + "123")


async def test_a_reply_is_to_a_message_that_was_there_and_a_mention_of_a_member(circle: Circle) -> None:
    await circle.open("launch", "alice")
    await circle.tool("alice", "invite_to_room", room="launch", agents=["bob"])
    with pytest.raises(Refused, match="reply_to: there is no message 3 in launch; expected: a number from 1 to 2"):
        await circle.post("launch", "alice", "x", reply_to=3)
    with pytest.raises(Refused, match="mentions: 'bob' is invited to launch and has not joined yet"):
        await circle.post("launch", "alice", "x", mentions=["bob"])
    with pytest.raises(Refused, match="mentions: 'carol' is no member of launch"):
        await circle.post("launch", "alice", "x", mentions=["carol"])
    assert (await circle.read("launch", "alice"))["last"] == 2


async def test_who_posts_is_told_how_much_it_has_not_read(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    posted = await circle.tool("bob", "post_message", room="launch", text="hello")
    assert posted == {"status": "posted", "room": "launch", "number": 4, "unread": 3}
    await circle.read("launch", "bob")
    posted = await circle.tool("bob", "post_message", room="launch", text="again")
    assert "unread" not in posted
    rooms = (await circle.tool("alice", "list_rooms"))["rooms"]
    assert [(one["room"], one["last"], one["unread"], one["members"], one["opener"]) for one in rooms] == [
        ("launch", 5, 3, 2, "alice")
    ]


async def test_the_same_key_gives_the_same_number_and_posts_once(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    first = await circle.tool("alice", "post_message", room="launch", text="once", idempotency_key="k 1")
    again = await circle.tool("alice", "post_message", room="launch", text="once", idempotency_key="k 1")
    assert (first["status"], again["status"], first["number"]) == ("posted", "repeated", again["number"])
    with pytest.raises(Refused, match=f"conflict: idempotency_key: 'k 1' stands for another message, number {4}"):
        await circle.post("launch", "alice", "twice", idempotency_key="k 1")
    # Keys of another member are others.
    assert await circle.post("launch", "bob", "once", idempotency_key="k 1") == 5
    await circle.tool("alice", "close_room", room="launch")
    assert await circle.post("launch", "alice", "once", idempotency_key="k 1") == 4


async def test_members_are_listed_with_what_they_have_read(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    await circle.read("launch", "bob")
    number = await circle.post("launch", "bob", "hello")
    members = (await circle.read("launch", "alice"))["members"]
    assert [(one["agent"], one["read_up_to"]) for one in members] == [("alice", number), ("bob", number)]
    assert all(one["joined"].endswith("Z") for one in members)


async def test_of_many_members_only_their_number_is_told_unless_asked_for(circle: Circle) -> None:
    others = [f"a{n}" for n in range(50)]
    await circle.open("launch", "alice", *others)
    read = await circle.read("launch", "alice", limit=1)
    assert read["member_count"] == 51
    assert "members" not in read
    read = await circle.read("launch", "alice", limit=1, with_members=True)
    assert [member["agent"] for member in read["members"]] == ["alice", *others]


async def test_who_waits_has_a_message_as_soon_as_it_is_posted(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    await circle.read("launch", "bob")
    began = asyncio.get_running_loop().time()
    waiting = asyncio.create_task(circle.said("launch", "bob", wait_s=30))
    await circle.read("launch", "alice")
    await circle.post("launch", "alice", "here it is")
    assert await waiting == ["here it is"]
    assert asyncio.get_running_loop().time() - began < 5


async def test_a_wait_ends_empty_when_nothing_comes(circle: Circle) -> None:
    await circle.open("launch", "alice")
    read = await circle.read("launch", "alice", wait_s=0.1)
    assert (read["messages"], read["last"]) == ([], 1)


async def test_who_is_taken_out_while_it_waits_is_told_so(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    await circle.read("launch", "bob")
    waiting = asyncio.create_task(circle.read("launch", "bob", wait_s=30))
    await circle.read("launch", "alice")
    await circle.tool("alice", "leave_room", room="launch", agent="bob")
    with pytest.raises(Refused, match="there is no room 'launch' that you are in"):
        await waiting


async def test_messages_that_nobody_took_are_not_read(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    await circle.read("launch", "bob")
    await circle.post("launch", "alice", "do not lose me")
    who = envelope(circle.tenant, "bob")
    reply = await circle.bus.call("orchestrator", "read_room", who, b'{"room": "launch"}', hands_on=True)
    assert b"do not lose me" in reply.body
    circle.bus.acknowledge(reply.receipt, taken=False)
    while (await circle.tool("bob", "list_rooms"))["rooms"][0]["unread"] == 0:
        pass
    assert await circle.said("launch", "bob") == ["do not lose me"]


async def test_the_same_call_that_comes_to_another_worker_finds_the_same(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    who = envelope(circle.tenant, "bob")
    answers = [
        json.loads((await circle.bus.call("orchestrator", "read_room", who, b'{"room": "launch"}')).body)
        for _ in range(2)
    ]
    assert [kinds(answer["structuredContent"]) for answer in answers] == [["1 joined", "2 invited", "3 joined"]] * 2
    assert (await circle.read("launch", "bob"))["messages"] == []


async def test_twenty_that_post_at_once_over_two_workers_get_numbers_without_gaps_or_doubles(
    circle: Circle, second_orchestrator: ServiceProcess
) -> None:
    agents = [f"a{n}" for n in range(20)]
    await circle.open("launch", *agents)
    before = (await circle.read("launch", "a0"))["last"]

    async def talk(agent: str) -> dict[int, str]:
        return {await circle.post("launch", agent, f"{agent} {n}"): f"{agent} {n}" for n in range(10)}

    posted: dict[int, str] = {}
    for numbers in await asyncio.gather(*map(talk, agents)):
        assert list(numbers) == sorted(numbers), "each one's own are in order"
        assert not posted.keys() & numbers.keys()
        posted |= numbers
    assert sorted(posted) == list(range(before + 1, before + 201))
    read = (await circle.read("launch", "a0", after=before, limit=200))["messages"]
    assert {message["number"]: message["text"] for message in read} == posted
