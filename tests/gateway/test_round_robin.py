"""No sticky sessions: every request goes to another gateway, and one of them may die."""

import asyncio
import contextlib
import json
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import mcp_types
import pytest
from mcp import Client, MCPDeprecationWarning

from tests.gateway.eventsource import events, messages
from tests.gateway.httpclient import HttpClient, call_of
from tests.gateway.revisions import EVERYTHING, NEWEST
from tests.gateway.roundrobin import RoundRobin, round_robin
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

MCP1_PYTHON = Path(__file__).parents[2] / ".venv-mcp1" / "bin" / "python"
ACCEPTED = {"action": "accept", "content": {"name": "Ann"}}


@pytest.fixture(scope="module")
def pair(backend: Backend, plugin: ServiceProcess) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """Two gateways; a test that kills one starts it again."""
    first, second = (GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture"}) for _ in range(2))
    for each in (first, second):
        each.start()
    for each in (first, second):
        each.wait()
    yield first, second
    for each in (first, second):
        assert each.stop() == 0, each.process.output()[-4000:]


@pytest.fixture
async def proxy(pair: tuple[GatewayProcess, GatewayProcess]) -> AsyncIterator[RoundRobin]:
    """What clients connect to."""
    async with round_robin(*(each.http_port for each in pair)) as made:
        yield made
    assert len(set(made.served)) == 2
    for each in pair:
        if not each.process.running:
            await asyncio.to_thread(each.start().wait)


async def test_a_session_by_hand_before_and_after_one_gateway_dies(
    pair: tuple[GatewayProcess, GatewayProcess], proxy: RoundRobin
) -> None:
    name = secrets.token_hex(4)
    uri = f"fixture://things/{name}"
    async with HttpClient(f"http://127.0.0.1:{proxy.port}/mcp?agent=alice") as client:
        await client.initialize(NEWEST, EVERYTHING)
        for number in range(6):
            assert (await client.call("echo", text=str(number)))["agent"] == "alice"
        await client.request("resources/subscribe", {"uri": uri})
        for _ in range(2):
            # A question whose answer comes to the other gateway, then a stream that ends and is come back to.
            steps: list[Any] = [["ask", {"it": "form"}], ["end_stream"], ["progress", 1]]
            async with client.post_stream(call_of("play", 1, 1, steps=steps)) as response:
                last = ""
                async for event in events(response):
                    last = event.id or last
                    if event.data:
                        answer = {"jsonrpc": "2.0", "id": event.message["id"], "result": ACCEPTED}
                        assert (await client.post(answer)).status_code == 202
            async with asyncio.timeout(10), client.get(last) as response:
                *_, done = [message async for message in messages(response)]
            assert done["result"]["structuredContent"]["answers"] == {"it": ACCEPTED}
        async with client.get() as stream:
            seen = events(stream)
            while not (primed := await anext(seen)).id:
                pass
            holder = pair[[each.http_port for each in pair].index(proxy.served[-1][1])]
            await client.call("change", name=name)
            told = await asyncio.wait_for(anext(seen), 10)
            assert told.message["params"] == {"uri": uri}
            assert told.id != primed.id
            holder.kill()
            with contextlib.suppress(Exception):  # the stream breaks, however the client puts it
                async for _ in seen:
                    pass
        # New requests work, and what changed while nobody listened is told when the client comes back.
        await client.call("change", name=name)
        async with asyncio.timeout(10), client.get(told.id) as stream:
            assert (await anext(messages(stream)))["params"] == {"uri": uri}
        assert (await client.delete()).status_code == 204


async def test_a_subscription_that_is_answered_is_in_place_wherever_the_stream_is(
    pair: tuple[GatewayProcess, GatewayProcess],
) -> None:
    holder, other = pair
    name = secrets.token_hex(4)
    uri = f"fixture://things/{name}"
    async with HttpClient(f"{holder.http_url}?agent=alice") as client:
        await client.initialize(NEWEST)
        async with client.get() as stream, client.twin(f"{other.http_url}?agent=alice") as twin:
            seen = messages(stream)
            assert holder.process.popen is not None
            holder.process.popen.send_signal(signal.SIGSTOP)
            subscribing = asyncio.create_task(twin.request("resources/subscribe", {"uri": uri}))
            await asyncio.wait({subscribing}, timeout=1)
            # An answer that is given already is to be believed.
            if believed := subscribing.done():
                await twin.call("change", name=name)
            holder.process.popen.send_signal(signal.SIGCONT)
            assert (await subscribing)["result"] == {}
            if not believed:
                await twin.call("change", name=name)
            assert (await asyncio.wait_for(anext(seen), 10))["params"] == {"uri": uri}


async def test_sdk_2_before_and_after_one_gateway_dies(
    pair: tuple[GatewayProcess, GatewayProcess], proxy: RoundRobin
) -> None:
    updated: asyncio.Queue[str] = asyncio.Queue()
    climbed: list[float] = []

    async def on_message(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            await updated.put(str(message.params.uri))

    async def on_question(context: Any, params: mcp_types.ElicitRequestParams) -> mcp_types.ElicitResult:
        return mcp_types.ElicitResult(action="accept", content={"name": "Ann"})

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        climbed.append(progress)

    name = secrets.token_hex(4)
    uri = f"fixture://things/{name}"
    async with Client(
        f"http://127.0.0.1:{proxy.port}/mcp?agent=bob",
        mode="legacy",
        message_handler=on_message,
        elicitation_callback=on_question,
    ) as client:
        assert client.protocol_version == NEWEST
        with pytest.warns(MCPDeprecationWarning):
            await client.subscribe_resource(uri)
        for after in (False, True):
            climbed.clear()
            steps = [["progress", 1], ["ask", {"it": "form"}], ["end_stream"], ["progress", 2], ["progress", 3]]
            played = await client.call_tool("play", {"steps": steps}, progress_callback=on_progress)
            assert played.structured_content == {"answers": {"it": ACCEPTED}, "agent": "bob"}
            assert climbed == [1, 2, 3]
            await client.call_tool("change", {"name": name})
            assert await asyncio.wait_for(updated.get(), 20) == uri
            if not after:
                pair[0].kill()
                assert len((await client.list_tools()).tools) > 5


async def test_sdk_1_before_and_after_one_gateway_dies(
    pair: tuple[GatewayProcess, GatewayProcess], proxy: RoundRobin
) -> None:
    assert MCP1_PYTHON.exists(), "the environment of the 1.x client is missing: run `make test`, which makes it"
    script = Path(__file__).parent / "mcp1_roundrobin.py"
    pipe = asyncio.subprocess.PIPE
    url = f"http://127.0.0.1:{proxy.port}/mcp?agent=carol"
    process = await asyncio.create_subprocess_exec(
        str(MCP1_PYTHON), str(script), url, stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        seen = []
        for after in (False, True):
            line = await asyncio.wait_for(process.stdout.readline(), 40)
            assert line, (await process.stderr.read()).decode()[-3000:]
            seen.append(json.loads(line))
            if not after:
                pair[1].kill()
                process.stdin.write(b"go on\n")
        for half in seen:
            assert half["answers"] == {"it": ACCEPTED}
            assert (half["agent"], half["climbed"], half["told"]) == ("carol", [1, 2, 3], seen[0]["uri"])
        assert seen[0]["revision"] in ("2025-06-18", NEWEST)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
