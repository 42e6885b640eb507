"""One trace from Alice's call through gateway and router to the gateway that Bob is connected to."""

import asyncio
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.gateway.client import RawClient
from tests.support.processes import Backend, GatewayProcess, ServiceProcess


class Collector:
    """A real OTLP/HTTP endpoint that keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str]] = []
        """Instance, trace id, span name."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    attributes = {item.key: item.value.string_value for item in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        for span in scope.spans:
                            collector.spans.append((attributes["service.instance.id"], span.trace_id.hex(), span.name))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


async def test_a_trace_spans_gateway_router_and_the_receiving_gateway(
    own_backend: Backend, collector: Collector
) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    services = [
        ServiceProcess("statehub", own_backend, env, instance="statehub-1"),
        ServiceProcess("router", own_backend, env, instance="router-1"),
        GatewayProcess(own_backend, {**env, "REQUIRED_SERVICES": "router,statehub", "INSTANCE": "gateway-alice"}),
        GatewayProcess(own_backend, {**env, "REQUIRED_SERVICES": "router,statehub", "INSTANCE": "gateway-bob"}),
    ]
    for service in services:
        service.start()
    for service in services:
        service.wait()
    alices, bobs = services[2], services[3]
    assert isinstance(alices, GatewayProcess)
    assert isinstance(bobs, GatewayProcess)
    trace_id = secrets.token_hex(16)
    traceparent = f"00-{trace_id}-{secrets.token_hex(8)}-01"
    try:
        async with (
            RawClient.connect(alices.ws_url, "alice") as alice,
            RawClient.connect(bobs.ws_url, "bob") as bob,
        ):
            await alice.initialize()
            await bob.initialize()
            await bob.call("register_agent", capabilities=["analysis"], description="Analyses.")
            await bob.request("resources/subscribe", {"uri": "aicp://inbox"})
            arguments = {"message": "analyse", "target_capabilities": ["analysis"], "wait_s": 0}
            params = {"name": "route_to_agent", "arguments": arguments, "_meta": {"traceparent": traceparent}}
            routed = (await alice.request("tools/call", params))["result"]["structuredContent"]
            told = await asyncio.wait_for(bob.notifications.get(), 10)
            assert told["params"] == {"uri": "aicp://inbox"}
            [task] = (await bob.call("receive_tasks", wait_s=10))["tasks"]
            assert task["task_id"] == routed["task_id"]
    finally:
        for service in reversed(services):
            assert service.stop() == 0, service.process.output()[-3000:]
    spans = {(instance, name) for instance, trace, name in collector.spans if trace == trace_id}
    assert ("gateway-alice", "gateway.route_to_agent") in spans
    assert ("router-1", "router.route_to_agent") in spans
    assert ("gateway-bob", "gateway.notify") in spans
    assert ("gateway-bob", "gateway.deliver") in spans


async def test_log_lines_carry_the_trace(own_backend: Backend) -> None:
    from tests.gateway.conftest import plugin_process

    plugin, gateway = plugin_process(own_backend), GatewayProcess(own_backend, {"REQUIRED_SERVICES": "fixture"})
    plugin.start()
    gateway.start()
    plugin.wait()
    gateway.wait()
    trace_id = secrets.token_hex(16)
    try:
        async with RawClient.connect(gateway.ws_url, "alice") as client:
            await client.initialize()
            meta = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-00"}
            await client.request("tools/call", {"name": "crash", "arguments": {}, "_meta": meta})
    finally:
        gateway.stop()
        plugin.stop()
    [line] = [line for line in plugin.process.output().splitlines() if "ZeroDivisionError" in line]
    assert f'"trace_id":"{trace_id}"' in line
    assert '"service":"fixture"' in line
