"""The connection of the archive to PostgreSQL."""

import asyncpg
from asyncpg import Connection

CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 20.0

DATABASE_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What PostgreSQL, its client or the way to it may raise."""

URL_ERRORS = (asyncpg.exceptions.ClientConfigurationError, ValueError)
"""What the reader of URLs may raise."""

CONTENT_ERRORS = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)
"""Of these, what says that the rows are wrong: they would be so again."""


class UnusableDatabase(Exception):
    """The archive cannot work with this database; the text says why and what to do."""


async def connect(url: str) -> Connection:
    """Connect.

    Raises:
        UnusableDatabase: no connection can be made with `url`, whatever is running.
        DATABASE_ERRORS: PostgreSQL is away, or does not let us in.
    """
    try:
        return await asyncpg.connect(
            url,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings={"application_name": "aicp-archive"},
        )
    except URL_ERRORS as error:
        raise wrong_url() from error


def wrong_url() -> UnusableDatabase:
    """What is said of a URL that cannot be read: what the reader of URLs says may have a part of the password in it."""
    return UnusableDatabase(
        "POSTGRES_URL is not the address of a database; expected postgresql://USER:PASSWORD@HOST:5432/DATABASE, with "
        "special characters of the password percent-encoded, and files that are there"
    )


def explain(error: BaseException) -> str:
    """Why PostgreSQL could not be used, for operators: without credentials."""
    if isinstance(error, TimeoutError):
        return "PostgreSQL does not answer in time"
    if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
        return f"PostgreSQL refuses the credentials of POSTGRES_URL: {error}"
    if isinstance(error, OSError):
        return f"PostgreSQL cannot be reached: {error}"
    return f"PostgreSQL says: {' '.join(str(error).split()) or type(error).__name__}"
