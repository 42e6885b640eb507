"""What the gateway answers over HTTP: MCP and the health paths, on every port. See `websocket.py` for WebSockets."""

from aicp_common.admin import PATHS, Admin
from aicp_common.errors import AicpError
from aicp_gateway.http import HttpRequest
from aicp_gateway.httpexchange import Exchange
from aicp_gateway.hub import Hub
from aicp_gateway.identity import challenge
from aicp_gateway.metrics import REFUSED
from aicp_gateway.protocol.jsonrpc import NULL
from aicp_gateway.refusal import peek_id, refuse
from aicp_gateway.websocket import ENDPOINT, nothing_at


class App:
    """Finds out what a request wants and who it is from, and hands it to whoever answers it."""

    def __init__(self, hub: Hub, admin: Admin) -> None:
        self._hub = hub
        self._admin = admin

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.path in PATHS:
            await self._look(exchange)
            return
        if exchange.path.rstrip("/") != ENDPOINT:
            await exchange.respond(404, nothing_at(exchange.path))
            return
        identity = self._hub.identity
        try:
            identity.check_origin(exchange.facts)
            caller = identity.caller(exchange.facts)
        except AicpError as error:
            REFUSED.labels(error.code).inc()
            id = await peek_id(exchange) if exchange.method == "POST" else NULL
            await refuse(exchange, error, challenge(error), id)
            return
        await HttpRequest(self._hub, exchange, caller).serve()

    async def _look(self, exchange: Exchange) -> None:
        try:
            # Probes of /health and /ready come under any address; the figures are for this machine's own.
            if exchange.path == "/metrics":
                self._hub.identity.check_local(exchange.facts)
        except AicpError as error:
            await refuse(exchange, error)
        else:
            status, content_type, body = await self._admin.answer(exchange.path, exchange.method)
            await exchange.respond(status, body, content_type)
