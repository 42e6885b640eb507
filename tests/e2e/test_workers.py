"""The headless workers that the documents show survive restarts, of the hub and of their own."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.e2e.test_survival import Hub
from tests.gateway.client import RawClient
from tests.support.processes import Backend

ROOT = Path(__file__).parents[2]


def script(name: str) -> str:
    """The worker in a document: its first Python program."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)\n```|<<'END'\n(.*?)\nEND\n", text, re.DOTALL)
    assert found
    return found[1] or found[2]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One for the tests here: each leaves it running, whatever it killed."""
    backend = Backend(tmp_path_factory.mktemp("workers"))
    backend.start()
    made = Hub(backend)
    made.start()
    yield made
    made.stop()
    backend.stop()


@contextlib.contextmanager
def running(hub: Hub, source: str) -> Iterator[IO[str]]:
    """A worker that runs; what it prints."""
    source = source.replace("http://localhost:8080/mcp", hub.gateways[0].http_url)
    worker = subprocess.Popen([sys.executable, "-u", "-c", source], stdout=subprocess.PIPE, encoding="utf-8")
    try:
        assert worker.stdout is not None
        yield worker.stdout
    finally:
        worker.kill()
        worker.wait()
        if worker.stdout is not None:
            worker.stdout.close()


def until(printed: IO[str], start: str) -> None:
    """Read on to a line that begins so."""
    for line in printed:
        if line.startswith(start):
            return
    raise AssertionError(f"the worker ended without {start!r}")


async def asked(hub: Hub, worker: str, message: str) -> object:
    """What the worker makes of a task."""
    async with RawClient.connect(hub.gateways[0].ws_url, "alice") as alice:
        await alice.initialize()
        answer = await alice.call("route_to_agent", agent=worker, message=message, wait_s=30)
        assert answer["status"] == "completed", answer
        return answer["result"]


@pytest.mark.parametrize(
    ("name", "worker", "waits", "result"),
    [
        ("README.md", "bob", "Bob waits", "Sales grew by 12 %."),
        ("docs/worker.md", "counter", "joined", "3 words"),
    ],
)
async def test_a_worker_goes_on_when_the_whole_hub_was_killed(
    hub: Hub, name: str, worker: str, waits: str, result: str
) -> None:
    with running(hub, script(name)) as printed:
        until(printed, waits)
        assert await asked(hub, worker, "one two three") == result
        for part in ("router", "redis", "nats", "gateway"):
            hub.kill_and_restart(part)
        for _ in range(2):
            assert await asked(hub, worker, "one two three") == result


async def test_a_worker_that_was_killed_hands_in_what_it_had_claimed(hub: Hub) -> None:
    async with RawClient.connect(hub.gateways[0].ws_url, "counter") as first:
        await first.initialize()
        await first.call("register_agent", capabilities=["counting"], description="Counts.", max_concurrency=1)
        async with RawClient.connect(hub.gateways[0].ws_url, "alice") as alice:
            await alice.initialize()
            routed = await alice.call("route_to_agent", agent="counter", message="a " * 900, wait_s=0)
            await first.call("receive_tasks")
            with running(hub, script("docs/worker.md")):
                seen = await alice.call("get_task", task_id=routed["task_id"], wait_s=30)
            assert (seen["state"], seen["attempt"], seen["result"]) == ("completed", 1, "900 words")
