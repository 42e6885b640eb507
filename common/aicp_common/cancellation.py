"""Ending tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_S = 0.1
"""How long a task that was cancelled has to end before it is cancelled again."""


async def end(tasks: "Iterable[asyncio.Future[Any]]") -> None:
    """Cancel tasks until they have ended; what they raise is dropped.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, which redis-py and nats-py use for each command, loses a
    cancellation that comes in the moment in which it is done.
    """
    everything = list(tasks)
    pending = {task for task in everything if not task.done()}
    cut_off: asyncio.CancelledError | None = None
    while pending:
        for task in pending:
            task.cancel()
        try:
            _, pending = await asyncio.wait(pending, timeout=AGAIN_S)
        except asyncio.CancelledError as error:
            # Whoever ends this one waits for it, and it leaves nothing behind.
            cut_off = error
            pending = {task for task in pending if not task.done()}
    for task in everything:
        if not task.cancelled():
            task.exception()  # Looked at, so that asyncio does not report it as never retrieved.
    if cut_off is not None:
        raise cut_off
