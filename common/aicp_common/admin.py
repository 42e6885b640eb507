"""/health, /ready and /metrics: the same answers on every service, as an ASGI application or inside another server."""

import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import prometheus_client
import uvicorn

from aicp_common.envelope import encode_json
from aicp_common.settings import SettingsError

Check = Callable[[], Awaitable[dict[str, Any]]]
"""Answers with what is ready, by name; a value of False, or an exception, means not ready."""

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Scope = dict[str, Any]

PATHS = frozenset({"/health", "/ready", "/metrics"})


class Admin:
    """The ASGI application. `/health` says that the process lives; `/ready` that it can do its work."""

    def __init__(self, check: Check) -> None:
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served here")
        status, content_type, body = await self.answer(scope["path"], scope["method"])
        fields = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    async def answer(self, path: str, method: str) -> tuple[int, str, bytes]:
        """Status, content type and body of the answer to one request."""
        if path not in PATHS:
            return 404, "application/json", encode_json({"error": f"no {path} here", "paths": sorted(PATHS)})
        if method not in ("GET", "HEAD"):
            return 405, "application/json", encode_json({"error": f"{path} answers GET"})
        if path == "/health":
            return 200, "application/json", b'{"status":"ok"}'
        if path == "/metrics":
            return 200, prometheus_client.CONTENT_TYPE_LATEST, prometheus_client.generate_latest()
        try:
            parts = await self._check()
        except Exception as error:
            # Whatever is wrong, the question "are you ready" has an answer.
            return 503, "application/json", encode_json({"ready": False, "error": str(error)})
        ready = all(value is not False for value in parts.values())
        return (200 if ready else 503), "application/json", encode_json({"ready": ready, **parts})


class QuietServer(uvicorn.Server):
    """A uvicorn server inside a process whose signals somebody else handles."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A bound TCP socket.

    Raises:
        SettingsError: the address is in use or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return sock


def admin_server(admin: Admin) -> uvicorn.Server:
    """A server for `admin`; run its `serve(sockets=[...])` as a task and set `should_exit` to end it."""
    config = uvicorn.Config(
        admin,
        lifespan="off",
        access_log=False,
        log_config=None,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return QuietServer(config)
