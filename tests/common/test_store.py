"""Scripts and outbox, on a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from aicp_common.errors import Busy, Unavailable
from aicp_common.store import Script, Tenants, connect_redis, key, ping
from tests.support.processes import Backend, wait_until_listening

CHANGE = Script(
    ["name", "value"],
    """
    emit('thing', name, 'changed', '{"v":' .. value .. '}', 'trace')
    redis.call('SET', prefix .. ':thing:' .. name, value)
    return {now_ms(), value}
    """,
)


@pytest.fixture
async def redis(backend: Backend) -> AsyncIterator[Redis]:
    connection = connect_redis(backend.redis_url)
    yield connection
    await connection.aclose()


async def test_a_change_and_its_event_are_one_step(redis: Redis, tenant: str) -> None:
    changed_ms, value = await CHANGE(redis, tenant, name="a", value="1")
    assert abs(changed_ms / 1000 - time.time()) < 5
    assert value == "1"
    assert await redis.get(key(tenant, "thing", "a")) == "1"
    [(_, event)] = await redis.xrange(key(tenant, "outbox")) or []
    assert event == {"entity": "thing", "id": "a", "what": "changed", "data": '{"v":1}', "traceparent": "trace"}


async def test_a_script_that_redis_has_forgotten_is_sent_again(redis: Redis, tenant: str) -> None:
    await CHANGE(redis, tenant, name="a", value="1")
    await redis.script_flush()
    await CHANGE(redis, tenant, name="a", value="2")
    assert await redis.get(key(tenant, "thing", "a")) == "2"


async def test_arguments_are_checked_by_name(redis: Redis, tenant: str) -> None:
    with pytest.raises(KeyError):
        await CHANGE(redis, tenant, name="a")
    with pytest.raises(TypeError, match="other"):
        await CHANGE(redis, tenant, name="a", value="1", other="2")


async def test_a_full_outbox_refuses_and_changes_nothing(
    redis: Redis, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aicp_common.store._PRELUDE", _prelude_with_cap(2))
    change = Script(["name"], "emit('thing', name, 'changed') redis.call('SET', prefix .. ':thing:' .. name, '1')")
    await change(redis, tenant, name="a")
    await change(redis, tenant, name="b")
    with pytest.raises(Busy, match="event log"):
        await change(redis, tenant, name="c")
    assert await redis.get(key(tenant, "thing", "c")) is None
    assert await redis.xlen(key(tenant, "outbox")) == 2


def _prelude_with_cap(cap: int) -> str:
    from aicp_common.store import _PRELUDE, OUTBOX_CAP

    assert str(OUTBOX_CAP) in _PRELUDE
    return _PRELUDE.replace(str(OUTBOX_CAP), str(cap))


async def test_tenants_are_remembered(redis: Redis, tenant: str) -> None:
    tenants = Tenants(redis)
    await tenants.remember(tenant)
    await tenants.remember(tenant)
    assert (await tenants.all()).count(tenant) == 1


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_no_call_fails_on_a_connection_that_a_restart_of_redis_has_closed(
    own_backend: Backend, tenant: str, how: str
) -> None:
    redis = connect_redis(own_backend.redis_url)
    try:
        await asyncio.gather(*(CHANGE(redis, tenant, name=str(number), value="1") for number in range(10)))
        getattr(own_backend.redis, how)()
        with pytest.raises(Unavailable, match="Redis"):
            await CHANGE(redis, tenant, name="a", value="1")
        assert await ping(redis) is False
        own_backend.redis.start()
        wait_until_listening(own_backend.redis, own_backend.redis_port)
        async with asyncio.timeout(10):
            while not await ping(redis):
                await asyncio.sleep(0.01)
        for number in range(20):
            await CHANGE(redis, tenant, name=str(number), value="2")
        assert await redis.get(key(tenant, "thing", "9")) == "2"
    finally:
        await redis.aclose()


async def test_wrong_credentials_are_told(own_backend: Backend, tenant: str) -> None:
    admin = connect_redis(own_backend.redis_url)
    await admin.config_set("requirepass", "right")
    await admin.aclose()
    redis = connect_redis(own_backend.redis_url.replace("redis://", "redis://:wrong@"))
    with pytest.raises(Unavailable, match="credentials"):
        await CHANGE(redis, tenant, name="a", value="1")
    with pytest.raises(Unavailable, match="credentials"):
        await ping(redis)
    await redis.aclose()
