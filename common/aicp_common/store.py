"""Redis: the connection, key names, and Lua scripts that change state and append the event in the same step."""

import contextlib
import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, MovedError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from aicp_common.errors import Busy, Unavailable
from aicp_common.masters import Masters
from aicp_common.redis_url import certificate_fault, parse_redis_url
from aicp_common.redisline import RedisLine

log = logging.getLogger(__name__)

Value = str | int | float

TENANTS = "aicp:tenants"
"""Set of every tenant that ever changed anything: where sweeps and the relay look."""

REMEMBER_S = 60.0
"""How long a Redis that lost its last second, which everything but `appendfsync always` allows, may miss a tenant."""

OUTBOX_CAP = 200_000
"""Events of one tenant that may wait for the relay. Beyond it changes are refused: the log must not lose any."""

OUTBOX_BYTES = 256 * 1024**2
"""What they may take together, were all as large as the next one."""


class Store(Redis):
    """A client of Redis, and beside it the line on which scripts are called."""

    _line: RedisLine | None = None
    masters: Masters | None = None
    """Finds the master; None without Sentinel."""
    said = ""
    """Why `ping` had no answer, as the log says it; empty when it had one."""

    @property
    def line(self) -> RedisLine:
        """Made when it is first asked for: redis-py makes clients of this kind for single connections as well."""
        if self._line is None:
            self._line = RedisLine(self.connection_pool)
        return self._line

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Leave."""
        if self._line is not None:
            await self._line.close()
        await super().aclose(close_connection_pool)
        if self.masters is not None:
            await self.masters.aclose()


def connect_redis(url: str, max_connections: int = 64) -> Store:
    """A client for `url`. Does not connect yet.

    It never repeats a command by itself: a script that was cut off may have run.

    Args:
        url: In one of the forms of `aicp_common.redis_url`.

    Raises:
        WrongUrl: it is none of them.
    """
    pool, masters = parse_redis_url(url).pool(max_connections)
    store: Redis = Store.from_pool(pool)
    assert isinstance(store, Store)
    store.masters = masters
    return store


def key(tenant: str, *parts: str) -> str:
    """A key of one tenant. All of them share the hash tag, so that Redis Cluster keeps them together."""
    return ":".join((f"aicp:{{{tenant}}}", *parts))


@contextlib.asynccontextmanager
async def redis_errors() -> AsyncIterator[None]:
    """Turn what redis-py raises into what callers are told.

    Raises:
        Unavailable: Redis is away, loading, or refuses the credentials.
        Busy: a script found the outbox full.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        raise _told(error) from error


_REFUSAL = re.compile(r"(?:^|-)(LOADING|BUSY|READONLY|MASTERDOWN|OOM|MISCONF|NOREPLICAS|CLUSTERDOWN)\b")
"""The code of an error that says that Redis takes no changes now; in a script, Redis 6 puts it behind where it was."""


def _told(error: Exception) -> Exception:
    """What a caller is told of an error of Redis; the error itself where it is a fault of ours."""
    lasting = _lasting(error)
    if lasting is not None:
        return lasting
    if isinstance(error, (RedisConnectionError, RedisTimeoutError, OSError)):
        return Unavailable(
            "the store (Redis) is away",
            hint="try again in a few seconds; what was under way may or may not have been done",
        )
    text = str(error)
    if "OUTBOX_FULL" in text:
        return Busy(
            f"{OUTBOX_CAP} events wait for the event log, no more changes are taken until it drains",
            hint="try again later; the operator should look at the state hub and NATS",
        )
    if (refusal := _REFUSAL.search(text)) is not None:
        return Unavailable(f"the store (Redis) takes no changes now: {refusal[1]}")
    return error


def _lasting(error: Exception) -> Unavailable | None:
    """What is told of an error that waiting will not change."""
    if isinstance(error, AuthenticationError):
        return Unavailable("Redis refuses the credentials of REDIS_URL")
    if fault := certificate_fault(error):
        return Unavailable(
            f"the certificate of Redis is not accepted: {fault}",
            hint="look at the host name and ssl_ca_certs in REDIS_URL",
        )
    if isinstance(error, MovedError) or str(error).startswith("MOVED "):
        return Unavailable("REDIS_URL leads to one of several nodes of a Redis Cluster, which a hub cannot use")
    if isinstance(error, NoPermissionError) or str(error).startswith("NOPERM "):
        return Unavailable(f"Redis does not let the user of REDIS_URL do all that a hub does: {error}")
    return None


