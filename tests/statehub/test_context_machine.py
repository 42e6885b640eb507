"""The scripts of contexts beside a model in plain Python: whatever happens in whatever order, both agree."""

import asyncio
import os
from collections.abc import Awaitable
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from redis.asyncio import Redis

from aicp_common.errors import Busy, Forbidden
from aicp_common.store import key
from aicp_statehub.contexts import lists, scripts
from aicp_statehub.contexts.scripts import Bounds
from aicp_statehub.contexts.state import Context
from tests.statehub.context_model import Model
from tests.support.machines import run_machine

EXAMPLES = int(os.environ.get("CONTEXT_MACHINE_EXAMPLES", "30"))
STEPS = 40

TENANT = "machine"
AGENTS = ("ann", "bob")
NAMES = ("a", "b/x", "b/y", "c", "d")
FAR_MS = 10_000_000
BOUNDS = Bounds(max_keys=3, tombstone_ms=FAR_MS, max_bytes=400, versions=4, history_bytes=120)

T = TypeVar("T")

names = st.sampled_from(NAMES)
agents = st.sampled_from(AGENTS)
values = st.sampled_from(['"short"', '"' + "m" * 30 + '"', '"' + "l" * 130 + '"', "{}"])
expectations = st.sampled_from([None, None, 0, 1, 2, 3])
readers = st.sampled_from([(), (), ("*",), ("ann",), ("ann", "bob")])


class ContextMachine(RuleBasedStateMachine):
    """Changes of every kind, in any order; after each of them every reader sees what the model says."""

    def __init__(self, redis: Redis, runner: asyncio.Runner) -> None:
        super().__init__()
        self.redis, self.runner = redis, runner
        self.model = Model(BOUNDS.max_keys, BOUNDS.max_bytes, BOUNDS.versions, BOUNDS.history_bytes)
        self.run(redis.flushall())

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    @rule(
        name=names, value=values, author=agents, expected=expectations, readers=readers,
        lapses=st.sampled_from([False, False, True]),
    )  # fmt: skip
    def write(
        self, name: str, value: str, author: str, expected: int | None, readers: tuple[str, ...], lapses: bool
    ) -> None:
        now = Context(name, 0)
        try:
            stored, now = self.run(
                scripts.write(
                    *(self.redis, TENANT, name, value.encode()),
                    author=author,
                    bounds=BOUNDS,
                    traceparent="",
                    expected=expected,
                    readers=readers,
                    ttl_ms=1 if lapses else None,
                )
            )
            outcome = "done" if stored else "conflict"
        except Forbidden:
            outcome = "forbidden"
        except Busy as error:
            outcome = "large" if "bytes" in str(error) else "full"
        assert outcome == self.model.write(name, value, author, expected, readers, lapses)
        if outcome == "done":
            assert now.version == self.model.names[name].version
            if lapses:
                self.run(self._past(now.expires_ms or 0))
        elif outcome == "conflict":
            assert (now.version, now.value and now.value.decode()) == self.model.read(name, author)

    async def _past(self, at_ms: int) -> None:
        while True:
            seconds, micros = await self.redis.time()
            if seconds * 1000 + micros // 1000 >= at_ms:
                return

    @rule(name=names, author=agents, expected=expectations, with_history=st.booleans())
    def delete(self, name: str, author: str, expected: int | None, with_history: bool) -> None:
        try:
            outcome, _ = self.run(
                scripts.delete(
                    *(self.redis, TENANT, name),
                    author=author,
                    bounds=BOUNDS,
                    traceparent="",
                    expected=expected,
                    with_history=with_history,
                )
            )
        except Forbidden:
            assert self.model.delete(name, author, expected, with_history) == "forbidden"
            return
        assert outcome == self.model.delete(name, author, expected, with_history)

    @rule(name=names)
    def expire(self, name: str) -> None:
        assert self.run(scripts.expire(self.redis, TENANT, name, BOUNDS)) == self.model.expire(name)

    @precondition(lambda machine: any(at.value is None for at in machine.model.names.values()))
    @rule(which=st.integers(0, 2))
    def forget(self, which: int) -> None:
        """The time of a tombstone is over, and the sweep comes."""
        dead = [name for name, at in self.model.names.items() if at.value is None]
        name = dead[which % len(dead)]
        self.run(self.redis.zadd(key(TENANT, "context-tombstones"), {name: 1}))
        self.run(scripts.sweep(self.redis, TENANT))
        self.model.forget(name)

    @invariant()
    def every_reader_sees_what_the_model_says(self) -> None:
        self.run(self._compare())

    async def _compare(self) -> None:
        model = self.model
        for agent in AGENTS:
            listed = await lists.list_page(self.redis, TENANT, reader=agent, max_value_bytes=10_000)
            assert listed.revision == model.revision
            assert [(one.key, one.version, (one.value or b"").decode()) for one in listed.contexts] == [
                (name, at.version, at.value) for name, at in sorted(model.names.items()) if at.live and at.may(agent)
            ]
            known = {name for name, at in model.names.items() if at.value is not None and at.may(agent)}
            assert listed.total == len(known)
            for since in {0, max(0, model.revision - 3), model.revision}:
                found = await lists.changes(self.redis, TENANT, since=since, reader=agent)
                shown = [(one.key, one.version, one.deleted) for one in found.contexts]
                assert (shown, found.complete) == model.changes(since, agent)
                assert (found.revision, found.more) == (model.revision, False)
            for name in NAMES:
                now = await scripts.read(self.redis, TENANT, name, reader=agent)
                assert (now.version, now.value and now.value.decode()) == model.read(name, agent)
                for number in range(1, now.version + 2):
                    one = await lists.version(self.redis, TENANT, name, number, reader=agent)
                    value = one.context.value.decode() if one.status == "found" and one.context.value else None
                    assert (one.status, value) == model.version(name, number, agent)
        assert int(await self.redis.get(key(TENANT, "context-bytes")) or 0) == model.bytes
        assert set(await self.redis.keys(key(TENANT, "context:*"))) == {
            key(TENANT, "context", name) for name in model.names
        }
        for name in NAMES:
            kept = await self.redis.llen(key(TENANT, "context-history", name))
            assert kept == len(model.names[name].old if name in model.names else ())


def test_the_scripts_of_contexts_do_what_the_model_does_in_any_order(redis_url: str) -> None:
    run_machine(ContextMachine, redis_url, examples=EXAMPLES, steps=STEPS)
