"""What the router counts of tasks."""

import asyncio
import re
import urllib.request

from tests.router.conftest import Network
from tests.router.test_attempts import silent
from tests.support.processes import ServiceProcess


def counted(router: ServiceProcess) -> dict[str, int]:
    """Tasks by what happened to them, since the router started."""
    with urllib.request.urlopen(f"http://127.0.0.1:{router.admin_port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found = re.findall(r'^aicp_router_tasks_total\{what="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {what: int(float(count)) for what, count in found}


async def test_each_change_of_a_task_is_counted_once(net: Network, router: ServiceProcess) -> None:
    before = await asyncio.to_thread(counted, router)
    await net.register("bob", "analysis")
    assert (await net.route("alice", target_capabilities=["a thing that nobody does"]))["status"] == "unroutable"
    for status in ("completed", "failed", "declined"):
        await net.route("alice", agent="bob", idempotency_key=status)
        await net.route("alice", agent="bob", idempotency_key=status)
        task = await net.claim("bob")
        for _ in range(2):
            await net.submit("bob", task, status=status)
    await silent(net, "alice", "bob", lease_s=0.2)
    lapsing = await net.claim("bob")
    await net.until("alice", lapsing["task_id"], lambda task: task["state"] == "submitted" and task["attempt"] == 1)
    await net.submit("bob", await net.claim("bob"))
    after = await asyncio.to_thread(counted, router)
    new = {what: count - before.get(what, 0) for what, count in after.items()}
    expected = {"created": 4, "unroutable": 1, "claimed": 5, "completed": 2, "failed": 1, "declined": 1, "lapsed": 1}
    assert {what: count for what, count in new.items() if count} == expected


async def test_a_deadline_that_passes_is_a_failure(net: Network, router: ServiceProcess) -> None:
    before = await asyncio.to_thread(counted, router)
    await net.register("bob", "analysis")
    routed = await net.route("alice", agent="bob", deadline_s=1)
    assert (await net.get("alice", routed["task_id"], wait_s=20))["state"] == "failed"
    after = await asyncio.to_thread(counted, router)
    assert after["failed"] - before.get("failed", 0) == 1
