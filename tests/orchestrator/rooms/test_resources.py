"""Rooms as resources, and the news that gateways ask for."""

import contextlib
from typing import Any

import pytest

from aicp_common import subjects
from aicp_common.errors import Forbidden, InvalidArgument, NotFound
from aicp_common.store import connect_redis, key
from aicp_orchestrator.rooms.posting import members_of, post_as_hub
from aicp_orchestrator.rooms.state import Bounds
from tests.orchestrator.network import Refused
from tests.orchestrator.rooms.circle import Circle
from tests.support.processes import Backend

URI = "aicp://rooms/launch"


async def news(circle: Circle, after: int, room: str = "launch") -> dict[str, Any]:
    """What a gateway gets."""
    return await circle.method("gateway", "room_news", uri=f"aicp://rooms/{room}", after=after)


async def test_a_room_is_a_document_with_its_members_and_last_messages(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    for n in range(60):
        await circle.post("launch", "alice", f"message {n}")
    await circle.post("launch", "alice", "x" * 5_000)
    room = await circle.resource("bob", URI)
    assert (room["room"], room["topic"], room["opener"], room["state"]) == ("launch", "About launch", "alice", "open")
    assert (room["first"], room["last"], room["who_may_invite"]) == (1, 64, "opener")
    assert [member["agent"] for member in room["members"]] == ["alice", "bob"]
    assert [message["number"] for message in room["messages"]] == list(range(15, 65))
    assert (len(room["messages"][-1]["text"]), room["messages"][-1]["shortened"]) == (4_096, True)
    assert "after 64" in room["how_to_read_on"]
    assert (await circle.tool("bob", "list_rooms"))["rooms"][0]["unread"] == 64, (
        "reading it as a resource marks nothing"
    )


async def test_the_list_of_rooms_is_a_document_too(circle: Circle) -> None:
    await circle.open("launch", "alice")
    assert await circle.resource("alice", "aicp://rooms") == await circle.tool("alice", "list_rooms")


async def test_who_is_no_member_reads_and_watches_no_room_whether_it_is_there_or_not(circle: Circle) -> None:
    await circle.open("launch", "alice")
    await circle.tool("alice", "invite_to_room", room="launch", agents=["bob"])
    for agent in ("bob", "carol"):
        for method in ("resource_read", "resource_watch"):
            for room in ("launch", "nothing", "No%20Id", "a/b", ""):
                with pytest.raises(NotFound, match=r"there is no room .* that you are in"):
                    await circle.method(agent, method, uri=f"aicp://rooms/{room}")
    with pytest.raises(NotFound, match="there is no resource"):
        await circle.method("alice", "resource_read", uri="aicp://roomsx")


async def test_resources_need_the_scope_to_read_rooms(circle: Circle) -> None:
    await circle.open("launch", "alice")
    for uri in ("aicp://rooms", URI):
        for method in ("resource_read", "resource_watch"):
            with pytest.raises(Forbidden, match="rooms:read"):
                await circle.method("alice", method, scopes=("rooms:write",), uri=uri)


async def test_whoever_watches_a_room_is_told_where_to_listen_and_from_where_on_to_ask(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    watch = await circle.method("bob", "resource_watch", uri=URI)
    assert watch == {
        "subject": subjects.room(circle.tenant, "launch"),
        "news": {"method": "room_news", "after": 3},
    }
    async with circle.listening(watch["subject"]) as heard:
        await circle.post("launch", "alice", "hello")
        await heard.get()
        await circle.tool("bob", "leave_room", room="launch")
        await heard.get()
        await circle.tool("alice", "close_room", room="launch")
        await heard.get()


async def test_news_are_the_messages_after_a_number_and_who_may_hear_of_them_now(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    await circle.post("launch", "alice", "hello", mentions=["bob"])
    found = await news(circle, 3)
    assert (found["after"], sorted(found["for"]), found["more"]) == (4, ["alice", "bob"], False)
    assert found["news"] == (await circle.read("launch", "bob", after=3))["messages"]
    assert await news(circle, 4) == {"after": 4, "for": found["for"], "news": [], "more": False}
    await circle.tool("alice", "leave_room", room="launch", agent="bob")
    assert (await news(circle, 4))["for"] == ["alice"], "who is out hears not even of that"


async def test_news_come_a_hundred_at_a_time_and_256_kib(circle: Circle) -> None:
    await circle.open("launch", "alice")
    for _ in range(120):
        await circle.post("launch", "alice", "x")
    found = await news(circle, 0)
    assert (found["after"], len(found["news"]), found["more"]) == (100, 100, True)
    found = await news(circle, 100)
    assert (found["after"], len(found["news"]), found["more"]) == (121, 21, False)
    text = "\u3042" * 10_000
    for _ in range(30):
        await circle.post("launch", "alice", text)
    found = await news(circle, 121)
    assert found["more"]
    assert 10 <= len(found["news"]) < 30
    first = found["news"][0]
    assert (first["text"], first["shortened"]) == (text[:4_096], True)


async def test_a_closed_room_tells_of_its_end_and_one_that_is_gone_has_no_news(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    await circle.tool("alice", "close_room", room="launch")
    found = await news(circle, 3)
    assert ([message["kind"] for message in found["news"]], sorted(found["for"])) == (["closed"], ["alice", "bob"])
    assert await news(circle, 7, room="nothing") == {"after": 7, "for": [], "news": [], "more": False}


async def test_news_of_a_new_room_of_the_same_name_begin_at_its_beginning(circle: Circle) -> None:
    await circle.open("launch", "alice")
    for _ in range(5):
        await circle.post("launch", "alice", "x")
    await circle.tool("alice", "leave_room", room="launch")
    await circle.open("launch", "bob")
    found = await news(circle, 6)
    assert (found["after"], found["for"]) == (1, ["bob"])


async def test_only_gateways_ask_for_news(circle: Circle) -> None:
    await circle.open("launch", "alice")
    with pytest.raises(Forbidden, match="for gateways"):
        await circle.method("alice", "room_news", uri=URI, after=0)
    with pytest.raises(InvalidArgument, match="after"):
        await circle.method("gateway", "room_news", uri=URI, after=-1)


async def test_names_of_ones_own_rooms_complete_the_template(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    await circle.open("lunch", "bob")
    await circle.open("party", "alice")

    async def complete(agent: str, typed: str, **more: Any) -> list[str]:
        ref = {"type": "ref/resource", "uri": "aicp://rooms/{id}"}
        argument = {"name": "id", "value": typed}
        answer = await circle.method(agent, "complete", ref=ref, argument=argument, **more)
        values: list[str] = answer["completion"]["values"]
        return values

    assert await complete("alice", "") == ["party", "launch"]
    assert await complete("alice", "l") == ["launch"]
    assert await complete("bob", "L") == ["lunch", "launch"]
    assert await complete("carol", "") == []
    assert await complete("alice", "", scopes=("rooms:write",)) == []


async def test_the_prompt_of_collaborations_still_completes(circle: Circle) -> None:
    ref = {"type": "ref/prompt", "name": "collaboration_request"}
    argument = {"name": "pattern", "value": "par"}
    answer = await circle.method("alice", "complete", ref=ref, argument=argument)
    assert answer["completion"]["values"] == ["parallel"]


async def test_a_collaboration_posts_in_the_name_of_who_asked_once_for_each_key(
    circle: Circle, backend: Backend
) -> None:
    await circle.open("launch", "alice", "bob")
    redis = connect_redis(backend.redis_url)
    async with contextlib.aclosing(redis):

        async def post(text: str, key: str) -> int:
            return await post_as_hub(
                *(redis, circle.tenant, "launch"),
                author="alice",
                text=text,
                data={"task_id": "task-1", "status": "completed"},
                idempotency_key=key,
                bounds=Bounds(),
            )

        assert [await post("done", "k"), await post("done, again", "k"), await post("next", "l")] == [4, 4, 5]
        # A member's key of the same text is another one.
        assert await circle.post("launch", "alice", "mine", idempotency_key="k") == 6
        message = (await circle.read("launch", "bob", after=3))["messages"][0]
        assert (message["kind"], message["author"], message["text"]) == ("collaboration", "alice", "done")
        assert message["data"] == {"task_id": "task-1", "status": "completed"}
        opened_ms, members = await members_of(redis, circle.tenant, "launch", "bob")
        assert members == ["alice", "bob"]
        assert str(opened_ms) == await redis.hget(key(circle.tenant, "room", "launch"), "opened_ms")
        for room, agent in (("launch", "carol"), ("nothing", "alice"), ("No Id", "alice")):
            with pytest.raises(NotFound):
                await members_of(redis, circle.tenant, room, agent)
        await circle.tool("bob", "leave_room", room="launch")
        with pytest.raises(NotFound):
            await post_as_hub(
                *(redis, circle.tenant, "launch"),
                author="bob",
                text="x",
                data=None,
                idempotency_key="m",
                bounds=Bounds(),
            )


async def test_scopes_say_who_reads_and_who_writes(circle: Circle) -> None:
    await circle.open("launch", "alice")
    for tool, scope in (("post_message", "rooms:write"), ("read_room", "rooms:read"), ("list_rooms", "rooms:read")):
        other = "rooms:read" if scope == "rooms:write" else "rooms:write"
        answer = await circle.method("alice", tool, scopes=(other,), room="launch", text="x")
        assert answer["isError"]
        assert scope in answer["content"][0]["text"]
    with pytest.raises(Refused):
        await circle.tool("bob", "read_room", room="launch")
