"""A service that hangs, and calls that are given up: nobody else is held up, and the work ends."""

import asyncio
import contextlib
import json
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from aicp_common import subjects
from aicp_common.announcement import Announcement, encode_announcement
from aicp_common.bus import Bus
from tests.gateway.client import RawClient
from tests.gateway.httpclient import HttpClient, call_of
from tests.gateway.listener import listening
from tests.gateway.neighbour import NAME
from tests.gateway.revisions import STATELESS, TASKS, headers_of
from tests.gateway.speaker import KINDS, Speaker, WebSocketSpeaker, speaking
from tests.gateway.test_limits import deaf_websocket
from tests.support.processes import Backend, GatewayProcess, ServiceProcess


@pytest.fixture(scope="module")
def neighbour_process(backend: Backend) -> Iterator[ServiceProcess]:
    """Another plug-in beside the one that all tests use."""
    service = ServiceProcess(NAME, backend, module="tests.gateway.neighbour").start().wait()
    yield service
    assert service.stop() == 0


@pytest.fixture
async def neighbour(
    neighbour_process: ServiceProcess, gateway: GatewayProcess, bus: Bus
) -> AsyncIterator[ServiceProcess]:
    """It is known to the gateway; afterwards it is not, so that others find what they know."""
    await bus.publish(subjects.ANNOUNCE_REQUEST)
    async with HttpClient(gateway.http_url) as client, asyncio.timeout(15):
        while "greet_back" not in (await client.ask(client.stateless("tools/list"))).text:
            await asyncio.sleep(0.05)
    yield neighbour_process
    await bus.publish(subjects.ANNOUNCE, encode_announcement(Announcement(NAME, "0")))
    await bus.flush()


@contextlib.contextmanager
def hanging(service: ServiceProcess) -> Iterator[None]:
    """As long as this lasts, the service does nothing."""
    assert service.process.popen is not None
    service.process.popen.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        service.process.popen.send_signal(signal.SIGCONT)


async def test_a_service_that_hangs_holds_up_no_other(gateway: GatewayProcess, neighbour: ServiceProcess) -> None:
    async with contextlib.AsyncExitStack() as stack:
        speakers = [await stack.enter_async_context(speaking(kind, gateway)) for kind in KINDS]
        with hanging(neighbour):
            slow = [asyncio.create_task(speaker.call("greet_back")) for speaker in speakers]
            # On the same connections and sessions, while those calls hang. They would be given up after 8 s.
            async with asyncio.timeout(6):
                for number in range(5):
                    calls = (speaker.call("echo", text=str(number)) for speaker in speakers)
                    for done in await asyncio.gather(*calls):
                        assert done.result["structuredContent"]["text"] == str(number)
            assert not any(call.done() for call in slow)
        for done in await asyncio.gather(*slow):
            assert done.text == "hello"


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_service_that_hangs_holds_up_no_news_of_others(
    gateway: GatewayProcess, neighbour: ServiceProcess, alice: RawClient, bus: Bus, transport: str
) -> None:
    agent, name = f"a{secrets.token_hex(4)}", secrets.token_hex(4)
    async with HttpClient(f"{gateway.http_url}?agent={agent}") as client:
        begun = await client.ask(client.stateless("tools/call", {"name": "begin_errand"}, capabilities=TASKS))
        id = begun.json()["result"]["taskId"]
        uri = f"fixture://things/{name}"
        wanted: dict[str, Any] = {"resourceSubscriptions": [uri], "taskIds": [id]}
        async with listening(transport, gateway, wanted, agent=agent, capabilities=TASKS) as listener:
            assert await listener.acknowledgement() == wanted
            with hanging(neighbour):
                # The gateway wants to know the task's state, and cannot.
                await bus.publish(subjects.task("default", id), b"{}")
                await bus.flush()
                for _ in range(3):
                    await alice.call("change", name=name)
                    async with asyncio.timeout(5):
                        assert (await listener.next())["params"] == {"uri": uri}
            told = await listener.next()
            assert (told["method"], told["params"]["taskId"]) == ("notifications/tasks", id)


@pytest.fixture(params=KINDS, ids="-".join)
async def speaker(request: pytest.FixtureRequest, gateway: GatewayProcess) -> AsyncIterator[Speaker]:
    """A client of each transport and era."""
    async with speaking(request.param, gateway) as made:
        yield made


