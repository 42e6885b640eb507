"""Every pattern with clients that nobody here wrote: the official SDK, over real sockets, through a gateway."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import jwt
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.processes import Backend, GatewayProcess, ServiceProcess

SECRET = "the secret of the tests of collaborations"

Task = dict[str, Any]
Work = Callable[[Task], Any]


@pytest.fixture(scope="module")
def gateway(backend: Backend, orchestrator: ServiceProcess) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens, so that each test has a tenant of its own."""
    settings = {
        "JWT_REQUIRED": "true",
        "JWT_SECRET": SECRET,
        "REQUIRED_SERVICES": "orchestrator,router,statehub",
    }
    running = GatewayProcess(backend, settings)
    running.start().wait()
    yield running
    assert running.stop() == 0, running.process.output()[-4000:]


class Failed(Exception):
    """What an agent of a test says when it cannot do its task."""


class Person:
    """A user with an LLM client of the network."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.done: list[Task] = []
        """What it has worked on."""

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; its structured content."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result
        assert isinstance(result.structured_content, dict)
        assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
        return result.structured_content

    async def work(self, does: Work) -> None:
        """Take tasks for ever, and hand in what `does` makes of each."""
        while True:
            for task in (await self.call("receive_tasks", wait_s=20))["tasks"]:
                self.done.append(task)
                try:
                    about = {"status": "completed", "result": does(task)}
                except Failed as why:
                    about = {"status": "failed", "result": str(why)}
                await self.call("submit_result", task_id=task["task_id"], attempt=task["attempt"], **about)


class People:
    """The users of one tenant."""

    def __init__(self, gateway: GatewayProcess, tenant: str, stack: contextlib.AsyncExitStack) -> None:
        self._gateway = gateway
        self._tenant = tenant
        self._stack = stack
        self._working: set[asyncio.Task[None]] = set()

    async def connect(self, name: str) -> Person:
        """A client that speaks for `name`."""
        claims = {"sub": name, "tenant": self._tenant, "exp": int(time.time()) + 300}
        headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"}
        http = await self._stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=60))
        transport = streamable_http_client(self._gateway.http_url, http_client=http)
        return Person(await self._stack.enter_async_context(Client(transport)), name)

    async def agent(self, name: str, does: Work, *capabilities: str) -> Person:
        """An agent that is registered and works."""
        person = await self.connect(name)
        skills = list(capabilities) or ["opinions"]
        await person.call("register_agent", capabilities=skills, description=f"{name} has views.")
        self._working.add(asyncio.create_task(person.work(does)))
        return person

    async def ask(self, requester: Person, **arguments: Any) -> dict[str, Any]:
        """Ask for a collaboration and wait for its end; an agent that breaks down ends the wait."""
        asked = asyncio.create_task(requester.call("orchestrate_collaboration", **{"wait_s": 30, **arguments}))
        try:
            await asyncio.wait({asked, *self._working}, return_when=asyncio.FIRST_COMPLETED)
            for broken in self._working:
                if broken.done():
                    broken.result()
            return await asked
        finally:
            asked.cancel()

    async def close(self) -> None:
        """Let all agents rest."""
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)


@contextlib.asynccontextmanager
async def people_of(gateway: GatewayProcess, tenant: str) -> AsyncIterator[People]:
    """Nobody yet. No fixture: the SDK's clients must be closed by the task that has opened them."""
    async with contextlib.AsyncExitStack() as stack:
        people = People(gateway, tenant, stack)
        try:
            yield people
        finally:
            # Before the connections under them are closed.
            await people.close()


def says(text: Any) -> Work:
    """Work that always has the same result."""
    return lambda task: text


def results(answer: dict[str, Any]) -> dict[str, Any]:
    """The results of the parts, by step."""
    assert answer["status"] == "completed", answer
    return {part["step"]: part["result"] for part in answer["result"]["parts"] if "result" in part}


async def test_parallel_with_a_synthesis(gateway: GatewayProcess, tenant: str) -> None:
    async with people_of(gateway, tenant) as people:
        alice = await people.connect("alice")
        await people.agent("bob", says("sooner"))
        await people.agent("carol", says("later"))
        await people.agent("erin", lambda task: sorted(task["context"]["input_from"].values()), "synthesis")
        answer = await people.ask(alice, task="When?", agents=["bob", "carol"], pattern="parallel", synthesizer="auto")
        assert results(answer) == {"step-1": "sooner", "step-2": "later"}
        assert answer["result"]["answer"] == ["later", "sooner"]
        whole = await alice.call("get_task", task_id=answer["task_id"])
        assert (whole["kind"], whole["state"], whole["result"]) == ("collaboration", "completed", answer["result"])
        assert [(step["id"], step["state"], step["agent"]) for step in whole["steps"]] == [
            ("step-1", "completed", "bob"),
            ("step-2", "completed", "carol"),
            ("answer", "completed", "erin"),
        ]


