"""`aicp history` reads the archive of a real hub."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.client.conftest import SECRET
from tests.client.test_token import run as make_token
from tests.gateway.client import RawClient
from tests.statehub.agent import Json
from tests.support.postgres import Postgres
from tests.support.processes import Backend, GatewayProcess, ServiceProcess, binary


@dataclass
class Ended:
    """What a command printed, and its exit status."""

    status: int
    output: str
    error: str


async def history(*arguments: str, env: dict[str, str] | None = None) -> Ended:
    """Run `aicp history`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AICP_")}
    process = await asyncio.create_subprocess_exec(
        binary("aicp"),
        "history",
        *arguments,
        env={**inherited, **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        output, error = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(), error.decode())


async def until_entries(count: int, *arguments: str) -> list[Json]:
    """Ask until there are so many entries: the archive is a little behind."""
    entries: list[Json] = []
    async with asyncio.timeout(30):
        while len(entries) < count:
            ended = await history(*arguments, "--json")
            assert ended.status == 0, ended.error
            entries = json.loads(ended.output)["entries"]
    return entries


@pytest.fixture(scope="module")
def archive_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """NATS and Redis of this file: the other tests' hub has no archive."""
    running = Backend(tmp_path_factory.mktemp("archive"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def archive_hub(archive_backend: Backend) -> Iterator[GatewayProcess]:
    """An open gateway in front of a router and a state hub with an archive."""
    postgres = Postgres().start()
    statehub = ServiceProcess("statehub", archive_backend, {"POSTGRES_URL": postgres.url})
    router = ServiceProcess("router", archive_backend)
    gateway = GatewayProcess(archive_backend, {"REQUIRED_SERVICES": "router,statehub"})
    services = (statehub, router, gateway)
    try:
        for service in services:
            service.start()
        for service in services:
            service.wait()
        yield gateway
        assert [service.stop() for service in reversed(services)] == [0, 0, 0]
    finally:
        for service in services:
            service.stop()
        postgres.remove()


@pytest.fixture
async def alice(archive_hub: GatewayProcess) -> AsyncIterator[RawClient]:
    """Somebody in the network."""
    async with RawClient.connect(archive_hub.ws_url, "alice") as client:
        await client.initialize()
        yield client


async def test_the_history_of_a_context(archive_hub: GatewayProcess, alice: RawClient) -> None:
    key = f"plans/{secrets.token_hex(4)}"
    for value in ({"phase": "design"}, "\x1b]0;owned\x07", ["done", 1.5]):
        await alice.call("share_context", context_key=key, context_value=value)
    where = ("context", key, "--url", archive_hub.http_url, "--agent", "bob")
    entries = await until_entries(3, *where)
    assert [(entry["what"], entry["version"], entry["agent"]) for entry in entries] == [
        ("changed", version, "alice") for version in (3, 2, 1)
    ]
    assert "value" not in entries[0]
    assert (await until_entries(3, *where, "--values"))[2]["value"] == {"phase": "design"}

    table = (await history(*where, "--values")).output
    assert table.index("done") < table.index("owned") < table.index("design")
    assert "context changed" in table
    assert "\x1b" not in table
    one = await history(*where, "--version", "1")
    assert json.loads(one.output[one.output.index("\n{") :]) == {"phase": "design"}

    first = json.loads((await history(*where, "--json", "--limit", "2")).output)
    assert [entry["version"] for entry in first["entries"]] == [3, 2]
    assert "next_cursor" in first
    assert "--limit 4 shows more" in (await history(*where, "--limit", "2")).output


async def test_the_history_of_a_task_and_of_its_agents(archive_hub: GatewayProcess, alice: RawClient) -> None:
    bob = f"bob-{secrets.token_hex(3)}"
    async with RawClient.connect(archive_hub.ws_url, bob) as worker:
        await worker.initialize()
        await worker.call("register_agent", capabilities=["sums"], description="Adds.")
        routed = await alice.call("route_to_agent", message="What is 1 + 1?", agent=bob, wait_s=0)
        (task,) = (await worker.call("receive_tasks", wait_s=10))["tasks"]
        done = {"task_id": task["task_id"], "attempt": task["attempt"], "status": "completed"}
        await worker.call("submit_result", **done, result="2")
    at = ("--url", archive_hub.ws_url)
    entries = await until_entries(3, "task", routed["task_id"], *at)
    assert [entry["what"] for entry in entries] == ["completed", "claimed", "created"]
    assert entries[2]["requester"] == "alice"
    table = (await history("task", routed["task_id"], *at)).output
    assert "working (attempt 1)" in table
    assert routed["task_id"] not in table
    whats = {(entry["entity"], entry["what"]) for entry in await until_entries(4, "agent", bob, *at)}
    assert whats >= {("agent", "registered"), ("task", "claimed"), ("task", "completed")}
    asked = await until_entries(1, "agent", "alice", *at, "--limit", "500")
    assert routed["task_id"] in {entry.get("task_id") for entry in asked if entry["what"] == "created"}


async def test_many_events_are_read_page_by_page(archive_hub: GatewayProcess, alice: RawClient) -> None:
    key = f"many/{secrets.token_hex(4)}"
    for value in range(230):
        await alice.call("share_context", context_key=key, context_value=value)
    entries = await until_entries(230, "context", key, "--url", archive_hub.ws_url, "--limit", "1000", "--values")
    assert [entry["value"] for entry in entries] == list(reversed(range(230)))


async def test_what_nobody_ever_did(archive_hub: GatewayProcess) -> None:
    ended = await history("context", "no/such", env={"AICP_URL": archive_hub.ws_url})
    assert (ended.status, ended.output) == (0, "nothing of 'no/such' is archived that you may read\n")


async def test_a_hub_without_an_archive_says_so(hub: GatewayProcess) -> None:
    for question in (("task", "t-1"), ("context", "k"), ("agent", "bob")):
        ended = await history(*question, "--url", hub.ws_url)
        assert ended.status == 1
        assert "this hub has no archive" in ended.error
        assert "POSTGRES_URL" in ended.error
        assert ended.output == ""


async def test_a_token_needs_the_scope(archive_backend: Backend, archive_hub: GatewayProcess) -> None:
    env = {"JWT_REQUIRED": "true", "JWT_SECRET": SECRET, "REQUIRED_SERVICES": "router,statehub"}
    gateway = GatewayProcess(archive_backend, env)
    gateway.start().wait()
    try:
        for scope, status in (("history:read", 0), ("context:read", 1)):
            token = make_token("--sub", "alice", "--scope", scope, env={"JWT_SECRET": SECRET}).stdout.strip()
            ended = await history("context", "k", "--url", gateway.ws_url, env={"AICP_TOKEN": token})
            assert ended.status == status
            assert ("history:read" in ended.error) is (status == 1)
        assert (await history("context", "k", "--url", gateway.ws_url)).status == 3
        wrong = await history("context", "k", "--url", gateway.ws_url, "--token", "wrong")
        assert wrong.status == 3
        assert "refuses the token" in wrong.error
    finally:
        gateway.stop()


async def test_what_is_wrong_is_said(archive_hub: GatewayProcess) -> None:
    at = ("--url", archive_hub.ws_url)
    ended = await history("context", "a//b", *at)
    assert ended.status == 1
    assert "context_key" in ended.error
    ended = await history("context", "k", "--url", "ws://127.0.0.1:1/mcp")
    assert ended.status == 1
    assert "no connection to ws://127.0.0.1:1/mcp" in ended.error
