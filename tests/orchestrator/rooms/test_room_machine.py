"""The scripts of rooms beside a model in plain Python: whatever happens in whatever order, both agree."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from redis.asyncio import Redis

from aicp_common.errors import AicpError
from aicp_common.store import key
from aicp_orchestrator.rooms import lists, membership, posting, reading
from aicp_orchestrator.rooms.state import Bounds
from tests.orchestrator.rooms.room_model import Model, Refusal
from tests.support.machines import run_machine

EXAMPLES = int(os.environ.get("ROOM_MACHINE_EXAMPLES", "25"))
STEPS = 40

TENANT = "machine"
AGENTS = ("ann", "bob", "cid", "dot")
ROOMS = ("a", "b")
BOUNDS = Bounds(messages=10, members=3, opened=1)

T = TypeVar("T")

rooms = st.sampled_from(ROOMS)
agents = st.sampled_from(AGENTS)
some = st.lists(agents, max_size=3)
numbers = st.none() | st.integers(0, 12)


class RoomMachine(RuleBasedStateMachine):
    """Changes of every kind, in any order; after each of them every agent sees what the model says."""

    def __init__(self, redis: Redis, runner: asyncio.Runner) -> None:
        super().__init__()
        self.redis, self.runner = redis, runner
        self.model = Model(BOUNDS.members, BOUNDS.messages, BOUNDS.opened)
        self.calls = 0
        self.run(redis.flushall())

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    def both(self, work: Awaitable[T], modelled: Callable[[], T]) -> None:
        """What the script returns is what the model returns, or both refuse alike."""
        done: T | str
        expected: T | str
        try:
            done = self.run(work)
        except AicpError as error:
            done = type(error).__name__
        try:
            expected = modelled()
        except Refusal as refusal:
            expected = str(refusal)
        assert done == expected

    @rule(room=rooms, agent=agents, topic=st.sampled_from("ttu"), invites=st.sampled_from(["", "members"]), names=some)
    def open(self, room: str, agent: str, topic: str, invites: str, names: list[str]) -> None:
        async def work() -> tuple[bool, list[str]]:
            opened = await membership.open_room(
                *(self.redis, TENANT, room),
                agent=agent,
                topic=topic,
                invites="members" if invites else None,
                names=names,
                bounds=BOUNDS,
                traceparent="",
            )
            return opened.is_new, opened.invited

        self.both(work(), lambda: self.model.open(room, agent, topic, invites, names))

    @rule(room=rooms, order=st.permutations(AGENTS))
    def gather(self, room: str, order: list[str]) -> None:
        """A room with as many as it may have: chance alone seldom gets that far."""
        opener, *others = order[: BOUNDS.members]
        self.open(room, opener, "t", "", others)
        for other in others:
            self.join(room, other)

    @rule(room=rooms, agent=agents, names=some)
    def invite(self, room: str, agent: str, names: list[str]) -> None:
        work = membership.invite(self.redis, TENANT, room, agent=agent, names=names, bounds=BOUNDS, traceparent="")
        self.both(work, lambda: self.model.invite(room, agent, names))

    @rule(room=rooms, agent=agents)
    def join(self, room: str, agent: str) -> None:
        async def work() -> bool:
            joined = await membership.join(self.redis, TENANT, room, agent=agent, bounds=BOUNDS, traceparent="")
            return joined.is_new

        self.both(work(), lambda: self.model.join(room, agent))

    @rule(room=rooms)
    def opener_leaves(self, room: str) -> None:
        if room in self.model.rooms:
            opener = self.model.rooms[room].opener
            self.leave(room, opener, opener, itself=True)

    @rule(room=rooms, who=agents, agent=agents, itself=st.booleans())
    def leave(self, room: str, who: str, agent: str, itself: bool) -> None:
        agent = who if itself else agent

        async def work() -> tuple[str, str, list[str]]:
            outcome, opener, uninvited = await membership.leave(
                self.redis, TENANT, room, agent=agent, who=who, bounds=BOUNDS, traceparent=""
            )
            return outcome, opener, sorted(uninvited)

        self.both(work(), lambda: self.model.leave(room, who, agent))

    @rule(room=rooms, agent=agents)
    def close(self, room: str, agent: str) -> None:
        async def work() -> tuple[int, list[str]]:
            last, _, uninvited = await membership.close(
                self.redis, TENANT, room, agent=agent, bounds=BOUNDS, traceparent=""
            )
            return last, sorted(uninvited)

        self.both(work(), lambda: self.model.close(room, agent))

    @rule(
        room=rooms, agent=agents, text=st.sampled_from(["x", "y"]), idempotency_key=st.sampled_from(["", "", "k"]),
        reply_to=numbers, mentions=st.just([]) | st.lists(agents, max_size=2),
        named=st.just([]) | st.lists(agents, max_size=2, unique=True),
    )  # fmt: skip
    def post(
        self,
        room: str,
        agent: str,
        text: str,
        idempotency_key: str,
        reply_to: int | None,
        mentions: list[str],
        named: list[str],
    ) -> None:
        async def work() -> tuple[int, list[str]]:
            posted = await posting.post(
                *(self.redis, TENANT, room),
                author=agent,
                text=text,
                bounds=BOUNDS,
                reply_to=reply_to or None,
                mentions=tuple(mentions),
                named=tuple(named),
                idempotency_key=idempotency_key,
            )
            return posted.number, list(posted.mentions)

        self.both(
            work(), lambda: self.model.post(room, agent, text, idempotency_key, reply_to or None, mentions, named)
        )

    @rule(room=rooms, agent=agents, after=numbers, limit=st.sampled_from([1, 2, 50]))
    def read(self, room: str, agent: str, after: int | None, limit: int) -> None:
        self.calls += 1

        async def work() -> tuple[int, list[int]]:
            page = await reading.read(
                self.redis, TENANT, room, agent=agent, after=after, limit=limit, call=str(self.calls)
            )
            return page.after, [message.number for message in page.messages]

        self.both(work(), lambda: self.model.read(room, agent, after, limit))

    @invariant()
    def everybody_sees_what_the_model_says(self) -> None:
        for agent in AGENTS:
            # Before the list is asked for, which drops what is no longer so.
            listed = self.run(self.redis.zrange(key(TENANT, "invited-to", agent), 0, -1))
            assert set(listed) == {name for name, room in self.model.rooms.items() if agent in room.invited}
            mine, invitations = self.run(lists.rooms_of(self.redis, TENANT, agent))
            assert {
                one.room: (one.topic, one.state, one.opener, one.last, one.unread, one.members) for one in mine
            } == {
                name: (
                    *(room.topic, "open" if room.is_open else "closed", room.opener),
                    *(room.last, self.model.unread(room, agent), len(room.members)),
                )
                for name, room in self.model.rooms.items()
                if agent in room.members
            }
            assert {one.room for one in invitations} == {
                name for name, room in self.model.rooms.items() if agent in room.invited
            }

    @invariant()
    def gateways_hear_what_the_model_says(self) -> None:
        for name in ROOMS:
            room = self.model.rooms.get(name)
            found = self.run(reading.news(self.redis, TENANT, name, after=0))
            assert set(found.members) == set(room.members if room else ())
            said = [(one.kind, one.author, one.text, one.agents, one.opener) for one in found.messages]
            if room is None:
                assert said == []
                continue
            assert said == room.said[self.model.dropped(room) :]
            assert [one.number for one in found.messages] == list(range(self.model.dropped(room) + 1, room.last + 1))
            assert found.after == room.last


def test_scripts_and_model_agree(redis_url: str) -> None:
    run_machine(RoomMachine, redis_url, examples=EXAMPLES, steps=STEPS)
