"""`aicp connect` in front of a real hub: it falls and comes back, it hands out tasks, official clients use it."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.client.bridge_process import Bridge
from tests.gateway.client import RawClient
from tests.support.processes import Backend, GatewayProcess, ServiceProcess, binary


@contextlib.asynccontextmanager
async def agent(hub: GatewayProcess, name: str) -> AsyncIterator[RawClient]:
    """Somebody else in the network, straight over WebSocket."""
    async with RawClient.connect(hub.ws_url, name) as client:
        await client.initialize()
        yield client


async def test_a_client_goes_on_when_its_gateway_is_killed_and_started_again(
    backend: Backend, orchestrator: ServiceProcess, hub: GatewayProcess
) -> None:
    run = secrets.token_hex(3)
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": "orchestrator,router,statehub"})
    gateway.start().wait()
    uri = f"aicp://context/plan-{run}"
    try:
        async with (
            Bridge.start("--url", gateway.ws_url, "--agent", f"bob-{run}") as bob,
            agent(hub, f"al-{run}") as alice,
        ):
            assert (await bob.initialize())["protocolVersion"] == "2025-11-25"
            tools = (await bob.ask("tools/list"))["result"]["tools"]
            assert "receive_tasks" in {tool["name"] for tool in tools}
            await bob.call("register_agent", capabilities=[f"work-{run}"], description="Works.")
            await alice.call("register_agent", capabilities=[f"thought-{run}"], description="Thinks.")
            assert (await bob.ask("resources/subscribe", uri=uri))["result"] == {}
            for turn in range(2):
                asked = {"message": "Take your time.", "agent": f"al-{run}", "wait_s": 30}
                waiting = await bob.send("tools/call", name="route_to_agent", arguments=asked)
                reading = await bob.send("tools/call", name="get_context", arguments={"prefix": f"plan-{run}"})
                assert "result" in await bob.answer_to(reading)
                gateway.kill()
                await bob.said("no connection", count=turn + 1)
                error = (await bob.answer_to(waiting))["error"]
                assert error["code"] == 503
                assert "may or may not have been done" in error["message"]

                # While nobody could tell him, the context changes and a task comes.
                await alice.call("share_context", context_key=f"plan-{run}", context_value=turn)
                routed = await alice.call("route_to_agent", message="Help.", agent=f"bob-{run}", wait_s=0)
                asked_meanwhile = await bob.send("tools/call", name="receive_tasks", arguments={"wait_s": 20})

                await asyncio.to_thread(gateway.start().wait)
                assert (await bob.heard("notifications/resources/updated"))["params"] == {"uri": uri}
                bob.passed_by.clear()
                await bob.said("connected again", count=turn + 1)
                received = (await bob.answer_to(asked_meanwhile))["result"]["structuredContent"]["tasks"]
                assert [task["task_id"] for task in received] == [routed["task_id"]]
                done = {"task_id": routed["task_id"], "attempt": received[0]["attempt"], "status": "completed"}
                await bob.call("submit_result", **done, result="done")
                assert (await alice.call("get_task", task_id=routed["task_id"], wait_s=10))["state"] == "completed"

                # And he is still told of changes.
                bob.passed_by.clear()
                await alice.call("share_context", context_key=f"plan-{run}", context_value=f"again {turn}")
                assert (await bob.heard("notifications/resources/updated"))["params"] == {"uri": uri}
            assert await bob.end() == 0
    finally:
        gateway.stop()


async def test_both_ports_of_a_hub_will_do(hub: GatewayProcess) -> None:
    for url in (hub.ws_url, hub.http_url, f"http://127.0.0.1:{hub.port}"):
        async with Bridge.start("--url", url, "--agent", "carol") as bridge:
            assert "'carol'" in (await bridge.initialize())["instructions"]


async def test_a_guest_is_the_same_agent_over_connections(backend: Backend, router: ServiceProcess) -> None:
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": "router"})
    gateway.start().wait()
    try:
        async with Bridge.start("--url", gateway.ws_url) as bridge:
            await bridge.initialize()
            before = await bridge.call("register_agent", capabilities=["x"], description="Guest.")
            gateway.kill()
            await asyncio.to_thread(gateway.start().wait)
            await bridge.said("connected again")
            after = await bridge.call("register_agent", capabilities=["x"], description="Guest.")
            assert before["profile"]["agent"] == after["profile"]["agent"]
    finally:
        gateway.stop()


async def test_a_session_of_claude_code_is_told_of_tasks_as_they_come(hub: GatewayProcess) -> None:
    run = secrets.token_hex(3)
    async with Bridge.start("--url", hub.ws_url, "--agent", f"bob-{run}") as bob, agent(hub, f"al-{run}") as alice:
        result = await bob.initialize("claude-code")
        assert result["capabilities"]["experimental"] == {"claude/channel": {}}
        assert "receive_tasks" in result["instructions"]
        await bob.call("register_agent", capabilities=[f"work-{run}"], description="Works.")
        routed = []
        for number in range(2):
            message = f"Look at this: {number}.\n가나다"
            routed.append(
                await alice.call("route_to_agent", message=message, agent=f"bob-{run}", priority="batch", wait_s=0)
            )
            event = (await bob.heard("notifications/claude/channel"))["params"]
            assert event["meta"] == {"task_id": routed[-1]["task_id"], "from": f"al-{run}", "priority": "batch"}
            assert f"> Look at this: {number}.\n> 가나다" in event["content"]
        received = await bob.call("receive_tasks", max=5)
        assert {task["task_id"] for task in received["tasks"]} == {one["task_id"] for one in routed}
        assert not [message for message in bob.passed_by if message.get("method") == "notifications/resources/updated"]

        # He asks back; the answer is news as well.
        task = received["tasks"][0]
        await bob.call("update_task", task_id=task["task_id"], attempt=task["attempt"], question="Which one?")
        await alice.call("answer_task", task_id=task["task_id"], answer="That one.")
        event = (await bob.heard("notifications/claude/channel"))["params"]
        assert event["meta"]["task_id"] == task["task_id"]
        assert "has answered your question" in event["content"]


async def test_a_client_that_is_no_claude_gets_no_events_unless_it_wants_them(hub: GatewayProcess) -> None:
    async with Bridge.start("--url", hub.ws_url) as bridge:
        assert "experimental" not in (await bridge.initialize("cursor"))["capabilities"]
    async with Bridge.start("--url", hub.ws_url, "--channel") as bridge:
        assert "experimental" in (await bridge.initialize("cursor"))["capabilities"]
    async with Bridge.start("--url", hub.ws_url, "--no-channel") as bridge:
        assert "experimental" not in (await bridge.initialize("claude-code"))["capabilities"]


async def test_the_official_client_hands_work_over_through_two_bridges(hub: GatewayProcess) -> None:
    run = secrets.token_hex(3)

    def connected(name: str, **options: Any) -> Client:
        arguments = ["connect", "--url", hub.ws_url, "--agent", f"{name}-{run}"]
        return Client(stdio_client(StdioServerParameters(command=binary("aicp"), args=arguments)), **options)

    async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, result
        assert isinstance(result.structured_content, dict)
        return result.structured_content

    updated: asyncio.Queue[str] = asyncio.Queue()

    async def on_message(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            await updated.put(str(message.params.uri))

    async with connected("alice") as alice, connected("bob", mode="legacy", message_handler=on_message) as bob:
        assert {"route_to_agent", "receive_tasks"} <= {tool.name for tool in (await alice.list_tools()).tools}
        await call(bob, "register_agent", capabilities=[f"work-{run}"], description="Works.")
        key = f"note-{run}"
        await bob.subscribe_resource(f"aicp://context/{key}")
        await call(alice, "share_context", context_key=key, context_value={"말": "안녕"})
        assert await asyncio.wait_for(updated.get(), 10) == f"aicp://context/{key}"
        read = (await bob.read_resource(f"aicp://context/{key}")).contents[0]
        assert json.loads(read.text)["value"] == {"말": "안녕"}  # type: ignore[union-attr]

        async def works() -> None:
            (task,) = (await call(bob, "receive_tasks", wait_s=20))["tasks"]
            done = {"task_id": task["task_id"], "attempt": task["attempt"], "status": "completed"}
            await call(bob, "submit_result", **done, result="done")

        working = asyncio.create_task(works())
        routed = await call(alice, "route_to_agent", message="Help.", target_capabilities=[f"work-{run}"], wait_s=20)
        await working
        assert (routed["status"], routed["result"]) == ("completed", "done")
