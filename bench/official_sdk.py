"""The official Python SDK's server with a one-line tool and nothing behind it: what MCP costs there.

The SDK has no WebSocket transport; it takes any pair of streams, so one of the thinnest kind is made here.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import mcp_types
import uvicorn
import uvloop
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

INPUT_SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
OUTPUT_SCHEMA = INPUT_SCHEMA

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def _list_tools(
    context: ServerRequestContext[Any], params: mcp_types.PaginatedRequestParams | None
) -> mcp_types.ListToolsResult:
    tool = mcp_types.Tool(
        name="echo", description="Say it again.", input_schema=INPUT_SCHEMA, output_schema=OUTPUT_SCHEMA
    )
    return mcp_types.ListToolsResult(tools=[tool])


async def _call_tool(
    context: ServerRequestContext[Any], params: mcp_types.CallToolRequestParams
) -> mcp_types.CallToolResult:
    text = (params.arguments or {})["text"]
    content = mcp_types.TextContent(type="text", text=text)
    return mcp_types.CallToolResult(content=[content], structured_content={"text": text})


def _schema_of(name: str) -> Mapping[str, Any]:
    # Without this the SDK runs the handler of tools/list for each call over HTTP.
    return INPUT_SCHEMA


class _Stream:
    """What both directions of a stream pair share: the server closes them when the connection is over."""

    async def aclose(self) -> None:
        """Nothing is held."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class _Incoming(_Stream):
    """Text frames of a WebSocket, as the SDK's messages."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            raise StopAsyncIteration
        try:
            return SessionMessage(mcp_types.jsonrpc_message_adapter.validate_json(event["text"], by_name=False))
        except ValidationError as error:
            return error

    async def receive(self) -> SessionMessage | Exception:
        """The next one."""
        return await self.__anext__()


class _Outgoing(_Stream):
    """The SDK's messages, as text frames of a WebSocket."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def send(self, item: SessionMessage) -> None:
        """Send one."""
        text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        await self._send({"type": "websocket.send", "text": text})


def serve(port: int) -> None:
    """Serve both transports on `port` of loopback, until the process ends."""
    server: Server[Any] = Server(
        "official", on_list_tools=_list_tools, on_call_tool=_call_tool, get_tool_input_schema=_schema_of
    )
    http = server.streamable_http_app(json_response=True, stateless_http=True)
    options = server.create_initialization_options()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await http(scope, receive, send)  # type: ignore[arg-type]  # Starlette's own names for the same
            return
        await receive()  # websocket.connect
        await send({"type": "websocket.accept", "subprotocol": "mcp"})
        with contextlib.suppress(asyncio.CancelledError):
            await server.run(_Incoming(receive), _Outgoing(send), options)

    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        http="httptools",
        lifespan="on",
        # Connections wait while others are measured.
        timeout_keep_alive=600,
        access_log=False,
        log_level="error",
    )
    uvloop.run(uvicorn.Server(config).serve())
