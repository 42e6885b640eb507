"""One call of a hub's tool, over a WebSocket, as a client of MCP's stateless revision: no handshake, no session.

Source: MCP 2026-07-28, basic, "_meta"; server/tools, "Calling Tools".
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from aicp import __version__
from aicp.connect.endpoint import Endpoint
from aicp.connect.exceptions import ConnectError
from aicp.connect.opening import clean, open_socket, reason

REVISION = "2026-07-28"
ANSWER_S = 55.0
"""Longer than a hub lets a call take."""
INVALID_PARAMS = -32602

_META = {
    "io.modelcontextprotocol/protocolVersion": REVISION,
    "io.modelcontextprotocol/clientInfo": {"name": "aicp", "version": __version__},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class ToolError(Exception):
    """The hub has refused the call, or could not do it; the text is what the user reads."""


class NoSuchTool(ToolError):
    """The hub has no tool of this name for this client."""


class ToolCaller:
    """Calls tools over one connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call a tool; its structured result.

        Raises:
            NoSuchTool: there is none of this name.
            ToolError: what the hub says is wrong, or that it has not answered.
        """
        number = next(self._ids)
        params = {"name": tool, "arguments": arguments, "_meta": _META}
        request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._socket.send(json.dumps(request, ensure_ascii=False))
                while True:
                    answer = json.loads(await self._socket.recv())
                    if isinstance(answer, dict) and answer.get("id") == number and "method" not in answer:
                        return _result(answer)
        except TimeoutError as error:
            raise ToolError("the hub did not answer in time") from error
        except (OSError, WebSocketException) as error:
            raise ToolError(f"the connection to the hub broke: {reason(error)}") from error
        except (ValueError, RecursionError) as error:
            raise ToolError("the hub's answer cannot be read") from error


@contextlib.asynccontextmanager
async def tool_caller(endpoint: Endpoint) -> AsyncIterator[ToolCaller]:
    """Connect to a hub for some calls.

    Raises:
        ConnectError: there is no connection.
    """
    try:
        socket = await open_socket(endpoint, endpoint.headers())
    except (OSError, EOFError, WebSocketException) as error:
        raise ConnectError(f"no connection to {endpoint.shown} ({reason(error)}); is the hub running?") from error
    async with socket:
        yield ToolCaller(socket)


def _result(answer: dict[str, Any]) -> dict[str, Any]:
    match answer:
        case {"error": {"code": int(code), "message": str(message)}}:
            raise NoSuchTool(clean(message)) if code == INVALID_PARAMS else ToolError(clean(message))
        case {"result": {"isError": True, "content": [{"text": str(text)}, *_]}}:
            raise ToolError(clean(text))
        case {"result": {"structuredContent": dict(structured)}}:
            return structured
        case _:
            raise ToolError("the hub's answer is no result of a tool")
