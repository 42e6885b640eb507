"""The bus and the service frame, over a real NATS."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.envelope import Envelope, pack, unpack
from aicp_common.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    TooLarge,
    Unavailable,
    decode_error,
)
from tests.conftest import envelope
from tests.gateway.conftest import plugin_process
from tests.support.processes import Backend, Process, ServiceProcess, binary, free_port, wait_until_listening


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Of these tests alone: a plug-in of other tests would answer some of the calls."""
    running = Backend(tmp_path_factory.mktemp("bus"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def plugin(backend: Backend) -> Iterator[ServiceProcess]:
    service = plugin_process(backend).start().wait()
    yield service
    assert service.stop() == 0


async def test_a_call_brings_the_callers_identity_and_gets_the_answer(
    plugin: ServiceProcess, bus: Bus, tenant: str
) -> None:
    reply = await bus.call("fixture", "echo", envelope(tenant, "alice"), b'{"text":"a"}')
    assert json.loads(reply.body)["structuredContent"] == {"text": "a", "agent": "alice", "tenant": tenant}


async def test_a_scope_that_is_missing_is_refused_by_the_service_itself(
    plugin: ServiceProcess, bus: Bus, tenant: str
) -> None:
    reply = await bus.call("fixture", "echo", envelope(tenant, "alice", scopes=("other",)), b'{"text":"a"}')
    result = json.loads(reply.body)
    assert result["isError"] is True
    assert result["_meta"]["aicp/error"]["code"] == "forbidden"


async def test_an_error_of_a_method_is_raised_as_what_it_was(plugin: ServiceProcess, bus: Bus, tenant: str) -> None:
    with pytest.raises(NotFound, match="missing"):
        await bus.call("fixture", "resource_read", envelope(tenant, "a"), b'{"uri":"fixture://things/missing"}')
    with pytest.raises(InvalidArgument, match="uri"):
        await bus.call("fixture", "resource_read", envelope(tenant, "a"), b"{}")


async def test_a_service_that_is_not_there_is_named(bus: Bus, tenant: str) -> None:
    with pytest.raises(Unavailable, match="'nobody'"):
        await bus.call("nobody", "echo", envelope(tenant, "a", deadline_s=0.5), b"{}")


async def test_a_call_past_its_deadline_does_not_start(plugin: ServiceProcess, bus: Bus, tenant: str) -> None:
    late = envelope(tenant, "a", deadline_s=-1)
    with pytest.raises(DeadlineExceeded):
        await bus.call("fixture", "echo", late, b'{"text":"a"}')
    # Nor does a worker begin what reaches it too late.
    answer = await bus.client.request(subjects.call("fixture", "echo"), pack(late, b'{"text":"a"}'), timeout=5)
    assert json.loads(answer.data)["_meta"]["aicp/error"]["code"] == "deadline_exceeded"


async def test_a_call_that_takes_longer_than_its_deadline_says_so(
    plugin: ServiceProcess, bus: Bus, tenant: str
) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="'sleep'"):
        await bus.call("fixture", "sleep", envelope(tenant, "a", deadline_s=0.3), b'{"seconds":5.0}')
    assert time.monotonic() - started < 2


async def test_a_message_that_does_not_fit_is_refused_here(bus: Bus, tenant: str) -> None:
    with pytest.raises(TooLarge, match="at most"):
        await bus.call("fixture", "echo", envelope(tenant, "a"), b"x" * (5 * 2**20))


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]\n{}", b"{}\n{}", b'["a"]\n{}', b"\xff\n"])
async def test_a_call_without_a_proper_envelope_is_refused(plugin: ServiceProcess, bus: Bus, payload: bytes) -> None:
    answer = await bus.client.request(subjects.call("fixture", "resource_read"), payload, timeout=5)
    assert answer.headers is not None
    assert answer.headers["Nats-Service-Error-Code"] == "400"
    assert isinstance(decode_error(answer.data), InvalidArgument)


async def test_wrong_credentials_are_told_at_once(tmp_path: Path) -> None:
    port = free_port()
    argv = [binary("nats-server"), "-a", "127.0.0.1", "-p", str(port), "--auth", "right"]
    server = Process("nats-server", argv, {}, tmp_path / "nats.log")
    server.start()
    wait_until_listening(server, port)
    try:
        bus = Bus(f"nats://wrong@127.0.0.1:{port}", "test")
        with pytest.raises(Unavailable, match="credentials"):
            await asyncio.wait_for(bus.connect(), 10)
        await bus.close()
    finally:
        server.stop()


async def test_a_server_that_is_not_there_is_waited_for_and_then_told() -> None:
    bus = Bus(f"nats://127.0.0.1:{free_port()}", "test")
    started = time.monotonic()
    with pytest.raises(Unavailable, match="NATS_URL"):
        await bus.connect(patience_s=1.0)
    assert 0.9 < time.monotonic() - started < 5


async def test_a_handler_that_fails_is_called_again_for_the_next_message(bus: Bus, tenant: str) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(message: Msg) -> None:
        await heard.put(message.data)
        raise ZeroDivisionError

    await bus.subscribe(subjects.agent(tenant, "a"), handler)
    await bus.flush()
    for number in (b"1", b"2"):
        await bus.publish(subjects.agent(tenant, "a"), number)
        assert await asyncio.wait_for(heard.get(), 5) == number


