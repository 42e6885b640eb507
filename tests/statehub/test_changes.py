"""What has changed since: how somebody who was away catches up."""

import asyncio
from typing import Any

from nats.aio.msg import Msg
from redis.asyncio import Redis

from aicp_common.bus import Bus
from aicp_common.store import key
from aicp_statehub.contexts import scripts
from aicp_statehub.contexts.lists import CHANGES_AT_ONCE
from tests.statehub.agent import Agent, Json, watching


async def _changes(agent: Agent, since: int, **more: Any) -> tuple[list[tuple[str, int, bool]], Json]:
    found = await agent.call("get_context", changed_since=since, **more)
    return [(one["key"], one["version"], one.get("deleted", False)) for one in found["entries"]], found


async def test_who_was_away_learns_what_has_changed_and_what_is_gone_each_once(alice: Agent, bob: Agent) -> None:
    for name in ("a", "b", "c"):
        await alice.share(name, 1)
    known = (await bob.call("get_context"))["revision"]
    await alice.share("b", 2)
    await alice.share("d", 1)
    await alice.delete("a")
    await alice.share("b", 3)
    shown, found = await _changes(bob, known)
    assert shown == [("d", 1, False), ("a", 2, True), ("b", 3, False)]
    assert (await _changes(bob, found["revision"]))[1]["status"] == "unchanged"


async def test_changes_of_a_folder_come_alone_and_in_pages(alice: Agent) -> None:
    for number in range(5):
        await alice.share(f"x/{number}", number)
        await alice.share(f"y/{number}", number)
    shown, since = [], 0
    while True:
        some, found = await _changes(alice, since, prefix="x/", limit=2, with_values=True)
        shown += some
        since = found["revision"]
        assert [one["value"] for one in found["entries"]] == [int(name[2:]) for name, _, _ in some]
        if "more" not in found:
            break
    assert [name for name, _, _ in shown] == [f"x/{number}" for number in range(5)]


async def test_a_waiting_reader_is_told_of_the_next_change_of_its_folder(alice: Agent, bob: Agent) -> None:
    await alice.share("x/1", 1)
    known = (await bob.call("get_context"))["revision"]
    waiting = asyncio.create_task(_changes(bob, known, prefix="x/", wait_s=20))
    while not waiting.done():
        # Others do not wake it for good.
        await alice.share("y/1", 1)
        await asyncio.sleep(0)
        await alice.share("x/2", 1)
    assert [(name, gone) for name, _, gone in (await waiting)[0]] == [("x/2", False)]


async def test_many_changes_of_other_names_do_not_end_a_search(alice: Agent, tenant: str, store: Redis) -> None:
    for number in range(CHANGES_AT_ONCE + 5):
        await store.zadd(key(tenant, "context-changes"), {f"other/{number}": number + 1})
    await store.set(key(tenant, "context-revision"), CHANGES_AT_ONCE + 5)
    await alice.share("mine/1", 1)
    shown, found = await _changes(alice, 0, prefix="mine/")
    assert shown == [("mine/1", 1, False)]
    assert found["revision"] == CHANGES_AT_ONCE + 6


async def test_who_may_have_missed_a_deletion_is_told(alice: Agent, tenant: str, store: Redis) -> None:
    await alice.share("a", 1)
    await alice.share("b", 1)
    known = (await alice.call("get_context"))["revision"]
    await alice.delete("a")
    await store.zadd(key(tenant, "context-tombstones"), {"a": 1})
    await scripts.sweep(store, tenant)
    shown, found = await _changes(alice, known)
    assert (shown, found["status"]) == ([], "listed")
    assert "List everything once more" in found["note"]
    assert "note" not in (await _changes(alice, 0))[1]
    assert "note" not in (await _changes(alice, found["revision"]))[1]
    # So is who knows of changes that this state has not seen: it was restored.
    assert "List everything once more" in (await _changes(alice, known + 1_000))[1]["note"]


async def test_a_context_that_was_forgotten_and_made_anew_is_news_to_who_knows_a_higher_version(
    alice: Agent, tenant: str, store: Redis
) -> None:
    for number in range(5):
        await alice.share("k", number)
    await alice.delete("k")
    await store.zadd(key(tenant, "context-tombstones"), {"k": 1})
    await scripts.sweep(store, tenant)
    assert (await alice.share("k", "anew"))["version"] == 1
    assert (await alice.get("k", newer_than=5))["value"] == "anew"


async def test_who_watches_a_folder_hears_of_what_is_in_it(alice: Agent, bus: Bus) -> None:
    subject = await alice.watch("aicp://context/x/y/")
    heard: list[bytes] = []
    came = asyncio.Event()

    async def on_message(message: Msg) -> None:
        heard.append(message.data)
        if len(heard) == 3:
            came.set()

    subscription = await bus.subscribe(subject, on_message)
    await bus.flush()
    async with watching(bus, await alice.watch("aicp://shared-state")) as everything:
        await alice.share("x/y/1", "the value")
        await alice.share("x/yy/1", 1)
        await alice.share("x/1", 1)
        await alice.share("x/y/z/2", 1)
        await alice.delete("x/y/1")
        events = await everything.until(5)
    async with asyncio.timeout(5):
        await came.wait()
    await subscription.unsubscribe()
    within = [event["event_id"] for event in events if event["data"]["key"].startswith("x/y/")]
    assert len(within) == len(heard) == 3
    assert all(id in said.decode() and b"the value" not in said for id, said in zip(within, heard, strict=True))
