"""Workers: agents that take the tasks which the call `route` hands over, and hand in a result at once."""

import asyncio

import msgspec

from tests.load.book import Book, clock
from tests.load.calls import call_tool, structured
from tests.load.clients import Client
from tests.load.failure import CallFailed

RECEIVERS = 4
"""Calls of `receive_tasks` that one worker has open; each takes one task and hands it in."""
RECEIVE = "receive_tasks"
SUBMIT = "submit_result"
_WAIT_S = 20.0
_PAUSE_S = 0.1
_DESCRIPTION = "A worker of a load test. It takes the tasks of that test and declines all others."


class _Task(msgspec.Struct):
    task_id: str
    attempt: int
    message: str


class _Received(msgspec.Struct):
    tasks: list[_Task]


class Worker:
    """One of them.

    Args:
        client: What it speaks through; it needs `RECEIVERS` requests in flight.
        skill: Its capability.
        message: What the tasks of this test say; others are declined, so that their requesters lose nothing.
        book: Where its calls are counted.
    """

    def __init__(self, client: Client, skill: str, message: str, book: Book) -> None:
        self._client = client
        self._skill = skill
        self._message = message
        self._book = book
        self._receiving: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Join the network and begin to work.

        Raises:
            CallFailed: the hub does not let it.
        """
        profile = {"capabilities": [self._skill], "description": _DESCRIPTION, "max_concurrency": 100}
        await call_tool(self._client, "register_agent", profile)
        self._receiving = [asyncio.create_task(self._receive_for_ever()) for _ in range(RECEIVERS)]

    async def stop(self) -> None:
        """Stop working and leave the network.

        Raises:
            CallFailed: the hub cannot be told.
        """
        for task in self._receiving:
            task.cancel()
        for outcome in await asyncio.gather(*self._receiving, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        await call_tool(self._client, "leave_network", {})

    async def _receive_for_ever(self) -> None:
        while True:
            began = clock()
            try:
                answer = await call_tool(self._client, "receive_tasks", {"wait_s": _WAIT_S, "max": 1})
                received = structured(answer, _Received)
            except CallFailed as failure:
                self._book.helped(RECEIVE, began, failure)
                # What fails at once would otherwise be a load of its own.
                await asyncio.sleep(_PAUSE_S)
                continue
            self._book.helped(RECEIVE, began)
            for task in received.tasks:
                await self._submit(task)

    async def _submit(self, task: _Task) -> None:
        mine = task.message == self._message
        said = {"status": "completed", "result": "done"} if mine else {"status": "declined", "result": _DESCRIPTION}
        began = clock()
        try:
            await call_tool(self._client, "submit_result", {"task_id": task.task_id, "attempt": task.attempt, **said})
        except CallFailed as failure:
            self._book.helped(SUBMIT, began, failure)
        else:
            self._book.helped(SUBMIT, began)
