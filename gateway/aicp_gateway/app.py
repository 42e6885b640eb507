"""The ASGI application: Streamable HTTP and the health paths, on every port. See `websocket.py` for WebSockets."""

from collections.abc import Awaitable, Callable
from typing import Any

from aicp_common.admin import PATHS, Admin, respond
from aicp_common.errors import AicpError
from aicp_gateway.http import HttpRequest
from aicp_gateway.httpparser import CONNECTION
from aicp_gateway.hub import Hub
from aicp_gateway.identity import challenge, facts_of
from aicp_gateway.metrics import REFUSED
from aicp_gateway.protocol.jsonrpc import NULL
from aicp_gateway.refusal import JSON, peek_id, refuse
from aicp_gateway.websocket import ENDPOINT, nothing_at

AsgiSend = Callable[[dict[str, Any]], Awaitable[None]]
AsgiReceive = Callable[[], Awaitable[dict[str, Any]]]


class App:
    """Finds out what a connection wants and who it is, and hands it to the driver of its transport."""

    def __init__(self, hub: Hub, admin: Admin) -> None:
        self._hub = hub
        self._admin = admin

    async def __call__(self, scope: dict[str, Any], receive: AsgiReceive, send: AsgiSend) -> None:
        if scope["path"] in PATHS:
            await self._look(scope, receive, send)
            return
        if scope["path"].rstrip("/") != ENDPOINT:
            await respond(send, 404, nothing_at(scope["path"]), JSON)
            return
        facts = facts_of(scope)
        try:
            self._hub.identity.check_origin(facts)
            caller = self._hub.identity.caller(facts)
        except AicpError as error:
            REFUSED.labels(error.code).inc()
            id = await peek_id(facts.headers, receive) if scope["method"] == "POST" else NULL
            await refuse(send, error, challenge(error), id)
            return
        connection = scope["extensions"][CONNECTION]
        await HttpRequest(self._hub, facts, caller, connection, receive, send).serve(scope["method"])

    async def _look(self, scope: dict[str, Any], receive: AsgiReceive, send: AsgiSend) -> None:
        try:
            # Probes of /health and /ready come under any address; the figures are for this machine's own.
            if scope["path"] == "/metrics":
                self._hub.identity.check_local(facts_of(scope))
        except AicpError as error:
            await refuse(send, error)
        else:
            await self._admin(scope, receive, send)
