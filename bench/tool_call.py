"""A tool call through gateway, NATS and a one-line tool service, beside the floor: what the parts alone can do.

The floor is a bare WebSocket server that parses the JSON, asks an echo process over NATS and answers.
"""

import asyncio
import itertools
import json
import multiprocessing
from contextlib import AsyncExitStack

import httpx2 as httpx
import nats
import uvloop
import websockets
from nats.aio.msg import Msg
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve

from bench.rounds import Contestant, Work, take_turns
from tests.support.processes import Backend, GatewayProcess, ServiceProcess, free_port

CONNECTIONS = 20
IN_FLIGHT = 4

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}
CALL = {"name": "echo", "arguments": {"text": "analyse this"}}


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


class _Socket:
    """Overlapping requests on one WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for frame in self._socket:
            message = json.loads(frame)
            if "result" not in message or message["result"].get("isError"):
                raise RuntimeError(f"not an answer: {frame!r}")
            self._waiting.pop(message["id"]).set_result(None)

    async def request(self, method: str, params: object) -> None:
        id = next(self._ids)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[id] = answered
        await self._socket.send(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
        await answered

    async def call(self) -> None:
        await self.request("tools/call", CALL)


async def _sockets(stack: AsyncExitStack, url: str, *, initialize: bool) -> list[Work]:
    workers: list[Work] = []
    for number in range(CONNECTIONS):
        address = f"{url}?agent=bench-{number}"
        connection = await stack.enter_async_context(websockets.connect(address, compression=None))
        socket = _Socket(connection)
        if initialize:
            await socket.request("initialize", INITIALIZE)
        workers += [socket.call] * IN_FLIGHT
    return workers


async def _http(stack: AsyncExitStack, url: str) -> list[Work]:
    workers: list[Work] = []
    ids = itertools.count(1)
    for number in range(CONNECTIONS):
        address = f"{url}?agent=bench-{number}"
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
        headers = {"accept": "application/json, text/event-stream"}
        begin = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": INITIALIZE}
        answer = await client.post(address, json=begin, headers=headers)
        headers["mcp-session-id"] = answer.headers["mcp-session-id"]

        async def call(
            client: httpx.AsyncClient = client, address: str = address, headers: dict[str, str] = headers
        ) -> None:
            message = {"jsonrpc": "2.0", "id": next(ids), "method": "tools/call", "params": CALL}
            answer = await client.post(address, json=message, headers=headers)
            if "result" not in answer.json():
                raise RuntimeError(f"not an answer: {answer.text}")

        workers += [call] * IN_FLIGHT
    return workers


async def measure(backend: Backend, rounds: int, operations: int) -> list[Contestant]:
    """`CONNECTIONS` connections with `IN_FLIGHT` calls each."""
    context = multiprocessing.get_context("spawn")
    port = free_port()
    processes = [
        context.Process(target=_floor_server, args=(backend.nats_url, port), daemon=True),
        context.Process(target=_floor_echo, args=(backend.nats_url,), daemon=True),
    ]
    for process in processes:
        process.start()
    plugin = ServiceProcess("fixture", backend, module="tests.gateway.plugin").start()
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture"})
    gateway.start()
    plugin.wait()
    gateway.wait()
    try:
        async with AsyncExitStack() as stack:
            await _until_listening(port)
            contestants = [
                Contestant(
                    "floor: bare WebSocket, JSON, NATS echo",
                    await _sockets(stack, f"ws://127.0.0.1:{port}", initialize=False),
                ),
                Contestant("gateway, WebSocket", await _sockets(stack, gateway.ws_url, initialize=True)),
                Contestant("gateway, Streamable HTTP with a session", await _http(stack, gateway.http_url)),
            ]
            await take_turns(contestants, rounds, operations)
            return contestants
    finally:
        gateway.stop()
        plugin.stop()
        for process in processes:
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
