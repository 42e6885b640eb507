"""The archive: writes every event of the log to PostgreSQL, once. Nothing in the hub waits for it."""

import asyncio
import contextlib
import datetime
import logging
import time
from collections.abc import Sequence
from typing import Any

from asyncpg import Connection

from aicp_common.errors import Unavailable
from aicp_common.service import Service
from aicp_statehub.archive import metrics
from aicp_statehub.archive.database import CONTENT_ERRORS, DATABASE_ERRORS, UnusableDatabase, connect, explain
from aicp_statehub.archive.reader import ArchiveReader, Delivered, Position, gaps_in
from aicp_statehub.archive.row import Row, UnusableMessage, row_of
from aicp_statehub.archive.tables import migrate
from aicp_statehub.archive.write import delete_before, write, write_gap
from aicp_statehub.outage import Outage
from aicp_statehub.settings import StatehubSettings

log = logging.getLogger(__name__)

MIN_BACK_OFF_S = 0.1
MAX_BACK_OFF_S = 5.0
GRACE_S = 3.0
"""In a hub that starts, the relay is about to make the event log; and a short absence is not worth a line."""
TRIES = 5
"""Connections to the event log that may break before an event came, before that is told."""
MEASURE_INTERVAL_S = 5.0
RETENTION_INTERVAL_S = 600.0
RETENTION_BATCH = 2000
RETENTION_PAUSE_S = 0.1
"""Between batches, so that a large deletion takes a small part of what PostgreSQL can do."""


