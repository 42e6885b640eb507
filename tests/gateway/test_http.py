"""MCP over Streamable HTTP, against real gateways."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator

import pytest

from tests.gateway.conftest import token
from tests.gateway.eventsource import messages
from tests.gateway.httpclient import ACCEPT, HttpClient, call_of
from tests.support.processes import GatewayProcess


@pytest.fixture
async def client(gateway: GatewayProcess) -> AsyncIterator[HttpClient]:
    made = HttpClient(f"{gateway.http_url}?agent=alice")
    yield made
    await made.http.aclose()


async def test_a_session_from_its_begin_to_its_end(client: HttpClient) -> None:
    answer = await client.initialize()
    assert answer.json()["result"]["protocolVersion"] == "2025-11-25"
    assert (await client.call("echo", text="x"))["agent"] == "alice"
    assert (await client.http.delete(client.url, headers=client.headers)).status_code == 204
    gone = await client.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert gone.status_code == 404
    assert "initialize" in gone.json()["error"]["message"]


async def test_both_ports_serve_both_transports(gateway: GatewayProcess) -> None:
    client = HttpClient(f"http://127.0.0.1:{gateway.port}/mcp?agent=alice")
    await client.initialize()
    assert (await client.call("echo", text="x"))["text"] == "x"
    await client.http.aclose()


@pytest.mark.parametrize(
    ("headers", "body", "status", "says"),
    [
        ({"content-type": "text/plain"}, b"{}", 415, "application/json"),
        ({"accept": "text/html"}, b"{}", 406, "Accept"),
        ({}, b"{bad", 400, "JSON"),
        ({}, b"[]", 400, "batch"),
        ({}, b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', 400, "initialize"),
        ({"mcp-session-id": "s-nobody"}, b'{"jsonrpc":"2.0","id":1,"method":"ping"}', 404, "session"),
        ({"mcp-session-id": "not an id!"}, b'{"jsonrpc":"2.0","id":1,"method":"ping"}', 404, "session"),
        (
            {},
            b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"' + b"y" * 2**21 + b'"}}',
            413,
            "at most 1048576",
        ),
        ({"origin": "https://evil.example"}, b"{}", 403, "evil.example"),
        ({"host": "evil.example"}, b"{}", 403, "ALLOWED_HOSTS"),
    ],
)
async def test_a_wrong_request_is_answered_with_what_is_wrong(
    client: HttpClient, headers: dict[str, str], body: bytes, status: int, says: str
) -> None:
    answer = await client.post(body, **headers)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]


async def test_other_methods_are_named(client: HttpClient) -> None:
    answer = await client.http.put(client.url, headers=client.headers)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST, DELETE"


async def test_a_protocol_version_that_is_not_spoken_is_refused(client: HttpClient) -> None:
    await client.initialize()
    answer = await client.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, **{"mcp-protocol-version": "1999-01-01"})
    assert answer.status_code == 400
    assert "2025-06-18" in answer.json()["error"]["message"]


async def test_json_rpc_errors_with_an_id_are_answers(client: HttpClient) -> None:
    await client.initialize()
    assert "no/such" in (await client.request("no/such"))["error"]["message"]
    assert "the tools are" in (await client.request("tools/call", {"name": "no"}))["error"]["message"]


async def test_a_session_belongs_to_its_principal(locked_gateway: GatewayProcess) -> None:
    url = locked_gateway.http_url
    alice = HttpClient(url, headers={"authorization": f"Bearer {token(sub='alice', tenant='acme')}"})
    await alice.initialize()
    for claims in ({"sub": "bob", "tenant": "acme"}, {"sub": "alice", "tenant": "other"}):
        thief = HttpClient(url, headers={"authorization": f"Bearer {token(**claims)}"})
        thief.headers["mcp-session-id"] = alice.headers["mcp-session-id"]
        assert (await thief.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})).status_code == 404
        assert (await thief.http.delete(url, headers=thief.headers)).status_code == 404
        await thief.http.aclose()
    nobody = await alice.http.post(url, json={}, headers=ACCEPT)
    assert nobody.status_code == 401
    assert nobody.headers["www-authenticate"].startswith("Bearer ")
    assert (await alice.call("echo", text="x"))["tenant"] == "acme"
    await alice.http.aclose()


async def test_a_session_works_through_two_gateways_in_turn(
    gateway: GatewayProcess, other_gateway: GatewayProcess
) -> None:
    name = secrets.token_hex(4)
    uri = f"fixture://things/{name}"
    async with HttpClient(f"{gateway.http_url}?agent=alice", f"{other_gateway.http_url}?agent=alice") as client:
        await client.initialize()
        for number in range(6):
            assert (await client.call("echo", text=str(number)))["agent"] == "alice"
        # One subscription before the stream is open, others after; posted to whichever gateway comes next.
        await client.request("resources/subscribe", {"uri": uri})
        async with client.get() as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            seen = messages(stream)
            for late in (uri, uri + "-late", uri + "-later"):
                await client.request("resources/subscribe", {"uri": late})
                await client.call("change", name=late.rpartition("/")[2])
                told = await asyncio.wait_for(anext(seen), 10)
                assert told["params"] == {"uri": late}
            await client.request("resources/unsubscribe", {"uri": uri})
            async with client.get() as newer:
                with pytest.raises(StopAsyncIteration):
                    await asyncio.wait_for(anext(seen), 10)
                seen_newer = messages(newer)
                await client.call("change", name=name)
                await client.call("change", name=name + "-late")
                told = await asyncio.wait_for(anext(seen_newer), 10)
                assert told["params"] == {"uri": uri + "-late"}
                await client.delete()
                with pytest.raises(StopAsyncIteration):
                    await asyncio.wait_for(anext(seen_newer), 10)


async def test_cancelling_works_from_the_other_gateway(gateway: GatewayProcess, other_gateway: GatewayProcess) -> None:
    mark = secrets.token_hex(4)
    async with HttpClient(f"{gateway.http_url}?agent=alice") as client:
        await client.initialize()
        slow = asyncio.create_task(client.post(call_of("sleep", 77, seconds=30.0, mark=mark)))
        async with asyncio.timeout(10):
            await client.call("wait_for_log", entry=f"began {mark}")
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 77}}
        async with client.twin(f"{other_gateway.http_url}?agent=alice") as twin:
            assert (await twin.post(cancel)).status_code == 202
        assert (await asyncio.wait_for(slow, 10)).json()["result"]["isError"] is True
        assert f"cancelled {mark}" in (await client.call("read_log"))["entries"]


async def test_a_client_that_offers_http_2_in_passing_is_served(gateway: GatewayProcess, client: HttpClient) -> None:
    await client.initialize()
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
    lines = [
        "POST /mcp?agent=alice HTTP/1.1",
        f"Host: 127.0.0.1:{gateway.http_port}",
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in client.headers.items()),
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    for _ in range(2):
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer = await asyncio.wait_for(reader.readuntil(b'"result":{}}'), 10)
        assert answer.startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_many_streams_of_a_session_with_many_subscriptions_open_at_once_and_end(gateway: GatewayProcess) -> None:
    client = HttpClient(f"{gateway.http_url}?agent=alice")
    await client.initialize()
    name = secrets.token_hex(4)
    for number in range(200):
        await client.request("resources/subscribe", {"uri": f"fixture://things/{name}-{number}"})
    begun: list[bool] = []

    async def listen() -> None:
        async with client.http.stream("GET", client.url, headers=client.headers) as stream:
            begun.append(True)
            async for _ in stream.aiter_lines():
                pass

    listening = [asyncio.create_task(listen()) for _ in range(10)]
    # Each newer one ends the one before it; the session's end ends the last.
    async with asyncio.timeout(20):
        while len(begun) < 10 or sum(task.done() for task in listening) < 9:
            await asyncio.sleep(0.02)
    assert (await client.http.delete(client.url, headers=client.headers)).status_code == 204
    await asyncio.wait_for(asyncio.gather(*listening), 10)
    await client.http.aclose()


async def test_health_ready_and_metrics_answer_on_the_public_ports(gateway: GatewayProcess, client: HttpClient) -> None:
    base = gateway.http_url.removesuffix("/mcp")
    assert (await client.http.get(f"{base}/health")).json() == {"status": "ok"}
    ready = await client.http.get(f"{base}/ready")
    assert ready.status_code == 200
    assert "fixture" in ready.json()["services"]
    await client.initialize()
    await client.call("echo", text="x")
    failing = {"name": "play", "arguments": {"steps": [["fail", "not now"]]}}
    assert (await client.request("tools/call", failing))["result"]["isError"] is True
    metrics = (await client.http.get(f"{base}/metrics")).text
    assert 'aicp_gateway_requests_total{called="echo",outcome="ok",transport="http"}' in metrics
    assert 'aicp_gateway_requests_total{called="play",outcome="tool_error",transport="http"}' in metrics
    assert "alice" not in metrics
    assert (await client.http.get(f"{base}/nothing")).status_code == 404
