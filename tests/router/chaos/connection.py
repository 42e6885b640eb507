"""A client that stays in touch with a hub whose parts are killed: it takes another gateway and asks again."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Sequence
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from tests.gateway.revisions import meta

PATIENCE_S = 30.0
"""How long the hub may not answer at all; a client in front of it would have given up long before."""
_PAUSE_S = 0.05
_PASSES = ("unavailable", "deadline_exceeded", "busy")
"""Busy is who has more calls under way on one connection than it may: on a slow machine those that wait pile up."""


class Refused(Exception):
    """The hub has answered that it does not do it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Lost(Exception):
    """No answer: what was asked may or may not have been done."""


class Silent(Exception):
    """No answer, however often it was asked."""


class Connection:
    """Tool calls of one agent, in the stateless era, over one WebSocket at a time.

    Args:
        agent: Its name.
        urls: Of the gateways; it begins with the first.
    """

    def __init__(self, agent: str, urls: Sequence[str]) -> None:
        self.agent = agent
        self.lost = 0
        """Calls that got no answer."""
        self._urls = itertools.cycle(urls)
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def close(self) -> None:
        """Leave."""
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            await self._reader

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool once; its structured content.

        Raises:
            Refused: the tool or the gateway says no.
            Lost: there was no answer, or one that says that a part of the hub is away.
        """
        try:
            answer = await self._exchange("tools/call", {"name": tool, "arguments": arguments, "_meta": meta()})
        except (OSError, websockets.WebSocketException) as gone:
            self.lost += 1
            raise Lost(str(gone)) from gone
        error = answer.get("error", {}).get("data") or answer.get("result", {}).get("_meta", {}).get("aicp/error")
        if error or "error" in answer:
            code, message = (error["code"], error["message"]) if error else ("error", json.dumps(answer["error"]))
            if code in _PASSES:
                self.lost += 1
                raise Lost(f"{code}: {message}")
            raise Refused(code, message)
        content: dict[str, Any] = answer["result"]["structuredContent"]
        return content

    async def insist(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that may be called again, until there is an answer. Once one was lost, it asks without waiting.

        Raises:
            Refused: the hub says no.
            Silent: it has given no answer for `PATIENCE_S`.
        """
        began, tries = time.monotonic(), list[str]()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        return await self.call(tool, **arguments)
                    except Lost as lost:
                        tries.append(f"after {time.monotonic() - began:.1f} s: {lost}")
                    # A long wait would meet the end of the next part, and of the one after that.
                    if "wait_s" in arguments:
                        arguments["wait_s"] = 0
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError as error:
            raise Silent(f"{tool}{arguments} of {self.agent}: {tries}") from error

    async def _exchange(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        socket = await self._connected()
        id = next(self._ids)
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[id] = answered
        try:
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            return await answered
        finally:
            self._waiting.pop(id, None)

    async def _connected(self) -> ClientConnection:
        async with self._connecting:
            if self._reader is None or self._reader.done():
                url = f"{next(self._urls)}?agent={self.agent}"
                self._socket = await websockets.connect(url, max_size=None, ping_interval=None, compression=None)
                self._reader = asyncio.create_task(self._read(self._socket))
        assert self._socket is not None
        return self._socket

    async def _read(self, socket: ClientConnection) -> None:
        with contextlib.suppress(OSError, websockets.WebSocketException):
            async for frame in socket:
                message = json.loads(frame)
                answered = self._waiting.get(message.get("id"))
                if answered is not None and not answered.done():
                    answered.set_result(message)
        for answered in self._waiting.values():
            if not answered.done():
                answered.set_exception(ConnectionResetError("the gateway is gone"))
