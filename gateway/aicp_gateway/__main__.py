"""Runs one gateway: `python -m aicp_gateway`."""

import asyncio
import logging
import resource
import socket
import time
from functools import partial
from typing import Any

import uvicorn
from nats.aio.msg import Msg
from uvicorn.server import ServerState

from aicp_common import subjects
from aicp_common.admin import Admin, QuietServer, listen
from aicp_common.announcement import decode_announcement
from aicp_common.cancellation import end
from aicp_common.service import Service, serve
from aicp_gateway.app import App
from aicp_gateway.asks import Asks
from aicp_gateway.catalogue import Catalogue
from aicp_gateway.dispatch import Dispatch
from aicp_gateway.httpparser import HttpConnection, no_asgi
from aicp_gateway.hub import Hub
from aicp_gateway.identity import Identity
from aicp_gateway.inboxes import Inboxes
from aicp_gateway.presence import Presence
from aicp_gateway.protocol.requeststate import StateSealer
from aicp_gateway.sessions import Sessions
from aicp_gateway.settings import GatewaySettings
from aicp_gateway.statekey import shared_key
from aicp_gateway.streams import Streams
from aicp_gateway.watches import Watches
from aicp_gateway.websocket import WebSocketConnection

log = logging.getLogger("aicp_gateway")

REQUIRED_PATIENCE_S = 15.0
"""How long a gateway that starts waits for the required services; what is there then is better than nothing."""

GRACE_S = 2
"""How long answers that are under way may take once the gateway is told to stop."""
LAST_WORDS_S = 0.5
"""How long it may take to tell clients that their connection or their call ends."""


