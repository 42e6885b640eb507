"""Events for the archive, made as any service makes them, and ways to look at what is archived of them."""

import asyncio
import contextlib
import json
import re
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
from asyncpg import Connection
from redis.asyncio import Redis

from aicp_common.store import TENANTS, Script
from tests.support.postgres import Postgres
from tests.support.processes import Backend, ServiceProcess

_emit = Script(
    ["first", "count", "padding"],
    """
for number = first, first + count - 1 do
  local data = '{"agent":"alice","number":' .. string.format('%.0f', number) .. ',"padding":"' .. padding .. '"}'
  emit('thing', 't' .. string.format('%.0f', number), 'made', data, '')
end
""",
)


async def emit(redis: Redis, tenant: str, first: int, count: int, padding_bytes: int = 0) -> None:
    """Leave `count` numbered events in the tenant's outbox, the numbers from `first` on."""
    await redis.sadd(TENANTS, tenant)
    await _emit(redis, tenant, first=first, count=count, padding="x" * padding_bytes)


def message(
    tenant: str,
    ms: int,
    ordinal: int = 0,
    *,
    entity: str = "context",
    id: str = "x",
    what: str = "changed",
    **data: Any,
) -> bytes:
    """A message as the relay puts it into the event log."""
    body = {
        "event_id": f"{tenant}:{ms}-{ordinal}",
        "tenant": tenant,
        "entity": entity,
        "id": id,
        "what": what,
        "at_ms": ms,
        "traceparent": "",
        "data": data,
    }
    return json.dumps(body).encode()


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection to PostgreSQL."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def new_database(postgres: Postgres, name: str, more: str = "") -> AsyncIterator[str]:
    """The URL of a database of its own."""
    async with connected(postgres.url) as connection:
        await connection.execute(f'CREATE DATABASE "{name}" {more}')
    yield postgres.url_of(name)


async def numbers(url: str, tenant: str) -> list[int]:
    """The numbers of the events of `emit` that are archived, in the archive's order."""
    async with connected(url) as connection:
        return [
            row["number"]
            for row in await connection.fetch(
                "SELECT (data->>'number')::int AS number FROM aicp_events WHERE tenant = $1 ORDER BY at, ordinal",
                tenant,
            )
        ]


async def until_archived(url: str, tenant: str, count: int, patience_s: float = 20.0) -> None:
    """Wait until so many events of a tenant are archived."""
    found = None
    try:
        async with asyncio.timeout(patience_s), connected(url) as connection:
            while found != count:
                with contextlib.suppress(asyncpg.UndefinedTableError):
                    found = await connection.fetchval("SELECT count(*) FROM aicp_events WHERE tenant = $1", tenant)
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{found} of {count} events are archived after {patience_s} s") from None


async def until_said(service: ServiceProcess, pattern: str, count: int = 1, patience_s: float = 20.0) -> list[str]:
    """Wait until so many lines of the log of a worker match; these lines."""
    until = time.monotonic() + patience_s
    while True:
        found = [line for line in service.process.output().splitlines() if re.search(pattern, line)]
        if len(found) >= count:
            return found
        assert time.monotonic() < until, f"{pattern!r} was not said:\n{service.process.output()[-4000:]}"
        await asyncio.sleep(0.02)


def metric(service: ServiceProcess, name: str) -> float:
    """A metric of a worker, with its labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.admin_port}/metrics", timeout=5) as answer:
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None, name
    return float(found[1])


async def ready(service: ServiceProcess) -> dict[str, Any]:
    """What /ready of a worker says; raises when it is not ready."""

    def ask() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.admin_port}/ready", timeout=5) as answer:
            said: dict[str, Any] = json.loads(answer.read())
            return said

    return await asyncio.to_thread(ask)


@contextlib.contextmanager
def archiving(backend: Backend, url: str, **env: str) -> Iterator[ServiceProcess]:
    """A worker of the state hub with an archive."""
    worker = ServiceProcess("statehub", backend, {"POSTGRES_URL": url, **env}).start()
    try:
        yield worker.wait()
    finally:
        worker.stop()