async def test_a_call_that_is_given_up_ends_at_the_service(speaker: Speaker, alice: RawClient) -> None:
    mark = secrets.token_hex(4)
    arguments = {"seconds": 30.0, "mark": mark}
    calling = asyncio.create_task(speaker.request("tools/call", {"name": "sleep", "arguments": arguments}, id="slow"))
    await alice.call("wait_for_log", entry=f"began {mark}")
    if isinstance(speaker, WebSocketSpeaker) or speaker.revision != STATELESS:
        await speaker.cancel("slow")
    else:
        # Over HTTP that era cancels by closing the connection.
        calling.cancel()
    async with asyncio.timeout(10):
        await alice.call("wait_for_log", entry=f"cancelled {mark}")
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)


async def test_an_id_as_a_number_and_as_a_text_are_two_calls(gateway: GatewayProcess, alice: RawClient) -> None:
    mark = secrets.token_hex(4)
    async with RawClient.connect(gateway.ws_url, "eve") as eve:
        await eve.initialize()
        steps = [["write", f"began number {mark}"], ["wait", f"go {mark}"]]
        staying = asyncio.create_task(eve.exchange(call_of("play", 1, steps=steps)))
        await eve.send(call_of("sleep", "1", seconds=30.0, mark=f"text-{mark}"))
        await alice.call("wait_for_log", entry=f"began number {mark}")
        await alice.call("wait_for_log", entry=f"began text-{mark}")
        await eve.notify("notifications/cancelled", {"requestId": "1"})
        async with asyncio.timeout(10):
            await alice.call("wait_for_log", entry=f"cancelled text-{mark}")
        await alice.call("write_log", entry=f"go {mark}")
        assert not (await staying)["result"].get("isError")


async def test_a_call_that_is_cancelled_says_nothing_more(gateway: GatewayProcess, alice: RawClient) -> None:
    mark = secrets.token_hex(4)
    async with deaf_websocket(gateway) as socket:
        # More than the sockets hold, so that some of it waits in the gateway.
        steps = [["flood", 10_000, 2000], ["write", f"flooded {mark}"], ["sleep", 30]]
        await socket.send(json.dumps(call_of("play", 1, "flood", steps=steps, mark=mark)))
        await asyncio.wait_for(alice.call("wait_for_log", entry=f"flooded {mark}"), 30)
        await socket.send(
            json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        )
        async with asyncio.timeout(10):
            await alice.call("wait_for_log", entry=f"cancelled {mark}")
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": 2, "method": "ping"}))
            while "result" not in json.loads(await socket.recv()):
                pass
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": 3, "method": "ping"}))
            assert json.loads(await socket.recv())["id"] == 3


async def test_a_connection_that_is_closed_ends_all_its_calls(gateway: GatewayProcess, alice: RawClient) -> None:
    marks = [secrets.token_hex(4) for _ in range(5)]
    async with RawClient.connect(gateway.ws_url, "eve") as eve:
        await eve.initialize()
        for number, mark in enumerate(marks):
            await eve.send(call_of("sleep", number, seconds=30.0, mark=mark))
        for mark in marks:
            await alice.call("wait_for_log", entry=f"began {mark}")
        eve.socket.transport.abort()
        async with asyncio.timeout(10):
            for mark in marks:
                await alice.call("wait_for_log", entry=f"cancelled {mark}")


async def test_a_call_that_is_given_up_at_once_does_not_go_on(gateway: GatewayProcess, alice: RawClient) -> None:
    count = 20
    mark = secrets.token_hex(4)
    async with RawClient.connect(gateway.ws_url, "eve") as eve:
        await eve.initialize()
        for number in range(count):
            await eve.send(call_of("sleep", f"w{number}", seconds=30.0, mark=f"{mark}-w{number}"))
            await eve.notify("notifications/cancelled", {"requestId": f"w{number}"})
        assert (await eve.request("ping"))["result"] == {}
    for number in range(count):
        await hang_up_at_once(gateway, {"seconds": 30.0, "mark": f"{mark}-h{number}"})
    # By then every call and every cancellation has reached the service: they travel in order.
    assert (await alice.call("echo", text="x"))["text"] == "x"
    async with asyncio.timeout(10):
        while True:
            entries = [entry for entry in (await alice.call("read_log"))["entries"] if mark in entry]
            began = {entry.split()[1] for entry in entries if entry.startswith("began")}
            if began <= {entry.split()[1] for entry in entries if entry.startswith("cancelled")}:
                break
            await asyncio.sleep(0.05)


async def hang_up_at_once(gateway: GatewayProcess, arguments: dict[str, Any]) -> None:
    """Send a call over HTTP and close the connection without waiting for anything."""
    async with HttpClient(gateway.http_url) as client:
        message = client.stateless("tools/call", {"name": "sleep", "arguments": arguments})
    body = json.dumps(message).encode()
    lines = [
        "POST /mcp HTTP/1.1",
        f"Host: 127.0.0.1:{gateway.http_port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers_of(message).items()),
    ]
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()
    writer.close()
