"""What was said stays said: workers and Redis are killed while members post."""

import asyncio
from collections.abc import Iterator

import pytest

from aicp_common.bus import Bus
from aicp_common.errors import DeadlineExceeded, Unavailable
from tests.orchestrator.network import Refused
from tests.orchestrator.rooms.circle import Circle
from tests.support.processes import Backend, ServiceProcess, wait_until_listening

AGENTS = [f"a{n}" for n in range(8)]
MORE = 60
"""Messages between two kills."""


@pytest.fixture
def workers(own_backend: Backend) -> Iterator[list[ServiceProcess]]:
    """Two orchestrators on a NATS and a Redis that may be killed."""
    settings = {"ROOM_MESSAGES": "100000"}
    both = [ServiceProcess("orchestrator", own_backend, settings).start() for _ in range(2)]
    for worker in both:
        worker.wait()
    yield both
    for worker in both:
        worker.stop()


class Talker:
    """A member that posts on and on, and tries each message again under its key until it has the number."""

    def __init__(self, circle: Circle, agent: str) -> None:
        self.circle, self.agent = circle, agent
        self.posted: dict[int, str] = {}
        """What it was told is in the room."""
        self.tried_again = 0

    async def run(self, progress: asyncio.Semaphore, stop: asyncio.Event) -> None:
        n = 0
        while not stop.is_set():
            n += 1
            number = await self.post(n)
            assert number not in self.posted
            self.posted[number] = f"{self.agent} says {n}"
            progress.release()

    async def post(self, n: int) -> int:
        while True:
            try:
                return await self.circle.post(
                    "launch", self.agent, f"{self.agent} says {n}", idempotency_key=f"key-{n}"
                )
            except (Unavailable, DeadlineExceeded):
                self.tried_again += 1
            except Refused as refused:
                if not str(refused).startswith(("unavailable", "deadline_exceeded")):
                    raise
                self.tried_again += 1


async def everything_said(circle: Circle) -> dict[int, tuple[str, str]]:
    """Number to author and text of all messages, read page by page."""
    found: dict[int, tuple[str, str]] = {}
    after = 0
    while True:
        page = await circle.read("launch", "a0", after=after, limit=200)
        for message in page["messages"]:
            assert message["number"] == after + 1, "numbers have no gaps"
            after = message["number"]
            found[after] = (message["author"], message.get("text", ""))
        if not page["messages"]:
            assert after == page["last"]
            return found


@pytest.mark.chaos
@pytest.mark.slow
async def test_what_was_acknowledged_survives_kill_9_of_workers_and_redis_and_keys_still_stand_for_it(
    own_backend: Backend, workers: list[ServiceProcess], tenant: str
) -> None:
    bus = Bus(own_backend.nats_url, "tests", worker_patience_s=2)
    await bus.connect()
    try:
        circle = Circle(bus, tenant)
        await circle.open("launch", *AGENTS)
        talkers = [Talker(circle, agent) for agent in AGENTS]
        progress, stop = asyncio.Semaphore(0), asyncio.Event()
        talking = [asyncio.create_task(talker.run(progress, stop)) for talker in talkers]

        async def after(count: int) -> None:
            for _ in range(count):
                await progress.acquire()

        async with asyncio.timeout(90):
            for victim in workers:
                await after(MORE)
                victim.kill()
                victim.start()
                await asyncio.to_thread(victim.wait)
            for _ in range(2):
                await after(MORE)
                own_backend.redis.kill()
                own_backend.redis.start()
                await asyncio.to_thread(wait_until_listening, own_backend.redis, own_backend.redis_port)
            await after(MORE)
            stop.set()
            await asyncio.gather(*talking)
            assert sum(talker.tried_again for talker in talkers) > 0, "nothing was under way when something was killed"
            there = await everything_said(circle)
            said = {number: (talker.agent, text) for talker in talkers for number, text in talker.posted.items()}
            assert len(said) == sum(len(talker.posted) for talker in talkers), "each message has a number of its own"
            assert {number: there[number] for number in said} == said
            texts = [text for _, text in there.values() if " says " in text]
            assert len(texts) == len(set(texts)) == len(said), "nothing is there twice"
            for talker in talkers:
                for number, text in list(talker.posted.items())[::50]:
                    assert await talker.post(int(text.rpartition(" ")[2])) == number
    finally:
        await bus.close()
