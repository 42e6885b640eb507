"""Old versions of a context."""

from typing import Any

import pytest

from aicp_common.bus import Bus
from tests.statehub.agent import Agent, ToolFailed
from tests.support.processes import Backend, ServiceProcess


async def test_an_old_version_is_read_as_it_was(alice: Agent, bob: Agent) -> None:
    await alice.share("plan", {"phase": 1})
    await bob.share("plan", {"phase": 2})
    old = await alice.get("plan", version=1)
    assert (old["status"], old["version"], old["value"], old["author"]) == ("found", 1, {"phase": 1}, "alice")
    assert old["updated_at"] <= (await alice.get("plan"))["updated_at"]
    assert (await alice.get("plan", version=2))["value"] == {"phase": 2}


async def test_a_version_that_is_not_there_says_why(alice: Agent) -> None:
    await alice.share("plan", 1)
    await alice.delete("plan")
    await alice.share("plan", 3)
    assert await alice.get("plan", version=2) == {
        "status": "not_found",
        "key": "plan",
        "version": 2,
        "note": "Version 2 is its end: alice deleted it.",
    }
    later = await alice.get("plan", version=9)
    assert (later["status"], later["version"], later["note"]) == ("not_found", 3, "Its newest version is 3.")
    assert await alice.get("other", version=1) == {"status": "not_found", "key": "other", "version": 0}


async def test_what_is_deleted_can_still_be_read_unless_its_history_went_too(alice: Agent) -> None:
    for name in ("kept", "secret"):
        await alice.share(name, "the password")
    await alice.delete("kept")
    await alice.delete("secret", with_history=True)
    assert (await alice.get("kept", version=1))["value"] == "the password"
    gone = await alice.get("secret", version=1)
    assert (gone["status"], gone["note"]) == ("not_found", "Version 1 is no longer kept; the oldest that is kept is 2.")
    # It is not too late for the other one either.
    late = await alice.delete("kept", with_history=True)
    assert (late["status"], late["note"]) == ("not_found", "Its old versions were removed.")
    assert (await alice.get("kept", version=1))["status"] == "not_found"


async def test_the_versions_of_a_context_are_listed_newest_first(alice: Agent, bob: Agent) -> None:
    await alice.share("plan", "a")
    await bob.share("plan", "b")
    await bob.delete("plan")
    await alice.share("plan", "d")
    listed = await alice.get("plan", versions=True, with_values=True)
    assert [(one["version"], one["author"], one.get("value"), one.get("deleted")) for one in listed["entries"]] == [
        (4, "alice", "d", None),
        (3, "bob", None, True),
        (2, "bob", "b", None),
        (1, "alice", "a", None),
    ]
    assert "more" not in listed
    short = await alice.get("plan", versions=True, limit=2)
    assert short["more"]
    assert [(one["version"], one.get("value")) for one in short["entries"]] == [(4, None), (3, None)]


async def test_values_of_versions_end_at_256_kib(alice: Agent) -> None:
    for letter in "abc":
        await alice.share("large", letter * 100_000)
    listed = await alice.get("large", versions=True, with_values=True)
    assert ["value" in one for one in listed["entries"]] == [True, True, False]
    assert listed["note"] == "Values of older versions did not fit: read each with version."


async def test_the_last_100_versions_are_kept(alice: Agent) -> None:
    for number in range(1, 106):
        await alice.share("counter", number)
    assert (await alice.get("counter", version=6))["value"] == 6
    assert (await alice.get("counter", version=5))["note"] == (
        "Version 5 is no longer kept; the oldest that is kept is 6."
    )


async def test_how_much_is_kept_can_be_set(own_backend: Backend, tenant: str) -> None:
    settings = {"CONTEXT_VERSIONS": "3", "CONTEXT_HISTORY_BYTES": "1000", "CONTEXT_MAX_BYTES": "1048576"}
    worker = ServiceProcess("statehub", own_backend, settings).start().wait()
    bus = Bus(own_backend.nats_url, "tests")
    await bus.connect()
    agent = Agent(bus, tenant)
    for number in range(1, 6):
        await agent.share("k", number)
    assert [one["version"] for one in (await agent.get("k", versions=True))["entries"]] == [5, 4, 3]
    await agent.share("k", "x" * 2_000)
    await agent.share("k", 7)
    assert [one["version"] for one in (await agent.get("k", versions=True))["entries"]] == [7]
    for number in range(4):
        await agent.share(f"large/{number}", "x" * 250_000)
    with pytest.raises(ToolFailed, match=r"context_value: .* more than the 1048576 bytes") as failed:
        await agent.share("large/4", "x" * 250_000)
    assert failed.value.code == "busy"
    await agent.delete("large/0", with_history=True)
    assert (await agent.share("large/4", "x" * 250_000))["status"] == "stored"
    await bus.close()
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"version": 1}, "version: needs a context_key"),
        ({"context_key": "k", "version": 1, "newer_than": 1}, "newer_than: cannot stand beside version"),
        ({"context_key": "k", "changed_since": 0}, "context_key: cannot stand beside changed_since"),
        ({"context_key": "k", "with_values": True}, "with_values: cannot stand beside context_key"),
        ({"wait_s": 1}, "wait_s: needs a context_key"),
        ({"context_key": "k", "version": 1, "versions": True}, "versions: cannot stand beside version"),
    ],
)
async def test_arguments_that_do_not_go_together_are_refused(
    alice: Agent, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(ToolFailed, match=told) as failed:
        await alice.call("get_context", **arguments)
    assert failed.value.code == "invalid_argument"
    assert failed.value.expected


async def test_who_asks_for_a_folder_as_a_key_is_told_of_prefix(alice: Agent) -> None:
    with pytest.raises(ToolFailed, match="to list a folder use prefix"):
        await alice.get("projects/")


async def test_what_has_ended_stands_in_the_list_of_versions_as_it_ended(alice: Agent) -> None:
    await alice.share("deleted", 1)
    await alice.delete("deleted")
    await alice.share("lapsed", 1, ttl_s=0.01)
    await alice.get("lapsed", newer_than=1, wait_s=5)
    for name, author in (("deleted", "alice"), ("lapsed", "statehub")):
        entries = (await alice.get(name, versions=True))["entries"]
        assert [(one["version"], one["author"], one.get("deleted")) for one in entries] == [
            (2, author, True),
            (1, "alice", None),
        ]
        assert entries[0]["updated_at"] >= entries[1]["updated_at"]
    assert (await alice.get("lapsed", version=2))["note"] == "Version 2 is its end: its lifetime was over."
