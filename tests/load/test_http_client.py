"""The HTTP client, against servers that do what a test wants, and against a real gateway."""

import asyncio
import json
import ssl
from pathlib import Path

import pytest

from tests.load.certificate import self_signed
from tests.load.clients import HttpClient
from tests.load.failure import CallFailed, ConnectFailed
from tests.load.message import Era
from tests.load.tinyserver import (
    EVENTS_HEAD,
    LAST_CHUNK,
    HttpMessage,
    TinyServer,
    chunk,
    error_answer,
    event,
    json_answer,
    result_answer,
    stateless_hub,
)
from tests.support.processes import GatewayProcess, free_port

ECHO = {"name": "echo", "arguments": {"text": "x"}}


async def code_of(client: HttpClient, method: str = "tools/call") -> str:
    with pytest.raises(CallFailed) as caught:
        await client.request(method, ECHO)
    return caught.value.code


async def handshake(request: HttpMessage) -> list[bytes]:
    """The part of a hub of the handshake era that every test needs."""
    match request.called:
        case "initialize":
            return [result_answer(request, {"protocolVersion": "2025-11-25"}, session="s-1")]
        case "notifications/initialized":
            return [b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"]
        case "DELETE":
            return [b"HTTP/1.1 204 No Content\r\n\r\n"]
    return [result_answer(request, {"content": []})]


async def test_the_stateless_era_has_no_handshake_and_says_everything_with_each_request() -> None:
    async with TinyServer.run(stateless_hub) as server:
        client = HttpClient(server.url, era=Era.STATELESS, agent="alice", token="t-1", connections=3)
        await client.open()
        assert json.loads(await client.request("tools/list"))["tools"] == []
        assert json.loads(await client.request("tools/call", ECHO))["content"] == []
        await client.close()
    assert [request.called for request in server.requests] == ["server/discover", "tools/list", "tools/call"]
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer t-1"}
    assert {request.headers["x-aicp-agent"] for request in server.requests} == {"alice"}
    assert server.connections == 3
    assert client.reconnects == 0


async def test_a_result_that_asks_for_input_is_no_result() -> None:
    async with TinyServer.run(stateless_hub) as server:
        client = HttpClient(server.url, era=Era.STATELESS)
        await client.open()
        with pytest.raises(CallFailed) as caught:
            await client.request("tools/call", {"name": "asks", "arguments": {}})
        assert caught.value.code == "result:input_required"
        assert await code_of(client, "no/such") == "-32601"


async def test_a_hub_of_the_other_era_is_told_at_once() -> None:
    async def other(request: HttpMessage) -> list[bytes]:
        return [error_answer(request, -32022, "Unsupported protocol version", 400)]

    async with TinyServer.run(other) as server:
        with pytest.raises(CallFailed) as caught:
            await HttpClient(server.url, era=Era.STATELESS).open()
    assert caught.value.code == "-32022"


async def test_the_handshake_era_begins_and_ends_a_session() -> None:
    async with TinyServer.run(handshake) as server:
        client = HttpClient(server.url, connections=2)
        await client.open()
        await client.request("tools/call", ECHO)
        await client.close()
    assert [request.called for request in server.requests] == [
        "initialize",
        "notifications/initialized",
        "tools/call",
        "DELETE",
    ]
    first, *later = server.requests
    assert "mcp-session-id" not in first.headers
    assert {request.headers["mcp-session-id"] for request in later} == {"s-1"}
    assert {request.headers["mcp-protocol-version"] for request in later} == {"2025-11-25"}


async def test_a_session_that_was_ended_is_begun_again_and_counted() -> None:
    ended = ["tools/call"]

    async def forgetful(request: HttpMessage) -> list[bytes]:
        if ended and request.called == ended[0]:
            ended.pop()
            return [error_answer(request, -32602, "no such session", 404)]
        return await handshake(request)

    async with TinyServer.run(forgetful) as server:
        client = HttpClient(server.url)
        await client.open()
        assert await code_of(client) == "-32602"
        await client.request("tools/call", ECHO)
        assert [request.called for request in server.requests].count("initialize") == 2
        assert client.reconnects == 1


async def streamed(parts: list[bytes]) -> tuple[HttpClient, bytes]:
    """What the client makes of a stream of events; `ID` in it is the request's id."""

    async def stream(request: HttpMessage) -> list[bytes]:
        if request.called != "tools/call":
            return await handshake(request)
        id = str(request.body["id"]).encode()
        return [part.replace(b"ID", id) for part in parts]

    async with TinyServer.run(stream) as server:
        client = HttpClient(server.url)
        await client.open()
        return client, await client.request("tools/call", ECHO)


ANSWER = b'data: {"jsonrpc":"2.0",\ndata: "id":ID,"result":{"n":1}}\n\n'
OTHERS = event({"jsonrpc": "2.0", "id": 77, "method": "ping"}) + event({"jsonrpc": "2.0", "id": 999, "result": {}})


@pytest.mark.parametrize(
    "body",
    [
        [chunk(ANSWER), LAST_CHUNK],
        [chunk(b"id: 1\ndata:\n\n"), chunk(OTHERS), chunk(ANSWER[:20]), chunk(ANSWER[20:]), LAST_CHUNK],
        [chunk(OTHERS + ANSWER) + LAST_CHUNK],
    ],
)
async def test_an_answer_is_found_in_a_stream_of_events(body: list[bytes]) -> None:
    _, result = await streamed([EVENTS_HEAD, *body])
    assert json.loads(result) == {"n": 1}


async def test_a_stream_of_events_without_an_answer_is_a_bad_answer() -> None:
    with pytest.raises(CallFailed) as caught:
        await streamed([EVENTS_HEAD, chunk(OTHERS), LAST_CHUNK])
    assert caught.value.code == "bad_answer"


async def test_a_stream_that_stays_open_costs_its_connection_not_the_answer() -> None:
    async def endless(request: HttpMessage) -> list[bytes]:
        if request.called != "tools/call":
            return await handshake(request)
        id = str(request.body["id"]).encode()
        return [EVENTS_HEAD, chunk(ANSWER.replace(b"ID", id))]

    async with TinyServer.run(endless) as server:
        client = HttpClient(server.url)
        await client.open()
        assert json.loads(await client.request("tools/call", ECHO)) == {"n": 1}
        assert await code_of(client) == "connection_lost"
        assert json.loads(await client.request("tools/call", ECHO)) == {"n": 1}
        assert client.reconnects == 1


async def test_a_server_that_ends_each_connection_costs_reconnects_not_errors() -> None:
    async def closing(request: HttpMessage) -> list[bytes]:
        answer = await handshake(request)
        return [part.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) for part in answer]

    async with TinyServer.run(closing) as server:
        client = HttpClient(server.url)
        await client.open()
        for _ in range(3):
            await client.request("tools/call", ECHO)
        await client.close()
        assert server.connections == len(server.requests)
        assert client.reconnects == server.connections - 1


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    async def unbounded(request: HttpMessage) -> list[bytes]:
        body = json.dumps({"jsonrpc": "2.0", "id": request.body["id"], "result": {"n": 2}}).encode()
        return [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + body]

    async with TinyServer.run(unbounded) as server:
        client = HttpClient(server.url, era=Era.STATELESS)
        await client.open()
        assert json.loads(await client.request("tools/call", ECHO)) == {"n": 2}


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([], "connection_lost"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{"], "connection_lost"),
        ([b"HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nbusy"], "http:503"),
        ([b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"], "http:307"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], "bad_answer"),
        ([json_answer({"jsonrpc": "2.0", "id": 99, "result": {}})], "bad_answer"),
        ([json_answer({"jsonrpc": "2.0", "id": None, "error": {"code": -32603, "message": "m"}}, 500)], "-32603"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], "bad_answer"),
        ([EVENTS_HEAD, chunk(b"data: no JSON\n\n")], "bad_answer"),
    ],
)
async def test_whatever_goes_wrong_is_told_by_a_code(parts: list[bytes], code: str) -> None:
    async def wrong(request: HttpMessage) -> list[bytes]:
        return parts if request.called == "tools/call" else await handshake(request)

    async with TinyServer.run(wrong) as server:
        client = HttpClient(server.url)
        await client.open()
        assert await code_of(client) == code
        # And the next request does not suffer from it.
        await client.request("tools/list")


async def test_a_late_answer_is_not_taken_for_the_next_one() -> None:
    late = asyncio.Event()

    async def slow(request: HttpMessage) -> list[bytes]:
        if request.called == "tools/call":
            await late.wait()
        return await handshake(request)

    async with TinyServer.run(slow) as server:
        client = HttpClient(server.url, timeout_s=0.3)
        await client.open()
        assert await code_of(client) == "timeout"
        late.set()
        assert json.loads(await client.request("tools/list")) == {"content": []}
        assert client.reconnects == 1


async def test_nobody_there_is_told_as_such() -> None:
    with pytest.raises(ConnectFailed):
        await HttpClient(f"http://127.0.0.1:{free_port()}/mcp").open()


async def test_many_requests_share_a_pool_and_a_session(gateway: GatewayProcess) -> None:
    client = HttpClient(gateway.http_url, agent="pooled", connections=4)
    await client.open()
    texts = [f"text {number}" for number in range(40)]
    calls = (client.request("tools/call", {"name": "echo", "arguments": {"text": text}}) for text in texts)
    results = [json.loads(result)["structuredContent"] for result in await asyncio.gather(*calls)]
    assert [result["text"] for result in results] == texts
    assert {result["agent"] for result in results} == {"pooled"}
    assert client.reconnects == 0
    await client.close()


async def test_https_is_checked_against_the_certificates_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with TinyServer.run(stateless_hub, context) as server:
        with pytest.raises(ConnectFailed, match="certificate"):
            await HttpClient(server.url, era=Era.STATELESS).open()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        client = HttpClient(server.url, era=Era.STATELESS)
        await client.open()
        assert json.loads(await client.request("tools/call", ECHO))["content"] == []
        await client.close()
