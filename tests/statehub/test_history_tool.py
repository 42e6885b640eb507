"""`get_history` tells what the archive has, to those who may know it, and says so when it cannot."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from aicp_common.bus import Bus
from aicp_common.store import connect_redis, key
from aicp_statehub.archive.history import History
from aicp_statehub.archive.row import row_of
from aicp_statehub.archive.tables import migrate
from aicp_statehub.archive.write import write
from aicp_statehub.contexts import scripts
from aicp_statehub.contexts.json_text import MAX_VALUE_BYTES
from tests.statehub.agent import Agent, Json, ToolFailed, eventually
from tests.statehub.archived import archiving, connected, message, ready
from tests.support.postgres import Postgres
from tests.support.processes import Backend, ServiceProcess

_times = itertools.count(1_700_000_000_000, 10)


@pytest.fixture(scope="module")
def own_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """NATS and Redis of this file."""
    running = Backend(tmp_path_factory.mktemp("history"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL of this file."""
    running = Postgres().start()
    yield running
    running.remove()


@pytest.fixture(scope="module")
def worker(own_backend: Backend, postgres: Postgres) -> Iterator[ServiceProcess]:
    """A worker of the state hub with an archive."""
    with archiving(own_backend, postgres.url) as running:
        yield running
        assert running.stop() == 0, running.process.output()[-4000:]


@pytest.fixture
async def own_bus(own_backend: Backend, worker: ServiceProcess) -> AsyncIterator[Bus]:
    """A connection to the NATS of this file."""
    bus = Bus(own_backend.nats_url, "tests")
    await bus.connect()
    yield bus
    await bus.close()


@pytest.fixture
def alice(own_bus: Bus, tenant: str) -> Agent:
    """An agent of this test's tenant."""
    return Agent(own_bus, tenant, "alice")


async def archive(postgres: Postgres, *bodies: bytes) -> None:
    """Have these events in the archive."""
    async with connected(postgres.url) as connection:
        await migrate(connection)
        await write(connection, [row_of(body) for body in bodies])


def changed(tenant: str, key: str, version: int, **data: Any) -> bytes:
    return message(tenant, next(_times), key=key, version=version, **{"author": "alice", **data})


def task_event(tenant: str, task_id: str, what: str, **data: Any) -> bytes:
    return message(tenant, next(_times), entity="task", id=task_id, what=what, **data)


async def ask(asking: Agent, /, **arguments: Any) -> list[Json]:
    """The entries of one page."""
    entries: list[Json] = (await asking.call("get_history", **arguments))["entries"]
    return entries


async def test_the_way_of_a_task(postgres: Postgres, alice: Agent, tenant: str) -> None:
    await archive(
        postgres,
        task_event(tenant, "t-1", "created", state="submitted", agent="bob", requester="kim", kind="task"),
        task_event(tenant, "t-2", "created", state="submitted", agent="bob", requester="kim"),
        task_event(tenant, "t-1", "claimed", state="working", agent="bob", attempt=1),
        task_event(tenant, "t-1", "completed", state="completed", agent="bob", attempt=1),
    )
    entries = await ask(alice, task_id="t-1")
    assert [(entry["what"], entry["state"]) for entry in entries] == [
        ("completed", "completed"),
        ("claimed", "working"),
        ("created", "submitted"),
    ]
    assert entries[0] | {"event_id": "", "at": ""} == {
        "event_id": "",
        "at": "",
        "entity": "task",
        "what": "completed",
        "task_id": "t-1",
        "agent": "bob",
        "state": "completed",
        "attempt": 1,
    }
    assert entries[2]["requester"] == "kim"
    assert entries[2]["details"] == {"kind": "task"}


async def test_the_history_of_an_agent_has_what_it_did_asked_for_and_wrote(
    postgres: Postgres, alice: Agent, tenant: str
) -> None:
    await archive(
        postgres,
        message(tenant, next(_times), entity="agent", id="kim", what="registered", agent="kim"),
        task_event(tenant, "t-1", "created", state="submitted", agent="bob", requester="kim"),
        task_event(tenant, "t-2", "created", state="submitted", agent="kim", requester="kim"),
        task_event(tenant, "t-2", "claimed", state="working", agent="kim", attempt=1),
        task_event(tenant, "t-1", "claimed", state="working", agent="bob", attempt=1),
        changed(tenant, "plan", 1, author="kim"),
    )
    entries = await ask(alice, agent="kim")
    assert [(entry["entity"], entry["what"]) for entry in entries] == [
        ("context", "changed"),
        ("task", "claimed"),
        ("task", "created"),
        ("task", "created"),
        ("agent", "registered"),
    ]
    assert entries[0]["context_key"] == "plan"
    assert await ask(alice, agent="kim", limit=3) == entries[:3]


