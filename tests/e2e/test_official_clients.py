"""Clients that nobody here wrote: the official SDKs, each doing the main job."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.support.processes import GatewayProcess, ServiceProcess

ROOT = Path(__file__).parents[2]
MCP1_PYTHON = ROOT / ".venv-mcp1" / "bin" / "python"


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    assert isinstance(result.structured_content, dict)
    assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
    return result.structured_content


async def test_sdk_2_over_streamable_http_hands_work_from_alice_to_bob(hub: GatewayProcess) -> None:
    run = secrets.token_hex(3)
    skills = [f"analysis-{run}", f"reasoning-{run}"]
    updated: asyncio.Queue[str] = asyncio.Queue()

    async def on_message(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            await updated.put(str(message.params.uri))

    alice_url, bob_url = f"{hub.http_url}?agent=alice-{run}", f"{hub.http_url}?agent=bob-{run}"
    # `legacy` is the SDK's word for the handshake era, in which a client is told of changes by the GET stream.
    async with (
        Client(alice_url, mode="legacy") as alice,
        Client(bob_url, mode="legacy", message_handler=on_message) as bob,
    ):
        assert bob.protocol_version == "2025-11-25"
        assert "AICP" in (bob.instructions or "")
        names = {tool.name for tool in (await bob.list_tools()).tools}
        assert {"route_to_agent", "share_context", "orchestrate_collaboration", "receive_tasks"} <= names
        await call(bob, "register_agent", capabilities=skills, description="Analyses data and explains it.")

        key = f"project_status_{run}"
        uri = f"aicp://context/{key}"
        await bob.subscribe_resource(uri)
        value = {"phase": "development", "progress": 75}
        assert (await call(alice, "share_context", context_key=key, context_value=value))["version"] == 1
        assert await asyncio.wait_for(updated.get(), 10) == uri
        assert (await call(bob, "get_context", context_key=key))["value"] == value
        read = (await bob.read_resource(uri)).contents[0]
        assert json.loads(read.text)["value"] == value  # type: ignore[union-attr]

        async def bob_works() -> dict[str, Any]:
            inbox = await call(bob, "receive_tasks", wait_s=20)
            task: dict[str, Any] = inbox["tasks"][0]
            await call(
                bob,
                "submit_result",
                task_id=task["task_id"],
                attempt=task["attempt"],
                status="completed",
                result={"trend": "up"},
            )
            return task

        working = asyncio.create_task(bob_works())
        routed = await call(
            alice,
            "route_to_agent",
            message="복잡한 데이터 분석이 필요합니다",
            target_capabilities=skills,
            context=key,
            wait_s=20,
        )
        task = await working
        assert task["message"] == "복잡한 데이터 분석이 필요합니다"
        assert task["from"]["agent"] == f"alice-{run}"
        assert task["shared_context"][key]["value"] == value
        assert (routed["status"], routed["agent"], routed["result"]) == ("completed", f"bob-{run}", {"trend": "up"})
        assert routed["why"]["reason"]

        # And when she does not wait, she asks later.
        routed = await call(alice, "route_to_agent", message="again", target_capabilities=skills, wait_s=0)
        assert routed["status"] in ("routed", "queued")
        await bob_works()
        later = await call(alice, "get_task", task_id=routed["task_id"], wait_s=10)
        assert (later["state"], later["result"]) == ("completed", {"trend": "up"})


async def test_sdk_2_collaboration_of_two_agents_brings_both_results_home(hub: GatewayProcess) -> None:
    run = secrets.token_hex(3)
    names = [f"bob-{run}", f"carol-{run}"]
    async with (
        Client(f"{hub.http_url}?agent=alice-{run}") as alice,
        Client(f"{hub.http_url}?agent={names[0]}") as bob,
        Client(f"{hub.http_url}?agent={names[1]}") as carol,
    ):

        async def work(client: Client, name: str) -> str:
            inbox = await call(client, "receive_tasks", wait_s=20)
            task = inbox["tasks"][0]
            await call(
                client,
                "submit_result",
                task_id=task["task_id"],
                attempt=task["attempt"],
                status="completed",
                result=f"{name} thinks so",
            )
            return str(task["message"])

        for client in (bob, carol):
            await call(client, "register_agent", capabilities=["opinions"], description="Has views.")
        working = [asyncio.create_task(work(bob, names[0])), asyncio.create_task(work(carol, names[1]))]
        answer = await call(alice, "orchestrate_collaboration", task="When should we ship?", agents=names, wait_s=30)
        for message in await asyncio.gather(*working):
            assert "When should we ship?" in message
        assert answer["status"] == "completed"
        assert {assignment["agent"] for assignment in answer["assignments"]} == set(names)
        results = {part["agent"]: part["result"] for part in answer["result"]["parts"]}
        assert results == {name: f"{name} thinks so" for name in names}
        assert (await call(alice, "get_task", task_id=answer["task_id"]))["kind"] == "collaboration"


def test_sdk_1_over_websocket_hands_work_from_alice_to_bob(hub: GatewayProcess) -> None:
    assert MCP1_PYTHON.exists(), "the environment of the 1.x client is missing: run `make test`, which makes it"
    script = Path(__file__).parent / "mcp1_websocket.py"
    done = subprocess.run(
        [str(MCP1_PYTHON), str(script), hub.ws_url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["revision"] in ("2025-06-18", "2025-11-25")
    assert seen["status"] == "completed"
    assert seen["result"] == {"trend": "up"}
    assert seen["context"] == {"phase": "development", "progress": 75}
    assert seen["updated"] == seen["uri"]


async def registered(hub: GatewayProcess) -> set[str]:
    """The names of all agents that have a profile."""
    async with Client(f"{hub.http_url}?agent=onlooker") as onlooker:
        listed = await call(onlooker, "list_agents", limit=200)
    assert listed["total"] <= 200
    return {agent["agent"] for agent in listed["agents"]}


EXAMPLES = {"basic_routing.py": "completed", "collaboration.py": "completed", "talk_in_a_room.py": "40,000."}
"""And a word of what each says at the end."""


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_without_a_hub_says_so_in_a_sentence(example: str, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/mcp"
    command = [sys.executable, str(ROOT / "examples" / example), "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"no hub answers at {url}"), done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("example", EXAMPLES)
async def test_the_examples_run_again_and_again_and_leave_no_agent_behind(hub: GatewayProcess, example: str) -> None:
    before = await registered(hub)
    for _ in range(2):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, str(ROOT / "examples" / example), "--url", hub.http_url],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert EXAMPLES[example] in done.stdout
        assert "Bob" in done.stdout
    assert await registered(hub) == before


@pytest.mark.parametrize(
    ("example", "stands_still", "line"),
    [
        ("basic_routing.py", "statehub", "Bob     joined the network"),
        ("collaboration.py", "orchestrator", "Alice   asks both at once"),
    ],
)
async def test_an_example_that_is_stopped_with_ctrl_c_leaves_no_agent_behind(
    hub: GatewayProcess, request: pytest.FixtureRequest, example: str, stands_still: str, line: str
) -> None:
    service: ServiceProcess = request.getfixturevalue(stands_still)
    assert service.process.popen is not None
    before = await registered(hub)
    # It cannot get to its own end meanwhile.
    os.kill(service.process.popen.pid, signal.SIGSTOP)
    try:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", str(ROOT / "examples" / example), "--url", hub.http_url),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert running.stdout is not None
        try:
            async with asyncio.timeout(30):
                while not (said := await running.stdout.readline()).startswith(line.encode()):
                    assert said, "it ended early"
                assert len(await registered(hub) - before) == (1 if example == "basic_routing.py" else 2)
                running.send_signal(signal.SIGINT)
                rest = await running.stdout.read()
                assert await running.wait() == 1, rest
            assert rest.splitlines()[-1] == b"stopped", rest
            assert b"Traceback" not in rest
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()
    finally:
        os.kill(service.process.popen.pid, signal.SIGCONT)
    assert await registered(hub) == before