class Gateway:
    """One gateway: keeps the catalogue up to date and serves the ports."""

    def __init__(self, service: Service[GatewaySettings]) -> None:
        self._service = service
        settings = service.settings
        catalogue = Catalogue()
        self.inboxes = Inboxes(service.bus, catalogue)
        """What is known of the agents' inboxes."""
        presence = Presence(service.bus, service.instance)
        self._hub = Hub(
            settings=settings,
            bus=service.bus,
            catalogue=catalogue,
            identity=Identity(settings),
            sessions=Sessions(service.redis, service.bus, settings.session_ttl_s),
            watches=Watches(service.bus),
            presence=presence,
            dispatch_websocket=Dispatch(service.bus, "websocket", self.inboxes),
            dispatch_http=Dispatch(service.bus, "http", self.inboxes, presence),
            asks=Asks(settings.client_answer_s),
            streams=Streams(service.redis),
            sealer=StateSealer(b"", time.time),
        )
        self._missing = set(settings.required_services.split(",")) - {"none"}
        self._heard = asyncio.Event()
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def read_state_key(self) -> None:
        """Learn the key of request states, which all gateways share."""
        self._hub.sealer = StateSealer(await shared_key(self._service.redis), time.time)

    async def start(self) -> None:
        """Open the ports."""
        # A connection is an open file, and the usual soft limit is 1024 of them.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        settings = self._service.settings
        sockets = self._sockets()
        app = App(self._hub, Admin(self._service.check))

        def connect(*, server_state: ServerState, **uvicorns: Any) -> HttpConnection:
            return HttpConnection(app, partial(WebSocketConnection, self._hub), server_state)

        config = uvicorn.Config(
            no_asgi,
            http=connect,  # type: ignore[arg-type]  # uvicorn calls it like a class
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        # What it says of stopping as an error is meant to be: calls that take too long are ended, and say so.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._server = QuietServer(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=sockets))
        if not settings.jwt_required and settings.host not in ("127.0.0.1", "::1", "localhost"):
            log.warning(
                "this hub is open: whoever reaches %s can use any agent name; set JWT_REQUIRED=true", settings.host
            )
        for sock in sockets:
            log.info("listening on %s:%d", *sock.getsockname()[:2])

    async def stop(self) -> None:
        """Close the ports and the connections."""
        # Now: closing the connections ends most of them.
        in_flight = self._hub.dispatch_websocket.in_flight + self._hub.dispatch_http.in_flight
        log.info("the connections are closed", extra={"calls_in_flight": in_flight})
        closing = [asyncio.create_task(connection.close()) for connection in self._hub.connections]
        if closing:
            # A client that does not read is not waited for.
            _, late = await asyncio.wait(closing, timeout=LAST_WORDS_S)
            await end(late)
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
            # Calls that were too long for the grace say so, which takes Redis and the bus. A deaf client is cut off.
            left = self._server.server_state
            if left.tasks:
                await asyncio.wait(left.tasks, timeout=LAST_WORDS_S)
            for connection in list(left.connections):
                connection.transport.abort()
            if left.tasks:
                await asyncio.wait(left.tasks, timeout=LAST_WORDS_S)

    def _sockets(self) -> list[socket.socket]:
        settings = self._service.settings
        if settings.gateway_sockets:
            return [socket.socket(fileno=int(number)) for number in settings.gateway_sockets.split(",")]
        return [listen(settings.host, settings.port), listen(settings.host, settings.http_port)]

    async def on_announcement(self, message: Msg) -> None:
        """Take in what a service announces, and tell the clients if it is new."""
        try:
            announcement = decode_announcement(message.data)
            changed = self._hub.catalogue.hear(announcement, time.monotonic())
        except ValueError as error:
            log.warning("an announcement cannot be read: %s", error)
            return
        self._missing.discard(announcement.service)
        self._heard.set()
        if changed:
            log.info("the service %s announced %d tools", announcement.service, len(announcement.tools))
            self._tell_clients(changed)

    async def forget_silent_for_ever(self) -> None:
        """Drop the tools of services that have left."""
        while True:
            await asyncio.sleep(5)
            if not self._service.bus.connected:
                continue
            silent, changed = self._hub.catalogue.forget_silent(time.monotonic())
            if silent:
                log.warning("no word from %s any more; their tools are gone from the list", ", ".join(silent))
                self._tell_clients(changed)

    async def gather_announcements(self) -> None:
        """Let the services that were here before announce themselves again, and wait for the required ones."""
        await self._service.bus.flush()
        await self._service.bus.publish(subjects.ANNOUNCE_REQUEST)
        try:
            async with asyncio.timeout(REQUIRED_PATIENCE_S):
                while self._missing:
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            log.warning("no word from %s yet; their tools will come when they do", ", ".join(sorted(self._missing)))

    async def check(self) -> dict[str, Any]:
        """What /ready answers beside what every service does."""
        return {"services": self._hub.catalogue.services, "connections": self._hub.presence.connections}

    async def beat(self) -> None:
        """See `Heartbeat`."""
        await asyncio.gather(self._hub.heartbeat.beat_for_ever(), self._hub.signs_of_life.beat_for_ever())

    async def look_after_watches(self) -> None:
        """See `Watches`."""
        await self._hub.watches.look_after_for_ever()

    async def repeat_presence(self) -> None:
        """See `Presence`."""
        await self._hub.presence.repeat_for_ever()

    def _tell_clients(self, changed: frozenset[str]) -> None:
        for notices in self._hub.clients:
            notices.lists_changed(changed)


def build(service: Service[GatewaySettings]) -> None:
    """Declare what a gateway does."""
    gateway = Gateway(service)
    service.subscribe(subjects.ANNOUNCE, gateway.on_announcement)
    service.hear(subjects.ANY_AGENT, gateway.inboxes.on_signal)
    service.after_start(gateway.gather_announcements)
    service.after_start(gateway.read_state_key)
    service.after_start(gateway.start)
    service.at_stop(gateway.stop)
    service.also_check(gateway.check)
    service.background("catalogue", gateway.forget_silent_for_ever)
    service.background("heartbeat", gateway.beat)
    service.background("presence", gateway.repeat_presence)
    service.background("watches", gateway.look_after_watches)


if __name__ == "__main__":
    serve("gateway", GatewaySettings, build)
