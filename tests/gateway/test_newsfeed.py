"""What one gateway asks a service for, how often, and whom it tells which part of the answer."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from nats.aio.msg import Msg

from aicp_common.bus import Bus
from aicp_common.envelope import unpack
from aicp_gateway import newsfeed
from aicp_gateway import watches as watching
from aicp_gateway.notices import MAX_ITEMS, Notices
from aicp_gateway.source import Source
from aicp_gateway.watches import Watches
from tests.support.processes import Backend, wait_until_listening

URI = "room://r"


class Room:
    """A service with one resource, as far as a gateway needs it."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.service = f"room-{secrets.token_hex(4)}"
        self.subject = f"aicp.v1.{self.service}.signal"
        self.last = 0
        self.hearers = ["ada", "bob"]
        self.asked: list[int] = []
        self.page = 100
        self.more: bool | None = None
        self.answers: list[bytes] = []
        """What is answered first, in place of the truth."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        """Somebody waits at the gate."""

    async def open(self) -> None:
        async def answer(message: Msg) -> None:
            envelope, body = unpack(message.data)
            asked = json.loads(body)
            assert asked.pop("uri") == URI
            assert envelope.principal.agent == "gateway"
            self.asked.append(asked["after"])
            self.waiting.set()
            await self.gate.wait()
            await message.respond(self.answers.pop(0) if self.answers else self.answer(asked["after"]))

        await self.bus.subscribe(f"aicp.v1.{self.service}.news", answer)
        await self.bus.flush()

    def answer(self, after: int) -> bytes:
        if after > self.last:
            after = 0
        reached = min(self.last, after + self.page)
        news = [{"number": number} for number in range(after + 1, reached + 1)]
        answer: dict[str, Any] = {"after": reached, "for": self.hearers, "news": news}
        if self.more is not None:
            answer["more"] = reached < self.last
        return json.dumps(answer).encode()

    def source(self, agent: str, after: int | None = None) -> Source:
        return Source(self.subject, self.service, "news", "t", agent, self.last if after is None else after)

    async def say(self, times: int = 1, *, silent: bool = False) -> None:
        self.last += times
        if not silent:
            await self.bus.publish(self.subject)


class Client:
    """Somebody who listens, and reads at once."""

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.heard: list[Any] = []
        """Numbers, and `changed` for a word without any."""
        self._more = asyncio.Event()
        self.notices = Notices(self._take)

    def _take(self, notices: Notices) -> None:
        for message in notices.take()[0]:
            params = json.loads(message)["params"]
            self.heard += (
                [each["number"] for each in params["_meta"]["aicp/news"]] if "_meta" in params else ["changed"]
            )
        self._more.set()

    async def has_heard(self, *expected: Any) -> None:
        async with asyncio.timeout(10):
            while len(self.heard) < len(expected):
                self._more.clear()
                await self._more.wait()
        assert self.heard == list(expected)


@pytest.fixture
async def room(bus: Bus) -> Room:
    room = Room(bus)
    await room.open()
    return room


@pytest.fixture
async def watches(bus: Bus) -> AsyncIterator[Watches]:
    """Those of a gateway that looks after its feeds."""
    watches = Watches(bus)
    looking = asyncio.create_task(watches.look_after_for_ever())
    yield watches
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert not watches._feeds


@pytest.fixture
async def client(watches: Watches) -> AsyncIterator[Callable[[str], Client]]:
    made: list[Client] = []

    def make(agent: str) -> Client:
        made.append(Client(agent))
        return made[-1]

    yield make
    for each in made:
        await watches.remove_all(each.notices)


Make = Callable[[str], Client]


async def test_each_message_is_asked_for_once_and_told_to_those_who_may_hear(
    room: Room, watches: Watches, client: Make
) -> None:
    room.last = 17
    ada, bob, eve = client("ada"), client("bob"), client("eve")
    for each in (ada, bob, eve):
        await watches.add(each.notices, URI, room.source(each.agent))
    await room.say()
    await ada.has_heard(18)
    await bob.has_heard(18)
    # The first question belongs to the first who came: something may have been said before the gateway listened.
    assert room.asked[0] == 17
    assert eve.heard == []
    room.hearers = ["bob", "eve"]
    await room.say(2)
    await bob.has_heard(18, 19, 20)
    await eve.has_heard(19, 20)
    assert ada.heard == [18]


async def test_a_service_that_says_that_there_is_no_more_is_not_asked_again(
    room: Room, watches: Watches, client: Make
) -> None:
    room.more = False
    ada = client("ada")
    await watches.add(ada.notices, URI, room.source("ada"))
    for number in range(1, 4):
        await room.say()
        await ada.has_heard(*range(1, number + 1))
    assert sorted(set(room.asked)) == [0, 1, 2]


@pytest.mark.parametrize("more", [True, None])
async def test_an_answer_that_is_full_is_followed_by_another_question(
    room: Room, watches: Watches, client: Make, more: bool | None
) -> None:
    room.more, room.page = more, 4
    ada = client("ada")
    await watches.add(ada.notices, URI, room.source("ada"))
    await room.say(10)
    await ada.has_heard(*range(1, 11))


async def test_what_comes_while_a_question_is_under_way_is_asked_for_after_it(
    room: Room, watches: Watches, client: Make
) -> None:
    room.more = False
    ada = client("ada")
    room.gate.clear()
    await watches.add(ada.notices, URI, room.source("ada"))
    await asyncio.wait_for(room.waiting.wait(), 10)
    for _ in range(20):
        await room.say()
    await room.bus.flush()
    assert room.asked == [0]
    room.gate.set()
    await ada.has_heard(*range(1, 21))
    assert len(room.asked) <= 3


async def test_each_listener_hears_what_is_newer_than_what_it_knows(room: Room, watches: Watches, client: Make) -> None:
    ada, bob, cleo = client("ada"), client("bob"), client("cleo")
    room.hearers.append("cleo")
    await watches.add(ada.notices, URI, room.source("ada"))
    await room.say(5)
    await ada.has_heard(1, 2, 3, 4, 5)
    # Their `resource_watch` was answered before and after the last messages.
    await watches.add(bob.notices, URI, room.source("bob", after=3))
    await watches.add(cleo.notices, URI, room.source("cleo", after=7))
    await bob.has_heard(4, 5)
    await room.say(3)
    await ada.has_heard(*range(1, 9))
    await bob.has_heard(*range(4, 9))
    await cleo.has_heard(8)


async def test_one_who_comes_during_a_question_misses_nothing(room: Room, watches: Watches, client: Make) -> None:
    ada, bob = client("ada"), client("bob")
    await watches.add(ada.notices, URI, room.source("ada"))
    await room.say(3)
    await ada.has_heard(1, 2, 3)
    room.gate.clear()
    room.waiting.clear()
    await room.say()
    await asyncio.wait_for(room.waiting.wait(), 10)
    await watches.add(bob.notices, URI, room.source("bob", after=1))
    room.gate.set()
    await bob.has_heard(2, 3, 4)
    await ada.has_heard(1, 2, 3, 4)


async def test_one_who_is_far_behind_is_told_to_look_and_then_goes_on_with_the_others(
    room: Room, watches: Watches, client: Make
) -> None:
    room.last = MAX_ITEMS + 10
    ada, bob, eve = client("ada"), client("bob"), client("eve")
    await watches.add(ada.notices, URI, room.source("ada"))
    for each in (bob, eve):
        await watches.add(each.notices, URI, room.source(each.agent, after=1))
    await bob.has_heard("changed")
    await room.say()
    await bob.has_heard("changed", MAX_ITEMS + 11)
    await ada.has_heard(MAX_ITEMS + 11)
    assert eve.heard == []
    assert min(room.asked) == MAX_ITEMS + 10


async def test_one_of_whom_nobody_knows_what_it_was_told_looks_for_itself(
    room: Room, watches: Watches, client: Make
) -> None:
    room.last = 9
    ada, bob = client("ada"), client("bob")
    await watches.add_all(ada.notices, {URI: room.source("ada", after=7)}, anew=True)
    await ada.has_heard("changed")
    # There is nothing that it could have missed.
    room.waiting.clear()
    await watches.add_all(bob.notices, {URI: room.source("bob", after=9)}, anew=True)
    await asyncio.wait_for(room.waiting.wait(), 10)
    await room.say()
    await bob.has_heard(10)
    await ada.has_heard("changed", 10)


async def test_numbers_that_begin_again_are_another_resource(room: Room, watches: Watches, client: Make) -> None:
    room.last = 50
    ada, eve = client("ada"), client("eve")
    for each in (ada, eve):
        await watches.add(each.notices, URI, room.source(each.agent))
    room.last = 0
    await room.say(2)
    await ada.has_heard("changed")
    await room.say()
    await ada.has_heard("changed", 3)
    assert eve.heard == []


async def test_a_question_that_is_not_answered_well_is_asked_again(
    room: Room, watches: Watches, client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newsfeed, "RETRY_S", 0.05)
    room.answers = [b"not JSON", b'{"after": 2}', b'{"after": 1, "for": ["ada"], "news": [{"text": "no number"}]}']
    ada = client("ada")
    await watches.add(ada.notices, URI, room.source("ada"))
    await room.say()
    await ada.has_heard(1)
    assert room.asked[:4] == [0, 0, 0, 0]


async def test_an_answer_that_promises_more_and_brings_nothing_is_not_believed(
    room: Room, watches: Watches, client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newsfeed, "GAP_S", 0.0)
    ada = client("ada")
    room.answers = [b'{"after": 0, "for": ["ada"], "news": [], "more": true}']
    await watches.add(ada.notices, URI, room.source("ada"))
    await asyncio.wait_for(room.waiting.wait(), 10)
    # By then a question that followed at once would be here.
    for _ in range(5):
        await room.bus.flush()
    room.more = False
    await room.say()
    await ada.has_heard(1)
    assert len(room.asked) == 2


async def test_a_signal_that_got_lost_is_made_up_for(
    room: Room, watches: Watches, client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newsfeed, "REASK_S", 0.1)
    ada = client("ada")
    await watches.add(ada.notices, URI, room.source("ada"))
    await asyncio.wait_for(room.waiting.wait(), 10)
    await room.say(silent=True)
    await ada.has_heard(1)


async def test_a_feed_without_listeners_asks_nothing_more(room: Room, watches: Watches, client: Make) -> None:
    ada, bob = client("ada"), client("bob")
    for each in (ada, bob):
        await watches.add(each.notices, URI, room.source(each.agent))
    room.gate.clear()
    room.waiting.clear()
    await room.say()
    await asyncio.wait_for(room.waiting.wait(), 10)
    await watches.remove(ada.notices, URI)
    [feed] = watches._feeds.values()
    await watches.remove_all(bob.notices)
    room.gate.set()
    assert not watches._feeds
    assert isinstance(feed, newsfeed.NewsFeed)
    assert feed._asking is None
    asked = len(room.asked)
    await room.say()
    await room.bus.flush()
    assert (len(room.asked), ada.heard, bob.heard) == (asked, [], [])


async def test_one_who_leaves_during_a_question_is_not_told(room: Room, watches: Watches, client: Make) -> None:
    ada, bob = client("ada"), client("bob")
    for each in (ada, bob):
        await watches.add(each.notices, URI, room.source(each.agent))
    room.gate.clear()
    room.waiting.clear()
    await room.say()
    await asyncio.wait_for(room.waiting.wait(), 10)
    await watches.remove(bob.notices, URI)
    room.gate.set()
    await ada.has_heard(1)
    assert bob.heard == []


async def test_one_who_leaves_while_others_are_told_is_not_told(room: Room, bus: Bus) -> None:
    feed = newsfeed.NewsFeed(bus, URI, room.source("ada"))
    heard = asyncio.Event()
    clients = [Client("ada") for _ in range(3 * newsfeed.AT_ONCE)]
    last = clients.pop()

    def take(notices: Notices) -> None:
        feed.leave(last.notices, URI)
        heard.set()

    first = Notices(take)
    for notices in (first, *(each.notices for each in clients), last.notices):
        feed.join(notices, URI, room.source("ada"), anew=False)
    room.last = 1
    feed.ask()
    await asyncio.wait_for(heard.wait(), 10)
    for each in clients:
        await each.has_heard(1)
    await feed.close()
    assert last.heard == []


async def test_after_nats_was_away_what_nobody_signalled_is_asked_for(
    own_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 0.05)
    bus = Bus(own_backend.nats_url, "gateway")
    services = Bus(own_backend.nats_url, "services")
    await bus.connect()
    await services.connect()
    room, watches, ada = Room(services), Watches(bus), Client("ada")
    room.more = False
    await room.open()
    looking = asyncio.create_task(watches.look_after_for_ever())
    await watches.add(ada.notices, URI, room.source("ada"))
    await room.say()
    await ada.has_heard(1)
    [feed] = watches._feeds.values()
    assert isinstance(feed, newsfeed.NewsFeed)
    while feed._asking is not None:
        # A question under way would be repeated by itself.
        await bus.flush()
    await asyncio.to_thread(own_backend.nats.kill)
    await room.say(2, silent=True)
    own_backend.nats.start()
    await asyncio.to_thread(wait_until_listening, own_backend.nats, own_backend.nats_port)
    await ada.has_heard(1, 2, 3)
    await room.say()
    await ada.has_heard(1, 2, 3, 4)
    await watches.remove_all(ada.notices)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    await bus.close()
    await services.close()