_PRELUDE = """
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
-- Append an event to the tenant's outbox, in the same step as the change that it tells of.
local function emit(entity, id, what, data, traceparent)
  local outbox = KEYS[1] .. ':outbox'
  local waiting = redis.call('XLEN', outbox)
  -- Where events are large, fewer may wait: about so many bytes.
  if waiting >= @OUTBOX_CAP@ or waiting * #(data or '') > @OUTBOX_BYTES@ then error('OUTBOX_FULL') end
  redis.call('XADD', outbox, '*', 'entity', entity, 'id', id, 'what', what, 'data', data or '{}',
    'traceparent', traceparent or '')
end
""".replace("@OUTBOX_CAP@", str(OUTBOX_CAP)).replace("@OUTBOX_BYTES@", str(OUTBOX_BYTES))


class Script:
    """A Lua script of one tenant's keys.

    `KEYS[1]` is the tenant's key prefix (`aicp:{tenant}`), from which the source builds the keys that it needs; the
    named arguments are locals. `now_ms()` is Redis' own clock, `emit(entity, id, what, data, traceparent)` appends an
    event. A script must call `emit` before it writes anything else, so that a full outbox changes nothing.

    Args:
        arguments: Names of the arguments, in order.
        source: The body.
    """

    def __init__(self, arguments: Sequence[str], source: str) -> None:
        self._arguments = tuple(arguments)
        names = "".join(f"local {name} = ARGV[{index}]\n" for index, name in enumerate(arguments, start=1))
        self._source = f"{_PRELUDE}local prefix = KEYS[1]\n{names}{source}"
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, tenant: str, **arguments: Value) -> Any:
        """Run it.

        Raises:
            Unavailable, Busy: see `redis_errors`.
        """
        values = [arguments[name] for name in self._arguments]
        if len(values) != len(arguments):
            raise TypeError(f"no such arguments of the script: {', '.join(arguments.keys() - set(self._arguments))}")
        line: RedisLine = redis.line  # type: ignore[attr-defined]  # every client here is a `Store`
        prefix = key(tenant)
        try:
            try:
                return await line.call("EVALSHA", self._sha, 1, prefix, *values)
            except ResponseError as error:
                if not str(error).startswith("NOSCRIPT"):
                    raise
                # A Redis that was started anew knows no scripts; nothing of this one has run.
                return await line.call("EVAL", self._source, 1, prefix, *values)
        except (RedisError, OSError) as error:
            raise _told(error) from error


class Tenants:
    """Remembers in Redis which tenants there are: each process once a minute for each tenant it works for."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._remembered_at: dict[str, float] = {}

    async def remember(self, tenant: str) -> None:
        """Make sure that sweeps and the relay find this tenant. Call before its first change."""
        now = time.monotonic()
        if now - self._remembered_at.get(tenant, -REMEMBER_S) < REMEMBER_S:
            return
        async with redis_errors():
            await self._redis.sadd(TENANTS, tenant)
        self._remembered_at[tenant] = now

    async def all(self) -> list[str]:
        """Every tenant, sorted."""
        async with redis_errors():
            return sorted(cast("set[str]", await self._redis.smembers(TENANTS)))


async def ping(redis: Redis) -> bool:
    """Whether Redis answers. Why it does not is logged, once for each reason.

    Raises:
        Unavailable: it refuses the credentials, or has a certificate that is not accepted: waiting changes nothing.
    """
    why = ""
    try:
        await redis.ping()
    except (RedisError, OSError) as error:
        lasting = _lasting(error)
        if lasting is not None:
            raise lasting from error
        why = str(error) or type(error).__name__
    if isinstance(redis, Store) and redis.said != why:
        redis.said = why
        if why:
            log.warning("Redis does not answer: %s", why)
        else:
            log.info("Redis answers again")
    return not why
