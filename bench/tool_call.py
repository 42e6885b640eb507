"""A tool call through gateway, NATS and a one-line tool service: beside what the parts alone can do, and beside the
official Python SDK's server.

The floor is a bare WebSocket server that parses the JSON, asks an echo process over NATS and answers. The official
server has its tool in its own process and no authentication.
"""

import asyncio
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import nats
import uvloop
from nats.aio.msg import Msg
from websockets.asyncio.server import ServerConnection, serve

from bench import official_sdk
from bench.clients import Client, HttpClient, WebSocketClient
from bench.rounds import Contestant, Work, rows, table, take_turns
from bench.servers import ECHO, INITIALIZE, META, REVISION, STATELESS_REVISION, bearer, plugin_and_gateway
from tests.support.processes import Backend, free_port

CONNECTIONS = 20
IN_FLIGHT = 4

STATELESS_ECHO = {**ECHO, "_meta": META}
STATELESS_HEADERS = {
    "MCP-Protocol-Version": STATELESS_REVISION,
    "Mcp-Method": "tools/call",
    "Mcp-Name": "echo",
}

FLOOR = "floor: bare WebSocket, JSON, NATS echo"

WEBSOCKET = f"WebSocket, {REVISION}"
WEBSOCKET_STATELESS = f"WebSocket, {STATELESS_REVISION}"
HTTP_STATELESS = f"Streamable HTTP, {STATELESS_REVISION}"
HTTP_SESSION = f"Streamable HTTP with a session, {REVISION}"

Headers = Mapping[str, str]
Authorize = Callable[[str], Headers]
"""Headers that say who an agent is."""


def _floor_server(url: str, port: int) -> None:
    async def main() -> None:
        client = await nats.connect(url)

        async def talk(socket: ServerConnection) -> None:
            async def answer(frame: str | bytes) -> None:
                message = json.loads(frame)
                reply = await client.request("floor.echo", json.dumps(message["params"]).encode(), timeout=10)
                result = json.loads(reply.data)
                await socket.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}))

            working = set()
            async for frame in socket:
                task = asyncio.create_task(answer(frame))
                working.add(task)
                task.add_done_callback(working.discard)

        async with serve(talk, "127.0.0.1", port, compression=None):
            await asyncio.Event().wait()

    uvloop.run(main())


def _floor_echo(url: str) -> None:
    async def main() -> None:
        client = await nats.connect(url)

        async def echo(message: Msg) -> None:
            await message.respond(message.data)

        await client.subscribe("floor.echo", queue="echo", cb=echo)
        await client.flush()
        await asyncio.Event().wait()

    uvloop.run(main())


async def measure(backend: Backend, rounds: int, operations: int) -> str:
    """`CONNECTIONS` clients with `IN_FLIGHT` calls each."""
    floor, official = free_port(), free_port()
    with (
        _running(_floor_server, backend.nats_url, floor),
        _running(_floor_echo, backend.nats_url),
        _running(official_sdk.serve, official),
        plugin_and_gateway(backend) as (_, gateway),
    ):
        for port in (floor, official):
            await _until_listening(port)
        official_url = f"127.0.0.1:{official}/mcp"
        ours = await _contestants("gateway", gateway.ws_url, gateway.http_url, bearer)
        theirs = await _contestants("official SDK", f"ws://{official_url}", f"http://{official_url}", _nobody)
        contestants = [Contestant(FLOOR, await _sockets(f"ws://127.0.0.1:{floor}", _nobody, None, ECHO))]
        for our, their in zip(ours.values(), theirs.values(), strict=True):
            # What is compared is measured one right after the other.
            contestants += [our, their]
        contestants.append(
            Contestant(f"gateway, {HTTP_SESSION}", await _posts(gateway.http_url, bearer, {}, ECHO, session=True))
        )
        await take_turns(contestants, rounds, operations)
        times = {transport: f"{ours[transport].beside(theirs[transport]):.2f} times" for transport in ours}
        return "\n\n".join([table(contestants), "Calls a second, the gateway beside the official SDK:", rows(times)])


async def _contestants(name: str, ws_url: str, http_url: str, authorize: Authorize) -> dict[str, Contestant]:
    workers = {
        WEBSOCKET: await _sockets(ws_url, authorize, INITIALIZE, ECHO),
        WEBSOCKET_STATELESS: await _sockets(ws_url, authorize, None, STATELESS_ECHO),
        HTTP_STATELESS: await _posts(http_url, authorize, STATELESS_HEADERS, STATELESS_ECHO),
    }
    return {transport: Contestant(f"{name}, {transport}", each) for transport, each in workers.items()}


async def _sockets(
    url: str, authorize: Authorize, initialize: Mapping[str, object] | None, call: Mapping[str, object]
) -> list[Work]:
    workers: list[Work] = []
    for number in range(CONNECTIONS):
        client = await WebSocketClient.connect(url, authorize(f"bench-{number}"))
        if initialize is not None:
            await client.request("initialize", initialize)
            client.notify("notifications/initialized")
        workers += [_calls(client, call)] * IN_FLIGHT
    return workers


async def _posts(
    url: str, authorize: Authorize, headers: Headers, call: Mapping[str, object], *, session: bool = False
) -> list[Work]:
    """HTTP/1.1 has one request at a time on each connection, so there are more connections."""
    workers: list[Work] = []
    for number in range(CONNECTIONS * IN_FLIGHT):
        client = await HttpClient.connect(url, {**authorize(f"bench-{number % CONNECTIONS}"), **headers})
        if session:
            await client.request("initialize", INITIALIZE)
            client.keep_session()
        workers.append(_calls(client, call))
    return workers


def _calls(client: Client, call: Mapping[str, object]) -> Work:
    async def work() -> None:
        await client.request("tools/call", call)

    return work


def _nobody(agent: str) -> Headers:
    return {}


@contextmanager
def _running(target: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """A process of its own, for as long as the block."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            except OSError:
                await asyncio.sleep(0.05)
