"""Nothing grows without bound: requests in flight, messages, and what waits for clients that do not read."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests.gateway.client import RawClient
from tests.gateway.httpclient import HttpClient, call_of
from tests.gateway.revisions import NEWEST
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

IN_FLIGHT = 16


@pytest.fixture(scope="module")
def narrow(backend: Backend, plugin: ServiceProcess) -> Iterator[GatewayProcess]:
    """A gateway that lets few requests be in flight, and whose memory nobody else uses."""
    service = GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture", "MAX_IN_FLIGHT": str(IN_FLIGHT)})
    service.start().wait()
    yield service
    assert service.process.stop(10) == 0, service.process.output()[-4000:]


def resident_mib(gateway: GatewayProcess) -> float:
    """The memory that a gateway's process holds."""
    assert gateway.process.popen is not None
    status = Path(f"/proc/{gateway.process.popen.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


@contextlib.asynccontextmanager
async def deaf_websocket(gateway: GatewayProcess) -> AsyncIterator[ClientConnection]:
    """A connection that has said hello and does not read unless `recv` is called."""
    async with websockets.connect(gateway.ws_url, max_queue=1, max_size=None, close_timeout=1) as socket:
        params = {"protocolVersion": NEWEST, "capabilities": {}, "clientInfo": {"name": "deaf", "version": "1"}}
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}))
        await socket.recv()
        yield socket


class DeafHttp:
    """One HTTP request by hand whose answer is never read."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, message: Any, **headers: str) -> None:
        """Send it."""
        body = json.dumps(message).encode() if message is not None else b""
        lines = [
            f"{method} /mcp?agent=deaf HTTP/1.1",
            f"Host: 127.0.0.1:{self._gateway.http_port}",
            "Accept: application/json, text/event-stream",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._gateway.http_port, limit=1024)
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # there is no other way not to read
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.transport.abort()


async def test_requests_in_flight_have_a_limit_and_the_rest_is_told(narrow: GatewayProcess) -> None:
    mark = secrets.token_hex(4)
    async with RawClient.connect(narrow.ws_url, "alice") as client, RawClient.connect(narrow.ws_url, "bob") as other:
        await client.initialize()
        await other.initialize()
        waiting = [
            asyncio.create_task(client.call_raw("play", {"steps": [["write", f"{mark}-{n}"], ["wait", mark]]}))
            for n in range(IN_FLIGHT)
        ]
        for number in range(IN_FLIGHT):
            await other.call("wait_for_log", entry=f"{mark}-{number}")
        refused = await client.request("tools/call", {"name": "echo", "arguments": {"text": "x"}})
        assert refused["error"]["code"] == 429
        assert f"{IN_FLIGHT} requests are in flight" in refused["error"]["message"]
        # What needs no service is answered all the same, and others are not concerned.
        assert (await client.request("ping"))["result"] == {}
        assert (await other.call("echo", text="x"))["text"] == "x"
        await other.call("write_log", entry=mark)
        await asyncio.gather(*waiting)
        assert (await client.call("echo", text="x"))["text"] == "x"


async def test_big_answers_for_a_client_that_does_not_read_are_not_kept_in_memory(narrow: GatewayProcess) -> None:
    async with deaf_websocket(narrow) as socket:
        before = resident_mib(narrow)
        params = {"name": "echo", "arguments": {"text": "x" * 1000, "times": 250}}
        sent = 0
        with contextlib.suppress(TimeoutError):
            for sent in range(1, 2001):
                message = {"jsonrpc": "2.0", "id": sent, "method": "tools/call", "params": params}
                await asyncio.wait_for(socket.send(json.dumps(message)), 2)
        # 2,000 answers would have been 1 GB: each has its text twice.
        assert resident_mib(narrow) - before < 60
        answers = [json.loads(await asyncio.wait_for(socket.recv(), 10)) for _ in range(sent - 1)]
        assert any("result" in answer for answer in answers)
        assert any("in flight" in answer["error"]["message"] for answer in answers if "error" in answer)


async def test_a_flood_of_progress_for_clients_that_do_not_read_is_cut(
    narrow: GatewayProcess, alice: RawClient
) -> None:
    mark = secrets.token_hex(4)
    # 60 MB each, far more than sockets hold.
    flood = [["flood", 30_000, 2000], ["write", mark]]
    call = call_of("play", 1, 1, steps=flood)
    before = resident_mib(narrow)
    async with HttpClient(f"{narrow.http_url}?agent=deaf") as client, deaf_websocket(narrow) as socket:
        await client.initialize(NEWEST)
        await socket.send(json.dumps(call))
        await asyncio.wait_for(alice.call("wait_for_log", entry=mark), 40)
        call["params"]["arguments"]["steps"][1][1] = f"{mark}-http"
        stateless = client.stateless("tools/call", call["params"], token=1)
        deaf = DeafHttp(narrow)
        names = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "play"}
        await deaf.send("POST", stateless, **names)
        await asyncio.wait_for(alice.call("wait_for_log", entry=f"{mark}-http"), 40)
        assert resident_mib(narrow) - before < 60
        metrics = (await client.http.get(narrow.http_url.replace("/mcp", "/metrics"))).text
        [dropped] = [line for line in metrics.splitlines() if line.startswith("aicp_gateway_interim_dropped_total ")]
        assert float(dropped.split()[1]) > 1000
        # Who reads in the end gets some of them in order, and the answer.
        seen = []
        while "result" not in (message := json.loads(await asyncio.wait_for(socket.recv(), 10))):
            seen.append(message["params"]["progress"])
        assert seen == sorted(seen)
        deaf.close()


async def test_many_changes_for_clients_that_do_not_read_are_told_once(
    narrow: GatewayProcess, alice: RawClient
) -> None:
    name = secrets.token_hex(4)
    things = [f"{name}-{number}-{'x' * 1000}"[:64] for number in range(100)]
    uris = [f"fixture://things/{thing}" for thing in things]
    async with HttpClient(f"{narrow.http_url}?agent=deaf") as client, deaf_websocket(narrow) as socket:
        await client.initialize(NEWEST)
        for number, uri in enumerate(uris, 1):
            await client.request("resources/subscribe", {"uri": uri})
            subscribe = {"jsonrpc": "2.0", "id": number, "method": "resources/subscribe", "params": {"uri": uri}}
            await socket.send(json.dumps(subscribe))
            await socket.recv()
        stream, listener = DeafHttp(narrow), DeafHttp(narrow)
        await stream.send("GET", None, **{"Mcp-Session-Id": client.session})
        listen = client.stateless("subscriptions/listen", {"notifications": {"resourceSubscriptions": uris}})
        names = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"}
        await listener.send("POST", listen, **names)
        before = resident_mib(narrow)
        # 20,000 notifications to each of three.
        for some in (things[:50], things[50:]):
            await asyncio.gather(*(alice.call("change_often", name=thing, times=200) for thing in some))
        assert resident_mib(narrow) - before < 30
        assert (await client.call("echo", text="x"))["text"] == "x"
        stream.close()
        listener.close()
