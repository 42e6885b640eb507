"""A whole hub, and a little of everything that it does."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping

from aicp_common.bus import Bus
from tests.gateway.eventsource import events
from tests.gateway.httpclient import HttpClient
from tests.router.conftest import Network
from tests.statehub.agent import Agent, watching
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

SERVICES = ("statehub", "router", "orchestrator")


@contextlib.contextmanager
def whole_hub(
    backend: Backend, env: Mapping[str, str] | None = None
) -> Iterator[tuple[GatewayProcess, Callable[[], str]]]:
    """One worker of each service, which end well; the gateway, and what all of them have said."""
    services: list[ServiceProcess] = [ServiceProcess(name, backend, env or {}) for name in SERVICES]
    gateway = GatewayProcess(backend, {"REQUIRED_SERVICES": ",".join(SERVICES), **(env or {})})
    services.append(gateway)
    for service in services:
        service.start()
    try:
        for service in services:
            service.wait()
        yield gateway, lambda: "".join(service.process.output() for service in services)
    finally:
        statuses = [service.stop() for service in reversed(services)]
    assert statuses == [0] * len(services)


async def ordinary_life(bus: Bus, tenant: str) -> None:
    """Contexts, tasks, a collaboration and their events, in one tenant."""
    alice, network = Agent(bus, tenant), Network(bus, tenant)
    async with watching(bus, "aicp.v1.event.>", [tenant]) as watcher:
        await alice.share("a/k", {"x": 1})
        await alice.share("a/k", {"y": 2}, merge=True)
        await alice.share("a/short", 1, ttl_s=0.2)
        await alice.call("get_context", prefix="a/", with_values=True)
        await alice.delete("a/k")
        await alice.read("aicp://shared-state")
        task = await network.handed_over("alice", "bob")
        await network.tool("bob", "update_task", task_id=task["task_id"], attempt=task["attempt"], message="half")
        await network.submit("bob", task)
        await network.tool("alice", "rate_task", task_id=task["task_id"], score=1)
        passed_on = await network.handed_over("alice", "bob")
        await network.submit("bob", passed_on, status="declined")
        await network.tool("alice", "cancel_task", task_id=passed_on["task_id"])
        await network.read("bob", "aicp://inbox")
        await network.tool("bob", "leave_network")
        # registered, created, claimed, progress, completed, rated of the first task alone; expired comes by itself.
        await watcher.until(12)
        async with asyncio.timeout(20):
            while "expired" not in {event["what"] for event in watcher.events}:
                await watcher.until(len({event["event_id"] for event in watcher.events}) + 1)


async def session(hub: GatewayProcess, bus: Bus) -> None:
    """A session over HTTP, with a call whose event stream a client could come back to."""
    network = Network(bus, "default")
    await network.register("dave", "work")
    async with HttpClient(f"{hub.http_url}?agent=carol") as client:
        await client.initialize()
        await client.request("resources/subscribe", {"uri": "aicp://context/k"})
        arguments = {"message": "please do this", "agent": "dave", "wait_s": 20}
        call = {"name": "route_to_agent", "arguments": arguments, "_meta": {"progressToken": "p"}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        async with client.post_stream(message) as response:
            coming = events(response)
            assert (await anext(coming)).id
            await network.submit("dave", await network.claim("dave"))
            assert [event async for event in coming]
        await client.delete()
