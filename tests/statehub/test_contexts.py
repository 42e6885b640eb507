"""Sharing, reading and deleting contexts, over the real bus."""

import asyncio
import json
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from aicp_common.bus import Bus
from aicp_common.errors import Busy
from aicp_common.store import key
from aicp_common.waiting import REREAD_S
from aicp_statehub.contexts import scripts
from aicp_statehub.contexts.scripts import Bounds
from tests.statehub.agent import Agent, ToolFailed, watching


async def test_what_alice_shares_bob_reads(alice: Agent, bob: Agent) -> None:
    value = {"phase": "development", "progress": 75, "메모": "한글 😀", "none": None, "empty": [{}, []]}
    assert await alice.share("project_status", value) == {"status": "stored", "key": "project_status", "version": 1}
    got = await bob.get("project_status")
    assert got["updated_at"].endswith("Z")
    del got["updated_at"]
    assert got == {"status": "found", "key": "project_status", "version": 1, "value": value, "author": "alice"}
    assert (await bob.share("project_status", 0))["version"] == 2
    assert (await alice.get("project_status"))["author"] == "bob"


@pytest.mark.parametrize("value", [None, True, 0, "", [], {}, [None], {"a": {"b": []}}], ids=repr)
async def test_any_json_value_can_be_shared(alice: Agent, value: Any) -> None:
    await alice.share("v", value)
    got = await alice.get("v")
    assert got["status"] == "found"
    assert got["value"] == value


async def test_numbers_members_and_characters_survive_as_they_were_written(alice: Agent) -> None:
    text = '{"z":123456789012345678901234567890,"a":1.10,"m":1E+2,"e":-0.0,"한":"\U0001f600\\n"}'
    await alice.send("share_context", b'{"context_key": "n", "context_value": %b}' % text.encode())
    document = json.dumps(text, ensure_ascii=False)[1:-1]
    reply = await alice.bus.call("statehub", "get_context", _envelope(alice), b'{"context_key":"n"}')
    assert document in reply.body.decode()
    assert f'"value":{text}' in reply.body.decode()


async def test_whitespace_and_escapes_do_not_stay(alice: Agent) -> None:
    await alice.send("share_context", rb'{"context_key": "n", "context_value": {"a" : ["\uac00\ud83d\ude00\u0001"] } }')
    reply = await alice.bus.call("statehub", "get_context", _envelope(alice), b'{"context_key":"n"}')
    assert b"\n" not in reply.body
    assert '"value":{"a":["가😀\\u0001"]}' in reply.body.decode()


def _envelope(agent: Agent) -> Any:
    from tests.conftest import envelope

    return envelope(agent.tenant, agent.name)


async def test_a_write_under_the_expected_version_is_stored(alice: Agent) -> None:
    await alice.share("k", 1)
    assert (await alice.share("k", 2, expected_version=1))["version"] == 2


async def test_a_refused_write_returns_the_current_state_and_changes_nothing(alice: Agent, bob: Agent) -> None:
    await alice.share("k", 1)
    await bob.share("k", {"by": "bob"})
    refused = await alice.share("k", 3, expected_version=1)
    assert refused.pop("updated_at")
    assert refused == {"status": "conflict", "key": "k", "version": 2, "value": {"by": "bob"}, "author": "bob"}
    assert (await alice.get("k"))["value"] == {"by": "bob"}


async def test_expected_version_0_means_that_it_must_not_exist(alice: Agent) -> None:
    assert (await alice.share("k", "first", expected_version=0))["status"] == "stored"
    assert (await alice.share("k", "second", expected_version=0))["value"] == "first"
    await alice.delete("k")
    assert await alice.share("k", "third", expected_version=0) == {"status": "stored", "key": "k", "version": 3}


async def test_a_version_of_what_never_was_is_a_conflict_without_a_value(alice: Agent) -> None:
    assert await alice.share("k", 1, expected_version=4) == {"status": "conflict", "key": "k", "version": 0}


