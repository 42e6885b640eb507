"""`aicp connect` as a process, in front of a hub that does what the test says."""

import asyncio
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.client.bridge_process import PATIENCE_S, Bridge, HubServer, Side
from tests.support.processes import binary, free_port

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
REVISION = "2025-11-25"
MIB = 1024 * 1024


async def shake_hands(bridge: Bridge, side: Side) -> None:
    """The handshake of a client and its first connection."""
    shaking = asyncio.create_task(bridge.initialize())
    await side.answer(await side.came(), {"protocolVersion": REVISION, "capabilities": {}})
    await shaking
    assert (await side.came())["method"] == "notifications/initialized"


async def take_up_again(side: Side) -> None:
    """The handshake on a later connection."""
    again = await side.came()
    assert again["method"] == "initialize"
    await side.answer(again, {"protocolVersion": REVISION, "capabilities": {}})
    assert (await side.came())["method"] == "notifications/initialized"


async def test_messages_pass_in_both_directions(own_hub: HubServer) -> None:
    async with Bridge.start("--url", own_hub.url) as bridge:
        side = await own_hub.connection()
        assert side.socket.subprotocol == "mcp"
        id = await bridge.send("x/y", text="가나다")
        request = await side.came()
        assert request == {"jsonrpc": "2.0", "id": id, "method": "x/y", "params": {"text": "가나다"}}
        await side.inform("notifications/x", text="라")
        await side.tell('{"jsonrpc":"2.0",\n"id":1,\n"result":{"마":1}}')
        assert (await bridge.hear())["params"] == {"text": "라"}
        assert (await bridge.hear())["result"] == {"마": 1}
        assert await bridge.end() == 0
        assert await side.close_code() == 1000
        assert bridge.log == []


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:{port}", "ws://127.0.0.1:{port}/", "http://127.0.0.1:{port}/mcp?x=1"]
)
async def test_an_address_of_either_scheme_and_without_a_path_will_do(own_hub: HubServer, address: str) -> None:
    async with Bridge.start(env={"AICP_URL": address.format(port=own_hub.port)}):
        assert (await own_hub.attempt()).path.partition("?")[0] == "/mcp"


async def test_the_token_and_the_name_are_sent(own_hub: HubServer) -> None:
    async with Bridge.start("--url", own_hub.url, "--agent", " Alice ", env={"AICP_TOKEN": "from-env"}):
        headers = (await own_hub.attempt()).headers
        assert (headers["Authorization"], headers["X-AICP-Agent"]) == ("Bearer from-env", "alice")
    async with Bridge.start("--url", own_hub.url, "--token", "given", env={"AICP_TOKEN": "from-env"}):
        headers = (await own_hub.attempt()).headers
        assert headers["Authorization"] == "Bearer given"
        assert "X-AICP-Agent" not in headers


