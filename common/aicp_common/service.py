"""A service: a NATS micro service whose methods are typed functions, with its tools announced and its health served."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic

import nats.micro
import uvloop
from nats.aio.msg import Msg

from aicp_common import __version__, subjects
from aicp_common.admin import Admin, admin_server, listen
from aicp_common.announcement import ANNOUNCE_INTERVAL_S, encode_announcement
from aicp_common.bus import Bus
from aicp_common.calls import Calls
from aicp_common.cancellation import end
from aicp_common.envelope import Envelope, Principal
from aicp_common.errors import AicpError
from aicp_common.logs import configure_logs
from aicp_common.metrics import BUS_CONNECTED, LOOP_FAILURES
from aicp_common.natsclient import Take
from aicp_common.request import Request
from aicp_common.settings import EXIT_CONFIG, Settings, SettingsError, SettingsT, load_settings_or_exit
from aicp_common.store import Tenants, connect_redis, ping
from aicp_common.surface import Delivery, Raw, Surface
from aicp_common.tracing import configure_tracing, shutdown_tracing
from aicp_common.waiting import Waiters

log = logging.getLogger(__name__)

Background = Callable[[], Awaitable[None]]


class Service(Surface, Generic[SettingsT]):
    """One worker of a service.

    A service's `build` function gets it, declares tools, methods, resources, subscriptions and background loops, and
    `serve` runs it. `bus` and `redis` may be used in handlers and loops.
    """

    def __init__(self, name: str, settings: SettingsT, *, instructions: str = "") -> None:
        super().__init__(name, instructions)
        self.settings = settings
        self.instance = instance_name(name, settings)
        self.bus = Bus(settings.nats_url, f"aicp-{self.instance}", settings.worker_patience_s)
        self.redis = connect_redis(settings.redis_url)
        self.tenants = Tenants(self.redis)
        self.waiters = Waiters()
        self._background: dict[str, Background] = {}
        self._at_start: list[Background] = []
        self._subscriptions: list[tuple[str, Callable[[Msg], Awaitable[None]], str]] = []
        self._signals: list[tuple[str, Take]] = []
        self._after_start: list[Background] = []
        self._at_stop: list[Background] = []
        self._checks: list[Callable[[], Awaitable[dict[str, Any]]]] = []
        self._calls = Calls(name, self.bus, settings.worker_patience_s)
        self._ready = False
        self._stop = asyncio.Event()

    # What a service declares

    def subscribe(self, subject: str, handler: Callable[[Msg], Awaitable[None]], *, shared: bool = False) -> None:
        """Listen on a subject: every worker, or with `shared` one worker of the service for each message."""
        self._subscriptions.append((subject, handler, self.name if shared else ""))

    def hear(self, subject: str, taker: Take | None = None) -> None:
        """Let signals on `subject` wake those who wait in `waiters`, or go to `taker`, which must not wait."""
        self._signals.append((subject, taker or self.waiters.on_signal))

    def at_start(self, function: Background) -> None:
        """Run once, when bus and Redis are connected and before the first call."""
        self._at_start.append(function)

    def after_start(self, function: Background) -> None:
        """Run once, when methods and subscriptions are in place and before the worker is ready."""
        self._after_start.append(function)

    def also_check(self, check: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """Add to what /ready answers; a value of False means not ready."""
        self._checks.append(check)

    def at_stop(self, function: Background) -> None:
        """Run once when the worker is told to stop, while calls still work."""
        self._at_stop.append(function)

    def background(self, name: str, function: Background) -> None:
        """Run for as long as the worker lives; a failure is logged and it starts again a second later."""
        self._background[name] = function

    # What a service calls

    def envelope(self, principal: Principal, *, deadline_s: float, parent: Envelope | None = None) -> Envelope:
        """An envelope for a call of this service's own, `deadline_s` seconds from now, in the trace of `parent`."""
        return Envelope(
            principal=principal,
            deadline_ms=int((time.time() + deadline_s) * 1000),
            traceparent=parent.traceparent if parent else "",
            request_id=parent.request_id if parent else "",
            session=parent.session if parent else "",
        )

    # Life

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            SettingsError: the admin address cannot be used.
            Unavailable: NATS cannot be reached.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        sock = listen(self.settings.admin_host, self.settings.admin_port)
        admin = admin_server(Admin(self.check))
        serving = asyncio.create_task(admin.serve(sockets=[sock]))
        log.info("%s starts", self.name, extra={"admin_port": sock.getsockname()[1], "version": __version__})
        loops: list[asyncio.Task[None]] = []
        try:
            if not await self._or_stop(self.bus.connect()):
                return
            await self._wait_for_redis()
            if self._stop.is_set():
                return
            for function in self._at_start:
                await function()
            micro = await self._register()
            for subject, handler, queue in self._subscriptions:
                await self.bus.subscribe(subject, handler, queue)
            for subject, taker in self._signals:
                await self.bus.take(subject, taker)
            await self.bus.subscribe(subjects.ANNOUNCE_REQUEST, self._on_announce_request)
            await self.bus.subscribe(subjects.CANCEL, self._calls.on_cancel)
            await self.bus.flush()
            self._background["announce"] = self._announce_for_ever
            self._background["beat"] = self._calls.beat_for_ever
            loops = [asyncio.create_task(self._keep_running(*item)) for item in self._background.items()]
            await self.announce()
            for function in self._after_start:
                if not await self._or_stop(function()):
                    return
            await self.bus.flush()
            self._ready = True
            _spare_the_collector()
            log.info("%s is ready", self.name)
            await self._stop.wait()
            # A gateway answers no calls on the bus; what is in flight there, it says itself.
            in_flight = {"calls_in_flight": self._calls.in_flight} if self.methods else None
            log.info("%s stops", self.name, extra=in_flight)
            self._ready = False
            for function in self._at_stop:
                await function()
            await self._stop_listening(micro)
            self.waiters.close()
            await self._calls.drain()
        finally:
            await end(loops)
            await self.bus.close()
            await self.redis.aclose()
            admin.should_exit = True
            await serving
            shutdown_tracing()

    async def check(self) -> dict[str, Any]:
        """What /ready answers."""
        BUS_CONNECTED.set(self.bus.connected)
        parts = {
            "service": self.name,
            "instance": self.instance,
            "started": self._ready,
            "nats": self.bus.connected,
            "redis": await ping(self.redis),
        }
        for check in self._checks:
            parts.update(await check())
        return parts

    async def _or_stop(self, work: Awaitable[None]) -> bool:
        """Do `work`, unless the worker is told to stop before it is done; whether it was done."""
        doing, stopping = asyncio.ensure_future(work), asyncio.create_task(self._stop.wait())
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if doing.done():
            doing.result()
            return True
        await end([doing])
        return False

    async def _wait_for_redis(self) -> None:
        while not self._stop.is_set() and not await ping(self.redis):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._stop.wait()

    async def _register(self) -> nats.micro.Service:
        micro = await nats.micro.add_service(
            self.bus.client,
            name=f"aicp-{self.name}",
            version=__version__,
            description=f"AICP {self.name}",
            queue_group=self.name,
            metadata={"instance": self.instance, "tools": " ".join(sorted(self.tools))},
        )
        for name, answer in self.methods.items():
            begin = self._calls.beginner(name, answer, is_tool=name in self.tools)
            await self._add_endpoint(micro, name, begin)
        return micro

    async def _add_endpoint(self, micro: nats.micro.Service, name: str, begin: Callable[[Request], None]) -> None:
        client = self.bus.client

        async def early(request: nats.micro.Request) -> None:
            begin(Request(client, request._msg.reply, request.data))

        def take(subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None) -> None:
            # What those see who ask for this service's statistics.
            endpoint._num_requests += 1
            begin(Request(client, reply, data))

        await micro.add_endpoint(name=name, subject=subjects.call(self.name, name), handler=early)
        endpoint = micro._endpoints[-1]
        assert endpoint._subscription is not None
        client.divert(endpoint._subscription, take)

    async def _keep_running(self, name: str, function: Background) -> None:
        while True:
            try:
                await function()
                raise RuntimeError(f"the loop {name} ended")
            except AicpError as error:
                LOOP_FAILURES.labels(name).inc()
                log.warning("the loop %s failed and starts again: %s", name, error)
            except Exception:
                LOOP_FAILURES.labels(name).inc()
                log.exception("the loop %s failed and starts again", name)
            await asyncio.sleep(1)

    async def announce(self) -> None:
        """Tell the gateways what this service serves. Needed only when that has changed while it runs."""
        announcement = self.announcement
        if announcement is not None:
            await self.bus.publish(subjects.ANNOUNCE, encode_announcement(announcement))

    async def _on_announce_request(self, message: Msg) -> None:
        await self.announce()

    async def _announce_for_ever(self) -> None:
        while True:
            await asyncio.sleep(ANNOUNCE_INTERVAL_S)
            await self.announce()

    async def _stop_listening(self, micro: nats.micro.Service) -> None:
        """Take no more calls, and begin with those that are here already; `micro.stop` would drop them."""
        if self.bus.connected:
            await self.bus.finish([endpoint._subscription for endpoint in micro._endpoints if endpoint._subscription])


