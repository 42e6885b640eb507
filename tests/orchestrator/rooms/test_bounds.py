"""What rooms may have, and what becomes of them with time: the scripts, in a Redis of their own."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import msgspec
import pytest

from aicp_common.errors import Busy, NotFound
from aicp_common.store import OUTBOX_CAP, Store, connect_redis, key
from aicp_orchestrator.rooms import lists, membership, posting, reading
from aicp_orchestrator.rooms.membership import Opened
from aicp_orchestrator.rooms.posting import Posted
from aicp_orchestrator.rooms.state import INVITATIONS_OF_AN_AGENT, ROOMS_OF_AN_AGENT, Bounds

TENANT = "t"


class Rooms:
    """The scripts within bounds that a test sets."""

    def __init__(self, redis: Store) -> None:
        self.redis = redis
        self.bounds = Bounds()

    async def open(self, room: str, agent: str, *names: str) -> Opened:
        return await membership.open_room(
            *(self.redis, TENANT, room),
            agent=agent,
            topic="t",
            invites=None,
            names=names,
            bounds=self.bounds,
            traceparent="",
        )

    async def invite(self, room: str, agent: str, *names: str) -> list[str]:
        return await membership.invite(
            *(self.redis, TENANT, room), agent=agent, names=names, bounds=self.bounds, traceparent=""
        )

    async def join(self, room: str, *agents: str) -> None:
        for agent in agents:
            await membership.join(self.redis, TENANT, room, agent=agent, bounds=self.bounds, traceparent="")

    async def leave(self, room: str, agent: str, who: str = "") -> None:
        await membership.leave(
            *(self.redis, TENANT, room), agent=agent, who=who or agent, bounds=self.bounds, traceparent=""
        )

    async def close(self, room: str, agent: str) -> None:
        await membership.close(self.redis, TENANT, room, agent=agent, bounds=self.bounds, traceparent="")

    async def post(self, room: str, agent: str, text: str = "x", key: str = "") -> Posted:
        return await posting.post(
            *(self.redis, TENANT, room), author=agent, text=text, idempotency_key=key, bounds=self.bounds
        )

    async def page(self, room: str, agent: str, after: int | None = 0) -> reading.Page:
        return await reading.read(self.redis, TENANT, room, agent=agent, after=after, limit=200, call="")

    async def keys(self) -> set[str]:
        """What is left of rooms, without the list of events."""
        found = cast("list[str]", await self.redis.keys(key(TENANT, "*")))
        return {name.removeprefix(key(TENANT, "")) for name in found} - {"outbox"}

    async def events(self) -> list[tuple[str, str, dict[str, object]]]:
        """Each event: which room, what, its data."""
        entries = cast("list[tuple[str, dict[str, str]]]", await self.redis.xrange(key(TENANT, "outbox")))
        return [(one["id"], one["what"], msgspec.json.decode(one["data"])) for _, one in entries]


@pytest.fixture
async def rooms(redis_url: str) -> AsyncIterator[Rooms]:
    """Rooms in an empty Redis."""
    async with contextlib.aclosing(connect_redis(redis_url)) as redis:
        yield Rooms(redis)


async def test_beyond_the_messages_that_are_kept_the_oldest_go_and_numbers_go_on(rooms: Rooms) -> None:
    rooms.bounds = replace(rooms.bounds, messages=10)
    await rooms.open("launch", "ann")
    for n in range(2, 31):
        assert (await rooms.post("launch", "ann", str(n))).number == n
    page = await rooms.page("launch", "ann")
    assert [message.text for message in page.messages] == [str(n) for n in range(21, 31)]
    assert (page.about.first, page.about.last) == (21, 30)


async def test_beyond_the_bytes_that_are_kept_the_oldest_go(rooms: Rooms) -> None:
    rooms.bounds = replace(rooms.bounds, bytes=10_000)
    await rooms.open("launch", "ann")
    for _ in range(200):
        await rooms.post("launch", "ann", "s" * 10)
    await rooms.post("launch", "ann", "l" * 9_000)
    page = await rooms.page("launch", "ann")
    taken = sum(len(message.text) for message in page.messages)
    assert 9_000 < taken <= 10_000
    assert page.messages[-1].text == "l" * 9_000
    # One that is larger than all that may be kept is kept alone.
    await rooms.post("launch", "ann", "x" * 20_000)
    assert [len(message.text) for message in (await rooms.page("launch", "ann")).messages] == [20_000]
    assert int(await rooms.redis.hget(key(TENANT, "room", "launch"), "bytes") or 0) < 20_100


async def test_who_was_away_for_long_is_told_how_much_it_missed(rooms: Rooms) -> None:
    rooms.bounds = replace(rooms.bounds, messages=10)
    await rooms.open("launch", "ann", "bob")
    await rooms.join("launch", "bob")
    await rooms.page("launch", "bob", None)
    for _ in range(20):
        await rooms.post("launch", "ann")
    (mine,), _ = await lists.rooms_of(rooms.redis, TENANT, "bob")
    assert (mine.last, mine.unread) == (23, 10)
    page = await rooms.page("launch", "bob", None)
    assert (page.after, page.about.first, len(page.messages)) == (3, 14, 10)


async def test_a_room_has_so_many_members_and_invited_ones(rooms: Rooms) -> None:
    rooms.bounds = replace(rooms.bounds, members=3)
    with pytest.raises(Busy, match=r"a room may have 3 members and invited ones, .*: 0 are there"):
        await rooms.open("launch", "ann", "b", "c", "d")
    await rooms.open("launch", "ann", "b")
    await rooms.join("launch", "b")
    with pytest.raises(Busy, match="2 are there"):
        await rooms.invite("launch", "ann", "c", "d")
    assert await rooms.invite("launch", "ann", "c", "b") == ["c"]
    with pytest.raises(Busy, match="3 are there"):
        await rooms.open("launch", "ann", "d")
    await rooms.leave("launch", "c", "ann")
    assert await rooms.invite("launch", "ann", "d") == ["d"]


async def test_an_agent_opens_so_many_rooms_and_closed_or_left_ones_do_not_count(rooms: Rooms) -> None:
    rooms.bounds = replace(rooms.bounds, opened=3)
    for name in ("a", "b", "c"):
        await rooms.open(name, "ann", "bob")
    with pytest.raises(Busy, match="room: d would be one more than the 3 open rooms"):
        await rooms.open("d", "ann")
    assert not (await rooms.open("c", "ann")).is_new
    await rooms.close("a", "ann")
    await rooms.open("d", "ann")
    await rooms.join("b", "bob")
    await rooms.leave("b", "ann")
    await rooms.open("e", "ann")
    await rooms.leave("c", "ann")
    await rooms.open("f", "ann")
    with pytest.raises(Busy):
        await rooms.open("g", "ann")


async def test_an_agent_is_in_so_many_rooms(rooms: Rooms) -> None:
    rooms.bounds = replace(rooms.bounds, opened=1_000)
    for n in range(ROOMS_OF_AN_AGENT):
        await rooms.open(f"r{n}", "ann")
    await rooms.open("one-more", "bob", "ann")
    with pytest.raises(Busy, match=f"you would be in more than {ROOMS_OF_AN_AGENT} rooms"):
        await rooms.join("one-more", "ann")
    with pytest.raises(Busy):
        await rooms.open("two-more", "ann")
    await rooms.leave("r7", "ann")
    await rooms.join("one-more", "ann")
    mine, _ = await lists.rooms_of(rooms.redis, TENANT, "ann")
    assert len(mine) == ROOMS_OF_AN_AGENT


async def test_of_many_invitations_the_newest_are_listed_and_all_hold(rooms: Rooms) -> None:
    rooms.bounds = replace(rooms.bounds, opened=1_000)
    for n in range(INVITATIONS_OF_AN_AGENT + 5):
        await rooms.open(f"r{n}", f"opener-{n % 2}", "ann")
        # Redis orders what came in the same millisecond by name.
        await rooms.redis.zadd(key(TENANT, "invited-to", "ann"), {f"r{n}": n})
    _, invitations = await lists.rooms_of(rooms.redis, TENANT, "ann")
    assert len(invitations) == INVITATIONS_OF_AN_AGENT
    assert invitations[0].room == f"r{INVITATIONS_OF_AN_AGENT + 4}"
    await rooms.join("r0", "ann")


async def test_a_key_is_known_for_a_day_and_only_so_many_are(rooms: Rooms) -> None:
    await rooms.open("launch", "ann")
    first = await rooms.post("launch", "ann", "once", "k")
    posted, posted_at = key(TENANT, "room", "launch", "posted"), key(TENANT, "room", "launch", "posted-at")
    (name,) = cast("list[str]", await rooms.redis.zrange(posted_at, 0, -1))
    age = await rooms.redis.zscore(posted_at, name)
    assert age is not None
    await rooms.redis.zadd(posted_at, {name: age - 86_400_000 + 5_000})
    assert await rooms.post("launch", "ann", "once", "k") == Posted(first.number, repeated=True)
    await rooms.redis.zadd(posted_at, {name: age - 86_400_000 - 1})
    again = await rooms.post("launch", "ann", "once", "k")
    assert (again.number, again.repeated) == (first.number + 1, False)
    await rooms.redis.zadd(posted_at, {name: age - 86_400_000 - 1})
    await rooms.post("launch", "ann", "other", "l")
    assert await rooms.redis.hlen(posted) == 1, "what is over is dropped by the next one"
    await rooms.redis.zadd(posted_at, {f"old/{n}": age + n / 100_000 for n in range(10_000)})
    await rooms.redis.hset(posted, mapping={f"old/{n}": "1 x" for n in range(10_000)})
    await rooms.post("launch", "ann", "third", "m")
    assert await rooms.redis.hlen(posted) == await rooms.redis.zcard(posted_at) == 10_000


async def test_a_room_that_nobody_changes_is_gone_with_every_key_and_out_of_all_lists(rooms: Rooms) -> None:
    await rooms.open("launch", "ann", "bob", "carol")
    await rooms.join("launch", "bob")
    await rooms.post("launch", "ann", "x", "k")
    await rooms.page("launch", "bob")
    left = {name: await rooms.redis.pttl(key(TENANT, name)) for name in await rooms.keys()}
    of_room = {name for name in left if name.startswith("room:")}
    assert of_room == {
        *("room:launch", "room:launch:members", "room:launch:invited", "room:launch:messages"),
        *("room:launch:read", "room:launch:posted", "room:launch:posted-at"),
    }
    lifetime_ms = rooms.bounds.lifetime_ms
    assert all(lifetime_ms - 60_000 < left[name] <= lifetime_ms for name in of_room)
    assert all(lifetime_ms < left[name] <= 2 * lifetime_ms for name in left.keys() - of_room)
    # As if that time were over.
    await rooms.redis.delete(*(key(TENANT, name) for name in of_room))
    assert await lists.rooms_of(rooms.redis, TENANT, "bob") == ([], [])
    assert await lists.rooms_of(rooms.redis, TENANT, "carol") == ([], [])
    assert await lists.rooms_of(rooms.redis, TENANT, "ann") == ([], [])
    assert await rooms.keys() == {"rooms-opened:ann"}, "which is looked at when it is full"
    with pytest.raises(NotFound):
        await rooms.page("launch", "ann")
    assert (await rooms.open("launch", "bob")).is_new


async def test_a_change_lets_a_room_live_on_and_reading_does_not(rooms: Rooms) -> None:
    await rooms.open("launch", "ann", "bob")
    await rooms.join("launch", "bob")
    for name in await rooms.keys():
        await rooms.redis.pexpire(key(TENANT, name), 100_000)
    await rooms.page("launch", "bob")
    assert await rooms.redis.pttl(key(TENANT, "room", "launch")) <= 100_000
    assert 0 < await rooms.redis.pttl(key(TENANT, "room", "launch", "read")) <= 100_000
    await rooms.post("launch", "ann")
    for name in await rooms.keys():
        if name.startswith("room:"):
            assert await rooms.redis.pttl(key(TENANT, name)) > 100_000, name


async def test_a_closed_room_stays_for_a_while(rooms: Rooms) -> None:
    await rooms.open("launch", "ann", "bob")
    await rooms.join("launch", "bob")
    await rooms.page("launch", "bob")
    await rooms.close("launch", "ann")
    of_room = [name for name in await rooms.keys() if name.startswith("room:")]
    assert of_room
    for name in of_room:
        assert 0 < await rooms.redis.pttl(key(TENANT, name)) <= rooms.bounds.closed_ms
    # Leaving it is no reason to keep it longer than that.
    await rooms.leave("launch", "bob")
    assert 0 < await rooms.redis.pttl(key(TENANT, "room", "launch")) <= rooms.bounds.closed_ms


async def test_each_change_is_an_event_with_number_kind_and_author_and_without_the_text(rooms: Rooms) -> None:
    await rooms.open("launch", "ann", "bob", "carol")
    await rooms.join("launch", "bob")
    await rooms.post("launch", "bob", "a secret")
    await rooms.leave("launch", "carol", "ann")
    await rooms.leave("launch", "bob", "ann")
    await rooms.close("launch", "ann")
    await rooms.page("launch", "ann")
    assert await rooms.events() == [
        ("launch", "opened", {"number": 1, "kind": "joined", "author": "ann", "topic": "t"}),
        ("launch", "invited", {"number": 2, "kind": "invited", "author": "ann", "agents": ["bob", "carol"]}),
        ("launch", "joined", {"number": 3, "kind": "joined", "author": "bob"}),
        ("launch", "posted", {"number": 4, "kind": "message", "author": "bob"}),
        ("launch", "withdrawn", {"number": 4, "kind": "left", "author": "ann", "agents": ["carol"]}),
        ("launch", "left", {"number": 5, "kind": "left", "author": "ann", "agents": ["bob"]}),
        ("launch", "closed", {"number": 6, "kind": "closed", "author": "ann"}),
    ]


async def test_a_full_outbox_refuses_every_change_and_changes_nothing(rooms: Rooms) -> None:
    await rooms.open("launch", "ann", "bob", "carol")
    await rooms.join("launch", "bob")
    fill = "for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'x', 'y') end"
    await rooms.redis.eval(fill, 1, key(TENANT, "outbox"), str(OUTBOX_CAP))
    await rooms.page("launch", "ann")
    before = await rooms.page("launch", "ann")
    keys = await rooms.keys()
    for change in (
        lambda: rooms.open("other", "ann"),
        lambda: rooms.open("launch", "ann", "dave"),
        lambda: rooms.invite("launch", "ann", "dave"),
        lambda: rooms.join("launch", "carol"),
        lambda: rooms.post("launch", "ann"),
        lambda: rooms.leave("launch", "carol", "ann"),
        lambda: rooms.leave("launch", "bob"),
        lambda: rooms.close("launch", "ann"),
    ):
        with pytest.raises(Busy, match="events wait"):
            await change()
    assert await rooms.page("launch", "ann") == before
    assert await rooms.keys() == keys
