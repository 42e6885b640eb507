"""What a client hears while it waits for a collaboration."""

import asyncio
import itertools

from tests.orchestrator.network import Network
from tests.router.mcp_client import McpClient

TOOL = ("orchestrate_collaboration", "orchestrator")


async def test_who_waits_hears_how_the_steps_go(network: Network) -> None:
    await network.join("alice", "bob", "carol")
    alice = McpClient(network.bus, network.tenant, can=(), progress=True)
    asking = asyncio.create_task(alice.result(*TOOL, task="t", agents=["bob", "carol"], wait_s=30))
    await network.serve("bob", "one")
    await alice.hears("2 steps: 1 completed, 1 running (50%)")
    await network.serve("carol", "two")
    assert (await asking)["structuredContent"]["status"] == "completed"
    assert all(before["progress"] < after["progress"] for before, after in itertools.pairwise(alice.heard))


async def test_who_waits_gets_a_sign_within_ten_seconds(network: Network) -> None:
    await network.join("alice", "bob")
    alice = McpClient(network.bus, network.tenant, can=(), progress=True)
    asking = asyncio.create_task(alice.result(*TOOL, task="t", agents=["bob"], wait_s=30))
    await network.receive("bob")
    before = await alice.hears("1 step: 1 running (0%)")
    alice.heard.clear()
    again = await alice.hears("1 step: 1 running (0%)", 12)
    assert 7 < again["progress"] - before["progress"] <= 10.5
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