async def test_a_version_comes_with_its_value(postgres: Postgres, alice: Agent, tenant: str) -> None:
    await archive(postgres, *(changed(tenant, "k", version, value={"n": version}) for version in (1, 2, 3)))
    (entry,) = await ask(alice, context_key="k", version=2)
    assert (entry["version"], entry["value"]) == (2, {"n": 2})
    assert await ask(alice, context_key="k", version=4) == []
    assert "value" not in (await ask(alice, context_key="k"))[0]
    assert [entry["value"]["n"] for entry in await ask(alice, context_key="k", with_values=True)] == [3, 2, 1]
    assert (await alice.call("get_history", context_key="nothing"))["status"] == "nothing"


async def test_pages_follow_on_each_other_also_within_a_millisecond(
    postgres: Postgres, alice: Agent, tenant: str
) -> None:
    at = next(_times)
    # Ordinals are numbers: the tenth comes after the ninth.
    events = [message(tenant, at, number, key="k", version=number + 1, author="alice") for number in range(25)]
    await archive(postgres, *events)
    for limit in (1, 4, 10, 25, 100):
        versions: list[int] = []
        cursor: dict[str, Any] = {}
        while True:
            page = await alice.call("get_history", context_key="k", limit=limit, **cursor)
            versions += [entry["version"] for entry in page["entries"]]
            if "next_cursor" not in page:
                break
            assert len(page["entries"]) == limit
            cursor = {"cursor": page["next_cursor"]}
        assert versions == list(range(25, 0, -1))


async def test_a_page_of_large_values_ends_early(postgres: Postgres, alice: Agent, tenant: str) -> None:
    await archive(postgres, *(changed(tenant, "k", version, value="x" * 100_000) for version in range(1, 6)))
    await archive(postgres, changed(tenant, "k", 6, value="x" * (MAX_VALUE_BYTES - 2)))
    versions: list[int] = []
    cursor: dict[str, Any] = {}
    pages = 0
    while True:
        page = await alice.call("get_history", context_key="k", with_values=True, **cursor)
        versions += [entry["version"] for entry in page["entries"]]
        pages += 1
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert versions == [6, 5, 4, 3, 2, 1]
    assert pages == 4


async def test_only_its_readers_see_a_restricted_version(
    postgres: Postgres, own_bus: Bus, alice: Agent, tenant: str
) -> None:
    await archive(
        postgres,
        changed(tenant, "k", 1, value=1),
        changed(tenant, "k", 2, value=2, readers=["bob"]),
        message(tenant, next(_times), what="deleted", key="k", version=3, author="bob", readers=["bob"]),
    )
    seen = {}
    for name in ("alice", "bob", "carol"):
        agent = Agent(own_bus, tenant, name)
        seen[name] = [entry["version"] for entry in await ask(agent, context_key="k", with_values=True)]
        assert [entry["version"] for entry in await ask(agent, agent="bob")] == ([3] if name == "bob" else [])
    assert seen == {"alice": [2, 1], "bob": [3, 2, 1], "carol": [1]}
    assert await ask(Agent(own_bus, tenant, "carol"), context_key="k", version=2) == []


async def test_a_version_that_redis_has_dropped_is_read_from_the_archive(
    own_bus: Bus, alice: Agent, tenant: str
) -> None:
    for number in range(1, 103):
        await alice.share("counter", number)
    await alice.share("salaries", 1, readable_by=["alice"])
    for number in range(2, 103):
        await alice.share("salaries", number, readable_by=["*"])

    async def archived() -> bool:
        return bool((await alice.get("salaries", version=1))["status"] == "found")

    await eventually(archived)
    old = await alice.get("counter", version=1)
    assert (old["status"], old["value"], old["author"], old["version"]) == ("found", 1, "alice", 1)
    eve = Agent(own_bus, tenant, "eve")
    assert (await eve.get("counter", version=2))["value"] == 2
    assert (await eve.get("salaries", version=1))["status"] == "not_found"


async def test_tenants_do_not_see_each_other(postgres: Postgres, own_bus: Bus, alice: Agent, tenant: str) -> None:
    await archive(
        postgres,
        changed(tenant, "k", 1, value=1),
        task_event(tenant, "t-1", "created", state="submitted", agent="bob", requester="kim"),
    )
    stranger = Agent(own_bus, f"{tenant}-b", "alice")
    questions: list[Json] = [{"context_key": "k"}, {"task_id": "t-1"}, {"agent": "alice"}, {"agent": "kim"}]
    for question in questions:
        assert await ask(alice, **question)
        assert await ask(stranger, **question) == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "none of task_id, context_key and agent"),
        ({"task_id": "t-1", "agent": "kim"}, "2 of task_id, context_key and agent"),
        ({"task_id": "t-1", "version": 1}, "version: needs a context_key"),
        ({"context_key": "k", "cursor": "x"}, "cursor: should be the next_cursor"),
        ({"context_key": "k", "cursor": "9" * 30 + "-0"}, "cursor: should be the next_cursor"),
        ({"context_key": "k", "limit": 101}, "limit"),
        ({"context_key": "a//b"}, "context_key"),
        ({"agent": "No Name"}, "agent"),
    ],
)
async def test_a_wrong_question_is_refused_with_the_reason(alice: Agent, arguments: Json, why: str) -> None:
    with pytest.raises(ToolFailed, match="invalid_argument") as failed:
        await alice.call("get_history", **arguments)
    assert why in failed.value.message


