"""When a gateway asks what waits for an agent, and when it knows that it need not."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.aio.msg import Msg

from aicp_common import subjects
from aicp_common.announcement import AnnouncedResource, Announcement
from aicp_common.bus import Bus
from aicp_common.envelope import Principal
from aicp_gateway.catalogue import HINT, INBOX, Catalogue
from aicp_gateway.inboxes import PATIENCE_S, REST_S, Inboxes
from aicp_gateway.protocol.actions import Call
from aicp_gateway.protocol.stateless import Stateless
from tests.gateway.engine.peer import sealer
from tests.support.processes import Backend


class Post:
    """A service on the bus that knows what waits, as far as a gateway can see."""

    def __init__(self, bus: Bus, name: str) -> None:
        self.bus = bus
        self.name = name
        self.asked: list[bytes] = []
        self.answer: bytes | None = b'{"text":"inbox: 1 waiting"}'
        """None: it does not answer."""

    async def serve(self, message: Msg) -> None:
        self.asked.append(message.data.partition(b"\n")[2])
        if self.answer is not None:
            await message.respond(self.answer)


@pytest.fixture
async def post(bus: Bus, tenant: str) -> AsyncIterator[Post]:
    """The service, under a name of its own."""
    made = Post(bus, f"post-{tenant}")
    subscription = await bus.subscribe(subjects.call(made.name, HINT), made.serve)
    await bus.flush()
    yield made
    await subscription.unsubscribe()


@pytest.fixture
async def gateways_bus(backend: Backend) -> AsyncIterator[Bus]:
    connection = Bus(backend.nats_url, "gateway")
    await connection.connect()
    yield connection
    await connection.close()


def knows(service: str, scope: str = "") -> Catalogue:
    """A catalogue with this service's inbox."""
    catalogue = Catalogue()
    resource = AnnouncedResource({"uri": INBOX, "name": "inbox"}, scope)
    catalogue.hear(Announcement(service, "1", resources=(resource,)), now=0.0)
    return catalogue


def call(catalogue: Catalogue, tool: str = "echo", agent: str = "bob", tenant: str = "default") -> Call:
    """A call whose client has its result now."""
    who = Principal(tenant, agent, agent, ("*",))
    exchange = Stateless(who, catalogue, sealer(), None)
    return Call(id=b"1", service="any", method=tool, body=b"{}", kind="tool", label=tool, exchange=exchange)


def signal(inboxes: Inboxes, agent: str = "bob", tenant: str = "default") -> None:
    """Something comes for an agent."""
    inboxes.on_signal(subjects.agent(tenant, agent), "", b"", None)


async def hint(inboxes: Inboxes, about: Call) -> str:
    return await inboxes.hint(about.exchange.principal, "", "r-1")


async def test_an_agent_that_is_new_here_may_have_something_waiting(gateways_bus: Bus, post: Post) -> None:
    catalogue = knows(post.name)
    inboxes, one = Inboxes(gateways_bus, catalogue), call(catalogue)
    assert inboxes.may_tell(one)
    assert await hint(inboxes, one) == "inbox: 1 waiting"
    assert not inboxes.may_tell(one)
    assert post.asked == [b"{}"]


async def test_a_signal_is_news_for_its_agent_alone(gateways_bus: Bus, post: Post) -> None:
    catalogue = knows(post.name)
    inboxes = Inboxes(gateways_bus, catalogue)
    calls = [call(catalogue), call(catalogue, agent="carol"), call(catalogue, tenant="other")]
    for one in calls:
        await hint(inboxes, one)
    signal(inboxes)
    assert [inboxes.may_tell(one) for one in calls] == [True, False, False]


async def test_tools_that_say_themselves_what_waits_get_no_line(gateways_bus: Bus, post: Post) -> None:
    catalogue = knows(post.name)
    inboxes = Inboxes(gateways_bus, catalogue)
    signal(inboxes)
    assert not inboxes.may_tell(call(catalogue, "receive_tasks"))
    assert not inboxes.may_tell(call(catalogue, "submit_result"))
    assert inboxes.may_tell(call(catalogue, "update_task"))


