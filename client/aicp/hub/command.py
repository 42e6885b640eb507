"""`aicp hub`: from options and environment to a running hub."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aicp import __version__
from aicp.hub import servers
from aicp.hub.binaries import INSTALL, find_nats_server, find_redis_server, missing_packages
from aicp.hub.datadir import DataDir, write_private
from aicp.hub.exceptions import HubError
from aicp.hub.output import Log, Output
from aicp.hub.ports import FreePorts, listen
from aicp.hub.process import ProcessSpec, Stage, level_named
from aicp.hub.services import Counts, service_specs
from aicp.hub.supervisor import HubPlan, Supervisor
from aicp.hub.welcome import client_urls, welcome_text

_OUTSIDE_TIMEOUT_S = 10.0
_NATS_SCHEMES = ("nats", "tls", "ws", "wss")
_REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_REDIS_PORTS = {"redis": 6379, "rediss": 6379, "redis+sentinel": 26379, "rediss+sentinel": 26379}
_NATS_PORT = 4222
_APPENDFSYNC = ("always", "everysec", "no")


@dataclass(frozen=True)
class HubOptions:
    """The command line of `aicp hub`."""

    host: str
    port: int
    http_port: int
    data_dir: Path
    gateways: int = 1
    routers: int = 1
    orchestrators: int = 1
    statehubs: int = 1
    nats_url: str = ""
    redis_url: str = ""


def run_hub(options: HubOptions) -> int:
    """Run a hub in the foreground; returns the exit status of the command."""
    try:
        _check(options)
        _run(options, os.environ)
    except HubError as error:
        print(f"aicp hub: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _check(options: HubOptions) -> None:
    for flag, number in (("--port", options.port), ("--http-port", options.http_port)):
        if not 0 <= number <= 65535:
            raise HubError(f"{flag} is {number}; allowed are 1 to 65535, or 0 for any free port")
    if options.port == options.http_port != 0:
        raise HubError(f"--port and --http-port are both {options.port}; give each a port of its own")
    for flag, count in (
        ("--gateways", options.gateways),
        ("--routers", options.routers),
        ("--orchestrators", options.orchestrators),
        ("--statehubs", options.statehubs),
    ):
        if count < 1:
            raise HubError(f"{flag} is {count}; a hub needs at least 1")


def _run(options: HubOptions, environ: Mapping[str, str]) -> None:
    nats_url = _outside_url(options.nats_url, "NATS_URL", _NATS_SCHEMES, environ)
    redis_url = _outside_url(options.redis_url, "REDIS_URL", _REDIS_SCHEMES, environ)
    appendfsync = _choice(environ, "REDIS_APPENDFSYNC", _APPENDFSYNC, "always")
    log_format = _choice(environ, "LOG_FORMAT", ("auto", "plain", "json"), "auto")
    missing = missing_packages()
    if missing:
        raise HubError(f"a hub needs more packages ({', '.join(missing)}); get them with {INSTALL}")

    stdout = sys.stdout.fileno() if sys.stdout is not None else None
    terminal = stdout is not None and os.isatty(stdout)
    plain = log_format == "plain" or (log_format == "auto" and terminal)
    colour = terminal and not environ.get("NO_COLOR")

    datadir = DataDir.take(options.data_dir)
    listeners: list[socket.socket] = []
    ports = FreePorts()
    try:
        # Ports before binaries: which port is in use, the user can tell; what is missing, we tell.
        listeners.append(listen(options.host, options.port, "--port"))
        listeners.append(listen(options.host, options.http_port, "--http-port"))
        port, http_port = (listener.getsockname()[1] for listener in listeners)

        try:
            own_servers, nats_url, redis_url, outside = _servers(
                datadir, ports, nats_url, redis_url, appendfsync, environ
            )
        except OSError as error:
            raise HubError(
                f"data directory {datadir.path} cannot be used ({error.strerror}: {error.filename}); "
                "choose another with --data-dir"
            ) from None
        urls = client_urls(options.host, port, http_port)
        services = service_specs(
            environ,
            Counts(options.gateways, options.routers, options.orchestrators, options.statehubs),
            nats_url=nats_url,
            redis_url=redis_url,
            log_format="plain" if plain else "json",
            host=options.host,
            port=port,
            http_port=http_port,
            sockets=(listeners[0].fileno(), listeners[1].fileno()),
        )

        async def check_outside() -> None:
            await asyncio.gather(*(_reachable(url, flag) for flag, url in outside.items()))
            # Looking up names takes threads, and from now on this process forks.
            await asyncio.get_running_loop().shutdown_default_executor()

        def close_listeners() -> None:
            # As soon as the gateways have closed theirs too, new clients are refused instead of left waiting.
            for listener in listeners:
                listener.close()

        plan = HubPlan(
            datadir=datadir,
            ports=ports,
            servers=own_servers,
            services=services,
            urls=urls,
            nats_url=nats_url,
            redis_url=redis_url,
            welcome=welcome_text(
                version=__version__,
                urls=urls,
                host=options.host,
                data_dir=datadir.path,
                python=sys.executable,
                with_token=environ.get("JWT_REQUIRED", "").strip().lower() in ("1", "true", "yes", "on", "t", "y"),
                bold=colour,
            ),
            check_outside=check_outside,
            before_stop=close_listeners,
        )
        output = Output(stdout)
        log = Log(
            output,
            plain=plain,
            colour=colour,
            level=level_named(environ.get("LOG_LEVEL", "info")),
            name_width=max(len(spec.name) for spec in (*own_servers, *services)),
        )

        async def supervise() -> None:
            await Supervisor(plan, output, log).run()

        asyncio.run(supervise())
    finally:
        for listener in listeners:
            listener.close()
        ports.close()
        datadir.release()


def _servers(
    datadir: DataDir, ports: FreePorts, nats_url: str, redis_url: str, appendfsync: str, environ: Mapping[str, str]
) -> tuple[list[ProcessSpec], str, str, dict[str, str]]:
    """The servers that we start, both URLs, and by flag the URLs of those that run already."""
    specs: list[ProcessSpec] = []
    outside: dict[str, str] = {}
    kept = datadir.load_servers()
    if nats_url:
        outside["--nats-url"] = nats_url
    else:
        binary = find_nats_server()
        nats_port = kept.nats_port = ports.take(kept.nats_port)
        write_private(datadir.nats_conf, servers.nats_config(nats_port, kept.nats_token))
        nats_url = servers.nats_url(nats_port, kept.nats_token)
        specs.append(
            ProcessSpec(
                name="nats",
                service="nats",
                argv=(str(binary), "-c", str(datadir.nats_conf)),
                stage=Stage.SERVER,
                probe=lambda _: servers.probe_nats(nats_port),
                death_signal=signal.SIGTERM,
                env=environ,
                cwd=datadir.path,
                pass_fds=(datadir.lock_fd,),
                read_line=servers.read_nats_line,
            )
        )
    if redis_url:
        outside["--redis-url"] = redis_url
    else:
        binary = find_redis_server(datadir.path / "redis")
        redis_port = kept.redis_port = ports.take(kept.redis_port)
        password = kept.redis_password
        write_private(datadir.redis_conf, servers.redis_config(redis_port, password, appendfsync))
        redis_url = servers.redis_url(redis_port, password)
        specs.append(
            ProcessSpec(
                name="redis",
                service="redis",
                argv=(str(binary), str(datadir.redis_conf)),
                stage=Stage.SERVER,
                probe=lambda _: servers.probe_redis(redis_port, password),
                death_signal=signal.SIGTERM,
                env=environ,
                cwd=datadir.path,
                pass_fds=(datadir.lock_fd,),
                read_line=servers.read_redis_line,
            )
        )
    datadir.save_servers(kept)
    return specs, nats_url, redis_url, outside


def _outside_url(given: str, variable: str, schemes: tuple[str, ...], environ: Mapping[str, str]) -> str:
    """The URL of a server that runs already: from the flag, NAME or NAME_FILE; empty when there is none."""
    flag = "--" + variable.lower().replace("_", "-")
    file = environ.get(f"{variable}_FILE")
    if not given and file:
        try:
            given = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise HubError(f"{variable}_FILE: {file!r} cannot be read: {error}") from None
    if given and not given.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise HubError(f"{flag} ({variable}) must start with one of: {', '.join(f'{name}://' for name in schemes)}")
    try:
        _addresses(given)
    except ValueError as error:
        raise HubError(f"{flag} ({variable}) is no URL: {error}") from None
    return given


def _addresses(url: str) -> list[tuple[str, int]]:
    """Host and port of those servers in a URL of which one is enough: of all sentinels, of the first NATS server.

    Raises:
        ValueError: what should be a port is none.
    """
    scheme = url.partition(":")[0]
    if scheme in _REDIS_PORTS:
        servers = [f"//{place}" for place in urlsplit(url).netloc.rpartition("@")[2].split(",")]
    else:
        servers = [url.split(",", maxsplit=1)[0]]
    found = [urlsplit(server) for server in servers]
    return [(parts.hostname or "127.0.0.1", parts.port or _REDIS_PORTS.get(scheme, _NATS_PORT)) for parts in found]


def _choice(environ: Mapping[str, str], variable: str, allowed: tuple[str, ...], default: str) -> str:
    value = (environ.get(variable) or default).lower()
    if value not in allowed:
        raise HubError(f"{variable} is {value!r}; allowed: {', '.join(allowed)}")
    return value


async def _reachable(url: str, flag: str) -> None:
    """Wait for a server that runs already; one of its addresses is enough, a client knows the rest.

    Raises:
        HubError: nothing listens there.
    """
    if not url.startswith(("nats://", "tls://", *(f"{scheme}://" for scheme in _REDIS_PORTS))):
        return
    addresses = _addresses(url)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _OUTSIDE_TIMEOUT_S
    while True:
        reasons = []
        for host, port in addresses:
            try:
                async with asyncio.timeout(max((deadline - loop.time()) / len(addresses), 0.1)):
                    _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return
            except (OSError, TimeoutError) as error:
                reasons.append(f"{host}:{port} ({str(error) or 'no answer'})")
        if loop.time() + 0.2 > deadline:
            raise HubError(
                f"nothing listens at {', '.join(reasons)}; change {flag}, or leave it out to have one started"
            ) from None
        await asyncio.sleep(0.2)
