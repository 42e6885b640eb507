"""The whole loop: a task is routed, claimed, done, and its requester has the result, durably, through a gateway."""

import asyncio
import json
from contextlib import AsyncExitStack

from bench.rounds import Contestant, Work, table, take_turns
from tests.gateway.client import RawClient
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

PAIRS = 16


async def measure(backend: Backend, rounds: int, operations: int) -> str:
    """`PAIRS` requesters, each with a worker of its own, all on this machine."""
    services = [ServiceProcess("statehub", backend).start(), ServiceProcess("router", backend).start()]
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": "router,statehub"}, module="aicp_gateway")
    gateway.start()
    for service in (*services, gateway):
        service.wait()
    working: list[asyncio.Task[None]] = []
    try:
        async with AsyncExitStack() as stack:
            loops: list[Work] = []
            for number in range(PAIRS):
                requester = await stack.enter_async_context(RawClient.connect(gateway.ws_url, f"asks-{number}"))
                worker = await stack.enter_async_context(RawClient.connect(gateway.ws_url, f"works-{number}"))
                await requester.initialize()
                await worker.initialize()
                await worker.call("register_agent", capabilities=[f"skill-{number}"], description="Answers at once.")
                working.append(asyncio.create_task(_work(worker)))

                async def hand_over(requester: RawClient = requester, number: int = number) -> None:
                    routed = await requester.call(
                        "route_to_agent", message="do it", target_capabilities=[f"skill-{number}"], wait_s=20
                    )
                    if routed["status"] != "completed":
                        raise RuntimeError(json.dumps(routed))

                loops.append(hand_over)
            contestants = [Contestant("route, claim, submit, result", loops)]
            await take_turns(contestants, rounds, operations)
            return table(contestants)
    finally:
        for task in working:
            task.cancel()
        gateway.stop()
        for service in reversed(services):
            service.stop()


async def _work(worker: RawClient) -> None:
    while True:
        for task in (await worker.call("receive_tasks", wait_s=30))["tasks"]:
            await worker.call(
                "submit_result", task_id=task["task_id"], attempt=task["attempt"], status="completed", result="done"
            )
