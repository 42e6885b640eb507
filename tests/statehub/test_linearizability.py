"""A key is one copy to all clients, whichever gateway they use and whatever is killed."""

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import websockets

from tests.gateway.client import RawClient
from tests.statehub.agent import Json, eventually, stored_events
from tests.support.linearizability import (
    CHANGED,
    NEVER,
    UNTOLD,
    Answer,
    Kind,
    Operation,
    check,
    text,
)
from tests.support.processes import Backend, GatewayProcess, ServiceProcess, wait_until_listening

KEYS = ("plan", "plans/apollo", "plans/apollo/open")
CLIENTS = 8
BETWEEN_DISASTERS = 400
"""Operations of all clients that are answered between two kills."""

TENANT = "default"

HUB = {
    # Short, so that a call that was lost does not hold up its client for long.
    "WORKER_PATIENCE_S": "2",
    # Every version is kept, to be compared with what clients were told.
    "CONTEXT_VERSIONS": "10000",
    "CONTEXT_HISTORY_BYTES": str(64 * 1024**2),
}


class Notes:
    """What clients did with each key, and what they were told."""

    def __init__(self) -> None:
        self.of: dict[str, list[Operation]] = defaultdict(list)
        self.answered = 0
        self.lost = 0


class Client:
    """Calls tools over one connection, and writes down when it called and when it was answered."""

    def __init__(self, raw: RawClient, name: str, notes: Notes) -> None:
        self._raw = raw
        self._name = name
        self._notes = notes

    async def change(self, kind: Kind, key: str, value: object = None, expected: int | None = None) -> Answer | None:
        """Write, merge or delete; None where the answer was lost."""
        arguments: Json = {"context_key": key}
        if expected is not None:
            arguments["expected_version"] = expected
        if kind != "delete":
            arguments |= {"context_value": value, "merge": kind == "merge"}
        called_at = time.monotonic()
        said = await self._ask(
            "tools/call", _call("delete_context" if kind == "delete" else "share_context", arguments)
        )
        ended_at = NEVER if said is None else time.monotonic()
        answer = None
        if said is not None:
            told = said["structuredContent"]
            answer = Answer(told["status"], told["version"], text(told["value"]) if "value" in told else None)
        given = None if kind == "delete" else text(value)
        self._note(key, Operation(self._name, kind, called_at, ended_at, answer, given, expected))
        return answer

    async def read(self, key: str, **more: Any) -> Answer | None:
        """`get_context` of the key."""
        called_at = time.monotonic()
        said = await self._ask("tools/call", _call("get_context", {"context_key": key, **more}))
        if said is None:
            return None
        told = said["structuredContent"]
        match told["status"]:
            case "found":
                answer = Answer("found", told["version"], text(told["value"]))
            case "unchanged":
                answer = Answer("found", told["version"], UNTOLD)
            case _:
                answer = Answer("not_found", told["version"])
        self._note(key, Operation(self._name, "read", called_at, time.monotonic(), answer))
        return answer

    async def read_resource(self, key: str) -> None:
        """The key's resource. One that is not there has no version."""
        called_at = time.monotonic()
        said = await self._ask("resources/read", {"uri": f"aicp://context/{key}"})
        if said is not None:
            told = json.loads(said["contents"][0]["text"])
            answer = Answer("found", told["version"], text(told["value"]))
            self._note(key, Operation(self._name, "read", called_at, time.monotonic(), answer))

    async def read_list(self, **how: Any) -> None:
        """Several keys at once: each one that is listed was read."""
        called_at = time.monotonic()
        said = await self._ask("tools/call", _call("get_context", {"with_values": True, **how}))
        ended_at = time.monotonic()
        for told in said["structuredContent"]["entries"] if said is not None else ():
            answer = (
                Answer("not_found", told["version"])
                if told.get("deleted")
                else Answer("found", told["version"], text(told["value"]))
            )
            self._note(told["key"], Operation(self._name, "read", called_at, ended_at, answer))

    async def newest_version(self, key: str) -> int:
        """Of the key, which is read for it."""
        answer = await self.read(key)
        assert answer is not None
        return answer.version

    async def version(self, key: str, number: int) -> str | None:
        """The value of one version as it is kept; None: it is a deletion."""
        said = await self._ask("tools/call", _call("get_context", {"context_key": key, "version": number}))
        assert said is not None
        kept = said["structuredContent"]
        assert kept["version"] == number
        return text(kept["value"]) if kept["status"] == "found" else None

    async def _ask(self, method: str, params: Json) -> Json | None:
        """The result; None where it was lost, or is an error: whether anything was done is not known then."""
        asking = asyncio.create_task(self._raw.request(method, params))
        closed = asyncio.create_task(self._raw.socket.wait_closed())
        try:
            await asyncio.wait((asking, closed), return_when=asyncio.FIRST_COMPLETED)
            answer = asking.result() if asking.done() else {}
        except (OSError, websockets.WebSocketException):
            answer = {}
        finally:
            asking.cancel()
            closed.cancel()
        result: Json | None = answer.get("result")
        if result is None or result.get("isError"):
            self._notes.lost += 1
            return None
        self._notes.answered += 1
        return result

    def _note(self, key: str, operation: Operation) -> None:
        self._notes.of[key].append(operation)


