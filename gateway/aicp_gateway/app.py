"""The ASGI application: both transports, on every port, and the health paths."""

from collections.abc import Awaitable, Callable
from typing import Any

from aicp_common.admin import PATHS, Admin, respond
from aicp_common.envelope import encode_json
from aicp_common.errors import AicpError
from aicp_gateway.http import HttpRequest, refuse
from aicp_gateway.httpparser import CONNECTION
from aicp_gateway.hub import Hub
from aicp_gateway.identity import challenge, facts_of
from aicp_gateway.metrics import REFUSED
from aicp_gateway.post import JSON
from aicp_gateway.websocket import WebSocketConnection

ENDPOINT = "/mcp"

AsgiSend = Callable[[dict[str, Any]], Awaitable[None]]
AsgiReceive = Callable[[], Awaitable[dict[str, Any]]]


class App:
    """Finds out what a connection wants and who it is, and hands it to the driver of its transport."""

    def __init__(self, hub: Hub, admin: Admin) -> None:
        self._hub = hub
        self._admin = admin

    async def __call__(self, scope: dict[str, Any], receive: AsgiReceive, send: AsgiSend) -> None:
        if scope["type"] == "http" and scope["path"] in PATHS:
            await self._look(scope, receive, send)
            return
        if scope["path"].rstrip("/") != ENDPOINT:
            await self._nothing_here(scope, send)
            return
        facts = facts_of(scope)
        try:
            self._hub.identity.check_origin(facts)
            caller = self._hub.identity.caller(facts)
        except AicpError as error:
            REFUSED.labels(error.code).inc()
            if scope["type"] == "websocket":
                send = _as_websocket_answer(send)
            await refuse(send, error, challenge(error))
            return
        if scope["type"] == "websocket":
            await WebSocketConnection(self._hub, caller, receive, send).serve(scope)
        else:
            connection = scope["extensions"][CONNECTION]
            await HttpRequest(self._hub, facts, caller, connection, receive, send).serve(scope["method"])

    async def _look(self, scope: dict[str, Any], receive: AsgiReceive, send: AsgiSend) -> None:
        try:
            # Probes of /health and /ready come under any address; the figures are for this machine's own.
            if scope["path"] == "/metrics":
                self._hub.identity.check_origin(facts_of(scope))
        except AicpError as error:
            await refuse(send, error)
        else:
            await self._admin(scope, receive, send)

    async def _nothing_here(self, scope: dict[str, Any], send: AsgiSend) -> None:
        if scope["type"] == "websocket":
            send = _as_websocket_answer(send)
        body = encode_json(
            {
                "error": f"nothing at {scope['path'][:200]}",
                "hint": f"this is an AICP hub: connect an MCP client to {ENDPOINT}, over WebSocket or Streamable HTTP",
            }
        )
        await respond(send, 404, body, JSON)


def _as_websocket_answer(send: AsgiSend) -> AsgiSend:
    """Answer an upgrade with plain HTTP, before there is a WebSocket. ASGI "WebSocket Denial Response" extension."""

    async def answer(event: dict[str, Any]) -> None:
        await send({**event, "type": event["type"].replace("http.", "websocket.http.", 1)})

    return answer