async def test_of_many_concurrent_writes_under_one_version_exactly_one_is_stored(alice: Agent) -> None:
    await alice.share("k", 0)
    results = await asyncio.gather(*(alice.share("k", n, expected_version=1) for n in range(30)))
    assert [result["status"] for result in results].count("stored") == 1


async def test_a_merge_changes_what_it_names_and_keeps_the_rest(alice: Agent) -> None:
    await alice.share("k", {"a": 1, "b": {"c": 2, "d": 3}, "l": [1]})
    await alice.share("k", {"b": {"c": None, "e": []}, "a": "x"}, merge=True)
    assert (await alice.get("k"))["value"] == {"a": "x", "b": {"d": 3, "e": []}, "l": [1]}
    assert (await alice.share("new", {"a": None, "b": 1}, merge=True))["version"] == 1
    assert (await alice.get("new"))["value"] == {"b": 1}


async def test_fifty_concurrent_merges_are_all_there(alice: Agent, bob: Agent) -> None:
    await alice.share("k", {"start": True})
    agents = [alice, bob]
    merges = [agents[n % 2].share("k", {f"m{n}": n}, merge=True) for n in range(50)]
    versions = sorted(result["version"] for result in await asyncio.gather(*merges))
    assert versions == list(range(2, 52))
    assert (await alice.get("k"))["value"] == {"start": True} | {f"m{n}": n for n in range(50)}


@pytest.mark.parametrize(
    ("value", "kind", "hint"),
    [
        ('{"b": 2}', "a string", "send the object itself, not as text"),
        ('[{"b": 2}]', "a string", ""),
        ("b", "a string", ""),
        ([1], "an array", ""),
        (None, "null", ""),
        (False, "a boolean", ""),
        (-1, "a number", ""),
    ],
)
async def test_a_merge_of_anything_but_an_object_is_refused_and_changes_nothing(
    alice: Agent, value: Any, kind: str, hint: str
) -> None:
    await alice.share("k", {"a": 1})
    with pytest.raises(ToolFailed, match=f"context_value: merge needs an object, this is {kind}") as failed:
        await alice.share("k", value, merge=True)
    assert (failed.value.code, failed.value.hint) == ("invalid_argument", hint)
    assert (await alice.get("k"))["value"] == {"a": 1}


@pytest.mark.parametrize(("value", "kind"), [('{"b": 2}', "object"), (' [1, "x"]', "array")])
async def test_an_object_or_array_that_comes_as_text_is_stored_so_and_that_is_said(
    alice: Agent, value: str, kind: str
) -> None:
    stored = await alice.share("k", value)
    assert (stored["status"], stored["version"]) == ("stored", 1)
    assert stored["note"].endswith(f"send the {kind} itself, not as text")
    assert (await alice.get("k"))["value"] == value


@pytest.mark.parametrize("value", ["{b: 2}", "[1", "1", "null", "plain text", '"{}"', {"b": "{}"}, ["[]"]], ids=repr)
async def test_other_values_are_stored_without_a_note(alice: Agent, value: Any) -> None:
    assert "note" not in await alice.share("k", value)


async def test_a_merge_under_an_old_version_is_refused(alice: Agent) -> None:
    await alice.share("k", {"a": 1})
    await alice.share("k", {"a": 2})
    refused = await alice.share("k", {"b": 1}, merge=True, expected_version=1)
    assert (refused["status"], refused["value"]) == ("conflict", {"a": 2})


async def test_a_merge_cannot_grow_a_value_over_the_limit(alice: Agent) -> None:
    await alice.share("k", {"a": "x" * 200_000})
    with pytest.raises(ToolFailed, match="context_value") as failed:
        await alice.share("k", {"b": "y" * 100_000}, merge=True)
    assert failed.value.code == "invalid_argument"
    assert (await alice.get("k"))["version"] == 1