def _spare_the_collector() -> None:
    """Let the collector of reference cycles look less often, and never at what stays.

    A call leaves few cycles behind and makes hundreds of objects: with Python's defaults the collector took a tenth of
    the gateway's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def instance_name(name: str, settings: Settings) -> str:
    """The worker's name. Process ids are the same in every container, so the host's name is in it too."""
    return settings.instance or f"{name}-{socket.gethostname()}-{os.getpid()}"


def serve(
    name: str, kind: type[SettingsT], build: Callable[["Service[SettingsT]"], None], *, instructions: str = ""
) -> None:
    """Run one worker of a service as this process, until it is told to stop.

    Args:
        name: Of the service: its queue group and the second token of its subjects.
        kind: Its settings, read from the environment; a wrong one exits with `EXIT_CONFIG`.
        build: Declares what the service does.
        instructions: Its part of the server instructions for LLMs.
    """
    settings = load_settings_or_exit(kind)
    instance = instance_name(name, settings)
    configure_logs(name, instance, settings.log_level, settings.log_format)
    try:
        configure_tracing(name, instance)
    except ValueError as error:
        print(f"configuration: {error}", file=sys.stderr)
        sys.exit(EXIT_CONFIG)

    async def main() -> None:
        service = Service(name, settings, instructions=instructions)
        build(service)
        await service.run()

    try:
        uvloop.run(main())
    except SettingsError as error:
        print(f"configuration: {error}", file=sys.stderr)
        sys.exit(EXIT_CONFIG)
    except AicpError as error:
        log.critical("%s cannot run: %s", name, error)
        sys.exit(1)


__all__ = ["Delivery", "Envelope", "Raw", "Service", "Settings", "serve"]
