"""Writes of the archive: a batch of events, a gap, the end of what is kept long enough."""

import dataclasses
import datetime
from collections.abc import Sequence

from asyncpg import Connection

from aicp_statehub.archive.row import Row
from aicp_statehub.archive.tables import LOCK_VALUES

FORGET_TIMEOUT_S = 600.0
"""Taking the values of a key's versions out, of which there may be any number."""

_COLUMNS = tuple(field.name for field in dataclasses.fields(Row))

# A value whose key's history was forgotten later comes here after the deletion when another worker was faster.
_INSERT = """
INSERT INTO aicp_events (event_id, tenant, entity, entity_id, what, at, ordinal, agent, requester, key, version,
    readers, forgotten, data, value, traceparent)
SELECT r.event_id, r.tenant, r.entity, r.entity_id, r.what, r.at, r.ordinal, r.agent, r.requester, r.key, r.version,
    string_to_array(r.readers, ','), r.forgotten, r.data,
    CASE WHEN r.value IS NOT NULL AND NOT EXISTS (
        SELECT FROM aicp_events f
        WHERE f.forgotten AND f.tenant = r.tenant AND f.key = r.key AND (f.at, f.ordinal) > (r.at, r.ordinal)
            AND (r.readers IS NULL OR f.agent = ANY (string_to_array(r.readers, ',')) OR f.agent = r.agent)
    ) THEN r.value END,
    r.traceparent
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[], $8::text[],
    $9::text[], $10::text[], $11::bigint[], $12::text[], $13::boolean[], $14::json[], $15::json[], $16::text[])
AS r (event_id, tenant, entity, entity_id, what, at, ordinal, agent, requester, key, version, readers, forgotten, data,
    value, traceparent)
ON CONFLICT (event_id) DO NOTHING
"""

_FORGET = """
UPDATE aicp_events e SET value = NULL
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bigint[], $5::text[]) AS f (tenant, key, at, ordinal, agent)
WHERE e.tenant = f.tenant AND e.key = f.key AND (e.at, e.ordinal) < (f.at, f.ordinal) AND e.value IS NOT NULL
    AND (e.readers IS NULL OR f.agent = ANY (e.readers) OR f.agent = e.agent)
"""

_DELETE = """
DELETE FROM aicp_events WHERE event_id IN (
    SELECT event_id FROM aicp_events WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""


async def write(connection: Connection, rows: Sequence[Row]) -> int:
    """Store events, each once; those with `forgotten` take the values of their key's earlier versions out, as far as
    their author might read them.

    Returns:
        How many were not there yet.

    Raises:
        PostgresError, InterfaceError, OSError, TimeoutError: it is not known whether they are stored.
    """
    # In one order everywhere, so that two workers with the same events do not wait for each other in a circle.
    ordered = sorted(rows, key=lambda row: row.event_id)
    # Of several of one agent the last one does the work of all.
    forgetting = list(
        {(row.tenant, row.key, row.agent): row for row in sorted(rows, key=_place) if row.forgotten}.values()
    )
    lock = "pg_advisory_xact_lock" if forgetting else "pg_advisory_xact_lock_shared"
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"SELECT {lock}({LOCK_VALUES})", timeout=FORGET_TIMEOUT_S)
        done = await connection.execute(_INSERT, *([getattr(row, column) for row in ordered] for column in _COLUMNS))
        if forgetting:
            columns = ("tenant", "key", "at", "ordinal", "agent")
            which = ([getattr(row, column) for row in forgetting] for column in columns)
            await connection.execute(_FORGET, *which, timeout=FORGET_TIMEOUT_S)
    return _count(done)


async def write_gap(connection: Connection, log_created: datetime.datetime, first_seq: int, last_seq: int) -> bool:
    """Note that events with these numbers in the event log are lost to the archive; whether that is new."""
    done = await connection.execute(
        "INSERT INTO aicp_archive_gaps (log_created, first_seq, last_seq) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        log_created,
        first_seq,
        last_seq,
    )
    return _count(done) > 0


async def delete_before(connection: Connection, at: datetime.datetime, limit: int) -> int:
    """Delete up to `limit` of the events before `at`; how many there were."""
    return _count(await connection.execute(_DELETE, at, limit))


def _place(row: Row) -> tuple[datetime.datetime, int]:
    return row.at, row.ordinal


def _count(command: str) -> int:
    """The rows that a command says it has changed."""
    return int(command.rpartition(" ")[2])