async def test_a_token_in_a_file_is_read_anew_for_each_connection(own_hub: HubServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    async with Bridge.start("--url", own_hub.url, "--token-file", str(file), env={"AICP_TOKEN": "other"}) as bridge:
        assert (await own_hub.attempt()).headers["Authorization"] == "Bearer first"
        await own_hub.fall()
        file.write_text("")
        await bridge.said("no connection")
        await own_hub.rise()
        file.write_text("second")
        assert (await own_hub.attempt()).headers["Authorization"] == "Bearer second"


async def test_a_guest_keeps_its_name_over_connections(own_hub: HubServer) -> None:
    async with Bridge.start("--url", own_hub.url):
        first = (await own_hub.attempt()).headers["X-AICP-Agent"]
        assert re.fullmatch(r"guest-[0-9a-f]{8}", first)
        await own_hub.fall()
        await own_hub.rise()
        assert (await own_hub.attempt()).headers["X-AICP-Agent"] == first
    async with Bridge.start("--url", f"{own_hub.url}?agent=bob"):
        assert "X-AICP-Agent" not in (await own_hub.attempt()).headers


async def test_a_hub_that_is_not_there_yet_is_waited_for(own_hub: HubServer) -> None:
    await own_hub.fall()
    async with Bridge.start("--url", own_hub.url) as bridge:
        line = await bridge.said("no connection")
        assert line.startswith(f"aicp connect: no connection to {own_hub.url} (")
        assert "trying again" in line
        asking = asyncio.create_task(bridge.ask("server/discover"))
        own_hub.refusal = (503, {}, "starting")
        await own_hub.rise()
        await own_hub.attempt()
        own_hub.refusal = None
        side = await own_hub.connection()
        await side.answer(await side.came(), {"here": True})
        assert (await asking)["result"] == {"here": True}
        await bridge.said("connected again")
        assert len(bridge.log) == 2


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ws://127.0.0.1:{closed}", "connection refused"),
        ("wss://127.0.0.1:{port}", "the connection broke"),
        ("ws://no-such-host.invalid", "name|known|resol"),
    ],
)
async def test_why_there_is_no_connection_is_said(own_hub: HubServer, url: str, reason: str) -> None:
    async with Bridge.start("--url", url.format(closed=free_port(), port=own_hub.port)) as bridge:
        line = (await bridge.said("no connection")).lower()
        assert re.search(rf"\(.*({reason}).*\); trying again", line)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "ftp://x/mcp"), "not the address of a hub"),
        (("--url", "ws://"), "not the address of a hub"),
        (("--url", "ws://x:99999/mcp"), "not the address of a hub"),
        (("--url", "ws://x:0/mcp"), "not the address of a hub"),
        (("--url", "ws://a b/mcp"), "not the address of a hub"),
        (("--url", "127.0.0.1:8765"), "not the address of a hub"),
        (("--url", "ws://user:pass@x/mcp"), "no user name"),
        (("--agent", "Al ice"), "not a valid name"),
        (("--token", "a b"), "the token is not one"),
        (("--token", "a", "--token-file", "b"), "both given"),
        (("--token-file", "/does/not/exist"), "cannot be read"),
    ],
)
async def test_wrong_options_end_it_with_a_line(arguments: tuple[str, ...], said: str) -> None:
    async with Bridge.start(*arguments) as bridge:
        assert await bridge.status() == 1
        assert said in await bridge.said("aicp connect: ")
        assert len(bridge.log) == 1


async def test_a_token_that_would_travel_unencrypted_is_warned_of() -> None:
    async with Bridge.start("--url", "ws://192.0.2.1/mcp", "--token", "t") as bridge:
        assert "unencrypted" in await bridge.said("wss://")


async def test_the_conversation_goes_on_over_a_break(own_hub: HubServer) -> None:
    async with Bridge.start("--url", own_hub.url) as bridge:
        side = await own_hub.connection()
        await shake_hands(bridge, side)
        subscribing = asyncio.create_task(bridge.ask("resources/subscribe", uri="a:1"))
        await side.answer(await side.came())
        await subscribing

        acting = await bridge.send("tools/call", name="act")
        reading = await bridge.send("resources/read", uri="a:1")
        assert [(await side.came())["id"] for _ in range(2)] == [acting, reading]
        await own_hub.fall()
        assert "may or may not have been done" in (await bridge.answer_to(acting))["error"]["message"]
        waiting = await bridge.send("tools/call", name="act")

        await own_hub.rise()
        side = await own_hub.connection()
        await take_up_again(side)
        subscribe, read, call = [await side.came() for _ in range(3)]
        assert (subscribe["method"], subscribe["params"]) == ("resources/subscribe", {"uri": "a:1"})
        assert (read["id"], call["id"]) == (reading, waiting)
        await side.answer(subscribe)
        await side.answer(read, {"contents": []})
        await side.answer(call, {"done": True})
        assert (await bridge.hear())["params"] == {"uri": "a:1"}
        assert (await bridge.hear())["result"] == {"contents": []}
        assert (await bridge.hear())["result"] == {"done": True}
        assert [bool(re.search(what, line)) for what, line in zip(("no conn", "again to"), bridge.log, strict=True)]


async def test_a_stateless_client_goes_on_over_a_break(own_hub: HubServer) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["a:1"]}
    async with Bridge.start("--url", own_hub.url) as bridge:
        side = await own_hub.connection()
        asking = asyncio.create_task(bridge.ask("server/discover", _meta=meta))
        request = await side.came()
        assert request["params"] == {"_meta": meta}
        await side.answer(request, {"resultType": "complete", "supportedVersions": ["2026-07-28"]})
        assert (await asking)["result"]["resultType"] == "complete"

        listening = await bridge.send("subscriptions/listen", _meta=meta, notifications=wanted)
        listen = await side.came()
        mark = {"_meta": {SUBSCRIPTION: listening}}
        await side.inform("notifications/subscriptions/acknowledged", **mark, notifications=wanted)
        assert (await bridge.hear())["params"]["notifications"] == wanted
        await side.inform("notifications/resources/updated", **mark, uri="a:1")
        assert (await bridge.hear())["params"]["uri"] == "a:1"

        for _ in range(2):
            await own_hub.fall()
            await own_hub.rise()
            side = await own_hub.connection()
            assert await side.came() == listen
            await side.inform("notifications/subscriptions/acknowledged", **mark, notifications=wanted)
            missed = [await bridge.hear() for _ in range(2)]
            assert [message["method"] for message in missed] == [
                "notifications/tools/list_changed",
                "notifications/resources/updated",
            ]
            assert all(message["params"]["_meta"] == mark["_meta"] for message in missed)
            await side.inform("notifications/tools/list_changed", **mark)
            assert (await bridge.hear())["method"] == "notifications/tools/list_changed"


