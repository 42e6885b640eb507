"""Real processes for tests: NATS, Redis and the services, on free ports, in a folder of their own."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

BIN = Path(sys.executable).parent


def free_port() -> int:
    """A TCP port of loopback that nobody uses at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def binary(name: str) -> str:
    """The path of a program: from the environment that runs the tests, or from PATH."""
    found = which(name, path=str(BIN)) or which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is neither in {BIN} nor on PATH")
    return found


@dataclass
class Process:
    """A child process, its output in `log`."""

    name: str
    argv: list[str]
    env: dict[str, str]
    log: Path
    popen: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it, or start it again."""
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                self.argv, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self.popen is not None and self.popen.poll() is None

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        assert self.popen is not None
        self.popen.kill()
        self.popen.wait()

    def stop(self, patience_s: float = 5.0) -> int:
        """SIGTERM, and its exit status; after `patience_s` seconds SIGKILL."""
        if self.popen is None:
            return 0
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(patience_s)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        return self.popen.returncode

    def output(self) -> str:
        """Everything that it printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def check_alive(self) -> None:
        """Raise with its output when it has ended."""
        if not self.running:
            raise RuntimeError(f"{self.name} ended early:\n{self.output()[-4000:]}")


def wait_until_listening(process: Process, port: int, patience_s: float = 15.0) -> None:
    """Wait until something accepts on `port`."""
    until = time.monotonic() + patience_s
    while True:
        process.check_alive()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def wait_until_ready(process: Process, admin_port: int, patience_s: float = 20.0) -> None:
    """Wait until /ready of a service says 200."""
    until = time.monotonic() + patience_s
    answer = "no answer"
    while time.monotonic() < until:
        process.check_alive()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/ready", timeout=1):
                return
        except urllib.error.HTTPError as error:
            answer = error.read().decode()
        except OSError as error:
            answer = str(error)
        time.sleep(0.02)
    raise RuntimeError(f"{process.name} is not ready: {answer}\n{process.output()[-4000:]}")


@dataclass
class Backend:
    """One nats-server with JetStream and one redis-server with AOF, both with their data in `folder`."""

    folder: Path
    nats_port: int = field(default_factory=free_port)
    redis_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        (self.folder / "redis").mkdir(parents=True, exist_ok=True)
        config = self.folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.nats_port}"\nmax_payload: 4MB\nmax_pending: 256MB\n'
            f'jetstream {{ store_dir: "{self.folder / "nats"}" }}\n'
        )
        environment = dict(os.environ)
        self.nats = Process(
            "nats-server", [binary("nats-server"), "-c", str(config)], environment, self.folder / "nats.log"
        )
        redis_argv = [binary("redis-server"), "--port", str(self.redis_port), "--bind", "127.0.0.1"]
        redis_argv += [
            "--dir",
            str(self.folder / "redis"),
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        ]
        self.redis = Process("redis-server", redis_argv, environment, self.folder / "redis.log")

    @property
    def nats_url(self) -> str:
        """For NATS_URL."""
        return f"nats://127.0.0.1:{self.nats_port}"

    @property
    def redis_url(self) -> str:
        """For REDIS_URL."""
        return f"redis://127.0.0.1:{self.redis_port}/0"

    def start(self) -> None:
        """Start both and wait until they listen."""
        self.nats.start()
        self.redis.start()
        wait_until_listening(self.nats, self.nats_port)
        wait_until_listening(self.redis, self.redis_port)

    def stop(self) -> None:
        """Stop both."""
        self.nats.stop()
        self.redis.stop()


@dataclass
class ServiceProcess:
    """One worker of a service, as `python -m aicp_<name>` with an admin port of its own."""

    name: str
    backend: Backend
    env: Mapping[str, str] = field(default_factory=dict)
    instance: str = ""
    module: str = ""
    """Default: `aicp_<name>`."""

    def __post_init__(self) -> None:
        self.instance = self.instance or f"{self.name}-{free_port()}"
        self.admin_port = free_port()
        environment = dict(os.environ)
        environment.update(
            NATS_URL=self.backend.nats_url,
            REDIS_URL=self.backend.redis_url,
            ADMIN_PORT=str(self.admin_port),
            INSTANCE=self.instance,
            LOG_FORMAT="json",
            # A model that is loaded in every router of a test run decides nothing there.
            EMBEDDER="off",
        )
        environment.update(self.env)
        self.process = Process(
            self.instance,
            [sys.executable, "-m", self.module or f"aicp_{self.name}"],
            environment,
            self.backend.folder / f"{self.instance}.log",
        )

    def start(self) -> "ServiceProcess":
        """Start it without waiting."""
        self.process.start()
        return self

    def wait(self) -> "ServiceProcess":
        """Wait until it is ready."""
        wait_until_ready(self.process, self.admin_port)
        return self

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        return self.process.stop()


VIOLATIONS = Path(tempfile.mkdtemp(prefix="aicp-violations-")) / "violations"
"""Where every checked gateway of this test process writes down what it said against its schema."""


class GatewayProcess(ServiceProcess):
    """One gateway on free ports. Every message that it sends is checked, see `tests.support.checked`.

    Args:
        backend: Its NATS and Redis.
        env: Settings.
        module: What is run; `aicp_gateway` for one that nobody checks.
    """

    def __init__(
        self, backend: Backend, env: Mapping[str, str] | None = None, module: str = "tests.support.checked"
    ) -> None:
        self.port = free_port()
        self.http_port = free_port()
        # A test that needs all services starts them first; the others must not wait for them.
        own = {
            "PORT": str(self.port),
            "HTTP_PORT": str(self.http_port),
            "REQUIRED_SERVICES": "none",
            "CHECKED_REPORT": str(VIOLATIONS),
        }
        super().__init__("gateway", backend, {**own, **(env or {})}, module=module)

    @property
    def ws_url(self) -> str:
        """The WebSocket endpoint."""
        return f"ws://127.0.0.1:{self.port}/mcp"

    @property
    def http_url(self) -> str:
        """The Streamable HTTP endpoint."""
        return f"http://127.0.0.1:{self.http_port}/mcp"