class Archive:
    """One worker's part of the archive.

    All workers share one consumer of the event log, so each event comes to one of them, and again to any of them until
    one has acknowledged it, which it does when PostgreSQL has committed. While PostgreSQL is away a worker keeps the
    batch that it could not write, and asks for no other.
    """

    def __init__(self, service: Service[StatehubSettings]) -> None:
        self._settings = service.settings
        self._instance = service.instance
        self._reader: ArchiveReader | None = None
        self._opening = asyncio.Lock()
        self._state = "starting"
        self._back_off_s = MIN_BACK_OFF_S
        """Before PostgreSQL is tried again."""
        self._database_outage = Outage(
            "the archive waits for PostgreSQL",
            "The hub works on without it, and the event log keeps the events meanwhile (EVENTS_MAX_AGE_S, "
            "EVENTS_MAX_BYTES). Look at PostgreSQL and POSTGRES_URL",
        )
        self._log_outage = Outage(
            "the archive waits for the event log",
            "The hub works on without it. Look at nats-server, whether it runs JetStream, and NATS_URL",
        )
        self._dropping = Outage(
            "the event log drops events that are not archived",
            "They are lost to the archive. Bring PostgreSQL back, or raise EVENTS_MAX_BYTES and EVENTS_MAX_AGE_S",
        )

    async def check(self) -> dict[str, Any]:
        """For /ready: how the archive stands, in words. It never makes a worker unready."""
        return {"archive": self._state}

    async def run(self) -> None:
        """Archive, for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._archive())
                group.create_task(self._measure())
                if self._settings.archive_retention_days:
                    group.create_task(self._delete_old())
        finally:
            metrics.UP.set(0)
            if self._reader is not None:
                await self._reader.close()

    # Writing

    async def _archive(self) -> None:
        batch: list[Delivered] = []
        while True:
            connection = await self._open_database()
            try:
                batch = await self._work(connection, batch)
            finally:
                metrics.UP.set(0)
                await _leave(connection)
            await self._rest()

    async def _work(self, connection: Connection, batch: list[Delivered]) -> list[Delivered]:
        """Write batch after batch, until PostgreSQL fails; returns the batch that could not be written."""
        known: ArchiveReader | None = None
        position: Position | None = None
        last: list[Delivered] = []
        failures = 0
        while True:
            try:
                reader = await self._open_log()
                if reader is not known or position is None:
                    position = await reader.position()
                    # Before it is asked for events: from then on nobody can know what was dropped before.
                    gaps = [(position.next_seq, position.first_seq - 1)] if position.lost else []
                    if not await self._note_gaps(connection, position.log_created, gaps):
                        return batch
                    known, last = reader, []
                if not batch:
                    self._up()
                    batch = await reader.next_batch()
                    failures = 0
                    self._log_outage.end()
                if connection.is_closed():
                    self._away("the connection broke")
                    return batch
                if batch and not (
                    await self._note_gaps(connection, position.log_created, gaps_in(last + batch))
                    and await self._store(connection, batch)
                ):
                    return batch
                # From here on PostgreSQL has it, whatever becomes of the acknowledgement.
                written, batch, last = batch, [], batch[-1:]
                reader.acknowledge(written)
            except Unavailable as error:
                metrics.FAILURES.labels("event_log").inc()
                failures += 1
                if failures > TRIES:
                    self._log_outage.begin(error.message)
                await asyncio.sleep(MIN_BACK_OFF_S * failures if failures < TRIES else MAX_BACK_OFF_S)
                if self._reader is not None:
                    await self._reader.close()

    async def _store(self, connection: Connection, batch: Sequence[Delivered]) -> bool:
        """Write a batch; whether PostgreSQL has all of it that it can have."""
        rows = _rows_of(batch)
        try:
            await self._write(connection, rows)
        except CONTENT_ERRORS:
            # One of them has something that PostgreSQL takes for wrong; the others are to be archived.
            for row in rows:
                try:
                    await self._write(connection, [row])
                except CONTENT_ERRORS as error:
                    _refuse(row.event_id, explain(error))
                except DATABASE_ERRORS as error:
                    self._away(explain(error))
                    return False
        except DATABASE_ERRORS as error:
            self._away(explain(error))
            return False
        return True

    async def _write(self, connection: Connection, rows: Sequence[Row]) -> None:
        if rows:
            stored = await write(connection, rows)
            metrics.BATCHES.inc()
            metrics.EVENTS.inc(stored)
            metrics.DUPLICATES.inc(len(rows) - stored)

    async def _note_gaps(
        self, connection: Connection, log_created: datetime.datetime, gaps: Sequence[tuple[int, int]]
    ) -> bool:
        """Tell of events that are lost, by their first and last numbers in the log; whether PostgreSQL works."""
        for first, last in gaps:
            try:
                new = await write_gap(connection, log_created, first, last)
            except DATABASE_ERRORS as error:
                self._away(explain(error))
                return False
            if new:
                count = last - first + 1
                metrics.LOST.inc(count)
                log.error(
                    "%d events are missing in the archive: the event log dropped them before they were archived",
                    count,
                    extra={"first_seq": first, "last_seq": last},
                )
        return True

    # Connections

    async def _open_database(self) -> Connection:
        while True:
            try:
                connection = await connect(self._settings.postgres_url)
                try:
                    await migrate(connection)
                except BaseException:
                    await _leave(connection)
                    raise
            except UnusableDatabase as error:
                self._away(str(error))
            except DATABASE_ERRORS as error:
                self._away(explain(error))
            else:
                return connection
            await self._rest()

    async def _rest(self) -> None:
        await asyncio.sleep(self._back_off_s)
        self._back_off_s = min(self._back_off_s * 2, MAX_BACK_OFF_S)

    def _up(self) -> None:
        """PostgreSQL has taken all that it was given, not only the connection."""
        self._state = "up"
        self._back_off_s = MIN_BACK_OFF_S
        metrics.UP.set(1)
        self._database_outage.end()

    def _away(self, why: str) -> None:
        self._state = f"waits for PostgreSQL: {why}"
        metrics.UP.set(0)
        metrics.FAILURES.labels("postgres").inc()
        self._database_outage.begin(why)

    async def _open_log(self) -> ArchiveReader:
        async with self._opening:
            back_off_s = MIN_BACK_OFF_S
            began = time.monotonic()
            while self._reader is None or not self._reader.connected:
                fresh = ArchiveReader(self._settings.nats_url, f"aicp-{self._instance}-archive")
                try:
                    await fresh.open()
                    self._reader = fresh
                except Unavailable as error:
                    metrics.FAILURES.labels("event_log").inc()
                    if time.monotonic() - began > GRACE_S:
                        self._log_outage.begin(error.message)
                    await asyncio.sleep(back_off_s)
                    back_off_s = min(back_off_s * 2, MAX_BACK_OFF_S)
            return self._reader

    # Beside it

    async def _measure(self) -> None:
        """Say how much waits, also while PostgreSQL is away."""
        while True:
            with contextlib.suppress(Unavailable):
                position = await (await self._open_log()).position()
                metrics.PENDING.set(position.pending)
                if position.lost:
                    self._dropping.begin(f"{position.lost} so far")
                else:
                    self._dropping.end()
            await asyncio.sleep(MEASURE_INTERVAL_S)

    async def _delete_old(self) -> None:
        """Delete what is older than the retention, now and then and little by little."""
        days = self._settings.archive_retention_days
        while True:
            # When PostgreSQL is away, whoever writes says so.
            with contextlib.suppress(UnusableDatabase, *DATABASE_ERRORS):
                connection = await connect(self._settings.postgres_url)
                try:
                    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
                    deleted = RETENTION_BATCH
                    while deleted == RETENTION_BATCH:
                        deleted = await delete_before(connection, before, RETENTION_BATCH)
                        metrics.DELETED.inc(deleted)
                        await asyncio.sleep(RETENTION_PAUSE_S)
                finally:
                    await _leave(connection)
            await asyncio.sleep(RETENTION_INTERVAL_S)


async def _leave(connection: Connection) -> None:
    """Close a connection, whatever state it is in."""
    try:
        await connection.close(timeout=1)
    except DATABASE_ERRORS:
        connection.terminate()


def _rows_of(batch: Sequence[Delivered]) -> list[Row]:
    """What is to be written; what comes twice in a batch once."""
    rows: dict[str, Row] = {}
    for delivered in batch:
        try:
            row = row_of(delivered.body)
        except UnusableMessage as error:
            _refuse(delivered.receipt, str(error))
        else:
            rows[row.event_id] = row
    return list(rows.values())


def _refuse(which: str, why: str) -> None:
    metrics.UNUSABLE.inc()
    log.error("an event cannot be archived: %s", why, extra={"event": which})
