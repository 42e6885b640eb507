"""What an envelope costs: as the first line of the payload, as NATS headers, and none at all."""

import asyncio
import multiprocessing
import time

import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from aicp_common.bus import Bus
from aicp_common.envelope import Envelope, Principal, pack, unpack
from bench.rounds import Contestant, table, take_turns
from tests.support.processes import Backend

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
BODY = b'{"message":"analyse this","target_capabilities":["analysis"]}'
IN_FLIGHT = 64

_PROBE = {"tenant": "x", "agent": "x", "user": "x", "scopes": "x", "traceparent": "x", "request": "x", "session": "x"}
_PROBE["deadline"] = "1"


def _answer_for_ever(url: str) -> None:
    async def main() -> None:
        client = await nats.connect(url)

        async def bare(message: Msg) -> None:
            await message.respond(message.data)

        async def line(message: Msg) -> None:
            _, body = unpack(message.data)
            await message.respond(body)

        async def headers(message: Msg) -> None:
            found = message.headers or {}
            Envelope(
                Principal(found["tenant"], found["agent"], found["user"], tuple(found["scopes"].split())),
                int(found["deadline"]),
                found["traceparent"],
                found["request"],
                found["session"],
            )
            await message.respond(message.data)

        await client.subscribe("bench.bare", cb=bare)
        await client.subscribe("bench.line", cb=line)
        await client.subscribe("bench.headers", cb=headers)
        await client.flush()
        await asyncio.Event().wait()

    uvloop.run(main())


async def measure(backend: Backend, rounds: int, operations: int) -> str:
    """Request and reply with another process, `IN_FLIGHT` at once."""
    process = multiprocessing.get_context("spawn").Process(
        target=_answer_for_ever, args=(backend.nats_url,), daemon=True
    )
    process.start()
    bus = Bus(backend.nats_url, "bench")
    await bus.connect()
    client = bus.client
    principal = Principal("default", "alice", "alice@example.com", ("*",))

    async def bare() -> None:
        await client.request("bench.bare", BODY, timeout=10)

    async def line() -> None:
        deadline_ms = int((time.time() + 45) * 1000)
        envelope = Envelope(principal, deadline_ms, TRACEPARENT, "58da586a9a33:7", "s-1")
        await client.request("bench.line", pack(envelope, BODY), timeout=10)

    async def headers() -> None:
        fields = {
            "tenant": principal.tenant,
            "agent": principal.agent,
            "user": principal.user,
            "scopes": " ".join(principal.scopes),
            "deadline": str(int((time.time() + 45) * 1000)),
            "traceparent": TRACEPARENT,
            "request": "58da586a9a33:7",
            "session": "s-1",
        }
        await client.request("bench.headers", BODY, timeout=10, headers=fields)

    contestants = [
        Contestant("no envelope", [bare] * IN_FLIGHT),
        Contestant("first line of the payload", [line] * IN_FLIGHT),
        Contestant("NATS headers", [headers] * IN_FLIGHT),
    ]
    try:
        await _until_answered(client)
        await take_turns(contestants, rounds, operations)
    finally:
        await bus.close()
        process.terminate()
        process.join()
    return table(contestants)


async def _until_answered(client: Client) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await client.request("bench.headers", BODY, timeout=1, headers=_PROBE)
                return
            except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                await asyncio.sleep(0.05)