async def test_a_hub_that_changes_the_revision_ends_it(own_hub: HubServer) -> None:
    async with Bridge.start("--url", own_hub.url) as bridge:
        await shake_hands(bridge, await own_hub.connection())
        await own_hub.fall()
        await own_hub.rise()
        side = await own_hub.connection()
        await side.answer(await side.came(), {"protocolVersion": "2024-11-05"})
        assert await bridge.status() == 1
        await bridge.said("'2024-11-05' now")


async def test_what_was_said_before_the_end_is_still_sent(own_hub: HubServer) -> None:
    async with Bridge.start("--url", own_hub.url) as bridge:
        side = await own_hub.connection()
        for number in range(200):
            await bridge.note("notifications/x", number=number)
        ended = asyncio.create_task(bridge.end())
        for number in range(200):
            assert (await side.came())["params"]["number"] == number
        assert await side.close_code() == 1000
        assert await ended == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_an_orderly_way(own_hub: HubServer, number: signal.Signals) -> None:
    async with Bridge.start("--url", own_hub.url) as bridge:
        side = await own_hub.connection()
        bridge.process.send_signal(number)
        assert await side.close_code() == 1000
        assert await bridge.status() == 0
        assert bridge.log == []


async def test_it_ends_promptly_while_the_hub_is_away() -> None:
    async with Bridge.start("--url", f"ws://127.0.0.1:{free_port()}") as bridge:
        await bridge.said("no connection")
        began = time.monotonic()
        assert await bridge.end() == 0
        assert time.monotonic() - began < 2


async def test_it_ends_promptly_while_a_name_is_looked_up() -> None:
    code = (
        "import socket, threading, sys\n"
        "def look_up(*a, **k):\n"
        "    print('looking', file=sys.stderr, flush=True)\n"
        "    threading.Event().wait(60)\n"
        "socket.getaddrinfo = look_up\n"
        "from aicp.__main__ import main\n"
        "main()\n"
    )
    argv = [sys.executable, "-c", code, "connect", "--url", "ws://hub.example/mcp"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            assert process.stderr.readline() == b"looking\n"
            began = time.monotonic()
            process.stdin.close()
            assert process.wait(PATIENCE_S) == 0
            assert time.monotonic() - began < 3
        finally:
            process.kill()


async def test_it_ends_when_its_output_is_closed(own_hub: HubServer) -> None:
    read, write = os.pipe()
    async with Bridge.start("--url", own_hub.url, stdout=write) as bridge:
        os.close(write)
        side = await own_hub.connection()
        os.close(read)
        assert await bridge.status() == 0
        assert await side.close_code() == 1000


async def test_it_ends_when_nobody_reads_what_it_writes_to_a_socket(own_hub: HubServer) -> None:
    ours, its = socket.socketpair()
    async with Bridge.start("--url", own_hub.url, stdout=its) as bridge:
        its.close()
        side = await own_hub.connection()
        ours.close()
        await side.inform("notifications/x")
        assert await bridge.status() == 0


async def test_sockets_as_standard_streams_will_do_as_node_gives_them(own_hub: HubServer) -> None:
    to_it, its_input = socket.socketpair()
    from_it, its_output = socket.socketpair()
    async with Bridge.start("--url", own_hub.url, stdin=its_input, stdout=its_output) as bridge:
        its_input.close()
        its_output.close()
        side = await own_hub.connection()
        to_it.send(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\r\n')
        await side.answer(await side.came())
        reader, writer = await asyncio.open_connection(sock=from_it)
        assert json.loads(await asyncio.wait_for(reader.readline(), PATIENCE_S))["id"] == 1
        to_it.close()
        assert await bridge.status() == 0
        writer.close()


async def test_a_file_as_standard_input_will_do(own_hub: HubServer, tmp_path: Path) -> None:
    file = tmp_path / "messages"
    file.write_text('{"jsonrpc":"2.0","method":"notifications/x"}\n{"jsonrpc":"2.0","method":"notifications/y"}')
    await own_hub.fall()
    with file.open() as source:
        async with Bridge.start("--url", own_hub.url, stdin=source) as bridge:
            assert await bridge.status() == 0


async def test_long_messages_pass_in_both_directions(own_hub: HubServer) -> None:
    async with Bridge.start("--url", own_hub.url) as bridge:
        side = await own_hub.connection()
        empty = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "x/y", "params": {"text": ""}})
        text = "x" * (4 * MIB - len(empty))
        sending = asyncio.create_task(bridge.send("x/y", text=text))
        request = await side.came()
        await sending
        assert request["params"]["text"] == text
        answering = asyncio.create_task(side.answer(request, {"text": "가" * 3 * MIB}))
        assert (await bridge.answer_to(1))["result"]["text"] == "가" * 3 * MIB
        await answering