async def test_pipeline(gateway: GatewayProcess, tenant: str) -> None:
    async with people_of(gateway, tenant) as people:
        alice = await people.connect("alice")

        def add(word: str) -> Work:
            return lambda task: " ".join([*task.get("context", {}).get("input_from", {}).values(), word])

        await people.agent("bob", add("draft"))
        await people.agent("carol", add("checked"))
        answer = await people.ask(alice, task="Write", agents=["bob", "carol", "bob"], pattern="pipeline")
        assert results(answer) == {"step-1": "draft", "step-2": "draft checked", "step-3": "draft checked draft"}


async def test_debate_with_a_judge(gateway: GatewayProcess, tenant: str) -> None:
    async with people_of(gateway, tenant) as people:
        alice = await people.connect("alice")

        def argue(name: str) -> Work:
            return lambda task: [name, *sorted(task.get("context", {}).get("input_from", {}))]

        await people.agent("bob", argue("bob"))
        await people.agent("carol", argue("carol"))
        await people.agent("judy", lambda task: {"heard": sorted(task["context"]["input_from"])})
        answer = await people.ask(alice, task="Who?", agents=["bob", "carol"], pattern="debate", synthesizer="judy")
        before = ["round-1-bob", "round-1-carol"]
        assert results(answer) == {
            "round-1-bob": ["bob"],
            "round-1-carol": ["carol"],
            "round-2-bob": ["bob", *before],
            "round-2-carol": ["carol", *before],
        }
        assert answer["result"]["answer"] == {"heard": ["round-2-bob", "round-2-carol"]}


async def test_vote(gateway: GatewayProcess, tenant: str) -> None:
    async with people_of(gateway, tenant) as people:
        alice = await people.connect("alice")
        for name, choice in (("bob", "yes"), ("carol", "No"), ("dave", "**Yes**, it is cheap")):
            await people.agent(name, says(choice))
        answer = await people.ask(alice, task="Shall we?", agents=["bob", "carol", "dave"], choices=["yes", "no"])
        assert answer["result"]["answer"] == "yes"
        assert answer["result"]["vote"]["votes"] == {"yes": ["bob", "dave"], "no": ["carol"]}


async def test_map_reduce(gateway: GatewayProcess, tenant: str) -> None:
    async with people_of(gateway, tenant) as people:
        alice = await people.connect("alice")
        for name in ("bob", "carol"):
            await people.agent(name, lambda task: task["context"]["input"] ** 2)
        await people.agent("erin", lambda task: sum(task["context"]["input_from"].values()))
        answer = await people.ask(
            alice, task="Square it", agents=["bob", "carol"], inputs=[1, 2, 3, 4, 5], synthesizer="erin"
        )
        assert [results(answer)[f"input-{number}"] for number in range(1, 6)] == [1, 4, 9, 16, 25]
        assert answer["result"]["answer"] == 55


async def test_a_diamond_whose_middle_fails_once_and_is_tried_elsewhere(gateway: GatewayProcess, tenant: str) -> None:
    async with people_of(gateway, tenant) as people:
        alice = await people.connect("alice")
        failed: list[str] = []

        def c(name: str) -> Work:
            def does(task: Task) -> str:
                if not failed:
                    failed.append(name)
                    raise Failed("my tools are broken today")
                return f"C of {task['context']['input_from']['a']}"

            return does

        await people.agent("bob", says("A"))
        await people.agent("carol", lambda task: f"B of {task['context']['input_from']['a']}")
        both = {name: await people.agent(name, c(name), "chemistry") for name in ("dave", "erin")}
        fred = await people.agent("fred", lambda task: task["context"]["input_from"])
        answer = await people.ask(
            alice,
            task="the whole",
            steps=[
                {"id": "a", "task": "do a", "agent": "bob"},
                {"id": "b", "task": "do b", "agent": "carol", "depends_on": ["a"]},
                {"id": "c", "task": "do c", "capabilities": ["chemistry"], "depends_on": ["a"]},
                {"id": "d", "task": "do d", "agent": "fred", "depends_on": ["b", "c"]},
            ],
        )
        assert results(answer) == {"a": "A", "b": "B of A", "c": "C of A", "d": {"b": "B of A", "c": "C of A"}}
        (first,) = failed
        (second,) = set(both) - {first}
        part = {part["step"]: part for part in answer["result"]["parts"]}["c"]
        assert (part["agent"], part["tries"]) == (second, 2)
        assert {name: len(person.done) for name, person in both.items()} == {first: 1, second: 1}
        assert len(fred.done) == 1
        whole = await alice.call("get_task", task_id=answer["task_id"])
        shown = {step["id"]: step for step in whole["steps"]}
        assert [step["state"] for step in whole["steps"]] == ["completed"] * 4
        assert (shown["c"]["agent"], shown["c"]["tries"], shown["c"]["output"]) == (second, 2, "C of A")
        assert shown["a"]["ended"] <= shown["b"]["created"]
        assert max(shown["b"]["ended"], shown["c"]["ended"]) <= shown["d"]["created"]


