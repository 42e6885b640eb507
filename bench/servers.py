"""The gateway and its plug-in as the measurements start them: with authentication, as users run it."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import jwt

from tests.support.processes import Backend, GatewayProcess, ServiceProcess

SECRET = "a secret of the measurements that is long enough"

FIXTURE = "tests.gateway.plugin"

REVISION = "2025-11-25"
STATELESS_REVISION = "2026-07-28"

CLIENT_INFO = {"name": "bench", "version": "1"}

INITIALIZE = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": CLIENT_INFO}

META = {
    "io.modelcontextprotocol/protocolVersion": STATELESS_REVISION,
    "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
    "io.modelcontextprotocol/clientCapabilities": {},
}
"""What each request of the stateless era carries. Source: MCP 2026-07-28, basic, "Request metadata"."""

ECHO = {"name": "echo", "arguments": {"text": "analyse this"}}


@contextmanager
def plugin_and_gateway(backend: Backend, *services: ServiceProcess) -> Iterator[tuple[ServiceProcess, GatewayProcess]]:
    """The plug-in of the gateway's tests, other services, and a gateway that wants tokens, ready."""
    plugin = ServiceProcess("fixture", backend, module=FIXTURE)
    with gateway_of(backend, plugin, *services, JWT_REQUIRED="true", JWT_SECRET=SECRET) as gateway:
        yield plugin, gateway


@contextmanager
def gateway_of(backend: Backend, *services: ServiceProcess, **settings: str) -> Iterator[GatewayProcess]:
    """These services, which it starts, and a gateway for them, ready."""
    names = ",".join(service.name for service in services)
    gateway = GatewayProcess(
        backend, {"REQUIRED_SERVICES": names, "LOG_LEVEL": "warning", **settings}, module="aicp_gateway"
    )
    processes = [*services, gateway]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.wait()
        yield gateway
    finally:
        for process in reversed(processes):
            process.stop()


def bearer(agent: str) -> dict[str, str]:
    """The header with a token of this agent's own, good for an hour."""
    claims = {"sub": agent, "tenant": "bench", "exp": int(time.time()) + 3600}
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"}


def allow_open_files(wanted: int) -> None:
    """Let this process, and those that it starts from now on, have `wanted` files and sockets open.

    Raises:
        RuntimeError: the system allows less.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise RuntimeError(f"{wanted} open files are needed, the system allows {hard}; see ulimit -n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