async def test_an_expired_context_is_gone_at_once_and_its_watchers_are_told(alice: Agent) -> None:
    async with watching(alice.bus, await alice.watch("aicp://context/k")) as watcher:
        stored = await alice.share("k", 1, ttl_s=0.3)
        assert stored["expires_at"]
        got = await alice.get("k", newer_than=1, wait_s=5)
        assert got == {"status": "not_found", "key": "k", "version": 2}
        events = await watcher.until(2)
    assert [event["what"] for event in events] == ["changed", "expired"]
    assert events[1]["data"] == {"key": "k", "version": 2, "author": "statehub"}
    # Long before the removal that does without a signal.
    assert 300 <= events[1]["at_ms"] - events[0]["at_ms"] < 5000
    assert (await alice.share("k", 2, expected_version=0))["version"] == 3


async def test_a_write_takes_the_lifetime_away_and_a_merge_keeps_it(alice: Agent) -> None:
    await alice.share("kept", {"a": 1}, ttl_s=60)
    assert "expires_at" in await alice.share("kept", {"b": 1}, merge=True)
    assert "expires_at" in await alice.get("kept")
    await alice.share("kept", {"c": 1})
    assert "expires_at" not in await alice.get("kept")


async def test_deleting_is_a_version_of_its_own_and_versions_go_on(alice: Agent) -> None:
    await alice.share("k", 1)
    assert await alice.delete("k") == {"status": "deleted", "key": "k", "version": 2}
    assert await alice.get("k") == {"status": "not_found", "key": "k", "version": 2}
    assert await alice.delete("k") == {"status": "not_found", "key": "k", "version": 2}
    assert (await alice.share("k", 1))["version"] == 3


async def test_deleting_under_an_old_version_is_refused(alice: Agent) -> None:
    await alice.share("k", 1)
    await alice.share("k", 2)
    refused = await alice.delete("k", expected_version=1)
    assert refused.pop("updated_at").endswith("Z")
    assert refused == {"status": "conflict", "key": "k", "version": 2, "value": 2, "author": "alice"}
    assert (await alice.delete("k", expected_version=2))["status"] == "deleted"


async def test_what_never_was_has_version_0(alice: Agent) -> None:
    assert await alice.get("nothing") == {"status": "not_found", "key": "nothing", "version": 0}
    assert await alice.delete("nothing") == {"status": "not_found", "key": "nothing", "version": 0}


async def test_a_waiting_reader_gets_the_next_version_at_once(alice: Agent, bob: Agent) -> None:
    await alice.share("k", 1)
    waiting = asyncio.create_task(bob.get("k", newer_than=1, wait_s=20))
    await bob.get("k")  # answered after the one that waits has begun to
    started = time.monotonic()
    await alice.share("k", 2)
    got = await waiting
    assert (got["status"], got["version"], got["value"]) == ("found", 2, 2)
    # Sooner than a reader looks again by itself, also on a busy machine.
    assert time.monotonic() - started < 0.9 * REREAD_S


async def test_a_reader_can_wait_for_what_does_not_exist_yet(alice: Agent, bob: Agent) -> None:
    waiting = asyncio.create_task(bob.get("k", wait_s=20))
    await bob.get("k")
    await alice.share("k", "here")
    assert (await waiting)["value"] == "here"


async def test_a_reader_with_an_old_version_does_not_wait(alice: Agent) -> None:
    await alice.share("k", 1)
    await alice.share("k", 2)
    assert (await alice.get("k", newer_than=1, wait_s=20))["version"] == 2


async def test_a_wait_ends_after_its_time(alice: Agent) -> None:
    await alice.share("k", 1)
    started = time.monotonic()
    assert await alice.get("k", newer_than=1, wait_s=0.3) == {"status": "unchanged", "key": "k", "version": 1}
    assert (await alice.get("absent", wait_s=0.3))["status"] == "not_found"
    assert 0.6 <= time.monotonic() - started < 5


