"""The NATS and Redis that a hub starts for itself: their configuration, how to see them ready, what their log says."""

import asyncio
import contextlib
import re

LOADING = "loading its data"
"""What a probe says of a Redis that reads its append-only file: slow, but no fault."""

_PROBE_TIMEOUT_S = 1.0


def nats_config(port: int, token: str) -> str:
    """Text of nats.conf. Paths are relative to the data directory, which is the server's working directory."""
    return f"""\
server_name: "aicp-hub"
host: "127.0.0.1"
port: {port}
max_payload: 4MB
max_pending: 256MB
jetstream {{ store_dir: "./nats" }}
authorization {{ token: "{token}" }}
"""


def redis_config(port: int, password: str, appendfsync: str) -> str:
    """Text of redis.conf. Paths are relative to the data directory, which is the server's working directory.

    Args:
        port: on 127.0.0.1.
        password: made of URL-safe characters.
        appendfsync: `always`, `everysec` or `no`.
    """
    return f"""\
bind 127.0.0.1
port {port}
requirepass {password}
dir ./redis
appendonly yes
appendfsync {appendfsync}
save ""
maxmemory-policy noeviction
daemonize no
loglevel notice
logfile ""
"""


def nats_url(port: int, token: str) -> str:
    return f"nats://{token}@127.0.0.1:{port}"


def redis_url(port: int, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


async def probe_nats(port: int) -> str | None:
    """None when NATS accepts connections, else what it does instead."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            return None if (await _ask(port, b"")).startswith(b"INFO ") else "does not speak NATS"
    except (OSError, TimeoutError):
        return f"does not answer on port {port}"


async def probe_redis(port: int, password: str) -> str | None:
    """None when Redis answers commands, else what it does instead."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            reply = await _ask(port, f"AUTH {password}\r\nPING\r\n".encode(), lines=2)
    except (OSError, TimeoutError):
        return f"does not answer on port {port}"
    if b"-LOADING" in reply:
        return LOADING
    if reply.endswith(b"+PONG\r\n"):
        return None
    return f"answers {reply.decode('utf-8', 'replace').strip()!r}"


async def _ask(port: int, request: bytes, *, lines: int = 1) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return b"".join([await reader.readline() for _ in range(lines)])
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


_NATS_LINE = re.compile(r"\[\d+\] \S+ \S+ \[(TRC|DBG|INF|WRN|ERR|FTL)\] ?(.*)")
_NATS_LEVELS = {"TRC": "debug", "DBG": "debug", "INF": "info", "WRN": "warning", "ERR": "error", "FTL": "error"}


def read_nats_line(line: str) -> tuple[str, str]:
    """Level and message of a line of nats-server's log."""
    match = _NATS_LINE.fullmatch(line)
    if match is None:
        # What it says before its log is up is why it does not start.
        return "error", line
    return _NATS_LEVELS[match[1]], match[2]


_REDIS_LINE = re.compile(r"\d+:[A-Z] \d+ \S+ \d+ \S+ ([.\-*#]) (.*)")
_REDIS_LEVELS = {".": "debug", "-": "debug", "*": "info", "#": "warning"}
_REDIS_ROUTINE = (
    # Redis says these as warnings at each start and stop. The advice on kernel settings is for large servers; a hub
    # that needs it runs its own Redis and names it with --redis-url.
    "oO0OoO0OoO0Oo",
    "Redis version=",
    "Configuration loaded",
    "Server initialized",
    "WARNING Memory overcommit",
    "WARNING overcommit_memory",
    "WARNING: The TCP backlog",
    "WARNING you have Transparent Huge Pages",
    "User requested shutdown",
    "Redis is now ready to exit",
)


def read_redis_line(line: str) -> tuple[str, str]:
    """Level and message of a line of redis-server's log."""
    match = _REDIS_LINE.fullmatch(line)
    if match is None:
        return ("info" if "signal-handler" in line or not line else "error"), line
    level = _REDIS_LEVELS[match[1]]
    if match[2].startswith(_REDIS_ROUTINE):
        level = "info"
    return level, match[2]
