"""The outboxes of tenants in Redis: reading what waits, removing what was relayed."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from aicp_common.redisline import RedisLine
from aicp_common.store import Store, key, redis_errors

DEAD_LETTERS_CAP = 1000
"""Entries of a tenant that could not be relayed and are kept to look at."""
DEAD_FIELD_BYTES = 16 * 1024
"""What is kept of a field of theirs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event that waits."""

    tenant: str
    id: str
    fields: dict[bytes, bytes]


def outbox(tenant: str) -> str:
    """The stream into which scripts put the tenant's events."""
    return key(tenant, "outbox")


def dead_letters(tenant: str) -> str:
    """The stream with what could not be relayed."""
    return key(tenant, "outbox-dead-letters")


async def read_waiting(
    line: RedisLine, tenants: Sequence[str], after: Mapping[str, str], limit: int, block_ms: int
) -> list[Entry]:
    """The next entries of each tenant, as soon as there are any; none after `block_ms`.

    Args:
        line: For this alone, since the read holds it up; of bytes, since one entry that is no UTF-8 must not hide the
            others.
        tenants: Whose.
        after: The entry of a tenant after which to read; from the first one on where there is none.
        limit: Entries of one tenant at most.
        block_ms: How long it waits.

    Raises:
        Unavailable: Redis is away.
    """
    streams = [outbox(tenant) for tenant in tenants]
    starts = [after.get(tenant, "0") for tenant in tenants]
    async with redis_errors():
        found = await line.call("XREAD", "COUNT", limit, "BLOCK", block_ms, "STREAMS", *streams, *starts)
    if not found:
        return []
    # A map in RESP3, a list of pairs in RESP2.
    by_stream = found.items() if isinstance(found, dict) else found
    names = {stream.encode(): tenant for stream, tenant in zip(streams, tenants, strict=True)}
    return [
        Entry(names[stream], entry_id.decode(), dict(zip(flat[::2], flat[1::2], strict=True)))
        for stream, entries in by_stream
        for entry_id, flat in entries
    ]


async def remove(redis: Redis, relayed: Iterable[tuple[str, str]], dead: Iterable[tuple[Entry, str]]) -> None:
    """Take entries out of their outboxes.

    Args:
        relayed: Tenant and entry id of what the event log has acknowledged.
        dead: Entries that cannot be relayed, and why; they go to the tenant's dead letters.

    Raises:
        Unavailable: Redis is away.
    """
    ids: dict[str, list[str]] = defaultdict(list)
    for tenant, entry_id in relayed:
        ids[tenant].append(entry_id)
    async with redis_errors():
        for entry, why in dead:
            kept = {name[:DEAD_FIELD_BYTES]: value[:DEAD_FIELD_BYTES] for name, value in entry.fields.items()}
            letter = {**kept, b"entry": entry.id.encode(), b"why": why.encode()}
            await redis.xadd(dead_letters(entry.tenant), letter, maxlen=DEAD_LETTERS_CAP, approximate=False)  # type: ignore[arg-type]
            ids[entry.tenant].append(entry.id)
        line = cast("Store", redis).line
        await asyncio.gather(*(line.call("XDEL", outbox(tenant), *gone) for tenant, gone in ids.items()))


async def measure(redis: Redis, tenants: Sequence[str]) -> tuple[int, int | None]:
    """How many entries wait, and when the oldest of them was made, in ms since the epoch.

    Raises:
        Unavailable: Redis is away.
    """
    async with redis_errors(), redis.pipeline(transaction=False) as pipe:
        for tenant in tenants:
            pipe.xlen(outbox(tenant))
        lengths: list[int] = await pipe.execute()
    busy = [tenant for tenant, length in zip(tenants, lengths, strict=True) if length]
    if not busy:
        return 0, None
    async with redis_errors(), redis.pipeline(transaction=False) as pipe:
        for tenant in busy:
            pipe.execute_command("XRANGE", outbox(tenant), "-", "+", "COUNT", 1, **{NEVER_DECODE: []})
        firsts = await pipe.execute()
    oldest = [int(first[0][0].partition(b"-")[0]) for first in firsts if first]
    return sum(lengths), min(oldest, default=None)
