"""The whole loop: a task is routed, claimed, done, and its requester has the result, durably, through a gateway."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from aicp_common.cancellation import end
from aicp_common.store import connect_redis, key
from bench.clients import WebSocketClient
from bench.rounds import Contestant, Work, table, take_turns
from bench.servers import INITIALIZE
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

PAIRS = 64
FINISHED = 1_000_000
"""Tasks that have ended before."""

_numbers = itertools.count()
_CHUNK = 10_000
_COPY = """
local prefix, id = KEYS[1] .. ':task:', ARGV[1]
for number = ARGV[2], ARGV[3] do
  redis.call('COPY', prefix .. id, prefix .. id .. number)
  redis.call('COPY', prefix .. id .. ':history', prefix .. id .. number .. ':history')
  redis.call('COPY', prefix .. id .. ':children', prefix .. id .. number .. ':children')
end
"""


class _Task(msgspec.Struct):
    task_id: str
    attempt: int


class _Received(msgspec.Struct):
    tasks: list[_Task]


class _Routed(msgspec.Struct):
    status: str
    task_id: str


async def measure(backend: Backend, rounds: int, operations: int) -> str:
    """`PAIRS` requesters, each with a worker of its own, all on this machine."""
    folder = backend.folder / "second"
    folder.mkdir()
    second = Backend(folder)
    second.start()
    try:
        async with _loops(backend) as empty, _loops(second) as full:
            await remember(second, await hand_over(*full[0]), FINISHED)
            contestants = [
                Contestant("an empty Redis", list(map(_work, empty))),
                Contestant(f"{FINISHED:,} finished tasks", list(map(_work, full))),
            ]
            await take_turns(contestants, rounds, operations)
    finally:
        second.stop()
    return table(contestants)


def _work(pair: tuple[WebSocketClient, str]) -> Work:
    async def work() -> None:
        await hand_over(*pair)

    return work


@contextlib.asynccontextmanager
async def _loops(backend: Backend) -> AsyncIterator[list[tuple[WebSocketClient, str]]]:
    """A hub with its workers at work; who asks for something, and the capability of the one who does it."""
    services = [ServiceProcess("statehub", backend).start(), ServiceProcess("router", backend).start()]
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": "router,statehub"}, module="aicp_gateway")
    gateway.start()
    working: list[asyncio.Task[None]] = []
    try:
        for service in (*services, gateway):
            service.wait()
        asking = []
        for number in range(PAIRS):
            worker = await session(gateway.ws_url, f"works-{number}")
            skill = f"skill-{number}"
            await call(worker, "register_agent", capabilities=[skill], description="Answers at once.")
            working.append(asyncio.create_task(answer_for_ever(worker)))
            asking.append((await session(gateway.ws_url, f"asks-{number}"), skill))
        yield asking
    finally:
        await end(working)
        gateway.stop()
        for started in reversed(services):
            started.stop()


async def session(url: str, agent: str) -> WebSocketClient:
    """A connection of `agent`."""
    client = await WebSocketClient.connect(f"{url}?agent={agent}", {})
    await client.request("initialize", INITIALIZE)
    client.notify("notifications/initialized")
    return client


async def call(client: WebSocketClient, tool: str, **arguments: Any) -> msgspec.Raw:
    """What a tool returns, as JSON."""
    result = await client.request("tools/call", {"name": tool, "arguments": arguments})
    assert result is not None
    return result.structured_content


async def hand_over(requester: WebSocketClient, skill: str) -> str:
    """One loop; the task's id."""
    message = f"do what nobody asked for before, number {next(_numbers)}"
    said = await call(requester, "route_to_agent", message=message, target_capabilities=[skill], wait_s=20)
    routed = msgspec.json.decode(said, type=_Routed)
    if routed.status != "completed":
        raise RuntimeError(bytes(said).decode())
    return routed.task_id


async def answer_for_ever(worker: WebSocketClient, most: int = 1) -> None:
    """Do at once whatever comes, up to `most` tasks together."""
    while True:
        received = msgspec.json.decode(await call(worker, "receive_tasks", wait_s=30, max=most), type=_Received)
        await asyncio.gather(
            *(
                call(
                    worker, "submit_result", task_id=task.task_id, attempt=task.attempt, status="completed", result="1"
                )
                for task in received.tasks
            )
        )


async def remember(backend: Backend, task_id: str, count: int) -> None:
    """Let the store hold `count` more tasks like this finished one."""
    redis = connect_redis(backend.redis_url)
    tenant = "default"
    try:
        if not await redis.exists(key(tenant, "task", task_id)):
            raise RuntimeError(f"there is no task {task_id}")
        for start in range(0, count, _CHUNK):
            await redis.eval(_COPY, 1, key(tenant), task_id, start, start + _CHUNK - 1)
    finally:
        await redis.aclose()
