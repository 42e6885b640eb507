"""The archive in PostgreSQL by itself: its tables, and writes that meet."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from aicp_statehub.archive.database import UnusableDatabase
from aicp_statehub.archive.reader import Delivered, gaps_in
from aicp_statehub.archive.row import UnusableMessage, row_of
from aicp_statehub.archive.tables import LOCK_VALUES, VERSION, migrate
from aicp_statehub.archive.write import write
from tests.statehub.archived import connected, message, new_database
from tests.support.postgres import Postgres

_names = itertools.count(1)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL of this file."""
    running = Postgres().start()
    yield running
    running.remove()


@pytest.fixture
async def empty(postgres: Postgres) -> AsyncIterator[str]:
    """An empty database."""
    async with new_database(postgres, f"test{next(_names)}") as url:
        yield url


@pytest.fixture
async def archive(empty: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database that has the tables."""
    async with connected(empty) as connection:
        await migrate(connection)
        yield connection


async def values(connection: asyncpg.Connection) -> list[str | None]:
    """The values of all events, in their order."""
    rows = await connection.fetch("SELECT value::text FROM aicp_events ORDER BY at, ordinal")
    return [row[0] for row in rows]


async def test_of_several_that_migrate_at_once_one_does_it(empty: str) -> None:
    async def one() -> None:
        async with connected(empty) as connection:
            await migrate(connection)

    await asyncio.gather(*(one() for _ in range(5)))
    async with connected(empty) as connection:
        rows = await connection.fetch("SELECT version FROM aicp_archive_migrations ORDER BY version")
        assert [row["version"] for row in rows] == list(range(1, VERSION + 1))


async def test_a_database_without_unicode_is_refused(postgres: Postgres) -> None:
    more = "ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'"
    async with new_database(postgres, "latin", more) as url, connected(url) as connection:
        with pytest.raises(UnusableDatabase, match="LATIN1"):
            await migrate(connection)


async def test_events_that_come_again_change_nothing(archive: asyncpg.Connection) -> None:
    first = [row_of(message("t", 1, number, key="k", version=number, value=number)) for number in range(1, 4)]
    assert await write(archive, first) == 3
    again = [*first, row_of(message("t", 2, key="k", version=4, value=4))]
    assert await write(archive, again) == 1
    assert await values(archive) == ["1", "2", "3", "4"]


async def test_a_forgotten_value_does_not_come_back_with_an_event_that_is_late(archive: asyncpg.Connection) -> None:
    await write(archive, [row_of(message("t", 5, what="deleted", key="k", version=3, forgotten=True))])
    late = [row_of(message("t", at, key="k", version=version, value=1)) for at, version in ((4, 2), (6, 4))]
    elsewhere = [
        row_of(message("t", 3, key="other", version=1, value=1)),
        row_of(message("u", 2, key="k", version=1, value=1)),
    ]
    await write(archive, late + elsewhere)
    # By time: those of another tenant and another key, the one that is gone, the deletion, the one after it.
    assert await values(archive) == ["1", "1", None, None, "1"]


async def test_a_value_and_its_forgetting_in_one_batch(archive: asyncpg.Connection) -> None:
    changed = row_of(message("t", 1, key="k", version=1, value="secret"))
    deleted = row_of(message("t", 2, what="deleted", key="k", version=2, forgotten=True))
    await write(archive, [deleted, changed])
    assert await values(archive) == [None, None]


async def test_a_value_that_is_being_written_while_it_is_forgotten_does_not_stay(
    empty: str, archive: asyncpg.Connection
) -> None:
    changed = row_of(message("t", 1, key="k", version=1, value="secret"))
    deleted = row_of(message("t", 2, what="deleted", key="k", version=2, forgotten=True))
    async with connected(empty) as one, connected(empty) as other, connected(empty) as watching:
        transaction = one.transaction()
        await transaction.start()
        await write(one, [changed])
        forgetting = asyncio.create_task(write(other, [deleted]))
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(10):
            while await watching.fetchval(held) == 0:
                await asyncio.sleep(0.01)
        await transaction.commit()
        await forgetting
    assert await values(archive) == [None, None]


async def test_two_workers_with_the_same_events_do_not_block_each_other(
    empty: str, archive: asyncpg.Connection
) -> None:
    rows = [row_of(message("t", number, key="k", version=number, value=number)) for number in range(1, 401)]

    async def one(order: list[int]) -> int:
        stored = 0
        async with connected(empty) as connection:
            for start in order:
                stored += await write(connection, rows[start : start + 100][:: -1 if start else 1])
        return stored

    stored = await asyncio.gather(*(one([0, 100, 200, 300][::step]) for step in (1, -1, 1, -1)))
    assert sum(stored) == 400
    assert await values(archive) == [str(number) for number in range(1, 401)]


async def test_the_lock_for_values_is_shared_by_those_who_store(empty: str, archive: asyncpg.Connection) -> None:
    async with connected(empty) as other, other.transaction():
        await other.execute(f"SELECT pg_advisory_xact_lock_shared({LOCK_VALUES})")
        assert await write(archive, [row_of(message("t", 1, key="k", version=1, value=1))]) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        message("t", 1).replace(b'"t:1-0"', b'"u:1-0"'),
        message("t", 1).replace(b'"t:1-0"', b'"t:1"'),
        message("t", 1).replace(b'"t:1-0"', b'"t:999999999999999-0"'),
        message("t", 1).replace(b'"data": {}', b'"data": []'),
        message("t", 1, id="no token"),
        message("t", 1, version="one"),
        b"\xff" + message("t", 1),
    ],
)
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(UnusableMessage):
        row_of(body)


def test_a_row_has_what_the_event_says() -> None:
    row = row_of(message("t", 5, 7, key="k", version=2, author="alice", readers=["bob", "kim"], value={"a": 1}))
    assert (row.ordinal, row.agent, row.key, row.version, row.readers) == (7, "alice", "k", 2, "bob,kim")
    assert row.value == '{"a": 1}'
    assert "value" not in row.data
    task = row_of(message("t", 5, entity="task", id="t-1", agent="", requester="kim", key="k", value=3))
    assert (task.agent, task.requester, task.key, task.value) == (None, "kim", None, None)
    assert '"value":3' in task.data


def test_a_gap_is_only_what_nobody_else_can_have_had() -> None:
    def delivered(times: int, log_seq: int, delivery_seq: int, token: str = "") -> Delivered:
        return Delivered.of(b"", f"$JS.ACK.{token}AICP_EVENTS.archive.{times}.{log_seq}.{delivery_seq}.17.0{token}")

    assert gaps_in([delivered(1, 1, 1), delivered(1, 2, 2)]) == []
    assert gaps_in([delivered(1, 1, 1), delivered(1, 7, 2), delivered(1, 8, 3)]) == [(2, 6)]
    assert gaps_in([delivered(1, 1, 1), delivered(1, 7, 3)]) == []
    assert gaps_in([delivered(1, 1, 1), delivered(2, 7, 2), delivered(1, 9, 3)]) == []
    far = Delivered.of(b"", "$JS.ACK.hub.account.AICP_EVENTS.archive.1.5.6.17.8.random")
    assert (far.times, far.log_seq, far.delivery_seq, far.pending) == (1, 5, 6, 8)
