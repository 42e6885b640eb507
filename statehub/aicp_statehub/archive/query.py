"""Questions to the archive, as SQL: pages of a history, the newest first, and of what the asking agent may read."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from asyncpg import Record

from aicp_statehub.archive.row import ms_of, time_of
from aicp_statehub.contexts.json_text import MAX_VALUE_BYTES

Question = Literal["task", "context", "agent"]

# Every parameter has its type and its use in every question, so that all of them take the same ones.
_EVENTS = """
SELECT event_id, entity, entity_id, what, at, ordinal, agent, requester, key, version, readers, forgotten,
    data::text AS data, value
FROM aicp_events
WHERE tenant = $1 AND @WHICH@ AND (readers IS NULL OR $3 = ANY (readers) OR agent = $3)
    AND (at, ordinal) < ($4::timestamptz, $5::bigint)
ORDER BY at DESC, ordinal DESC LIMIT $6::bigint
"""

# With `UNION ALL` each part goes along its own index; a condition with OR would sort everything that there is.
_FOUND = {
    "task": _EVENTS.replace("@WHICH@", "entity = 'task' AND entity_id = $2"),
    "context": _EVENTS.replace("@WHICH@", "key = $2"),
    "version": _EVENTS.replace("@WHICH@", "key = $2 AND version = $7::bigint"),
    "agent": (
        "SELECT * FROM ((@BY@) UNION ALL (@FOR@)) AS events ORDER BY at DESC, ordinal DESC LIMIT $6::bigint".replace(
            "@BY@", _EVENTS.replace("@WHICH@", "agent = $2")
        ).replace("@FOR@", _EVENTS.replace("@WHICH@", "requester = $2 AND agent IS DISTINCT FROM $2"))
    ),
}

_COLUMNS = "event_id, entity, entity_id, what, at, ordinal, agent, requester, key, version, readers, forgotten, data"

_PLAIN = """
SELECT @COLUMNS@, NULL AS text, count(*) OVER () AS found FROM (@FOUND@) AS events ORDER BY at DESC, ordinal DESC
""".replace("@COLUMNS@", _COLUMNS)

# A page ends where its values have come to the size that one value may have; the first one always fits.
_WITH_VALUES = """
SELECT @COLUMNS@, text, found FROM (
    SELECT @COLUMNS@, value::text AS text, count(*) OVER () AS found,
        sum(coalesce(octet_length(value::text), 0)) OVER page AS bytes, row_number() OVER page AS number
    FROM (@FOUND@) AS events
    WINDOW page AS (ORDER BY at DESC, ordinal DESC)
) AS sized
WHERE bytes <= @MAX_BYTES@ OR number = 1 ORDER BY number
""".replace("@COLUMNS@", _COLUMNS).replace("@MAX_BYTES@", str(MAX_VALUE_BYTES))

# A name that was forgotten begins anew with version 1: the newest of a number is the one that is meant, whoever may
# read it.
NEWEST_OF_VERSION = """
SELECT value::text AS text, agent, at, readers FROM aicp_events
WHERE tenant = $1 AND key = $2 AND version = $3 ORDER BY at DESC, ordinal DESC LIMIT 1
"""

NEWEST = (time_of(253_402_300_799_000), 0)
"""Where a history begins: in the year 9999."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One page of a history."""

    tenant: str
    reader: str
    """The agent that asks."""
    question: Question
    name: str
    """A task id, a context's key, an agent."""
    version: int | None = None
    with_values: bool = False
    limit: int = 50
    after: tuple[datetime.datetime, int] = NEWEST
    """Time and ordinal of the last event of the page before."""


def statement(asked: Asked) -> tuple[str, list[Any]]:
    """SQL and its arguments, for `page_of`."""
    which = "version" if asked.version is not None else asked.question
    sql = (_WITH_VALUES if asked.with_values else _PLAIN).replace("@FOUND@", _FOUND[which])
    arguments: list[Any] = [asked.tenant, asked.name, asked.reader, *asked.after, asked.limit + 1]
    return sql, arguments if asked.version is None else [*arguments, asked.version]


def page_of(asked: Asked, records: Sequence[Record]) -> tuple[Sequence[Record], str | None]:
    """The events of the page, and the cursor of the next one if there is more."""
    page = records[: asked.limit]
    more = bool(page) and page[0]["found"] > len(page)
    return page, f"{ms_of(page[-1]['at'])}-{page[-1]['ordinal']}" if more else None


def place_of(cursor: str) -> tuple[datetime.datetime, int]:
    """Where a page begins, from the cursor that `page_of` made.

    Raises:
        ValueError, OverflowError: it is none.
    """
    ms, _, ordinal = cursor.partition("-")
    if not (ms.isdecimal() and ordinal.isdecimal()) or len(ordinal) > 18:
        raise ValueError(cursor)
    return time_of(int(ms)), int(ordinal)
