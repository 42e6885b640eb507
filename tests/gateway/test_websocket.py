"""MCP over WebSocket, against a real gateway with a plug-in behind it."""

import asyncio
import contextlib
import json
import secrets
import time

import pytest
import websockets

from tests.gateway.client import RawClient
from tests.gateway.conftest import plugin_and_gateway, plugin_process, token
from tests.support.processes import Backend, GatewayProcess


async def test_a_call_reaches_the_plugin_in_the_clients_name(gateway: GatewayProcess) -> None:
    async with RawClient.connect(gateway.ws_url, "carol") as client:
        await client.initialize()
        assert await client.call("echo", text="한") == {"text": "한", "agent": "carol", "tenant": "default"}


async def test_the_subprotocol_is_agreed_on_when_offered(gateway: GatewayProcess) -> None:
    async with websockets.connect(gateway.ws_url, subprotocols=[websockets.Subprotocol("mcp")]) as socket:
        assert socket.subprotocol == "mcp"
    async with websockets.connect(gateway.ws_url) as socket:
        assert socket.subprotocol is None


async def test_without_a_name_one_is_a_guest_for_the_connection(gateway: GatewayProcess) -> None:
    async with RawClient.connect(gateway.ws_url) as client:
        await client.initialize()
        first, second = await client.call("echo", text="a"), await client.call("echo", text="b")
        assert first["agent"].startswith("guest-")
        assert first["agent"] == second["agent"]


async def test_the_header_names_the_agent_too(gateway: GatewayProcess) -> None:
    async with RawClient.connect(gateway.ws_url, additional_headers={"X-AICP-Agent": "Dave"}) as client:
        await client.initialize()
        assert (await client.call("echo", text="a"))["agent"] == "dave"


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [("agent=no%20good", 400, "a-z"), ("agent=a.b", 400, "a.b"), ("agent=orchestrator", 403, "hub's own")],
)
async def test_a_name_that_cannot_be_is_refused_before_the_upgrade(
    gateway: GatewayProcess, query: str, status: int, says: str
) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"{gateway.ws_url}?{query}")
    assert refused.value.response.status_code == status
    assert says in json.loads(refused.value.response.body)["error"]["message"]


async def test_pages_of_other_sites_are_refused(gateway: GatewayProcess) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(gateway.ws_url, origin=websockets.Origin("https://evil.example"))
    assert refused.value.response.status_code == 403
    async with websockets.connect(gateway.ws_url, origin=websockets.Origin("http://localhost:6274")) as socket:
        assert socket.state is websockets.State.OPEN


async def test_another_path_is_a_404_that_says_where_to_go(gateway: GatewayProcess) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(gateway.ws_url.replace("/mcp", "/elsewhere"))
    assert refused.value.response.status_code == 404
    assert b"/mcp" in refused.value.response.body


async def test_bad_frames_are_answered_and_the_connection_lives_on(alice: RawClient) -> None:
    for frame in ["{bad", "[]", '{"jsonrpc":"2.0","id":1.5,"method":"ping"}', "", "null"]:
        await alice.send(frame)
        answer = await asyncio.wait_for(alice.orphans.get(), 10)
        assert answer["error"]["code"] in (-32700, -32600)
    await alice.socket.send(b"\x00\x01")
    assert "binary" in (await asyncio.wait_for(alice.orphans.get(), 10))["error"]["message"]
    assert (await alice.call("echo", text="still here"))["text"] == "still here"


async def test_a_message_of_2_mib_is_answered_with_the_limit_and_the_connection_lives_on(alice: RawClient) -> None:
    answer = await alice.request("tools/call", {"name": "echo", "arguments": {"text": "x" * 2**21}})
    assert answer["error"]["code"] == -32600
    assert "at most 1048576" in answer["error"]["message"]
    assert (await alice.call("echo", text="x"))["text"] == "x"


async def test_a_message_beyond_what_can_be_read_closes_with_a_reason(gateway: GatewayProcess) -> None:
    socket = await websockets.connect(gateway.ws_url, max_size=None)
    with contextlib.suppress(websockets.ConnectionClosed):
        await socket.send("x" * (5 * 2**20))
    await asyncio.wait_for(socket.wait_closed(), 10)
    # It is not closed once more: asyncio's transport cannot be, when it had something to send at its end.
    assert socket.close_code == 1009


