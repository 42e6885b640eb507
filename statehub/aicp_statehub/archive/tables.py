"""The tables of the archive in PostgreSQL: numbered migrations, which each worker brings up to date at its start."""

from asyncpg import Connection

from aicp_statehub.archive.database import UnusableDatabase

LOCK_MIGRATION = 0x61696370_00000001
"""Advisory locks of the archive: the first four bytes say aicp."""
LOCK_VALUES = 0x61696370_00000002
"""Shared by those who store values, held alone by those who take values out."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE aicp_events (
        event_id    text PRIMARY KEY,
        tenant      text NOT NULL,
        entity      text NOT NULL,
        entity_id   text NOT NULL,
        what        text NOT NULL,
        at          timestamptz NOT NULL,
        ordinal     bigint NOT NULL,
        agent       text,
        requester   text,
        key         text,
        version     bigint,
        readers     text[],
        forgotten   boolean NOT NULL,
        data        json NOT NULL,
        value       json,
        traceparent text NOT NULL
    );
    COMMENT ON TABLE aicp_events IS 'Every change in the hub; the order of a tenant is (at, ordinal)';
    COMMENT ON COLUMN aicp_events.ordinal IS 'Order among the events of a tenant in the same millisecond';
    COMMENT ON COLUMN aicp_events.agent IS 'Who it concerns: the worker of a task, the author of a context';
    COMMENT ON COLUMN aicp_events.requester IS 'Who asked for the task, where it is created';
    COMMENT ON COLUMN aicp_events.readers IS 'The only agents that may read this version of a context; NULL: all';
    COMMENT ON COLUMN aicp_events.forgotten IS 'A deletion that took the values of the earlier versions with it';
    COMMENT ON COLUMN aicp_events.data IS 'The rest of the event, as it was written';
    COMMENT ON COLUMN aicp_events.value IS 'The value of this version of a context, as it was written';
    CREATE INDEX aicp_events_task ON aicp_events (tenant, entity_id, at, ordinal) WHERE entity = 'task';
    CREATE INDEX aicp_events_key ON aicp_events (tenant, key, at, ordinal) WHERE key IS NOT NULL;
    CREATE INDEX aicp_events_version ON aicp_events (tenant, key, version) WHERE key IS NOT NULL;
    CREATE INDEX aicp_events_agent ON aicp_events (tenant, agent, at, ordinal) WHERE agent IS NOT NULL;
    CREATE INDEX aicp_events_requester ON aicp_events (tenant, requester, at, ordinal) WHERE requester IS NOT NULL;
    CREATE INDEX aicp_events_forgotten ON aicp_events (tenant, key, at, ordinal) WHERE forgotten;
    CREATE INDEX aicp_events_value ON aicp_events (tenant, key, at, ordinal) WHERE value IS NOT NULL;
    CREATE INDEX aicp_events_at ON aicp_events (at);

    CREATE TABLE aicp_archive_gaps (
        log_created timestamptz NOT NULL,
        first_seq   bigint NOT NULL,
        last_seq    bigint NOT NULL,
        found_at    timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (log_created, first_seq)
    );
    COMMENT ON TABLE aicp_archive_gaps IS 'Events that the event log dropped too soon, by their numbers there';
    """,
)
"""In order; the first one makes version 1. A migration that was released is never changed."""

VERSION = len(MIGRATIONS)


async def migrate(connection: Connection) -> None:
    """Bring the tables to `VERSION`. Of several workers that start at once one does it, and the others wait.

    Raises:
        UnusableDatabase: the tables are of a newer version, or the database cannot hold every character.
        PostgresError: it may make no tables here, or is away.
    """
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise UnusableDatabase(f"the database has the encoding {encoding}; the archive needs one with UTF8")
    async with connection.transaction(isolation="read_committed"):
        # Building an index of a large table may take long, and so may waiting for the worker that does it.
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK_MIGRATION})", timeout=None)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS aicp_archive_migrations"
            " (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        found: int = await connection.fetchval("SELECT coalesce(max(version), 0) FROM aicp_archive_migrations")
        if found > VERSION:
            raise UnusableDatabase(
                f"its tables are of version {found} and this state hub knows versions up to {VERSION}; run a newer one"
            )
        for version, script in enumerate(MIGRATIONS[found:], start=found + 1):
            await connection.execute(script, timeout=None)
            await connection.execute("INSERT INTO aicp_archive_migrations (version) VALUES ($1)", version)
