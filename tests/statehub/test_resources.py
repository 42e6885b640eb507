"""Contexts as resources: reading, watching, and the snapshot."""

import asyncio

import pytest

from aicp_common.bus import Bus
from aicp_common.errors import Forbidden, InvalidArgument, NotFound
from tests.statehub.agent import Agent, watching


async def test_a_context_is_a_resource(alice: Agent) -> None:
    await alice.share("team/plan", {"step": [1, None]})
    for uri in ("aicp://context/team/plan", "aicp://context/team%2Fplan", "aicp://context/te%61m/plan"):
        document = await alice.read(uri)
        assert document.pop("updated_at").endswith("Z")
        assert document == {"key": "team/plan", "value": {"step": [1, None]}, "version": 1, "author": "alice"}


async def test_an_unknown_context_is_not_found_by_its_name(alice: Agent) -> None:
    with pytest.raises(NotFound, match="'team/plan'"):
        await alice.read("aicp://context/team%2Fplan")
    with pytest.raises(NotFound, match="aicp://tasks/t-1"):
        await alice.read("aicp://tasks/t-1")


@pytest.mark.parametrize("tail", ["", "a//b", "%ff", "a%20b", "../x", "%2e%2e/x", "한"])
async def test_a_uri_with_a_bad_key_is_refused(alice: Agent, tail: str) -> None:
    for call in (alice.read, alice.watch):
        with pytest.raises(InvalidArgument, match="uri"):
            await call(f"aicp://context/{tail}")


async def test_a_watcher_gets_exactly_the_events_of_its_key(alice: Agent, bob: Agent) -> None:
    subject = await alice.watch("aicp://context/k")
    async with watching(alice.bus, subject) as watcher:
        await alice.share("k", 1)
        await bob.share("other", 1)
        await bob.share("k", {"a": 1}, merge=True)
        await alice.share("k", 9, expected_version=1)
        await bob.delete("k")
        await bob.delete("k")
        await alice.share("k", 5)
        events = await watcher.until(4)
    assert [(event["what"], event["data"]) for event in events] == [
        ("changed", {"key": "k", "version": 1, "author": "alice"}),
        ("changed", {"key": "k", "version": 2, "author": "bob"}),
        ("deleted", {"key": "k", "version": 3, "author": "bob"}),
        ("changed", {"key": "k", "version": 4, "author": "alice"}),
    ]
    assert {event["entity"] for event in events} == {"context"}
    assert all(event["event_id"].startswith(f"{alice.tenant}:") for event in events)
    assert all(event["traceparent"].startswith("00-") for event in events)


async def test_the_snapshot_has_everything_and_is_watched_as_a_whole(alice: Agent) -> None:
    async with watching(alice.bus, await alice.watch("aicp://shared-state")) as watcher:
        await alice.share("b", None)
        await alice.share("a", {"x": 1})
        assert [event["data"]["key"] for event in await watcher.until(2)] == ["b", "a"]
    snapshot = await alice.read("aicp://shared-state")
    assert snapshot["total"] == 2
    assert snapshot["truncated"] is False
    assert [(entry["key"], entry["value"]) for entry in snapshot["entries"]] == [("a", {"x": 1}), ("b", None)]


async def test_a_large_snapshot_is_cut_and_says_how_to_read_on(alice: Agent) -> None:
    await asyncio.gather(*(alice.share(f"k{n:03}", n) for n in range(205)))
    snapshot = await alice.read("aicp://shared-state")
    assert (snapshot["total"], snapshot["truncated"], len(snapshot["entries"])) == (205, True, 200)
    assert "get_context" in snapshot["how_to_read_on"]
    rest = await alice.call("get_context", with_values=True, cursor=snapshot["next_cursor"])
    assert [entry["value"] for entry in rest["entries"]] == list(range(200, 205))


async def test_a_snapshot_of_large_values_is_cut_by_size(alice: Agent) -> None:
    for n in range(4):
        await alice.share(f"k{n}", "x" * 100_000)
    snapshot = await alice.read("aicp://shared-state")
    assert (len(snapshot["entries"]), snapshot["truncated"]) == (2, True)


async def test_resources_need_the_scope(bus: Bus, alice: Agent) -> None:
    outsider = Agent(bus, alice.tenant, "eve", ("task:read",))
    for call in (outsider.read, outsider.watch):
        with pytest.raises(Forbidden, match="context:read"):
            await call("aicp://shared-state")