async def test_bad_arguments_are_a_result_that_names_each_field(alice: RawClient) -> None:
    result = await alice.call_raw("echo", {"text": 5, "times": "x", "extra": 1})
    assert result["isError"] is True
    text = result["content"][0]["text"]
    assert "text: " in text
    assert "times: " in text
    assert "extra: no such argument" in text
    missing = await alice.call_raw("echo", {})
    assert "text: missing" in missing["content"][0]["text"]


async def test_a_tool_that_crashes_says_so_without_its_secrets(alice: RawClient) -> None:
    result = await alice.call_raw("crash", {})
    assert result["isError"] is True
    text = result["content"][0]["text"]
    assert "request id" in text
    assert "secret" not in text


async def test_a_slow_call_holds_up_no_other(alice: RawClient) -> None:
    slow = asyncio.create_task(alice.call("sleep", seconds=1.0))
    started = time.monotonic()
    for number in range(20):
        assert (await alice.call("echo", text=str(number)))["text"] == str(number)
    assert not slow.done()
    assert time.monotonic() - started < 1.0
    assert await slow == {"slept": True}


async def _logged(client: RawClient, entry: str) -> None:
    async with asyncio.timeout(10):
        await client.call("wait_for_log", entry=entry)


async def test_a_subscriber_is_told_and_after_unsubscribing_no_more(alice: RawClient) -> None:
    name = secrets.token_hex(4)
    uri = f"fixture://things/{name}"
    assert (await alice.request("resources/subscribe", {"uri": uri}))["result"] == {}
    await alice.call("change", name=name)
    told = await asyncio.wait_for(alice.notifications.get(), 10)
    assert told == {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}}
    assert (await alice.request("resources/unsubscribe", {"uri": uri}))["result"] == {}
    await alice.call("change", name=name)
    await alice.request("ping")
    assert alice.notifications.empty()


async def test_what_cannot_be_watched_or_read_is_an_error(alice: RawClient) -> None:
    for uri, code in [("fixture://things/missing", -32002), ("fixture://still", -32602), ("other://x", -32002)]:
        assert (await alice.request("resources/subscribe", {"uri": uri}))["error"]["code"] == code
    assert (await alice.request("resources/read", {"uri": "fixture://things/missing"}))["error"]["code"] == -32002
    read = (await alice.request("resources/read", {"uri": "fixture://things/a"}))["result"]
    assert json.loads(read["contents"][0]["text"]) == {"name": "a"}


async def test_a_connection_ends_with_its_token(locked_gateway: GatewayProcess) -> None:
    headers = {"Authorization": f"Bearer {token(exp=int(time.time()) + 2)}"}
    async with RawClient.connect(locked_gateway.ws_url, additional_headers=headers) as client:
        await client.initialize()
        assert (await client.call("echo", text="x"))["text"] == "x"
        await asyncio.wait_for(client.socket.wait_closed(), 10)
        assert (client.socket.close_code, client.socket.close_reason) == (4401, "the token has expired")


async def test_the_bus_going_away_fails_calls_clearly_and_the_connection_lives_on(own_backend: Backend) -> None:
    with plugin_and_gateway(own_backend) as (_, gateway):
        async with RawClient.connect(gateway.ws_url, "alice") as client:
            await client.initialize()
            slow = asyncio.create_task(client.call_raw("sleep", {"seconds": 30.0, "mark": "bus"}))
            await _logged(client, "began bus")
            own_backend.nats.kill()
            failed = await asyncio.wait_for(slow, 10)
            assert "NATS" in failed["content"][0]["text"]
            assert failed["isError"] is True
            late = asyncio.create_task(client.call_raw("echo", {"text": "x"}))
            assert (await client.request("ping"))["result"] == {}
            own_backend.nats.start()
            assert (await asyncio.wait_for(late, 20))["structuredContent"]["text"] == "x"


async def test_a_service_that_is_missing_is_named(own_backend: Backend) -> None:
    with plugin_and_gateway(own_backend) as (plugin, gateway):
        async with RawClient.connect(gateway.ws_url, "alice") as client:
            await client.initialize()
            plugin.kill()
            failed = await client.call_raw("echo", {"text": "x"})
            assert "'fixture'" in failed["content"][0]["text"]
            plugin.start().wait()
            assert (await client.call("echo", text="x"))["text"] == "x"