async def test_who_looks_into_its_inbox_needs_no_line(gateways_bus: Bus, post: Post) -> None:
    catalogue = knows(post.name)
    inboxes, one = Inboxes(gateways_bus, catalogue), call(catalogue)
    signal(inboxes)
    inboxes.looks(one.exchange.principal)
    assert not inboxes.may_tell(one)
    signal(inboxes)
    assert inboxes.may_tell(one)


async def test_who_was_greeted_is_not_asked_for_again(gateways_bus: Bus, post: Post) -> None:
    catalogue = knows(post.name)
    inboxes, one = Inboxes(gateways_bus, catalogue), call(catalogue)
    greeting = Call(
        id=b"1", service=post.name, method=HINT, body=b'{"greeting":true}', kind="greeting", label="initialize",
        exchange=one.exchange,
    )  # fmt: skip
    assert await inboxes.greeting(greeting, "", "r-1") == "inbox: 1 waiting"
    assert post.asked == [b'{"greeting":true}']
    assert not inboxes.may_tell(one)


async def test_nobody_is_asked_for_who_may_not_know(gateways_bus: Bus, post: Post) -> None:
    catalogue = knows(post.name, "tasks:work")
    inboxes, one = Inboxes(gateways_bus, catalogue), call(catalogue)
    assert inboxes.may_tell(one)
    one.exchange.principal = Principal("default", "bob", "bob", ("tasks:request",))
    assert not inboxes.may_tell(one)
    assert await hint(inboxes, one) == ""
    assert not Inboxes(gateways_bus, Catalogue()).may_tell(call(Catalogue()))
    assert post.asked == []


@pytest.mark.parametrize("answer", [None, b"nonsense", b"{}"])
async def test_a_service_that_does_not_answer_holds_up_one_client_for_a_moment_and_the_next_not_at_all(
    gateways_bus: Bus, post: Post, answer: bytes | None
) -> None:
    post.answer = answer
    catalogue = knows(post.name)
    inboxes, one, other = Inboxes(gateways_bus, catalogue), call(catalogue), call(catalogue, agent="carol")
    began = time.monotonic()
    assert await hint(inboxes, one) == ""
    assert time.monotonic() - began < PATIENCE_S + 0.5
    began = time.monotonic()
    assert await hint(inboxes, other) == ""
    assert time.monotonic() - began < 0.1
    assert len(post.asked) == 1
    # What could not be found out is still to be said.
    assert inboxes.may_tell(one)
    assert inboxes.may_tell(other)


async def test_after_a_rest_it_is_asked_again(gateways_bus: Bus, post: Post) -> None:
    catalogue, now = knows(post.name), 0.0
    inboxes, one = Inboxes(gateways_bus, catalogue, clock=lambda: now), call(catalogue)
    post.answer = b"nonsense"
    assert await hint(inboxes, one) == ""
    post.answer = b'{"text":"inbox: 1 waiting"}'
    now = REST_S - 0.1
    assert await hint(inboxes, one) == ""
    now = REST_S
    assert await hint(inboxes, one) == "inbox: 1 waiting"


async def test_what_comes_while_it_is_asked_is_news_again(gateways_bus: Bus, post: Post) -> None:
    catalogue = knows(post.name)
    inboxes, one = Inboxes(gateways_bus, catalogue), call(catalogue)
    asking = asyncio.create_task(hint(inboxes, one))
    while not post.asked:
        await asyncio.sleep(0)
    signal(inboxes)
    await asking
    assert inboxes.may_tell(one)


async def test_what_is_remembered_is_bounded(gateways_bus: Bus, post: Post) -> None:
    catalogue = knows(post.name)
    inboxes = Inboxes(gateways_bus, catalogue, max_agents=2)
    first: Any = call(catalogue)
    await hint(inboxes, first)
    for name in ("carol", "dave"):
        signal(inboxes, name)
        signal(inboxes, name)
    # The first one was forgotten: it is asked once more, and no more.
    assert inboxes.may_tell(first)
    assert await hint(inboxes, first) == "inbox: 1 waiting"
    assert not inboxes.may_tell(first)
