"""What was accepted survives: each process of a hub is killed in turn, and clients only try again."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
import websockets

from tests.gateway.client import RawClient
from tests.support.processes import Backend, GatewayProcess, ServiceProcess, wait_until_listening


class Hub:
    """Every service once, two gateways, and the servers behind them: each can be killed and started again."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        # Short, so that the test need not wait for long where a call really was lost.
        env = {"WORKER_PATIENCE_S": "2", "TASK_LEASE_S": "5", "COLLABORATION_LEASE_S": "2"}
        self.services = {name: ServiceProcess(name, backend, env) for name in ("statehub", "router", "orchestrator")}
        gateway_env = {**env, "REQUIRED_SERVICES": "router,statehub,orchestrator"}
        self.gateways = [GatewayProcess(backend, gateway_env), GatewayProcess(backend, gateway_env)]

    def start(self) -> None:
        processes = [*self.services.values(), *self.gateways]
        for process in processes:
            process.start()
        for process in processes:
            process.wait()

    def stop(self) -> None:
        for process in (*self.gateways, *self.services.values()):
            process.stop()

    def kill_and_restart(self, name: str) -> None:
        match name:
            case "nats":
                self.backend.nats.kill()
                self.backend.nats.start()
                wait_until_listening(self.backend.nats, self.backend.nats_port)
            case "redis":
                self.backend.redis.kill()
                self.backend.redis.start()
                wait_until_listening(self.backend.redis, self.backend.redis_port)
            case "gateway":
                self.gateways[0].kill()
                self.gateways[0].start().wait()
            case _:
                self.services[name].kill()
                self.services[name].start().wait()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One for all tests here: each leaves it running, whatever it killed."""
    backend = Backend(tmp_path_factory.mktemp("survival"))
    backend.start()
    made = Hub(backend)
    made.start()
    yield made
    made.stop()
    backend.stop()


@contextlib.asynccontextmanager
async def connected(gateway: GatewayProcess, agent: str) -> AsyncIterator[RawClient]:
    async with RawClient.connect(gateway.ws_url, agent) as client:
        await client.initialize()
        yield client


class Persistent:
    """A client that connects again and asks again, as one does; it changes the gateway with each connection."""

    def __init__(self, hub: Hub, agent: str) -> None:
        self._hub = hub
        self._agent = agent
        self._connections = 0

    async def run(self, work: Callable[[RawClient], Coroutine[Any, Any, None]]) -> None:
        while True:
            gateway = self._hub.gateways[self._connections % 2]
            self._connections += 1
            with contextlib.suppress(OSError, TimeoutError, websockets.WebSocketException):
                async with connected(gateway, self._agent) as client:
                    closed = asyncio.create_task(client.socket.wait_closed())
                    working = asyncio.create_task(work(client))
                    await asyncio.wait((closed, working), return_when=asyncio.FIRST_COMPLETED)
                    if working.done():
                        working.result()
                        return
                    working.cancel()
            await asyncio.sleep(0.05)


async def ask(client: RawClient, tool: str, **arguments: Any) -> dict[str, Any]:
    """A tool call that is repeated while a part of the hub is away; the structured result, or the error's text."""
    while True:
        answer = await client.request("tools/call", {"name": tool, "arguments": arguments})
        result = answer.get("result", {})
        if "error" in answer or result.get("isError"):
            code = result.get("_meta", {}).get("aicp/error", {}).get("code", "")
            if code in ("unavailable", "deadline_exceeded") or "unknown tool" in str(answer.get("error")):
                await asyncio.sleep(0.1)
                continue
            return {"refused": code or str(answer)}
        structured: dict[str, Any] = result["structuredContent"]
        return structured


