"""Server-sent events as a client reads them. Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream"."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx


@dataclass
class Event:
    """What stood between two blank lines."""

    id: str = ""
    kind: str = ""
    data: str | None = None
    retry_ms: int | None = None
    comment: str | None = None

    @property
    def message(self) -> dict[str, Any]:
        """The JSON-RPC message."""
        assert self.data, self
        message: dict[str, Any] = json.loads(self.data)
        return message


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    """The events of an answer, comments included, until it ends."""
    event = Event()
    async for line in response.aiter_lines():
        if not line:
            if event != Event():
                yield event
            event = Event()
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "":
                event.comment = value
            case "id":
                event.id = value
            case "event":
                event.kind = value
            case "data":
                event.data = value if event.data is None else f"{event.data}\n{value}"
            case "retry":
                event.retry_ms = int(value)


async def messages(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The messages of an answer: its events that are no comment, no priming and no `retry`."""
    async for event in events(response):
        if event.data:
            yield event.message
