"""The archive has every event once, whatever is stopped or killed meanwhile, and nothing in the hub waits for it."""

import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest
from redis.asyncio import Redis

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.store import connect_redis
from aicp_statehub.archive.reader import ArchiveReader, Delivered
from aicp_statehub.archive.row import row_of
from aicp_statehub.archive.tables import VERSION
from aicp_statehub.archive.write import write
from tests.statehub.agent import Agent, ToolFailed, eventually
from tests.statehub.archived import (
    archiving,
    connected,
    emit,
    message,
    metric,
    new_database,
    numbers,
    ready,
    until_archived,
    until_said,
)
from tests.support.postgres import Postgres
from tests.support.processes import Backend, ServiceProcess

_names = itertools.count(1)


@pytest.fixture(scope="module")
def own_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """NATS and Redis of this file: a consumer of the event log belongs to one archive."""
    running = Backend(tmp_path_factory.mktemp("archive"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL of this file."""
    running = Postgres().start()
    yield running
    running.remove()


@pytest.fixture
async def url(postgres: Postgres, own_backend: Backend) -> AsyncIterator[str]:
    """A database of this test, for an archive that begins with the events of this test."""
    async with new_database(postgres, f"test{next(_names)}") as name:
        yield name
    client = await nats.connect(own_backend.nats_url)
    jetstream = client.jetstream()
    await jetstream.delete_stream(subjects.EVENT_STREAM)
    await client.close()


@pytest.fixture
async def store(own_backend: Backend) -> AsyncIterator[Redis]:
    """The Redis of this file."""
    redis = connect_redis(own_backend.redis_url)
    yield redis
    await redis.aclose()


@pytest.fixture
async def own_bus(own_backend: Backend) -> AsyncIterator[Bus]:
    """A connection to the NATS of this file."""
    bus = Bus(own_backend.nats_url, "tests")
    await bus.connect()
    yield bus
    await bus.close()


@pytest.fixture
def worker(own_backend: Backend, url: str) -> Iterator[ServiceProcess]:
    """A worker of the state hub with an archive."""
    with archiving(own_backend, url) as running:
        yield running
        assert running.stop() == 0, running.process.output()[-4000:]


async def publish(backend: Backend, *bodies: bytes) -> None:
    """Put messages into the event log, past the outbox."""
    client = await nats.connect(backend.nats_url)
    for body in bodies:
        await client.jetstream().publish(subjects.event("made", "up", "by", "tests"), body)
    await client.close()


async def test_events_are_archived_as_they_were_written(
    worker: ServiceProcess, url: str, own_bus: Bus, tenant: str
) -> None:
    alice = Agent(own_bus, tenant)
    value = '{"b":1e0,"a":[0.10,"\\u0000","안녕",12345678901234567890]}'
    await alice.send("share_context", b'{"context_key":"p/k","context_value":%b}' % value.encode())
    await alice.share("p/k", 2, readable_by=["bob"])
    await alice.delete("p/k")
    await until_archived(url, tenant, 3)
    async with connected(url) as connection:
        rows = await connection.fetch(
            "SELECT what, version, agent, key, readers, data::text, value::text FROM aicp_events WHERE tenant = $1"
            " ORDER BY at, ordinal",
            tenant,
        )
    assert [tuple(row)[:4] for row in rows] == [
        ("changed", 1, "alice", "p/k"),
        ("changed", 2, "alice", "p/k"),
        ("deleted", 3, "alice", "p/k"),
    ]
    assert [row["value"] for row in rows] == [value, "2", None]
    assert rows[0]["readers"] is None
    assert {"alice", "bob"} == set(rows[1]["readers"]) == set(rows[2]["readers"])
    assert json.loads(rows[0]["data"]) == {"key": "p/k", "version": 1, "author": "alice"}


async def test_a_worker_that_died_between_commit_and_acknowledgement_doubles_nothing(
    own_backend: Backend, worker: ServiceProcess, url: str, store: Redis, tenant: str
) -> None:
    await emit(store, tenant, 1, 1)
    await until_archived(url, tenant, 1)
    assert worker.stop() == 0
    await publish(own_backend, *(message(tenant, 1, number, number=number) for number in range(2, 101)))
    reader = ArchiveReader(own_backend.nats_url, "dies")
    await reader.open()
    had: list[Delivered] = []
    while len(had) < 99:
        had += await reader.next_batch()
    async with connected(url) as connection:
        assert await write(connection, [row_of(delivered.body) for delivered in had]) == 99
    await reader.close()

    worker.start().wait()
    await emit(store, tenant, 101, 100)
    await until_archived(url, tenant, 200)

    async def came_again() -> bool:
        return metric(worker, "aicp_archive_duplicates_total") == 99

    await eventually(came_again, 20)
    assert sorted(await numbers(url, tenant)) == list(range(1, 201))


async def test_a_killed_worker_loses_and_doubles_nothing(
    own_backend: Backend, worker: ServiceProcess, url: str, store: Redis, tenant: str
) -> None:
    with archiving(own_backend, url) as other:
        for first in range(1, 2001, 200):
            await emit(store, tenant, first, 200)
            if first == 801:
                other.kill()
        await until_archived(url, tenant, 2000, 40)
    assert await numbers(url, tenant) == list(range(1, 2001))


async def test_while_postgres_is_away_the_hub_works_and_afterwards_the_archive_is_complete(
    postgres: Postgres, worker: ServiceProcess, url: str, own_bus: Bus, store: Redis, tenant: str
) -> None:
    await emit(store, tenant, 1, 300)
    await until_archived(url, tenant, 300)
    postgres.stop()
    try:
        await emit(store, tenant, 301, 1000)
        await until_said(worker, "archive waits for PostgreSQL: ")
        began = time.monotonic()
        for value in range(100):
            await Agent(own_bus, f"{tenant}-b").share("k", value)
        assert time.monotonic() - began < 20
        assert (await ready(worker))["archive"].startswith("waits for PostgreSQL")
        assert metric(worker, "aicp_archive_up") == 0

        async def pending() -> bool:
            return metric(worker, "aicp_archive_pending") >= 1100

        await eventually(pending)
        assert worker.process.output().count("the archive waits for PostgreSQL: ") == 1
    finally:
        postgres.start()
    await until_archived(url, tenant, 1300)
    await until_archived(url, f"{tenant}-b", 100)
    assert await numbers(url, tenant) == list(range(1, 1301))
    await until_said(worker, "over: the archive waits for PostgreSQL")
    assert (await ready(worker))["archive"] == "up"
    assert metric(worker, "aicp_archive_up") == 1
    assert metric(worker, "aicp_archive_lost_total") == 0


async def test_a_postgres_that_takes_connections_and_no_rows_is_told_once(
    worker: ServiceProcess, url: str, store: Redis, tenant: str
) -> None:
    await emit(store, tenant, 1, 10)
    await until_archived(url, tenant, 10)
    async with connected(url) as connection:
        await connection.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''disk full''; END';
            CREATE TRIGGER refuse BEFORE INSERT ON aicp_events EXECUTE FUNCTION refuse();
            """
        )
        await emit(store, tenant, 11, 10)

        async def tried_again() -> bool:
            return metric(worker, 'aicp_archive_failures_total{away="postgres"}') >= 4

        await eventually(tried_again)
        assert "disk full" in (await ready(worker))["archive"]
        assert metric(worker, "aicp_archive_up") == 0
        await connection.execute("DROP TRIGGER refuse ON aicp_events")
    await until_archived(url, tenant, 20)
    await until_said(worker, "over: the archive waits for PostgreSQL")
    assert worker.process.output().count("the archive waits for PostgreSQL: ") == 1


async def test_a_hub_starts_while_postgres_is_away(
    postgres: Postgres, own_backend: Backend, url: str, own_bus: Bus, store: Redis, tenant: str
) -> None:
    postgres.stop()
    try:
        with archiving(own_backend, url) as worker:
            await emit(store, tenant, 1, 10)
            await until_said(worker, "archive waits for PostgreSQL: PostgreSQL cannot be reached")
            postgres.start()
            await until_archived(url, tenant, 10)
            assert worker.stop() == 0
    finally:
        if not postgres.process.running:
            postgres.start()


async def test_a_killed_nats_server_loses_nothing(
    own_backend: Backend, worker: ServiceProcess, url: str, store: Redis, tenant: str
) -> None:
    await emit(store, tenant, 1, 500)
    own_backend.nats.kill()
    await emit(store, tenant, 501, 500)
    own_backend.nats.start()
    await until_archived(url, tenant, 1000, 40)
    assert await numbers(url, tenant) == list(range(1, 1001))


async def test_large_values_come_in_batches_that_are_bounded(
    worker: ServiceProcess, url: str, store: Redis, tenant: str
) -> None:
    for number in range(1, 61):
        await emit(store, tenant, number, 1, 250_000)
    await until_archived(url, tenant, 60)
    assert await numbers(url, tenant) == list(range(1, 61))
    # 15 MB, of which a batch has 4 MiB and a bit, and perhaps one event that came before it.
    assert metric(worker, "aicp_archive_batches_total") >= 3


async def test_what_the_event_log_dropped_is_told(
    postgres: Postgres, own_backend: Backend, url: str, store: Redis, tenant: str
) -> None:
    with archiving(own_backend, url, EVENTS_MAX_BYTES=str(1024**2)) as worker:
        await emit(store, tenant, 1, 10)
        await until_archived(url, tenant, 10)
        postgres.stop()
        try:
            await emit(store, tenant, 11, 1)
            await until_said(worker, "archive waits for PostgreSQL: ")
            await emit(store, tenant, 12, 39, 100_000)
            await until_said(worker, "event log drops events that are not archived")
        finally:
            postgres.start()
        (line,) = await until_said(worker, "events are missing in the archive")
        lost = json.loads(line)
        missing = lost["last_seq"] - lost["first_seq"] + 1
        await until_archived(url, tenant, 50 - missing)
        there = await numbers(url, tenant)
        assert there[:10] == list(range(1, 11))
        assert there[-1] == 50
        assert 25 <= missing <= 32
        assert metric(worker, "aicp_archive_lost_total") == missing
        async with connected(url) as connection:
            gaps = await connection.fetch("SELECT first_seq, last_seq FROM aicp_archive_gaps")
        assert [tuple(gap) for gap in gaps] == [(lost["first_seq"], lost["last_seq"])]
        await until_said(worker, "over: the event log drops events that are not archived")
        assert worker.stop() == 0


async def test_what_is_no_event_does_not_stop_the_others(
    own_backend: Backend, worker: ServiceProcess, url: str, store: Redis, tenant: str
) -> None:
    await emit(store, tenant, 1, 1)
    await until_archived(url, tenant, 1)
    await publish(
        own_backend,
        b"nonsense",
        message(tenant, 1, number=2),
        # A number that no column takes, which only the database finds.
        message(tenant, 2, version=2**63),
        message(tenant, 3, number=3),
    )
    await until_archived(url, tenant, 3)
    await until_said(worker, "an event cannot be archived", 2)
    assert metric(worker, "aicp_archive_unusable_total") == 2


async def test_an_archive_of_a_newer_version_is_left_alone(
    own_backend: Backend, url: str, own_bus: Bus, store: Redis, tenant: str
) -> None:
    with archiving(own_backend, url) as first:
        await emit(store, tenant, 1, 1)
        await until_archived(url, tenant, 1)
        assert first.stop() == 0
    async with connected(url) as connection:
        await connection.execute("INSERT INTO aicp_archive_migrations (version) VALUES ($1)", VERSION + 1)
    with archiving(own_backend, url) as worker:
        said = f"tables are of version {VERSION + 1} and this state hub knows versions up to {VERSION}"
        await until_said(worker, said)
        await emit(store, tenant, 2, 1)
        assert (await Agent(own_bus, tenant).share("k", 1))["status"] == "stored"
        assert "waits for PostgreSQL" in (await ready(worker))["archive"]
        assert worker.stop() == 0
        assert worker.process.output().count(said) == 1
    async with connected(url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM aicp_events") == 1


async def test_workers_that_start_at_once_make_the_tables_once(
    own_backend: Backend, url: str, store: Redis, tenant: str
) -> None:
    workers = [ServiceProcess("statehub", own_backend, {"POSTGRES_URL": url}).start() for _ in range(3)]
    try:
        for worker in workers:
            worker.wait()
        await emit(store, tenant, 1, 100)
        await until_archived(url, tenant, 100)
        for worker in workers:
            assert worker.stop() == 0
            assert '"level":"error"' not in worker.process.output()
    finally:
        for worker in workers:
            worker.stop()


async def test_old_events_are_deleted(own_backend: Backend, url: str, store: Redis, tenant: str) -> None:
    with archiving(own_backend, url) as first:
        await emit(store, tenant, 1, 5)
        await until_archived(url, tenant, 5)
        assert first.stop() == 0
    now = int(time.time() * 1000)
    day = 86_400_000
    async with connected(url) as connection:
        old = [row_of(message(f"{tenant}-old", now - 8 * day - number)) for number in range(4500)]
        young = [row_of(message(f"{tenant}-young", now - 6 * day - number)) for number in range(10)]
        for start in range(0, len(old), 500):
            await write(connection, old[start : start + 500])
        await write(connection, young)
    with archiving(own_backend, url, ARCHIVE_RETENTION_DAYS="7") as worker:
        await until_archived(url, f"{tenant}-old", 0)
        await until_archived(url, f"{tenant}-young", 10)
        await until_archived(url, tenant, 5)

        async def counted() -> bool:
            return metric(worker, "aicp_archive_deleted_total") == 4500

        await eventually(counted)
        assert worker.stop() == 0


async def test_forgotten_values_are_gone_from_the_archive(
    worker: ServiceProcess, url: str, own_bus: Bus, tenant: str
) -> None:
    alice = Agent(own_bus, tenant)
    for value in range(3):
        await alice.share("secret", value)
        await alice.share("other", value)
    await until_archived(url, tenant, 6)
    await alice.delete("secret", with_history=True)
    await alice.share("secret", "new")
    await until_archived(url, tenant, 8)
    async with connected(url) as connection:
        rows = await connection.fetch(
            "SELECT what, value::text FROM aicp_events WHERE tenant = $1 AND key = 'secret' ORDER BY at, ordinal",
            tenant,
        )
        kept = await connection.fetchval(
            "SELECT count(value) FROM aicp_events WHERE tenant = $1 AND key = 'other'", tenant
        )
    assert [tuple(row) for row in rows] == [("changed", None)] * 3 + [("deleted", None), ("changed", '"new"')]
    assert kept == 3


async def test_a_url_that_is_none_is_told_without_its_password(own_backend: Backend, own_bus: Bus, tenant: str) -> None:
    with archiving(own_backend, "postgresql://aicp:hush/hush#hush@127.0.0.1/aicp") as worker:
        await until_said(worker, "POSTGRES_URL is not the address of a database")
        with pytest.raises(ToolFailed, match="unavailable"):
            await Agent(own_bus, tenant).call("get_history", context_key="k")
        await until_said(worker, "archive cannot be read")
        assert "hush" not in worker.process.output()
        assert "hush" not in str(await ready(worker))
        assert worker.stop() == 0


async def test_without_a_database_there_is_no_archive(own_backend: Backend, own_bus: Bus, tmp_path: Path) -> None:
    worker = ServiceProcess("statehub", own_backend).start().wait()
    assert "archive" not in await ready(worker)
    assert worker.stop() == 0
    password = tmp_path / "url"
    password.write_text("mysql://x")
    refused = ServiceProcess("statehub", own_backend, {"POSTGRES_URL_FILE": str(password)}).start()
    assert refused.process.popen is not None
    assert refused.process.popen.wait(15) == 78
    assert "POSTGRES_URL" in refused.process.output()
    assert "mysql" not in refused.process.output()