async def test_a_wait_ends_before_the_deadline_of_the_call(alice: Agent) -> None:
    await alice.share("k", 1)
    assert (await alice.get("k", newer_than=1, wait_s=40, deadline_s=1.0))["status"] == "unchanged"


async def test_contexts_are_listed_by_prefix_in_pages(alice: Agent) -> None:
    keys = [f"p/{n:02}" for n in range(25)]
    await asyncio.gather(*(alice.share(key, {"n": key}) for key in [*keys, "o", "q", "p", "p.x"]))
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    pages = 0
    while True:
        page = await alice.call("get_context", prefix="p/", limit=10, **cursor)
        assert page["status"] == "listed"
        assert all("value" not in entry and entry["version"] == 1 for entry in page["entries"])
        seen += [entry["key"] for entry in page["entries"]]
        pages += 1
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert (seen, pages) == (keys, 3)


async def test_without_key_and_prefix_all_are_listed(alice: Agent) -> None:
    for name in ("b", "a/x", "c"):
        await alice.share(name, None)
    await alice.delete("c")
    await alice.share("d", 1, ttl_s=0.01)
    await alice.get("d", newer_than=1, wait_s=5)
    page = await alice.call("get_context", with_values=True)
    assert [(entry["key"], entry["value"]) for entry in page["entries"]] == [("a/x", None), ("b", None)]
    assert (await alice.call("get_context", prefix="zzz"))["entries"] == []


async def test_a_page_with_values_ends_at_256_kib(alice: Agent) -> None:
    for name in ("a", "b", "c"):
        await alice.share(name, name * 150_000)
    first = await alice.call("get_context", with_values=True)
    assert [entry["key"] for entry in first["entries"]] == ["a"]
    second = await alice.call("get_context", with_values=True, cursor=first["next_cursor"])
    assert [entry["key"] for entry in second["entries"]] == ["b"]


async def test_tenants_never_see_each_other(bus: Bus, alice: Agent) -> None:
    stranger = Agent(bus, f"{alice.tenant}-2", "alice")
    await alice.share("k", "secret")
    async with watching(bus, await stranger.watch("aicp://shared-state")) as watcher:
        assert (await stranger.get("k"))["status"] == "not_found"
        assert (await stranger.call("get_context"))["entries"] == []
        assert (await stranger.delete("k"))["status"] == "not_found"
        assert (await stranger.share("k", "mine", expected_version=0))["version"] == 1
        await alice.share("k", "secret 2")
        await stranger.share("k", "mine 2")
        assert [event["tenant"] for event in await watcher.until(2)] == [stranger.tenant] * 2
    assert (await alice.get("k"))["value"] == "secret 2"


async def test_each_tool_needs_its_scope(bus: Bus, alice: Agent) -> None:
    reader = Agent(bus, alice.tenant, "reader", ("context:read",))
    assert (await reader.get("k"))["status"] == "not_found"
    for call in (reader.share("k", 1), reader.delete("k")):
        with pytest.raises(ToolFailed, match="context:write") as failed:
            await call
        assert failed.value.code == "forbidden"
    writer = Agent(bus, alice.tenant, "writer", ("context:write",))
    with pytest.raises(ToolFailed, match="context:read"):
        await writer.get("k")


async def test_where_events_are_large_fewer_may_wait_for_the_log(store: Redis, tenant: str) -> None:
    async with store.pipeline(transaction=False) as pipe:
        for number in range(2_000):
            pipe.xadd(key(tenant, "outbox"), {"number": number})
        await pipe.execute()
    bounds = Bounds(max_keys=10, tombstone_ms=1_000, archived=True)

    async def write(value: bytes) -> bool:
        return (await scripts.write(store, tenant, "k", value, author="alice", bounds=bounds, traceparent=""))[0]

    assert await write(b'"small"')
    with pytest.raises(Busy, match="wait for the event log"):
        await write(b'"' + b"x" * 250_000 + b'"')
    await store.delete(key(tenant, "outbox"))
    assert await write(b'"' + b"x" * 250_000 + b'"')
