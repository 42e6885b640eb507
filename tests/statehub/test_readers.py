"""Contexts that only some agents may read."""

import pytest

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.errors import NotFound
from tests.statehub.agent import Agent, ToolFailed, watching


@pytest.fixture
def eve(bus: Bus, tenant: str) -> Agent:
    """An agent that is told nothing."""
    return Agent(bus, tenant, "eve")


async def test_named_agents_and_the_author_read_it_and_for_others_it_is_not_there(
    alice: Agent, bob: Agent, eve: Agent
) -> None:
    stored = await alice.share("salaries", {"bob": 1}, readable_by=["bob"])
    assert stored["readable_by"] == ["alice", "bob"]
    for agent in (alice, bob):
        assert (await agent.get("salaries"))["readable_by"] == ["alice", "bob"]
        assert [one["key"] for one in (await agent.call("get_context"))["entries"]] == ["salaries"]
    assert await eve.get("salaries") == {"status": "not_found", "key": "salaries", "version": 0}
    assert await eve.get("salaries", newer_than=0) == {"status": "not_found", "key": "salaries", "version": 0}
    assert (await eve.call("get_context", with_values=True))["entries"] == []
    assert (await eve.call("get_context", changed_since=0))["entries"] == []
    for form in ({"version": 1}, {"versions": True}):
        assert await eve.get("salaries", **form) == {"status": "not_found", "key": "salaries", "version": 0}


async def test_who_may_not_read_may_not_change(alice: Agent, eve: Agent) -> None:
    await alice.share("diary", "dear diary", readable_by=["alice"])
    for attempt in ({}, {"expected_version": 0}, {"expected_version": 1}, {"readable_by": ["eve"]}):
        with pytest.raises(ToolFailed, match="keep it to themselves") as failed:
            await eve.share("diary", "mine", **attempt)
        assert failed.value.code == "forbidden"
    with pytest.raises(ToolFailed, match="keep it to themselves"):
        await eve.call("share_context", context_key="diary", context_value={"a": 1}, merge=True)
    with pytest.raises(ToolFailed, match="keep it to themselves"):
        await eve.delete("diary")
    assert (await alice.get("diary"))["version"] == 1


async def test_readers_stay_until_they_are_changed(alice: Agent, bob: Agent, eve: Agent) -> None:
    await alice.share("k", {"a": 1}, readable_by=["bob"])
    await bob.share("k", {"b": 2}, merge=True)
    assert (await eve.get("k"))["status"] == "not_found"
    await bob.share("k", {"c": 3}, readable_by=["*"])
    assert (await eve.get("k"))["value"] == {"c": 3}
    # What was written for some is still theirs alone.
    assert (await bob.get("k", version=1))["value"] == {"a": 1}
    assert (await eve.get("k", version=1))["status"] == "not_found"
    assert [one["version"] for one in (await eve.get("k", versions=True))["entries"]] == [3]


async def test_a_name_is_free_again_after_its_context_was_deleted(alice: Agent, eve: Agent) -> None:
    await alice.share("k", "private", readable_by=["alice"])
    await alice.delete("k")
    assert await eve.get("k") == {"status": "not_found", "key": "k", "version": 0}
    assert (await eve.call("get_context", changed_since=0))["entries"] == []
    assert (await eve.share("k", "public"))["version"] == 3
    assert (await eve.get("k", version=1))["status"] == "not_found"
    assert (await alice.get("k", version=1))["value"] == "private"


async def test_resources_and_completion_keep_it_too(alice: Agent, eve: Agent) -> None:
    await alice.share("team/plan", 1, readable_by=["alice"])
    await alice.share("team/news", 2)
    with pytest.raises(NotFound, match="no context 'team/plan'"):
        await eve.read("aicp://context/team/plan")
    for uri in ("aicp://shared-state", "aicp://context/team/"):
        assert [one["key"] for one in (await eve.read(uri))["entries"]] == ["team/news"]
        assert [one["key"] for one in (await alice.read(uri))["entries"]] == ["team/news", "team/plan"]


async def test_events_name_the_readers(alice: Agent, bus: Bus, tenant: str) -> None:
    async with watching(bus, subjects.event(tenant, "context", "*", "*")) as watcher:
        await alice.share("k", "secret", readable_by=["bob"])
        await alice.delete("k")
        events = await watcher.until(2)
    assert [(event["what"], event["data"]) for event in events] == [
        ("changed", {"key": "k", "version": 1, "author": "alice", "readers": ["alice", "bob"]}),
        ("deleted", {"key": "k", "version": 2, "author": "alice", "readers": ["alice", "bob"]}),
    ]


@pytest.mark.parametrize("readers", [[], ["*", "bob"], ["Bob!"], ["a"] * 101])
async def test_readers_that_cannot_be_are_refused(alice: Agent, readers: list[str]) -> None:
    with pytest.raises(ToolFailed, match="readable_by") as failed:
        await alice.share("k", 1, readable_by=readers)
    assert failed.value.code == "invalid_argument"


async def test_nobody_removes_old_versions_of_others(alice: Agent, bob: Agent, eve: Agent) -> None:
    await alice.share("k", "private", readable_by=["bob"])
    await alice.delete("k")
    await eve.share("k", "public")
    assert (await eve.delete("k", with_history=True))["status"] == "deleted"
    assert (await bob.get("k", version=1))["value"] == "private"
    # What she might read herself is gone.
    assert (await bob.get("k", version=3))["note"].startswith("Version 3 is no longer kept")
    assert [one["version"] for one in (await bob.get("k", versions=True))["entries"]] == [4, 2, 1]


async def test_a_cursor_tells_nothing_of_what_is_hidden(alice: Agent, eve: Agent) -> None:
    for number in range(3):
        await alice.share(f"p/{number}", number)
        await alice.share(f"p/{number}-hidden", "x" * 100_000, readable_by=["alice"])
    cursor, said = "", list[str]()
    while True:
        page = await eve.call("get_context", prefix="p/", limit=1, cursor=cursor or None)
        said += [one["key"] for one in page["entries"]]
        cursor = page.get("next_cursor", "")
        if not cursor:
            break
        said.append(cursor)
    assert said == ["p/0", "p/0", "p/1", "p/1", "p/2"]
    snapshot = await eve.read("aicp://shared-state")
    assert snapshot["total"] == 3
    assert "hidden" not in str(snapshot)
    assert (await alice.read("aicp://shared-state"))["total"] == 6