async def test_what_a_token_must_allow(own_bus: Bus, tenant: str) -> None:
    with pytest.raises(ToolFailed, match=r"forbidden.*'history:read'"):
        await Agent(own_bus, tenant, scopes=("context:read",)).call("get_history", context_key="k")
    auditor = Agent(own_bus, tenant, scopes=("history:read",))
    assert await ask(auditor, context_key="k") == []
    more: Json
    for more in ({"with_values": True}, {"version": 1}):
        with pytest.raises(ToolFailed, match=r"forbidden.*'context:read'"):
            await auditor.call("get_history", context_key="k", **more)


async def test_while_postgres_is_away_it_says_so_in_time(
    postgres: Postgres, alice: Agent, worker: ServiceProcess, tenant: str
) -> None:
    await archive(postgres, changed(tenant, "k", 1))
    assert len(await ask(alice, context_key="k")) == 1
    postgres.stop()
    try:
        began = time.monotonic()
        with pytest.raises(ToolFailed, match=r"unavailable: the archive \(PostgreSQL\) is away") as failed:
            await alice.call("get_history", deadline_s=3.0, context_key="k")
        assert time.monotonic() - began < 3
        assert "try again later" in failed.value.hint
        assert (await alice.share("k", 1))["status"] == "stored"
        await ready(worker)
    finally:
        postgres.start()
    assert len(await ask(alice, context_key="k")) >= 1


async def test_a_question_that_takes_too_long_ends_in_time(postgres: Postgres, alice: Agent, tenant: str) -> None:
    await archive(postgres, changed(tenant, "k", 1))
    async with connected(postgres.url) as connection, connection.transaction():
        await connection.execute("LOCK TABLE aicp_events IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        with pytest.raises(ToolFailed, match=r"unavailable: the archive \(PostgreSQL\) did not answer in time"):
            await alice.call("get_history", deadline_s=2.0, context_key="k")
        assert time.monotonic() - began < 2
    assert len(await ask(alice, context_key="k")) == 1


async def test_what_redis_has_forgotten_can_still_be_removed_from_the_archive(
    own_backend: Backend, alice: Agent, tenant: str
) -> None:
    await alice.share("k", "secret")
    await alice.delete("k")
    redis = connect_redis(own_backend.redis_url)
    await redis.zadd(key(tenant, "context-tombstones"), {"k": 1})
    await scripts.sweep(redis, tenant)
    await redis.aclose()

    async def value() -> object:
        entries = await ask(alice, context_key="k", with_values=True)
        return [entry.get("value") for entry in entries if entry["version"] == 1]

    async def is_there() -> bool:
        return await value() == ["secret"]

    async def is_gone() -> bool:
        return await value() == [None]

    await eventually(is_there)
    assert (await alice.delete("k", with_history=True))["note"] == "Its old versions were removed."
    await eventually(is_gone)


async def test_a_version_is_that_of_the_newest_life_of_its_name(postgres: Postgres, tenant: str) -> None:
    await archive(
        postgres,
        changed(tenant, "k", 1, value="of the first life"),
        changed(tenant, "k", 1, value="of the second", readers=["alice"]),
        changed(tenant, "k", 2, value="deleted later"),
        message(tenant, next(_times), key="k", version=2, author="alice", what="deleted"),
    )
    history = History(postgres.url)
    keeping = asyncio.create_task(history.run())
    found = await history.version(tenant, "alice", "k", 1, 5.0)
    assert found is not None
    assert found.value == b'"of the second"'
    assert await history.version(tenant, "eve", "k", 1, 5.0) is None
    assert await history.version(tenant, "alice", "k", 2, 5.0) is None
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_only_what_one_may_read_is_forgotten(postgres: Postgres, alice: Agent, tenant: str) -> None:
    await archive(
        postgres,
        changed(tenant, "k", 1, value="private", readers=["alice"]),
        changed(tenant, "k", 2, value="public", author="eve"),
        message(tenant, next(_times), key="k", version=3, author="eve", what="deleted", forgotten=True),
    )
    entries = await ask(alice, context_key="k", with_values=True)
    assert [(entry["version"], entry.get("value")) for entry in entries] == [(3, None), (2, None), (1, "private")]


async def test_the_history_of_a_context_is_for_who_may_read_it_now(
    own_bus: Bus, postgres: Postgres, alice: Agent, tenant: str
) -> None:
    eve = Agent(own_bus, tenant, "eve")
    await archive(postgres, changed(tenant, "k", 1, value="shared by mistake"))
    assert len(await ask(eve, context_key="k", with_values=True)) == 1
    await alice.share("k", "closed", readable_by=["alice"])
    assert await ask(eve, context_key="k", with_values=True) == []
    assert await ask(eve, agent="alice", with_values=True) == []
