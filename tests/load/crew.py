"""The crew: all clients of a run, from their first connection to the last trace that is cleared away."""

import asyncio
import contextlib
import secrets
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.load.book import Book
from tests.load.calls import KINDS, Call, LoadAgent, call_tool, share_context
from tests.load.clients import Client, client_of
from tests.load.failure import CallFailed
from tests.load.plan import Plan
from tests.load.workers import RECEIVE, RECEIVERS, SUBMIT, Worker

_AT_ONCE = 50
"""Connections that are made at the same time: below the backlog of any server."""
_TIDY_S = 10.0
_SPARE_S = 600.0
"""Contexts that could not be deleted live so much longer than the run."""
_SENTENCE = "Compare the two plans and say which one is cheaper and why. "
_USES_CONTEXT = frozenset({"share_context", "get_context"})


class Crew:
    """The agents that put load on the hub, and the workers that some of their calls need.

    Args:
        plan: What is wanted.
        book: Where the workers count.
    """

    def __init__(self, plan: Plan, book: Book) -> None:
        self._plan = plan
        # Letters and digits only: as a capability it is one word, and like no other.
        self._name = f"load{secrets.token_hex(5)}"
        text = f"{self._name}: {_SENTENCE * (plan.payload_bytes // len(_SENTENCE) + 1)}"[: plan.payload_bytes]
        # An agent that the URL names is to be that one.
        named = "agent" in parse_qs(urlsplit(plan.url).query) or plan.token
        skills = [f"{self._name}w{number}" for number in range(plan.workers)]
        self._agents = [
            self._agent("" if named else f"{self._name}-{number}", number, skills, text)
            for number in range(plan.connections)
        ]
        self._worker_clients = [
            client_of(
                plan.url,
                era=plan.era,
                agent="" if plan.worker_token else f"{self._name}-worker-{number}",
                token=plan.worker_token,
                timeout_s=plan.timeout_s,
                in_flight=RECEIVERS,
            )
            for number in range(plan.workers)
        ]
        self._workers = [
            Worker(client, skill, text, book) for client, skill in zip(self._worker_clients, skills, strict=True)
        ]
        self._working: list[Worker] = []
        self._connected = False

    @staticmethod
    def helpers(plan: Plan) -> tuple[str, ...]:
        """Names of the workers' calls that a run with this plan has."""
        return (RECEIVE, SUBMIT) if plan.workers else ()

    @property
    def calls(self) -> list[Mapping[str, Call]]:
        """What each agent can call, by name."""
        return [{name: KINDS[name].make(agent) for name in self._plan.weights} for agent in self._agents]

    @property
    def reconnects(self) -> int:
        """How often a connection had to be made again."""
        return sum(client.reconnects for client in self._clients)

    async def open(self) -> None:
        """Connect everybody and let the workers join.

        Raises:
            CallFailed: the hub cannot be reached, or does not let them.
        """
        await _all(client.open() for client in self._clients)
        self._connected = True
        if "get_context" in self._plan.weights:
            # There must be something to read.
            await _all(_call(share_context(agent)) for agent in self._agents)
        for worker in self._workers:
            self._working.append(worker)
            await worker.start()

    async def close(self) -> str:
        """Take back what was left in the hub and end the connections; what could not be taken back, if anything."""
        left: list[CallFailed] = []
        try:
            async with asyncio.timeout(_TIDY_S):
                await _all(_attempt(worker.stop(), left) for worker in self._working)
                if self._connected and _USES_CONTEXT & set(self._plan.weights):
                    await _all(_attempt(self._delete_context(agent), left) for agent in self._agents)
        except TimeoutError:
            left.append(CallFailed("timeout", f"the hub took more than {_TIDY_S:g} s"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TIDY_S):
                await _all(client.close() for client in self._clients)
        if not left:
            return ""
        return f"{len(left)} contexts and workers of {self._name} could not be removed and will expire: {left[0]}"

    @property
    def _clients(self) -> list[Client]:
        return [*(agent.client for agent in self._agents), *self._worker_clients]

    def _agent(self, name: str, number: int, skills: list[str], text: str) -> LoadAgent:
        plan = self._plan
        return LoadAgent(
            client=client_of(
                plan.url,
                era=plan.era,
                agent=name,
                token=plan.token,
                timeout_s=plan.timeout_s,
                in_flight=plan.in_flight,
            ),
            context_key=f"load-test/{self._name}/{number}",
            context_ttl_s=plan.warm_up_s + plan.duration_s + plan.timeout_s + _SPARE_S,
            skill=skills[number % len(skills)] if skills else "",
            text=text,
            tool=plan.tool,
            arguments=plan.arguments,
        )

    async def _delete_context(self, agent: LoadAgent) -> None:
        await call_tool(agent.client, "delete_context", {"context_key": agent.context_key})


async def _call(call: Call) -> None:
    await call()


async def _attempt(step: Coroutine[Any, Any, None], failures: list[CallFailed]) -> None:
    try:
        await step
    except CallFailed as failure:
        failures.append(failure)


async def _all(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all, some at once. The first failure ends the others."""
    everything = list(steps)
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(step: Coroutine[Any, Any, None]) -> None:
        async with limit:
            await step

    tasks = [asyncio.create_task(one(step)) for step in everything]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for step in everything:
            # One whose turn never came would be reported as never awaited.
            step.close()