def _call(tool: str, arguments: Json) -> Json:
    return {"name": tool, "arguments": arguments}


@contextlib.asynccontextmanager
async def connected(gateway: GatewayProcess, name: str, notes: Notes) -> AsyncIterator[Client]:
    async with RawClient.connect(gateway.ws_url, name) as raw:
        await raw.initialize()
        yield Client(raw, name, notes)


class Hub:
    """Two gateways and two state hub workers, and the servers behind them."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.workers = [ServiceProcess("statehub", backend, HUB) for _ in range(2)]
        self.gateways = [GatewayProcess(backend, {**HUB, "REQUIRED_SERVICES": "statehub"}) for _ in range(2)]

    def kill_and_restart(self, victim: str) -> None:
        match victim:
            case "redis":
                self.backend.redis.kill()
                self.backend.redis.start()
                wait_until_listening(self.backend.redis, self.backend.redis_port)
            case "nats":
                self.backend.nats.kill()
                self.backend.nats.start()
                wait_until_listening(self.backend.nats, self.backend.nats_port)
            case "gateway":
                self.gateways[0].kill()
                self.gateways[0].start().wait()
            case "worker":
                self.workers[0].kill()
                self.workers[0].start().wait()
            case "both workers":
                for worker in self.workers:
                    worker.kill()
                for worker in self.workers:
                    worker.start()
                for worker in self.workers:
                    worker.wait()


@pytest.fixture
def hub(own_backend: Backend) -> Iterator[Hub]:
    made = Hub(own_backend)
    processes = [*made.workers, *made.gateways]
    for process in processes:
        process.start()
    for process in processes:
        process.wait()
    yield made
    for process in reversed(processes):
        process.stop()


class Busy:
    """A client that does this and that with the keys until it is over, and connects again where a connection ends."""

    def __init__(self, hub: Hub, number: int, notes: Notes) -> None:
        self._hub = hub
        self._number = number
        self._notes = notes
        self._random = random.Random(number)
        self._values = itertools.count()
        self._known: dict[str, int] = {}
        """The newest version that it knows of each key."""

    async def run(self, over: asyncio.Event) -> None:
        for connection in itertools.count(self._number):
            gateway = self._hub.gateways[connection % 2]
            # A gateway that was killed is away for a moment.
            with contextlib.suppress(OSError, TimeoutError, websockets.WebSocketException):
                async with connected(gateway, f"client-{self._number}", self._notes) as client:
                    while not over.is_set():
                        if not await self._do_something(client) and not await self._look(client, over):
                            break
            if over.is_set():
                return
            await asyncio.sleep(0.05)

    async def _look(self, client: Client, over: asyncio.Event) -> bool:
        """Read, as one does who does not know what came of its call. Whether there was an answer in the end."""
        until = time.monotonic() + 5
        while not over.is_set() and time.monotonic() < until:
            if await self._read(client, self._random.choice(KEYS)):
                return True
            await asyncio.sleep(0.05)
        return False

    async def _do_something(self, client: Client) -> bool:
        """One operation. Whether it was answered."""
        key = self._random.choice(KEYS)
        known = self._known.get(key, 0)
        lost = self._notes.lost
        match self._random.randrange(16):
            case 0 | 1:
                await self._change(client, "write", key)
            case 2 | 3 | 4 | 5:
                await self._change(client, "write", key, known)
            case 6:
                await self._change(client, "write", key, 0)
            case 7 | 8:
                await self._change(client, "merge", key, self._random.choice((None, None, known)))
            case 9:
                await self._change(client, "delete", key, self._random.choice((None, known)))
            case 10:
                await self._read(client, key, newer_than=known, wait_s=0.02)
            case 11:
                await client.read_resource(key)
            case 12:
                await client.read_list(prefix=self._random.choice(("", "plans/")))
            case 13:
                await client.read_list(changed_since=0)
            case _:
                await self._read(client, key)
        return self._notes.lost == lost

    async def _change(self, client: Client, kind: Kind, key: str, expected: int | None = None) -> None:
        name = f"m{self._random.randrange(3)}"
        mark = f"{self._number}-{next(self._values)}"
        value = {name: None} if kind == "merge" and self._random.random() < 0.2 else {name: mark}
        answer = await client.change(kind, key, None if kind == "delete" else value, expected)
        if answer is not None:
            self._known[key] = answer.version

    async def _read(self, client: Client, key: str, **more: Any) -> bool:
        answer = await client.read(key, **more)
        if answer is not None:
            self._known[key] = answer.version
        return answer is not None


@pytest.mark.chaos
@pytest.mark.slow
async def test_a_key_is_linearizable_through_two_gateways_while_everything_is_killed(hub: Hub) -> None:
    notes, over = Notes(), asyncio.Event()

    async def disasters() -> None:
        for victim in ("redis", "worker", "redis", "gateway", "both workers", "nats", "redis"):
            enough = notes.answered + BETWEEN_DISASTERS
            await eventually(lambda enough=enough: is_so(notes.answered >= enough), 60)  # type: ignore[misc]
            await asyncio.to_thread(hub.kill_and_restart, victim)
        enough = notes.answered + BETWEEN_DISASTERS
        await eventually(lambda: is_so(notes.answered >= enough), 60)
        over.set()

    async with asyncio.timeout(240), asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(Busy(hub, number, notes).run(over))
        group.create_task(disasters())
    # All of it was put to the test: answers were lost, and conditions did not hold.
    assert notes.lost >= CLIENTS
    assert any(one.answer and one.answer.status == "conflict" for one in notes.of[KEYS[0]])

    newest: dict[str, int] = {}
    for gateway in hub.gateways:
        async with connected(gateway, "auditor", notes) as client:
            newest = {key: await client.newest_version(key) for key in KEYS}
    events = await stored_events(hub.backend.nats_url, TENANT, sum(newest.values()), 30)
    async with connected(hub.gateways[0], "auditor", notes) as client:
        for key, history in notes.of.items():
            kept = {number: await client.version(key, number) for number in range(1, newest[key] + 1)}
            check(history, kept=kept)
            assert_told([event for event in events if event["data"]["key"] == key], history, kept)


def assert_told(events: list[Json], history: list[Operation], kept: dict[int, str | None]) -> None:
    """Every version is in the event log, once and in order, and those that were acknowledged are their makers'."""
    assert [event["data"]["version"] for event in events] == list(kept)
    assert [event["what"] for event in events] == ["deleted" if value is None else "changed" for value in kept.values()]
    authors = {event["data"]["version"]: event["data"]["author"] for event in events}
    acknowledged = {one.answer.version: one.client for one in history if one.answer and one.answer.status in CHANGED}
    assert acknowledged.items() <= authors.items()


