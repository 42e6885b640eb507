"""A network of agents for tests of the router: calls of its tools over the real bus, as a gateway makes them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.envelope import encode_json
from aicp_common.errors import AicpError
from tests.conftest import envelope, running
from tests.support.processes import Backend, ServiceProcess


class ToolError(Exception):
    """A tool result with `isError`."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.message: str = error["message"]
        self.expected: str = error.get("expected", "")
        self.hint: str = error.get("hint", "")


class Network:
    """Calls in one tenant."""

    def __init__(self, bus: Bus, tenant: str) -> None:
        self.bus = bus
        self.tenant = tenant

    async def tool(self, agent: str, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool of the router as `agent`; its structured content."""
        return structured((await self.raw(agent, name, arguments)).body)

    async def raw(self, agent: str, name: str, arguments: dict[str, Any], **about: Any) -> Any:
        """The reply of the bus."""
        return await self.bus.call("router", name, envelope(self.tenant, agent, **about), encode_json(arguments))

    async def method(self, agent: str, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a method of the router that is no tool."""
        answer: dict[str, Any] = msgspec.json.decode((await self.raw(agent, name, arguments)).body)
        return answer

    async def read(self, agent: str, uri: str) -> dict[str, Any]:
        """A resource's content."""
        answer = await self.method(agent, "resource_read", uri=uri)
        content: dict[str, Any] = msgspec.json.decode(answer["contents"][0]["text"])
        return content

    async def register(self, agent: str, /, *capabilities: str, **more: Any) -> dict[str, Any]:
        """Let `agent` join."""
        more.setdefault("description", f"{agent} knows about {', '.join(capabilities) or 'nothing'}")
        return await self.tool(agent, "register_agent", capabilities=list(capabilities) or [f"{agent}-things"], **more)

    async def route(self, agent: str, message: str = "please do this", /, **more: Any) -> dict[str, Any]:
        """Route without waiting."""
        more.setdefault("wait_s", 0)
        return await self.tool(agent, "route_to_agent", message=message, **more)

    async def claim(self, agent: str, **more: Any) -> dict[str, Any]:
        """Claim the one task that waits for `agent`, or that comes soon."""
        more.setdefault("wait_s", 10)
        tasks = (await self.tool(agent, "receive_tasks", **more))["tasks"]
        assert len(tasks) == 1, tasks
        task: dict[str, Any] = tasks[0]
        return task

    async def submit(self, agent: str, task: dict[str, Any], result: Any = "done", status: str = "completed") -> Any:
        """Hand in a result for a claimed task."""
        return await self.tool(
            agent, "submit_result", task_id=task["task_id"], attempt=task["attempt"], status=status, result=result
        )

    async def get(self, agent: str, task_id: str, **more: Any) -> dict[str, Any]:
        """Look at a task."""
        return await self.tool(agent, "get_task", task_id=task_id, **more)

    async def handed_over(self, requester: str, worker: str, *message: str, **more: Any) -> dict[str, Any]:
        """A task of `requester` that `worker` has claimed."""
        await self.register(worker, "work")
        routed = await self.route(requester, *message, agent=worker, **more)
        task = await self.claim(worker)
        assert task["task_id"] == routed["task_id"]
        return task

    async def until(self, agent: str, task_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The task once `is_so`, looking again at each signal about it."""
        heard = asyncio.Event()

        async def hear(_: Any) -> None:
            heard.set()

        subscription = await self.bus.subscribe(subjects.task(self.tenant, task_id), hear)
        await self.bus.flush()
        try:
            async with asyncio.timeout(20):
                while True:
                    heard.clear()
                    task = await self.get(agent, task_id)
                    if is_so(task):
                        return task
                    await heard.wait()
        finally:
            await subscription.unsubscribe()


def structured(body: bytes) -> dict[str, Any]:
    """The structured content of a tool result, which is the same as its text.

    Raises:
        ToolError: it has `isError`.
    """
    answer = msgspec.json.decode(body)
    if answer["isError"]:
        raise ToolError(answer["_meta"]["aicp/error"])
    content: dict[str, Any] = answer["structuredContent"]
    assert msgspec.json.decode(answer["content"][0]["text"]) == content
    return content


async def refused(call: Awaitable[Any]) -> ToolError:
    """The error that a call ends with."""
    try:
        answer = await call
    except ToolError as error:
        return error
    except AicpError as error:
        return ToolError(error.as_dict())
    raise AssertionError(f"was not refused: {answer}")


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """NATS and Redis without an orchestrator: these tests play it, and a real one would be faster."""
    own = Backend(tmp_path_factory.mktemp("router"))
    own.start()
    yield own
    own.stop()


@pytest.fixture(scope="session")
def statehub(backend: Backend) -> Iterator[ServiceProcess]:
    """The state hub there."""
    yield from running("statehub", backend)


@pytest.fixture(scope="session")
def router(backend: Backend, statehub: ServiceProcess) -> Iterator[ServiceProcess]:
    """The router there."""
    yield from running("router", backend)


@pytest.fixture
def net(bus: Bus, router: ServiceProcess, tenant: str) -> Network:
    """A tenant of its own on the shared router."""
    return Network(bus, tenant)


@pytest.fixture
async def started() -> AsyncIterator[set["asyncio.Task[Any]"]]:
    """Tasks that a test started: what still runs at its end is cancelled."""
    tasks: set[asyncio.Task[Any]] = set()
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
