"""The outboxes of tenants in Redis: their names, their entries, and how much waits in them."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from aicp_common.redisline import RedisLine
from aicp_common.store import key, redis_errors

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


async def put_aside(
    line: RedisLine, relayed: Iterable[tuple[str, str]], dead: Iterable[tuple[Entry, str]]
) -> dict[str, list[str]]:
    """Copy dead entries to the dead letters; ids of all that is to be removed, by tenant.

    Raises:
        redis.exceptions.RedisError, OSError: Redis is away.
    """
    gone: dict[str, list[str]] = defaultdict(list)
    for tenant, entry_id in relayed:
        gone[tenant].append(entry_id)
    for entry, why in dead:
        letter = {name[:DEAD_FIELD_BYTES]: value[:DEAD_FIELD_BYTES] for name, value in entry.fields.items()}
        letter |= {b"entry": entry.id.encode(), b"why": why.encode()}
        flat = itertools.chain.from_iterable(letter.items())
        await line.call("XADD", dead_letters(entry.tenant), "MAXLEN", DEAD_LETTERS_CAP, "*", *flat)
        gone[entry.tenant].append(entry.id)
    return gone


def removal(tenant: str, ids: Sequence[str]) -> tuple[str, ...]:
    """The command that takes entries out of an outbox."""
    return ("XDEL", outbox(tenant), *ids)


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
