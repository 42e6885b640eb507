"""The key of request states: made once, kept in Redis, the same for all gateways."""

import secrets
from typing import cast

from redis.asyncio import Redis

from aicp_common.store import redis_errors

_KEY = "aicp:gateway:request-state-key"


async def shared_key(redis: Redis) -> bytes:
    """The key; the first gateway of a hub makes it."""
    async with redis_errors():
        await redis.set(_KEY, secrets.token_hex(32), nx=True)
        return cast("str", await redis.get(_KEY)).encode()