async def test_every_service_is_a_nats_micro_service(plugin: ServiceProcess, bus: Bus) -> None:
    answer = await bus.client.request("$SRV.INFO.aicp-fixture", b"", timeout=5)
    info = json.loads(answer.data)
    assert "echo" in info["metadata"]["tools"].split()
    assert subjects.call("fixture", "echo") in [endpoint["subject"] for endpoint in info["endpoints"]]
    assert {endpoint["queue_group"] for endpoint in info["endpoints"]} == {"fixture"}


async def test_health_ready_and_metrics(plugin: ServiceProcess, bus: Bus, tenant: str) -> None:
    await bus.call("fixture", "echo", envelope(tenant, "alice"), b'{"text":"a"}')

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{plugin.admin_port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    assert json.loads(get("/health")) == {"status": "ok"}
    ready = json.loads(get("/ready"))
    assert (ready["ready"], ready["nats"], ready["redis"], ready["service"]) == (True, True, True, "fixture")
    metrics = get("/metrics")
    assert 'aicp_calls_total{method="echo",outcome="ok"}' in metrics
    assert tenant not in metrics


async def test_not_ready_while_redis_is_away_and_ready_again_after(own_backend: Backend) -> None:
    service = plugin_process(own_backend).start().wait()

    async def readiness() -> int:
        def get() -> int:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{service.admin_port}/ready", timeout=5) as answer:
                    status: int = answer.status
                    return status
            except urllib.error.HTTPError as error:
                return error.code

        return await asyncio.to_thread(get)

    try:
        own_backend.redis.kill()
        assert await readiness() == 503
        own_backend.redis.start()
        wait_until_listening(own_backend.redis, own_backend.redis_port)
        async with asyncio.timeout(10):
            while await readiness() != 200:
                await asyncio.sleep(0.05)
    finally:
        assert service.stop() == 0


def test_a_service_that_cannot_reach_nats_ends_when_told(tmp_path: Path) -> None:
    nowhere = Backend(tmp_path)
    service = plugin_process(nowhere).start()
    wait_until_listening(service.process, service.admin_port)
    assert service.stop() == 0


_texts = st.text(max_size=30)


@given(_texts, _texts, st.lists(_texts, max_size=3), st.binary(max_size=50))
def test_an_envelope_survives_the_journey(user: str, session: str, scopes: list[str], body: bytes) -> None:
    sent = envelope("acme", "alice", scopes=tuple(scopes))
    principal = type(sent.principal)("acme", "alice", user, tuple(scopes))
    sent = Envelope(principal, sent.deadline_ms, sent.traceparent, sent.request_id, session)
    try:
        packed = pack(sent, body)
    except UnicodeEncodeError:
        return  # A lone surrogate cannot be sent; the gateway cuts such names off before.
    assert unpack(packed) == (sent, body)


def test_an_error_that_cannot_be_read_is_internal() -> None:
    assert isinstance(decode_error(b"junk"), Internal)


async def test_a_flush_that_is_given_up_leaves_the_connection_working(
    plugin: ServiceProcess, bus: Bus, tenant: str
) -> None:
    for _ in range(20):
        flushing = asyncio.create_task(bus.flush())
        await asyncio.sleep(0)
        flushing.cancel()
    await asyncio.wait_for(bus.flush(), 5)
    reply = await bus.call("fixture", "echo", envelope(tenant, "alice"), b'{"text":"a"}')
    assert json.loads(reply.body)["structuredContent"]["text"] == "a"


async def test_a_worker_that_stops_answers_every_call_that_reached_it(
    backend: Backend, plugin: ServiceProcess, bus: Bus, tenant: str
) -> None:
    async def call_for_ever(stop: asyncio.Event) -> int:
        answered = 0
        while not stop.is_set():
            reply = await bus.call("fixture", "echo", envelope(tenant, "alice"), b'{"text":"a"}')
            assert b'"isError":false' in reply.body
            answered += 1
        return answered

    stop = asyncio.Event()
    calling = [asyncio.create_task(call_for_ever(stop)) for _ in range(16)]
    for _ in range(3):
        # It shares the calls with the one that goes on, and leaves in the middle of them.
        second = await asyncio.to_thread(plugin_process(backend).start().wait)
        assert await asyncio.to_thread(second.stop) == 0
    stop.set()
    assert sum(await asyncio.gather(*calling)) > 100


async def test_a_caller_that_was_held_up_itself_reads_what_came_meanwhile(
    plugin: ServiceProcess, bus: Bus, tenant: str
) -> None:
    bus._worker_patience_s = 0.5
    call = asyncio.create_task(bus.call("fixture", "sleep", envelope(tenant, "a"), b'{"seconds":0.3}'))
    await asyncio.sleep(0.1)
    time.sleep(1.5)  # noqa: ASYNC251 - the whole process stands still, as when it was stopped
    assert b'"slept":true' in (await call).body