async def test_each_task_ends_exactly_once_while_every_process_is_killed_in_turn(hub: Hub) -> None:
    finished: dict[int, dict[str, Any]] = {}
    over = asyncio.Event()

    async def works(client: RawClient) -> None:
        await ask(client, "register_agent", capabilities=["work"], description="Works.", max_concurrency=20)
        while not over.is_set():
            for task in (await ask(client, "receive_tasks", wait_s=2, max=5)).get("tasks", []):
                key = {"task_id": task["task_id"], "attempt": task["attempt"]}
                await ask(client, "submit_result", status="completed", result=task["message"], **key)

    async def asks(client: RawClient) -> None:
        while not over.is_set():
            number = len(finished)
            arguments = {"message": f"task {number}", "target_capabilities": ["work"], "wait_s": 0}
            made = await ask(client, "route_to_agent", idempotency_key=f"k{number}", **arguments)
            if "task_id" not in made:
                await asyncio.sleep(0.1)
                continue
            while (view := await ask(client, "get_task", task_id=made["task_id"], wait_s=5))["state"] != "completed":
                assert view["state"] in ("submitted", "working"), view
            finished[number] = view

    async def kills() -> None:
        for name in ("router", "gateway", "redis", "nats", "statehub", "orchestrator"):
            await asyncio.to_thread(hub.kill_and_restart, name)
            enough = len(finished) + 5
            async with asyncio.timeout(60):
                # The next one falls when work goes on.
                while len(finished) < enough:
                    await asyncio.sleep(0.02)
        over.set()

    async with asyncio.timeout(180), asyncio.TaskGroup() as group:
        for name in ("bob", "carol"):
            group.create_task(Persistent(hub, name).run(works))
        group.create_task(Persistent(hub, "alice").run(asks))
        group.create_task(kills())
    assert len(finished) >= 30
    assert [view["result"] for view in finished.values()] == [f"task {number}" for number in finished]
    assert len({view["task_id"] for view in finished.values()}) == len(finished)
    for view in finished.values():
        assert [entry["what"] for entry in view["history"]].count("completed") == 1


@pytest.mark.parametrize("victim", ["gateway", "nats"])
async def test_a_task_does_not_go_to_somebody_who_waited_at_what_was_killed(hub: Hub, victim: str) -> None:
    async with connected(hub.gateways[1], "alice") as alice:
        async with connected(hub.gateways[0], f"bob-{victim}") as bob:
            await bob.call("register_agent", capabilities=["waiting"], description="Waits.")
            waiting = asyncio.create_task(bob.call_raw("receive_tasks", {"wait_s": 40}))
            await bob.request("ping")
            hub.kill_and_restart(victim)
            if victim == "nats":
                assert (await asyncio.wait_for(waiting, 10))["isError"] is True
            waiting.cancel()
        made = await ask(alice, "route_to_agent", message="m", agent=f"bob-{victim}", wait_s=0)
        async with connected(hub.gateways[1], f"bob-{victim}") as bob:
            got = await ask(bob, "receive_tasks", wait_s=4)
            assert [task["task_id"] for task in got["tasks"]] == [made["task_id"]]


async def test_redis_away_in_mid_call_is_told_and_what_was_stored_is_there_after(hub: Hub) -> None:
    async with connected(hub.gateways[0], "alice") as alice:
        stored = await alice.call("share_context", context_key="plan", context_value={"step": 1})
        await alice.call("register_agent", capabilities=["asking"], description="Asks.")
        hub.backend.redis.kill()
        calls: list[tuple[str, dict[str, Any]]] = [
            ("share_context", {"context_key": "plan", "context_value": {"step": 2}}),
            ("get_context", {"context_key": "plan"}),
            ("list_agents", {}),
            ("receive_tasks", {}),
        ]
        for tool, arguments in calls:
            failed = await alice.call_raw(tool, arguments)
            assert failed["isError"] is True
            assert "Redis" in failed["content"][0]["text"]
        assert (await alice.request("ping"))["result"] == {}
        hub.backend.redis.start()
        wait_until_listening(hub.backend.redis, hub.backend.redis_port)
        found = await ask(alice, "get_context", context_key="plan")
        assert (found["value"], found["version"]) == ({"step": 1}, stored["version"])
        assert "alice" in [agent["agent"] for agent in (await ask(alice, "list_agents"))["agents"]]


async def test_a_frozen_router_is_told_of_and_works_again_when_it_thaws(hub: Hub) -> None:
    router = hub.services["router"].process.popen
    assert router is not None
    async with connected(hub.gateways[0], "alice") as alice:
        os.kill(router.pid, signal.SIGSTOP)
        try:
            failed = await asyncio.wait_for(alice.call_raw("list_agents", {}), 10)
        finally:
            os.kill(router.pid, signal.SIGCONT)
        assert "'router'" in failed["content"][0]["text"]
        assert "agents" in await asyncio.wait_for(ask(alice, "list_agents"), 20)