async def test_a_call_whose_worker_was_killed_ends_long_before_its_deadline(own_backend: Backend) -> None:
    with plugin_and_gateway(own_backend, {"WORKER_PATIENCE_S": "2"}) as (plugin, gateway):
        async with RawClient.connect(gateway.ws_url, "alice") as client:
            await client.initialize()
            # One that lives says so, and is waited for.
            long = asyncio.create_task(client.call_raw("sleep", {"seconds": 4.0, "mark": "long"}))
            await _logged(client, "began long")
            assert (await long)["structuredContent"] == {"slept": True}
            slow = asyncio.create_task(client.call_raw("sleep", {"seconds": 30.0, "mark": "kill"}))
            await _logged(client, "began kill")
            plugin.kill()
            failed = await asyncio.wait_for(slow, 15)
            assert failed["isError"] is True
            assert "has died" in failed["content"][0]["text"]


async def test_clients_that_leave_while_they_subscribe_disturb_nobody(
    gateway: GatewayProcess, alice: RawClient
) -> None:
    async def subscribe_and_leave(number: int) -> None:
        async with websockets.connect(gateway.ws_url) as socket:
            info = {"clientInfo": {"name": "hasty", "version": "1"}}
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": info}))
            for id in range(1, 21):
                params = {"uri": f"fixture://things/hasty-{number}-{id}"}
                message = {"jsonrpc": "2.0", "id": id, "method": "resources/subscribe", "params": params}
                await socket.send(json.dumps(message))
            await asyncio.sleep(number * 0.003)
            socket.transport.abort()

    for _ in range(3):
        await asyncio.gather(*(subscribe_and_leave(number) for number in range(10)))
        assert (await asyncio.wait_for(alice.call("echo", text="x"), 5))["text"] == "x"


async def test_what_nobody_took_goes_back(gateway: GatewayProcess, alice: RawClient) -> None:
    mark = secrets.token_hex(4)
    async with RawClient.connect(gateway.ws_url, "eve") as eve:
        await eve.initialize()
        assert (await eve.call("hand_over", seconds=0.0, mark=mark)) == {"slept": True}
        gone = asyncio.create_task(eve.call("hand_over", seconds=0.5, mark=f"{mark}-gone", deaf=True))
        await _logged(alice, f"began {mark}-gone")
        gone.cancel()
    await _logged(alice, f"undone {mark}-gone")
    assert f"undone {mark}" not in (await alice.call("read_log"))["entries"]


async def test_new_tools_are_told_to_clients(own_backend: Backend) -> None:
    gateway = GatewayProcess(own_backend)
    gateway.start()
    plugin = plugin_process(own_backend)
    try:
        await asyncio.to_thread(_wait_health, gateway)
        async with RawClient.connect(gateway.ws_url, "alice") as client:
            await client.initialize()
            assert (await client.request("tools/list"))["result"]["tools"] == []
            plugin.start().wait()
            told = await asyncio.wait_for(client.notifications.get(), 10)
            assert told["method"] == "notifications/tools/list_changed"
            assert "echo" in {tool["name"] for tool in (await client.request("tools/list"))["result"]["tools"]}
    finally:
        gateway.stop()
        plugin.stop()


def _wait_health(gateway: GatewayProcess) -> None:
    from tests.support.processes import wait_until_listening

    wait_until_listening(gateway.process, gateway.port)


async def test_a_call_that_may_be_made_twice_goes_to_another_worker_when_the_first_is_killed(
    own_backend: Backend,
) -> None:
    with plugin_and_gateway(own_backend, {"WORKER_PATIENCE_S": "2"}) as (plugin, gateway):
        async with RawClient.connect(gateway.ws_url, "alice") as client:
            await client.initialize()
            slow = asyncio.create_task(client.call_raw("sleep_safely", {"seconds": 1.0, "mark": "first"}))
            await _logged(client, "began first")
            plugin.kill()
            plugin.start().wait()
            assert (await asyncio.wait_for(slow, 15))["structuredContent"] == {"slept": True}
            # The second worker began it anew.
            await _logged(client, "began first")
