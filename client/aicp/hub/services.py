"""The four services as processes: how they are started, and how to see that they are ready."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from aicp.hub.process import Process, ProcessSpec, Stage

_PROBE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Counts:
    """How many processes of each service."""

    gateway: int = 1
    router: int = 1
    orchestrator: int = 1
    statehub: int = 1


def service_env(
    inherited: Mapping[str, str], *, nats_url: str, redis_url: str, log_format: str, instance: str
) -> dict[str, str]:
    """Environment of one service: the hub's own, and what the hub decides."""
    # The hub has read these; a service that got both forms would have to guess which one counts.
    decided = {"NATS_URL_FILE", "REDIS_URL_FILE", "GATEWAY_SOCKETS"}
    return {name: value for name, value in inherited.items() if name not in decided} | {
        "NATS_URL": nats_url,
        "REDIS_URL": redis_url,
        "LOG_FORMAT": log_format,
        "INSTANCE": instance,
        "ADMIN_HOST": "127.0.0.1",
        # Without it, what a service prints would reach the hub in blocks, late.
        "PYTHONUNBUFFERED": "1",
    }


def service_specs(
    inherited: Mapping[str, str],
    counts: Counts,
    *,
    nats_url: str,
    redis_url: str,
    log_format: str,
    host: str,
    port: int,
    http_port: int,
    sockets: tuple[int, int],
) -> list[ProcessSpec]:
    """All service processes of a hub.

    Args:
        inherited: environment of the hub.
        counts: processes of each service.
        nats_url: where NATS is, with its secret.
        redis_url: where Redis is, with its secret.
        log_format: `plain` or `json`.
        host: address that clients connect to.
        port: of WebSocket clients.
        http_port: of Streamable HTTP clients.
        sockets: file descriptors of the sockets that listen on `port` and on `http_port`.
    """
    specs = []
    for service, count in (
        ("statehub", counts.statehub),
        ("router", counts.router),
        ("orchestrator", counts.orchestrator),
        ("gateway", counts.gateway),
    ):
        for number in range(1, count + 1):
            name = f"{service}-{number}"
            env = service_env(inherited, nats_url=nats_url, redis_url=redis_url, log_format=log_format, instance=name)
            is_gateway = service == "gateway"
            if is_gateway:
                env |= {"HOST": host, "PORT": str(port), "HTTP_PORT": str(http_port)}
                env["GATEWAY_SOCKETS"] = f"{sockets[0]},{sockets[1]}"
            specs.append(
                ProcessSpec(
                    name=name,
                    service=service,
                    # -P: a file named like one of our dependencies in the user's folder must not be imported.
                    argv=(sys.executable, "-P", "-m", f"aicp_{service}"),
                    stage=Stage.GATEWAY if is_gateway else Stage.SERVICE,
                    probe=probe_service,
                    # Services survive any kill by design, while one that is slow to end would keep the ports.
                    death_signal=signal.SIGKILL,
                    env=env,
                    pass_fds=sockets if is_gateway else (),
                    has_admin_port=True,
                )
            )
    return specs


async def probe_service(process: Process) -> str | None:
    """None when GET /ready answers 200, else what it answers."""
    port = process.admin_port
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET /ready HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
                reply = await reader.read(64 * 1024)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return f"does not answer on its admin port {port}"
    head, _, body = reply.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status == [b"200"]:
        return None
    return f"answers /ready with {body.decode('utf-8', 'replace').strip() or head.decode('latin-1')}"
