"""An agent that calls the state hub over the bus, and ways to see what the event log and its watchers get."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.errors import DeadlineExceeded, Unavailable
from tests.conftest import envelope

Json = dict[str, Any]


class ToolFailed(Exception):
    """A tool result with `isError`."""

    def __init__(self, error: Json) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.message: str = error["message"]
        self.expected: str = error.get("expected", "")
        self.hint: str = error.get("hint", "")


@dataclass
class Agent:
    """One agent of a tenant."""

    bus: Bus
    tenant: str
    name: str = "alice"
    scopes: tuple[str, ...] = ("*",)

    async def send(self, tool: str, body: bytes, deadline_s: float = 30.0) -> Json:
        """Call a tool with this very text as its arguments; its structured result."""
        reply = await self.bus.call("statehub", tool, envelope(self.tenant, self.name, deadline_s, self.scopes), body)
        result = json.loads(reply.body)
        if result["isError"]:
            raise ToolFailed(result["_meta"]["aicp/error"])
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
        structured: Json = result["structuredContent"]
        return structured

    async def call(self, tool: str, deadline_s: float = 30.0, **arguments: Any) -> Json:
        """Call a tool."""
        return await self.send(tool, json.dumps(arguments, ensure_ascii=False).encode(), deadline_s)

    async def share(self, key: str, value: Any, **more: Any) -> Json:
        """`share_context`."""
        return await self.call("share_context", context_key=key, context_value=value, **more)

    async def get(self, key: str, **more: Any) -> Json:
        """`get_context` of one key."""
        return await self.call("get_context", context_key=key, **more)

    async def delete(self, key: str, **more: Any) -> Json:
        """`delete_context`."""
        return await self.call("delete_context", context_key=key, **more)

    async def read(self, uri: str) -> Json:
        """`resource_read`; the one document in it."""
        (contents,) = (await self._method("resource_read", uri))["contents"]
        assert contents["uri"] == uri
        assert contents["mimeType"] == "application/json"
        document: Json = json.loads(contents["text"])
        return document

    async def watch(self, uri: str) -> str:
        """`resource_watch`; the subject."""
        subject: str = (await self._method("resource_watch", uri))["subject"]
        return subject

    async def _method(self, method: str, uri: str) -> Json:
        call = envelope(self.tenant, self.name, scopes=self.scopes)
        reply = await self.bus.call("statehub", method, call, json.dumps({"uri": uri}).encode())
        answer: Json = json.loads(reply.body)
        return answer

    async def share_surely(self, key: str, value: Any) -> Json:
        """`share_context`, again and again while a part of the hub is away."""
        until = time.monotonic() + 20
        while True:
            try:
                return await self.share(key, value, deadline_s=2.0)
            except (Unavailable, DeadlineExceeded, ToolFailed) as error:
                if error.code not in ("unavailable", "deadline_exceeded") or time.monotonic() > until:
                    raise
                await asyncio.sleep(0.02)


@dataclass
class Watcher:
    """What comes in on a subject."""

    tenants: Sequence[str] = ()
    """Only their events count; empty for all."""
    events: list[Json] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    async def on_message(self, message: Msg) -> None:
        """The handler."""
        event = json.loads(message.data)
        assert message.subject == subjects.event(event["tenant"], event["entity"], event["id"], event["what"])
        if self.tenants and event["tenant"] not in self.tenants:
            return
        self.events.append(event)
        self._ids.add(event["event_id"])
        self._came.set()

    async def until(self, count: int, patience_s: float = 10.0) -> list[Json]:
        """Everything that came, once it is `count` different events."""
        async with asyncio.timeout(patience_s):
            while len(self._ids) < count:
                self._came.clear()
                await self._came.wait()
        return self.events


@contextlib.asynccontextmanager
async def watching(bus: Bus, subject: str, tenants: Sequence[str] = ()) -> AsyncIterator[Watcher]:
    """Listen on `subject`, from now on for certain; for the events of these tenants, or of all."""
    watcher = Watcher(tenants)
    subscription = await bus.subscribe(subject, watcher.on_message)
    await bus.flush()
    yield watcher
    await subscription.unsubscribe()


async def stored_events(nats_url: str, tenant: str, count: int, patience_s: float = 15.0) -> list[Json]:
    """The first `count` events of a tenant in the event log, in the log's order."""
    client = await nats.connect(nats_url)
    try:
        jetstream = client.jetstream()
        pattern = f"aicp.v1.event.{tenant}.>"
        events: list[Json] = []
        async with asyncio.timeout(patience_s):
            while not await _exists(jetstream):
                await asyncio.sleep(0.02)
            subscription = await jetstream.subscribe(pattern, stream=subjects.EVENT_STREAM, ordered_consumer=True)
            while len(events) < count:
                message = await subscription.next_msg(timeout=patience_s)
                events.append(json.loads(message.data))
        return events
    finally:
        await client.close()


async def _exists(jetstream: JetStreamContext) -> bool:
    """Whether the event log's stream is there."""
    try:
        await jetstream.stream_info(subjects.EVENT_STREAM)
    except NotFoundError:
        return False
    return True


async def eventually(check: Callable[[], Awaitable[bool]], patience_s: float = 10.0) -> None:
    """Wait until `check` says yes."""
    async with asyncio.timeout(patience_s):
        while not await check():
            await asyncio.sleep(0.02)


__all__ = ["Agent", "Json", "ToolFailed", "Watcher", "eventually", "stored_events", "watching"]