async def test_a_plan_that_an_agent_makes(gateway: GatewayProcess, tenant: str) -> None:
    async with people_of(gateway, tenant) as people:
        alice = await people.connect("alice")
        steps: list[dict[str, Any]] = [
            {"id": "measure", "task": "Measure it", "agent": "bob"},
            {"id": "cut", "task": "Cut it", "agent": "carol", "depends_on": ["measure"]},
        ]

        def plan(task: Task) -> Any:
            if "cannot be run" not in task["message"]:
                return {"steps": [steps[0] | {"agent": "nobody"}]}
            return f"Better so:\n```json\n{json.dumps({'steps': steps})}\n```"

        pat = await people.agent("pat", plan, "planning")
        await people.agent("bob", says("2 m"))
        await people.agent("carol", lambda task: f"cut at {task['context']['input_from']['measure']}")
        answer = await people.ask(alice, task="Build a shelf")
        assert results(answer) == {"measure": "2 m", "cut": "cut at 2 m"}
        assert answer["result"]["note"] == "pat made the plan"
        assert len(pat.done) == 2


async def test_a_quorum_is_enough_and_nobody_is_asked_for_more(gateway: GatewayProcess, tenant: str) -> None:
    async with people_of(gateway, tenant) as people:
        alice = await people.connect("alice")
        await people.agent("bob", says("one"))
        await people.agent("carol", says("two"))
        slow = await people.connect("dave")
        await slow.call("register_agent", capabilities=["opinions"], description="Takes long.")
        answer = await people.ask(alice, task="Any two", agents=["bob", "carol", "dave"], quorum=2)
        assert results(answer) == {"step-1": "one", "step-2": "two"}
        unwanted = {part["step"]: part for part in answer["result"]["parts"]}["step-3"]
        assert unwanted["status"] == "cancelled"
        # The steps end soon after the whole.
        step = await alice.call("get_task", task_id=unwanted["task_id"], wait_s=10)
        assert step["state"] == "cancelled"
        assert (await slow.call("receive_tasks"))["tasks"] == []


async def test_who_does_not_wait_sees_the_steps_go_on_and_answers_their_questions(
    gateway: GatewayProcess, tenant: str
) -> None:
    async with people_of(gateway, tenant) as people:
        alice, bob = await people.connect("alice"), await people.connect("bob")
        await bob.call("register_agent", capabilities=["opinions"], description="Asks first.")
        begun = await alice.call("orchestrate_collaboration", task="t", agents=["bob"], wait_s=0)
        assert begun["status"] == "running"
        (task,) = (await bob.call("receive_tasks", wait_s=20))["tasks"]
        await bob.call("update_task", task_id=task["task_id"], attempt=task["attempt"], question="Which currency?")
        whole = await alice.call("get_task", task_id=begun["task_id"], wait_s=20)
        (step,) = whole["steps"]
        assert (step["state"], step["question"]) == ("input_required", "Which currency?")
        await alice.call("answer_task", task_id=step["task_id"], answer="euro")
        (task,) = (await bob.call("receive_tasks", wait_s=20))["tasks"]
        assert task["questions"][0]["answer"] == "euro"
        await bob.call(
            "submit_result", task_id=task["task_id"], attempt=task["attempt"], status="completed", result="12 euro"
        )
        whole = await alice.call("get_task", task_id=begun["task_id"], wait_s=20)
        assert (whole["state"], whole["steps"][0]["output"]) == ("completed", "12 euro")
