"""A speaker: a client of one revision over one transport, so that a test says once what holds for all of them."""

import asyncio
import contextlib
import itertools
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.client import RawClient
from tests.gateway.eventsource import messages
from tests.gateway.httpclient import HttpClient
from tests.gateway.revisions import EVERYTHING, STATELESS, meta
from tests.support.processes import GatewayProcess

Person = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers a request of the server: the result, or raises `Refusal`."""

KINDS = (
    ("websocket", "2025-11-25"),
    ("websocket", "2024-11-05"),
    ("websocket", STATELESS),
    ("http", "2025-11-25"),
    ("http", "2025-03-26"),
    ("http", STATELESS),
)
"""Each transport in both eras, the first one also with an old revision."""


class Refusal(Exception):
    """The person does not answer; the client says so with an error."""


async def obliging(request: dict[str, Any]) -> dict[str, Any]:
    """A person, and a client, that give whatever they are asked for."""
    match request["method"]:
        case "elicitation/create":
            return {"action": "accept", "content": {"name": "Ann"}}
        case "sampling/createMessage":
            return {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Paris"}}
        case "roots/list":
            return {"roots": [{"uri": "file:///home/ann"}]}
    raise Refusal(f"no {request['method']} here")


@dataclass
class Exchange:
    """A request and everything that came for it."""

    before: list[dict[str, Any]] = field(default_factory=list)
    """The messages that came before the answer, in order."""
    answer: dict[str, Any] = field(default_factory=dict)
    content_type: str = ""
    """Over HTTP."""

    @property
    def result(self) -> dict[str, Any]:
        """The result; an assertion with the error when there is none."""
        assert "result" in self.answer, self.answer
        result: dict[str, Any] = self.answer["result"]
        return result

    @property
    def text(self) -> str:
        """What a tool said."""
        text: str = self.result["content"][0]["text"]
        return text

    def told(self, method: str) -> list[dict[str, Any]]:
        """The parameters of the notifications with this method."""
        return [message["params"] for message in self.before if message["method"] == method]


class Speaker(ABC):
    """One client that has said hello."""

    def __init__(self, revision: str, capabilities: Mapping[str, Any], person: Person) -> None:
        self.revision = revision
        self.capabilities = capabilities
        self.person = person
        self.asked: list[dict[str, Any]] = []
        """What the server wanted."""
        self._ids = itertools.count(1)

    def new_id(self) -> int:
        """An id that no request of this client had."""
        return next(self._ids)

    async def request(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        id: int | str | None = None,
        token: str | int | None = None,
        level: str | None = None,
    ) -> Exchange:
        """A request, with all that the server asks meanwhile answered.

        Args:
            method: Of the request.
            params: Of the request.
            id: Of the request; default: a new one.
            token: For progress.
            level: Of log messages, in the stateless era.
        """
        given = dict(params or {})
        exchange = Exchange()
        while True:
            own = meta(self.revision, self.capabilities, token=token, level=level)
            message = {
                "jsonrpc": "2.0",
                "id": self.new_id() if id is None else id,
                "method": method,
                "params": {**given, **({"_meta": own} if own else {})},
            }
            await self._exchange(message, exchange)
            result = exchange.answer.get("result", {})
            if result.get("resultType") != "input_required":
                return exchange
            answers = {}
            for key, wanted in result.get("inputRequests", {}).items():
                self.asked.append(wanted)
                answers[key] = await self.person(wanted)
            given |= {"inputResponses": answers, "requestState": result["requestState"]}

    async def call(
        self, tool: str, *, token: str | int | None = None, level: str | None = None, **arguments: Any
    ) -> Exchange:
        """A tool call."""
        return await self.request("tools/call", {"name": tool, "arguments": arguments}, token=token, level=level)

    async def play(
        self, *steps: list[Any], mark: str = "", token: str | int | None = None, level: str | None = None
    ) -> Exchange:
        """A call of the tool that does as it is told."""
        return await self.call("play", token=token, level=level, steps=list(steps), mark=mark)

    async def log_entry(self, entry: str) -> None:
        """Wait until the plug-in's log has this entry."""
        async with asyncio.timeout(10):
            await self.call("wait_for_log", entry=entry)

    @abstractmethod
    async def cancel(self, id: int | str) -> None:
        """Say that the answer to a request is no longer wanted, where that is a message."""

    @abstractmethod
    async def _exchange(self, message: dict[str, Any], exchange: Exchange) -> None:
        """Send a request and fill in what comes, up to the answer."""

    async def _response(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        try:
            return {"jsonrpc": "2.0", "id": request["id"], "result": await self.person(request)}
        except Refusal as refusal:
            return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -1, "message": str(refusal)}}


class WebSocketSpeaker(Speaker):
    """Over WebSocket."""

    def __init__(self, raw: RawClient, revision: str, capabilities: Mapping[str, Any], person: Person) -> None:
        super().__init__(revision, capabilities, person)
        self.raw = raw

    async def cancel(self, id: int | str) -> None:
        await self.raw.notify("notifications/cancelled", {"requestId": id})

    async def answer_for_ever(self) -> None:
        """Answer what the server asks."""
        while True:
            await self.raw.send(await self._response(await self.raw.requests.get()))

    async def _exchange(self, message: dict[str, Any], exchange: Exchange) -> None:
        first = len(self.raw.heard)
        exchange.answer = await self.raw.exchange(message)
        exchange.before += [each for each in self.raw.heard[first:] if "method" in each and "id" not in each]


class HttpSpeaker(Speaker):
    """Over Streamable HTTP."""

    def __init__(self, client: HttpClient, revision: str, capabilities: Mapping[str, Any], person: Person) -> None:
        super().__init__(revision, capabilities, person)
        self.client = client

    async def cancel(self, id: int | str) -> None:
        message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}
        assert (await self.client.post(message)).status_code == 202

    async def _exchange(self, message: dict[str, Any], exchange: Exchange) -> None:
        stateless = self.revision == STATELESS
        posting = self.client.ask_stream(message) if stateless else self.client.post_stream(message)
        async with posting as response:
            exchange.content_type = response.headers["content-type"]
            if exchange.content_type == "application/json":
                await response.aread()
                exchange.answer = response.json()
                return
            async for each in messages(response):
                if "method" not in each:
                    exchange.answer = each
                elif "id" in each:
                    assert (await self.client.post(await self._response(each))).status_code == 202
                else:
                    exchange.before.append(each)


@contextlib.asynccontextmanager
async def speaking(
    kind: tuple[str, str],
    *gateways: GatewayProcess,
    agent: str = "",
    capabilities: Mapping[str, Any] = EVERYTHING,
    person: Person = obliging,
) -> AsyncIterator[Speaker]:
    """A client of a transport and a revision, at these gateways in turn; over WebSocket at the first.

    Args:
        kind: Transport and revision.
        gateways: Where.
        agent: Its name; default: one of its own.
        capabilities: What it says that it can do.
        person: Who answers what the server asks.
    """
    transport, revision = kind
    name = agent or f"a{secrets.token_hex(4)}"
    if transport == "http":
        async with HttpClient(*(f"{each.http_url}?agent={name}" for each in gateways)) as client:
            if revision != STATELESS:
                await client.initialize(revision, capabilities)
            yield HttpSpeaker(client, revision, capabilities, person)
        return
    async with RawClient.connect(gateways[0].ws_url, name) as raw:
        if revision != STATELESS:
            await raw.initialize(revision, capabilities)
        speaker = WebSocketSpeaker(raw, revision, capabilities, person)
        answering = asyncio.create_task(speaker.answer_for_ever())
        try:
            yield speaker
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
