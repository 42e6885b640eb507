"""Redis as operators run it: with options of its own, behind Sentinel, as the only node of a cluster."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError

from tests.support.processes import Process, binary, free_port, wait_until_listening

SERVICE = "hub"
"""The name under which the sentinels know the master."""


def redis_process(folder: Path, port: int, *lines: str, sentinel: bool = False) -> Process:
    """A redis-server, or a sentinel, with these lines in its configuration; it is not started."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "redis.conf"
    config.write_text("\n".join((f"port {port}", "bind 127.0.0.1", f"dir {folder}", *lines)) + "\n")
    argv = [binary("redis-server"), str(config), *(["--sentinel"] if sentinel else [])]
    return Process(f"redis-{port}", argv, {}, folder / "redis.log")


@contextlib.contextmanager
def redis_server(folder: Path, *lines: str, port: int = 0, sentinel: bool = False) -> Iterator[int]:
    """A redis-server, or a sentinel, with these lines in its configuration; its port."""
    port = port or free_port()
    process = redis_process(folder, port, *lines, sentinel=sentinel)
    process.start()
    try:
        wait_until_listening(process, port)
        yield port
    finally:
        process.stop()


@contextlib.contextmanager
def cluster_node(folder: Path, slots: range = range(16384)) -> Iterator[int]:
    """A node of a Redis Cluster, with every slot ready, or with a part of them; its port."""
    lines = ("cluster-enabled yes", "appendonly yes", "appendfsync always")
    with redis_server(folder, *lines, port=_free_cluster_port()) as port:
        with client(port) as redis:
            redis.execute_command("CLUSTER ADDSLOTS", *slots)  # type: ignore[no-untyped-call]
        if len(slots) == 16384:
            _until_ready(port)
        yield port


def join(one: int, other: int) -> None:
    """Make one cluster of two nodes that have all slots together."""
    with client(one) as redis:
        redis.cluster("MEET", "127.0.0.1", other)
    _until_ready(one)


def _until_ready(port: int) -> None:
    with client(port) as redis:
        until(lambda: redis.cluster("INFO")["cluster_state"] == "ok")


def _free_cluster_port() -> int:
    """One whose neighbour 10,000 further, on which nodes talk with each other, is free as well."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError, OverflowError), socket.socket() as bus:
            bus.bind(("127.0.0.1", port + 10_000))
            return port


@contextlib.contextmanager
def client(port: int, **options: Any) -> Iterator["Redis"]:
    """A client for the test itself."""
    redis = Redis(port=port, decode_responses=True, **options)
    try:
        yield redis
    finally:
        redis.close()


def until(check: Callable[[], bool], patience_s: float = 30.0) -> None:
    """Wait until `check` says yes; one that Redis does not answer says no."""
    end = time.monotonic() + patience_s
    while True:
        with contextlib.suppress(RedisError, OSError):
            if check():
                return
        if time.monotonic() > end:
            raise TimeoutError(f"not so within {patience_s} s: {check}")
        time.sleep(0.02)


class SentinelGroup:
    """A master, a replica of it, and three sentinels of which two must agree; all of them want passwords.

    Args:
        folder: For their data.
    """

    password = "redis password"
    sentinel_password = "sentinel password"

    def __init__(self, folder: Path) -> None:
        self.ports = [free_port(), free_port()]
        common = (
            f'requirepass "{self.password}"',
            f'masterauth "{self.password}"',
            "appendonly yes",
            "appendfsync always",
            'save ""',
            "repl-diskless-sync-delay 0",
        )
        master, replica = self.ports
        self.servers = {
            master: redis_process(folder / "a", master, *common),
            replica: redis_process(folder / "b", replica, *common, f"replicaof 127.0.0.1 {master}"),
        }
        self.sentinel_ports = [free_port() for _ in range(3)]
        self.sentinels = [
            redis_process(
                folder / f"sentinel-{port}",
                port,
                f"sentinel monitor {SERVICE} 127.0.0.1 {master} 2",
                f'sentinel auth-pass {SERVICE} "{self.password}"',
                f"sentinel down-after-milliseconds {SERVICE} 1000",
                f"sentinel failover-timeout {SERVICE} 10000",
                f'requirepass "{self.sentinel_password}"',
                f'sentinel sentinel-pass "{self.sentinel_password}"',
                sentinel=True,
            )
            for port in self.sentinel_ports
        ]

    @property
    def url(self) -> str:
        """For REDIS_URL."""
        places = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        passwords = self.password.replace(" ", "%20"), self.sentinel_password.replace(" ", "%20")
        return f"redis+sentinel://:{passwords[0]}@{places}/{SERVICE}/2?sentinel_password={passwords[1]}"

    def start(self) -> None:
        """Start all, and wait until the sentinels know each other and the replica."""
        for port, process in (*self.servers.items(), *zip(self.sentinel_ports, self.sentinels, strict=True)):
            process.start()
            wait_until_listening(process, port)
        self.settle()

    def stop(self) -> None:
        """Stop all."""
        for process in (*self.sentinels, *self.servers.values()):
            process.stop()

    @property
    def master_port(self) -> int:
        """Of the master, as a sentinel says."""
        return int(self._ask()["port"])

    def settle(self) -> None:
        """Wait until all that is there is as it should be: a fail-over could begin."""
        for port in self.sentinel_ports:
            until(lambda port=port: self._settled(port))  # type: ignore[misc]
        until(self.copied)

    def copied(self) -> bool:
        """Whether the replica has everything that the master has."""
        with self.server(self.master_port) as redis:
            said = redis.info("replication")
        return bool(said["role"] == "master" and said.get("slave0", {}).get("offset") == said["master_repl_offset"])

    def server(self, port: int) -> contextlib.AbstractContextManager["Redis"]:
        """A client of one of the servers."""
        return client(port, password=self.password)

    def role(self, port: int) -> str:
        """What a server takes itself for."""
        with self.server(port) as redis:
            return str(redis.info("replication")["role"])

    def order_failover(self) -> None:
        """`SENTINEL FAILOVER`."""
        with client(self.sentinel_ports[0], password=self.sentinel_password) as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)  # type: ignore[no-untyped-call]

    def _settled(self, sentinel_port: int) -> bool:
        said = self._ask(sentinel_port)
        with client(sentinel_port, password=self.sentinel_password) as sentinel:
            replicas = sentinel.sentinel_slaves(SERVICE)
        return (
            said["flags"] == "master"
            and int(said["num-other-sentinels"]) == 2
            and [replica["flags"] for replica in replicas] == ["slave"]
            and replicas[0]["master-link-status"] == "ok"
        )

    def _ask(self, sentinel_port: int = 0) -> dict[str, Any]:
        with client(sentinel_port or self.sentinel_ports[0], password=self.sentinel_password) as sentinel:
            flat = cast("Any", sentinel.execute_command("SENTINEL", "MASTER", SERVICE))  # type: ignore[no-untyped-call]
        return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