async def is_so(what: bool) -> bool:
    """For `eventually`."""
    return what


class Muffler:
    """Stands between a worker and Redis, and lets no answer through from the moment on when it has heard a word."""

    def __init__(self, redis_port: int, words: list[bytes]) -> None:
        self._redis_port = redis_port
        self._missing = set(words)
        self._muffled = False
        self._listens = False
        self.heard_all = asyncio.Event()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """The URL to use in place of that of Redis."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"

    def listen(self) -> None:
        """From now on."""
        self._listens = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self._redis_port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._requests(reader, to_redis))
                group.create_task(self._answers(from_redis, writer))
        finally:
            writer.close()
            to_redis.close()

    async def _requests(self, reader: asyncio.StreamReader, to_redis: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if self._listens:
                    heard = {word for word in self._missing if word in data}
                    self._missing -= heard
                    self._muffled = self._muffled or bool(heard)
                # Redis gets it all the same.
                to_redis.write(data)
                await to_redis.drain()
                if not self._missing:
                    self.heard_all.set()
        with contextlib.suppress(OSError):
            # Redis reads to the end before it sees that nobody is there any more.
            to_redis.write_eof()

    async def _answers(self, from_redis: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await from_redis.read(1 << 16):
                if not self._muffled:
                    writer.write(data)
                    await writer.drain()


@pytest.mark.chaos
async def test_a_change_whose_answer_was_lost_with_its_worker_is_not_made_again(own_backend: Backend) -> None:
    """The worker dies after Redis made the change, and others go on before anybody knows."""
    env = {"WORKER_PATIENCE_S": "6"}
    lost: list[tuple[Kind, str, int | None]] = [
        ("delete", "a/delete", None),
        ("delete", "b/delete", 1),
        ("write", "c/write", None),
        ("write", "d/write", 1),
    ]
    notes = Notes()
    muffler = Muffler(own_backend.redis_port, [key.encode() for _, key, _ in lost])
    async with muffler.open() as url, contextlib.AsyncExitStack() as stack:
        first = ServiceProcess("statehub", own_backend, {**env, "REDIS_URL": url}).start()
        stack.callback(first.stop)
        gateway = GatewayProcess(own_backend, {**env, "REQUIRED_SERVICES": "statehub"})
        gateway.start()
        stack.callback(gateway.stop)
        await asyncio.to_thread(first.wait)
        await asyncio.to_thread(gateway.wait)
        alice = await stack.enter_async_context(connected(gateway, "alice", notes))
        bob = await stack.enter_async_context(connected(gateway, "bob", notes))
        for _, key, _ in lost:
            await bob.change("write", key, "old")
        # Redis knows both scripts from now on: a call is one command.
        await bob.change("delete", "another")

        muffler.listen()
        calls = [
            asyncio.create_task(alice.change(kind, key, None if kind == "delete" else "alice's", expected))
            for kind, key, expected in lost
        ]
        await asyncio.wait_for(muffler.heard_all.wait(), 10)
        first.kill()
        second = ServiceProcess("statehub", own_backend, env).start()
        stack.callback(second.stop)
        await asyncio.to_thread(second.wait)
        for _, key, _ in lost:
            seen = await bob.read(key)
            assert seen is not None
            assert seen.version == 2
            # Whoever wrote last before: bob knows that it may write.
            made = await bob.change("write", key, "bob's", 2)
            assert made == Answer("stored", 3)
        assert not any(call.done() for call in calls), (
            "the gateway has given up too soon for this test to show anything"
        )

        assert await asyncio.gather(*calls) == [None] * len(lost)
        for _, key, _ in lost:
            assert await bob.read(key) == Answer("found", 3, text("bob's"))
            check(notes.of[key])
