"""A subscription of the stateless era: `subscriptions/listen`, from its acknowledgement to its end.

Source: MCP 2026-07-28, basic/patterns/subscriptions.
"""

import asyncio
import logging
from collections.abc import Callable

from aicp_common.cancellation import end
from aicp_common.errors import AicpError, NotFound
from aicp_gateway.dispatch import Dispatch
from aicp_gateway.hub import Hub
from aicp_gateway.notices import Notices
from aicp_gateway.protocol.actions import Call, Listen
from aicp_gateway.protocol.stateless import Stateless
from aicp_gateway.source import Source

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""After a task's state could not be read, it is tried again this much later, for as long as the subscription lasts."""


class Subscription:
    """One open subscription of one client.

    Args:
        hub: What all connections share.
        dispatch: Of the client's transport.
        listen: What was asked for.
        session: Of the connection.
        wake: Called when there is something to tell.
    """

    def __init__(
        self, hub: Hub, dispatch: Dispatch, listen: Listen, session: str, wake: Callable[[Notices], None]
    ) -> None:
        assert isinstance(listen.exchange, Stateless)
        self._hub = hub
        self._dispatch = dispatch
        self._exchange = listen.exchange
        self._session = session
        self.listen = listen
        """What was asked for."""
        self.notices = Notices(wake, listen.id, listen.wanted)
        """What is to be told."""
        self.notices.hold()
        self.acknowledged = False
        """Whether the client knows of it."""
        self._wake = wake
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._unread: set[str] = set()
        self._states: dict[str, str] = {}

    async def open(self) -> bytes:
        """Watch everything that can be watched; the acknowledgement. Nothing is told before `release`."""
        watches = self.listen.watches
        found = await asyncio.gather(*(self._source(call) for call in watches.values()))
        sources = {name: source for name, source in zip(watches, found, strict=True) if source is not None}
        await self._hub.watches.add_all(self.notices, sources)
        self._hub.clients.add(self.notices)
        return self._exchange.acknowledge(self.listen, set(sources))

    def release(self) -> None:
        """The client has the acknowledgement: from now on it is told."""
        self.acknowledged = True
        self.notices.release()

    def take(self) -> list[str]:
        """The messages that are to be sent now."""
        messages, tasks = self.notices.take()
        for task_id in tasks:
            if task_id in self._readers:
                self._unread.add(task_id)
            else:
                self._readers[task_id] = asyncio.create_task(self._read(task_id))
        messages += self._states.values()
        self._states.clear()
        return messages

    def conclude(self) -> bytes:
        """The response that ends it in good order."""
        return self._exchange.conclude_listen(self.listen)

    async def close(self) -> None:
        """Watch no more."""
        self._hub.clients.discard(self.notices)
        await end(self._readers.values())
        await self._hub.watches.remove_all(self.notices)

    async def _read(self, task_id: str) -> None:
        """Ask for the state of a task that has changed, beside everything else: its service may be slow."""
        self._unread.add(task_id)
        while task_id in self._unread:
            self._unread.discard(task_id)
            try:
                reply = await self._dispatch.perform(self._exchange.get_task(self.listen, task_id), self._session)
            except AicpError as error:
                # An ended task has no next change that would tell it.
                log.warning("a task's state could not be told yet: %s", error)
                if isinstance(error, NotFound):
                    break
                asyncio.get_running_loop().call_later(RETRY_S, self.notices.changed, task_id)
            else:
                self._states[task_id] = self._exchange.task_changed(self.listen, reply.body).decode()
                self._wake(self.notices)
        del self._readers[task_id]

    async def _source(self, call: Call) -> Source | None:
        try:
            return await self._dispatch.watched_source(call, self._session)
        except AicpError as error:
            log.info("a subscription leaves out what cannot be watched: %s", error)
            return None
