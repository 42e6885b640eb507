"""A hub with the real services, as `make run` starts it."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.hub.harness import PATIENCE_S, Hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One hub for all tests here; each leaves it ready."""
    running = Hub(tmp_path_factory.mktemp("hub") / "data")
    yield running.wait_until_ready()
    running.kill()
    running.end()


def _client(hub: Hub, agent: str) -> Client:
    return Client(f"{hub.state['urls']['http']}?agent={agent}", read_timeout_seconds=PATIENCE_S)


async def _call_when_possible(hub: Hub, agent: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool; while the parts of the hub find a server again that was away, they say so, and we come again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        problem = ""
        try:
            async with _client(hub, agent) as client:
                result = await client.call_tool(tool, arguments)
            if not result.is_error:
                content: dict[str, Any] = result.structured_content
                return content
            problem = str(result.content)
        except* MCPError as errors:
            problem = str(_first(errors))
        assert "try again" in problem, problem
        assert time.monotonic() < deadline, problem
        await asyncio.sleep(0.05)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def test_it_is_ready_in_five_seconds(hub: Hub) -> None:
    # Five seconds is for a machine that does nothing else; where others compute too, each gets a share.
    share = min(1.0, (os.cpu_count() or 1) / max(os.getloadavg()[0], 1.0))
    assert hub.ready_after_s * share < 5
    assert "Traceback" not in hub.output


async def test_the_script_that_it_prints_runs_as_it_is(hub: Hub) -> None:
    start = next(number for number, line in enumerate(hub.lines) if line.endswith("<<'END'"))
    script = "\n".join(hub.lines[start : hub.lines.index("END") + 1])
    process = await asyncio.create_subprocess_shell(
        script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0, errors.decode()
    assert re.match(r"\{'.*agents", printed.decode())


@pytest.mark.parametrize("name", ["redis", "nats", "gateway-1"])
async def test_what_was_shared_is_there_after_any_process_was_killed(hub: Hub, name: str) -> None:
    key = f"before-{name}"
    shared = await _call_when_possible(hub, "alice", "share_context", context_key=key, context_value={"of": name})
    seen = len([line for line in hub.lines if f"{name} is ready again" in line])
    os.kill(hub.pid_of(name), signal.SIGKILL)
    hub.expect(f"{name} is ready again", count=seen + 1)
    found = await _call_when_possible(hub, "bob", "get_context", context_key=key)
    assert (found["value"], found["version"]) == ({"of": name}, shared["version"])


async def test_a_hub_with_waiting_clients_stops_in_five_seconds(hub: Hub) -> None:
    async def wait_for_work() -> None:
        async with _client(hub, "carol") as carol:
            connected.set()
            await carol.call_tool("receive_tasks", {"wait_s": 30})

    await _call_when_possible(hub, "carol", "register_agent", capabilities=["waiting"], description="waits")
    connected = asyncio.Event()
    waiting = asyncio.create_task(wait_for_work())
    await asyncio.wait_for(connected.wait(), PATIENCE_S)
    assert "carol" in str(await _call_when_possible(hub, "dave", "list_agents"))
    took_s = await asyncio.to_thread(hub.stop)
    assert took_s < 5
    assert hub.left_behind() == []
    assert "did not stop in time" not in hub.output
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
