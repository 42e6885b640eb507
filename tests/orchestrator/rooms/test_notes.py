"""How members learn of rooms without looking there, and whether they are here."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.store import connect_redis, key
from tests.conftest import running
from tests.orchestrator.rooms.circle import Circle
from tests.support.processes import Backend


@pytest.fixture
async def redis(backend: Backend) -> AsyncIterator[Redis]:
    """Where the rooms and the notes are."""
    connection = connect_redis(backend.redis_url)
    yield connection
    await connection.aclose()


async def told(circle: Circle, agent: str) -> str:
    """What a gateway would tell the agent now."""
    text: str = (await circle.method(agent, "inbox_hint", service="router"))["text"]
    return text


async def test_who_is_invited_or_mentioned_is_told_of_it(circle: Circle) -> None:
    async with circle.listening(subjects.agent(circle.tenant, "bob")) as heard:
        await circle.tool("alice", "open_room", room="launch", topic="t", members=["bob"])
        await heard.get()
        assert await told(circle, "bob") == "rooms: alice invites you to launch (join_room)"
        await circle.tool("bob", "join_room", room="launch")
        await circle.post("launch", "alice", "look", mentions=["bob", "alice"])
        await heard.get()
        assert await told(circle, "bob") == "rooms: alice mentions you in launch (read_room)"
        assert await told(circle, "alice") == "", "nobody is told of what it wrote itself"


async def test_who_joins_or_reads_by_itself_is_not_told_of_it_afterwards(circle: Circle) -> None:
    async with circle.listening(subjects.agent(circle.tenant, "bob")) as heard:
        await circle.tool("alice", "open_room", room="launch", topic="t", members=["bob"])
        await heard.get()
        await circle.tool("bob", "join_room", room="launch")
        assert await told(circle, "bob") == ""
        await circle.post("launch", "alice", "look", mentions=["bob"])
        await heard.get()
        assert await circle.said("launch", "bob") == ["look"]
        assert await told(circle, "bob") == ""


async def test_a_member_that_is_named_in_the_text_is_told_of_it(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    async with circle.listening(subjects.agent(circle.tenant, "bob")) as heard:
        number = await circle.post("launch", "alice", "@Bob, @nobody and @alice: look; mail x@carol.example")
        await heard.get()
        assert await told(circle, "bob") == "rooms: alice mentions you in launch (read_room)"
        [message] = (await circle.read("launch", "bob", after=number - 1))["messages"]
        assert message["mentions"] == ["bob", "alice"]


async def test_who_was_taken_out_is_told_so(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    async with circle.listening(subjects.agent(circle.tenant, "bob")) as heard:
        await circle.tool("alice", "leave_room", room="launch", agent="bob")
        await heard.get()
        assert await told(circle, "bob") == "rooms: alice took you out of launch"


@pytest.mark.parametrize("how", ["withdrawn", "closed", "left"])
async def test_who_is_not_invited_any_more_does_not_hear_that_it_was(circle: Circle, redis: Redis, how: str) -> None:
    async with circle.listening(subjects.agent(circle.tenant, "bob")) as heard:
        await circle.tool("alice", "open_room", room="launch", topic="t", members=["bob"])
        await heard.get()
    notes = key(circle.tenant, "notes", "bob")
    assert await redis.exists(notes)
    match how:
        case "withdrawn":
            await circle.tool("alice", "leave_room", room="launch", agent="bob")
        case "closed":
            await circle.tool("alice", "close_room", room="launch")
        case _:
            await circle.tool("alice", "leave_room", room="launch")
    async with asyncio.timeout(10):
        while await redis.exists(notes):
            await asyncio.sleep(0.01)
    assert not await redis.exists(key(circle.tenant, "invited-to", "bob"))


async def test_a_message_that_comes_again_under_its_key_mentions_nobody_again(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob")
    async with circle.listening(subjects.agent(circle.tenant, "bob")) as heard:
        await circle.post("launch", "alice", "look", mentions=["bob"], idempotency_key="k")
        await heard.get()
        await told(circle, "bob")
        await circle.post("launch", "alice", "look", mentions=["bob"], idempotency_key="k")
        await circle.post("launch", "alice", "again", mentions=["bob"])
        await heard.get()
        assert heard.empty()


async def test_who_invites_is_told_under_which_names_the_hub_knows_nobody(circle: Circle) -> None:
    await circle.router("bob", "register_agent", capabilities=["talk"], description="Bob.")
    # Carol is here, and has not registered.
    await circle.router("carol", "receive_tasks")
    opened = await circle.tool("alice", "open_room", room="launch", topic="t", members=["bob", "carol", "bobb"])
    assert (opened["invited"], opened["unknown"]) == (["bob", "carol", "bobb"], ["bobb"])
    invited = await circle.tool("alice", "invite_to_room", room="launch", agents=["bobb", "carl"])
    assert (invited["already"], invited["unknown"]) == (["bobb"], ["carl"])
    assert "unknown" not in await circle.tool("alice", "open_room", room="hall", topic="t", members=["bob"])
    await circle.tool("bobb", "join_room", room="launch")


async def test_members_are_shown_with_whether_they_are_here_registered_or_not(circle: Circle) -> None:
    await circle.open("launch", "alice", "bob", "carol")
    # Who waits for work is here; nobody of these has registered.
    await circle.router("bob", "receive_tasks")
    members = (await circle.read("launch", "alice"))["members"]
    assert {member["agent"]: member["online"] for member in members} == {"alice": False, "bob": True, "carol": False}
    members = (await circle.resource("alice", "aicp://rooms/launch"))["members"]
    assert [member["agent"] for member in members if member["online"]] == ["bob"]


class TestWithoutARouter:
    """Courtesies are left out, and nothing fails."""

    @pytest.fixture
    def alone(self, own_backend: Backend) -> Iterator[Backend]:
        """An orchestrator and nothing else."""
        yield from (own_backend for _ in running("orchestrator", own_backend))

    async def test_rooms_work_and_nobody_knows_who_is_online(self, alone: Backend, tenant: str) -> None:
        bus = Bus(alone.nats_url, "tests")
        await bus.connect()
        try:
            circle = Circle(bus, tenant)
            opened = await circle.tool("alice", "open_room", room="launch", topic="t", members=["bob"])
            assert "unknown" not in opened
            await circle.tool("bob", "join_room", room="launch")
            await circle.post("launch", "alice", "look", mentions=["bob"])
            read = await circle.read("launch", "bob")
            assert [message["text"] for message in read["messages"] if message["kind"] == "message"] == ["look"]
            assert [set(member) for member in read["members"]] == [{"agent", "read_up_to", "joined"}] * 2
        finally:
            await bus.close()
