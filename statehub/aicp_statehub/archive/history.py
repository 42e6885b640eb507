"""History: reads the archive, for agents that ask what happened."""

import asyncio
import logging
from typing import Any

import asyncpg
import msgspec
from asyncpg import Record

from aicp_common.errors import Unavailable
from aicp_statehub.archive.arguments import GetHistoryResult, HistoryEntry
from aicp_statehub.archive.database import CONNECT_TIMEOUT_S, DATABASE_ERRORS, URL_ERRORS, explain, wrong_url
from aicp_statehub.archive.query import NEWEST_OF_VERSION, Asked, page_of, statement
from aicp_statehub.archive.row import ms_of
from aicp_statehub.contexts.arguments import iso_time
from aicp_statehub.contexts.state import ENTITY, Context

log = logging.getLogger(__name__)

CONNECTIONS = 4
"""Of one worker for reading; who asks while all are in use waits."""

_LATER = "try again later; everything but the history works"

_SHOWN = frozenset({"agent", "author", "requester", "state", "attempt", "key", "version", "readers", "forgotten"})
"""Members of an event's data that have fields of their own in an entry."""


class _Told(msgspec.Struct):
    state: str | None = None
    attempt: int | None = None


class History:
    """Reads the archive at `url`. Connects when it is first asked."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None
        self._making = asyncio.Lock()

    async def page(self, asked: Asked, patience_s: float) -> GetHistoryResult:
        """One page.

        Args:
            asked: Which.
            patience_s: How long it may take.

        Raises:
            Unavailable: PostgreSQL is away, or does not answer in time.
        """
        page, cursor = page_of(asked, await self._records(*statement(asked), patience_s))
        return GetHistoryResult(
            status="listed" if page else "nothing",
            entries=[_entry(record) for record in page],
            next_cursor=cursor,
        )

    async def version(self, tenant: str, reader: str, key: str, number: int, patience_s: float) -> Context | None:
        """One version of a context, if it is in the archive with its value and `reader` may read it.

        Raises:
            Unavailable: see `page`.
        """
        found = await self._records(NEWEST_OF_VERSION, [tenant, key, number], patience_s)
        for record in found:
            readers = tuple(record["readers"] or ())
            if record["text"] is not None and (not readers or reader in readers):
                value = record["text"].encode()
                return Context(key, number, value, record["agent"], ms_of(record["at"]), readers=readers)
        return None

    async def run(self) -> None:
        """Keep the connections for as long as this runs."""
        try:
            await asyncio.Event().wait()
        finally:
            if self._pool is not None:
                self._pool.terminate()

    async def _records(self, sql: str, arguments: list[Any], patience_s: float) -> list[Record]:
        try:
            async with asyncio.timeout(patience_s):
                return await (await self._connected()).fetch(sql, *arguments)
        except TimeoutError as error:
            raise Unavailable("the archive (PostgreSQL) did not answer in time", hint=_LATER) from error
        except (*DATABASE_ERRORS, *URL_ERRORS) as error:
            # Why is for operators: it names hosts.
            log.warning(
                "the archive cannot be read: %s", wrong_url() if isinstance(error, URL_ERRORS) else explain(error)
            )
            raise Unavailable("the archive (PostgreSQL) is away", hint=_LATER) from error

    async def _connected(self) -> asyncpg.Pool:
        async with self._making:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=CONNECTIONS,
                    timeout=CONNECT_TIMEOUT_S,
                    server_settings={"application_name": "aicp-history"},
                )
            return self._pool


def _entry(record: Record) -> HistoryEntry:
    data = msgspec.json.decode(record["data"], type=dict[str, msgspec.Raw])
    told = msgspec.json.decode(record["data"], type=_Told)
    details = {name: value for name, value in data.items() if name not in _SHOWN}
    text = record["text"]
    entity = record["entity"]
    return HistoryEntry(
        event_id=record["event_id"],
        at=iso_time(ms_of(record["at"])),
        entity=entity,
        what=record["what"],
        task_id=record["entity_id"] if entity == "task" else None,
        context_key=record["key"],
        id=record["entity_id"] if entity not in ("task", ENTITY, "agent") else None,
        agent=record["agent"],
        requester=record["requester"],
        state=told.state,
        attempt=told.attempt,
        version=record["version"],
        readers=record["readers"],
        forgotten=record["forgotten"] or None,
        value=None if text is None else msgspec.Raw(text.encode()),
        details=msgspec.Raw(msgspec.json.encode(details)) if details else None,
    )