async def test_messages_that_are_too_long_are_answered_and_the_connection_holds(own_hub: HubServer) -> None:
    async with Bridge.start("--url", own_hub.url) as bridge:
        side = await own_hub.connection()
        id = await bridge.send("x/y", text="x" * 4 * MIB)
        assert "4194304 bytes" in (await bridge.answer_to(id))["error"]["message"]
        await bridge.send("x/y", text="x" * 17 * MIB)
        message = await bridge.hear()
        assert message["error"]["code"] == -32600
        assert "id" not in message
        await bridge.say("nonsense")
        assert (await bridge.hear())["error"]["code"] == -32700
        await bridge.note("notifications/x")
        assert (await side.came())["method"] == "notifications/x"


async def test_a_client_that_does_not_read_makes_the_hub_wait_and_loses_nothing(own_hub: HubServer) -> None:
    read, write = os.pipe()
    async with Bridge.start("--url", own_hub.url, stdout=write) as bridge:
        os.close(write)
        side = await own_hub.connection()
        text = "x" * 256 * 1024
        sent = 0
        while True:
            sending = asyncio.create_task(side.inform("notifications/x", number=sent, text=text))
            sent += 1
            if not (await asyncio.wait([sending], timeout=2))[0]:
                break
            assert sent < 200, "50 MiB went somewhere"
        with os.fdopen(read, "rb") as output:
            for number in range(sent):
                assert json.loads(await asyncio.to_thread(output.readline))["params"]["number"] == number
            await sending
            assert await bridge.end() == 0


async def test_a_client_that_writes_and_never_reads_is_made_to_wait(own_hub: HubServer) -> None:
    read, write = os.pipe()
    async with Bridge.start("--url", own_hub.url, stdout=write) as bridge:
        os.close(write)
        side = await own_hub.connection()
        assert bridge.process.stdin is not None
        for _ in range(200):
            bridge.process.stdin.write(b"nonsense\n" * 10_000)
            try:
                await asyncio.wait_for(bridge.process.stdin.drain(), 2)
            except TimeoutError:
                break
        else:
            pytest.fail("the bridge goes on reading")
        bridge.process.send_signal(signal.SIGTERM)
        assert await side.close_code() == 1000
        assert await bridge.status() == 0
    os.close(read)


async def test_standard_error_that_nobody_reads_does_no_harm(own_hub: HubServer) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    while select.select([], [write], [], 0)[1]:
        os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    async with Bridge.start("--url", own_hub.url, stderr=write) as bridge:
        os.close(write)
        await own_hub.connection()
        await own_hub.fall()
        await own_hub.rise()
        side = await own_hub.connection()
        await bridge.note("notifications/x")
        assert (await side.came())["method"] == "notifications/x"
        assert await bridge.end() == 0
    os.close(read)


def test_nothing_heavy_is_imported_before_it_connects() -> None:
    code = "import sys, aicp.__main__, aicp.connect.command; print(*sys.modules)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"mcp", "mcp_types", "pydantic", "jwt", "anyio", "httpx2"} & set(seen)


def test_the_help_names_the_options() -> None:
    shown = subprocess.run(
        [binary("aicp"), "connect", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    for option in ("--url", "--token", "--token-file", "--agent", "--no-channel", "AICP_URL"):
        assert option in shown.stdout
