"""Starting a hub: what runs, what is told, what is refused and why."""

import errno
import json
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from aicp.hub import binaries, command
from aicp.hub.command import HubOptions, run_hub
from tests.hub.harness import Hub

StartHub = Callable[..., Hub]
Refused = Callable[..., str]


def _ask(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        reply = b""
        while piece := connection.recv(4096):
            reply += piece
    return reply.partition(b"\r\n\r\n")[2].decode()


def _ports(hub: Hub) -> tuple[int, int]:
    websocket, http = hub.state["urls"]["websocket"], hub.state["urls"]["http"]
    return int(websocket.split(":")[2].split("/")[0]), int(http.split(":")[2].split("/")[0])


def _refusal(hub: Hub) -> str:
    """The one line of a hub that does not start."""
    assert hub.wait() == 1, hub.output
    assert len(hub.lines) == 1, hub.output
    return hub.lines[0]


def test_a_hub_is_ready_in_five_seconds(start_hub: StartHub) -> None:
    hub = start_hub().wait_until_ready()
    assert hub.ready_after_s < 5
    assert hub.state["ready"] is True
    assert set(hub.state["processes"]) == {"nats", "redis", "statehub-1", "router-1", "orchestrator-1", "gateway-1"}


def test_a_ready_hub_tells_where_it_is_and_how_to_connect(shared: Hub) -> None:
    urls = shared.state["urls"]
    assert f"  WebSocket        {urls['websocket']}" in shared.lines
    assert f"  Streamable HTTP  {urls['http']}" in shared.lines
    assert f"  Data             {shared.data_dir}" in shared.lines
    assert f'claude mcp add --transport http aicp "{urls["http"]}?agent=alice"' in shared.lines


def test_both_ports_lead_to_every_gateway(shared: Hub) -> None:
    assert {"gateway-1", "gateway-2", "router-1", "router-2"} <= set(shared.state["processes"])
    for port in _ports(shared):
        assert _ask(port) in ("gateway-1", "gateway-2")
    os.kill(shared.pid_of("gateway-1"), signal.SIGSTOP)
    try:
        assert {_ask(port) for port in _ports(shared) * 3} == {"gateway-2"}
    finally:
        os.kill(shared.pid_of("gateway-1"), signal.SIGCONT)


def test_each_service_process_has_an_admin_port_of_its_own(shared: Hub) -> None:
    admin_ports = {
        name: process["admin_port"] for name, process in shared.state["processes"].items() if "admin_port" in process
    }
    assert {name: _ask(port) for name, port in admin_ports.items()} == {name: name for name in admin_ports}
    assert len(admin_ports) == 6


def test_a_service_gets_its_place_and_the_rest_of_the_environment(shared: Hub) -> None:
    raw = Path(f"/proc/{shared.pid_of('router-2')}/environ").read_bytes().decode().split("\0")
    env = dict(entry.split("=", 1) for entry in raw if entry)
    assert env["INSTANCE"] == "router-2"
    assert env["NATS_URL"] == shared.state["nats_url"]
    assert env["REDIS_URL"] == shared.state["redis_url"]
    assert env["LOG_FORMAT"] == "json"
    assert env["OTEL_SERVICE_NAME"] == "inherited"
    assert "GATEWAY_SOCKETS" not in env


def test_files_are_private_and_no_secret_is_on_a_command_line(shared: Hub) -> None:
    assert stat.S_IMODE(shared.data_dir.stat().st_mode) == 0o700
    for path in shared.data_dir.rglob("*"):
        if path.name != ".gitignore":
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    kept = json.loads((shared.data_dir / "servers.json").read_text())
    assert kept["redis_password"] in shared.state["redis_url"]
    assert kept["nats_token"] in shared.state["nats_url"]
    commands = "\n".join(shared.left_behind())
    assert "redis-server" in commands
    assert "nats-server" in commands
    for secret in (kept["redis_password"], kept["nats_token"]):
        assert secret not in commands
        assert secret not in shared.output


def test_redis_keeps_every_write_and_evicts_nothing(shared: Hub) -> None:
    with redis.Redis.from_url(shared.state["redis_url"]) as client:
        settings = {
            name: client.config_get(name)[name] for name in ("appendonly", "appendfsync", "maxmemory-policy", "save")
        }
    assert settings == {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}


def test_a_second_hub_on_the_same_data_is_refused(shared: Hub) -> None:
    line = _refusal(Hub(shared.data_dir))
    assert f"data directory {shared.data_dir} is held by another hub (pid {shared.popen.pid})" in line
    assert "--data-dir" in line
    assert shared.state["ready"] is True


@pytest.mark.parametrize("option", ["--port", "--http-port"])
def test_a_port_in_use_is_named_with_its_flag(start_hub: StartHub, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = _refusal(start_hub(option, str(port)))
    assert f"port {port} on 127.0.0.1 is in use" in line
    assert line.endswith(f"with {option}")


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Give options to a hub that must not start; returns the one line that it prints."""

    def run(**options: Any) -> str:
        chosen: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "http_port": 0, "data_dir": tmp_path / "data"}
        assert run_hub(HubOptions(**(chosen | options))) == 1
        printed = capfd.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("aicp hub: ")
        assert printed.err.count("\n") == 1
        return printed.err.rstrip("\n")

    return run


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"port": 70000}, "--port is 70000; allowed are 1 to 65535, or 0 for any free port"),
        ({"http_port": -1}, "--http-port is -1; allowed are 1 to 65535, or 0 for any free port"),
        ({"port": 9000, "http_port": 9000}, "--port and --http-port are both 9000; give each a port of its own"),
        ({"gateways": 0}, "--gateways is 0; a hub needs at least 1"),
        ({"statehubs": -2}, "--statehubs is -2; a hub needs at least 1"),
        ({"host": "203.0.113.7"}, "host '203.0.113.7' is no address of this machine; choose another with --host"),
        ({"nats_url": "http://localhost"}, "--nats-url (NATS_URL) must start with one of: nats://,"),
        ({"redis_url": "localhost:6379"}, "--redis-url (REDIS_URL) must start with one of: redis://,"),
        ({"redis_url": "redis://localhost:port"}, "--redis-url (REDIS_URL) is no URL"),
    ],
)
def test_wrong_options_are_refused_in_one_line(refused: Refused, options: dict[str, Any], told: str) -> None:
    assert told in refused(**options)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("REDIS_APPENDFSYNC", "sometimes", "REDIS_APPENDFSYNC is 'sometimes'; allowed: always, everysec, no"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT is 'xml'; allowed: auto, plain, json"),
        ("REDIS_URL_FILE", "/nowhere", "REDIS_URL_FILE: '/nowhere' cannot be read"),
    ],
)
def test_wrong_variables_are_refused_in_one_line(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert told in refused()


def test_a_privileged_port_is_refused_with_its_flag(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    # As root any port opens, so the refusal of the kernel is played.
    class Socket(socket.socket):
        def bind(self, address: Any) -> None:
            if address[1] == 80:
                raise PermissionError(errno.EACCES, "Permission denied")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Socket)
    line = refused(http_port=80)
    assert "port 80 may only be opened by root" in line
    assert line.endswith("with --http-port")


def test_a_data_directory_that_cannot_be_made_is_named_with_its_flag(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = refused(data_dir=tmp_path / "file" / "data")
    assert str(tmp_path / "file" / "data") in line
    assert "--data-dir" in line


def test_damaged_secrets_are_named(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "servers.json").write_text("{")
    assert f"{tmp_path}/data/servers.json is damaged; delete it" in refused()


@pytest.mark.parametrize(("binary", "option"), [("nats-server", "--nats-url"), ("redis-server", "--redis-url")])
def test_a_missing_binary_is_named_with_what_helps(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, binary: str, option: str
) -> None:
    find = binaries._find
    monkeypatch.setattr(binaries, "_find", lambda name: None if name == binary else find(name))
    line = refused()
    assert f"{binary} was not found" in line
    assert "pip install '.[hub]'" in line
    assert option in line


def test_a_hub_that_needs_tokens_shows_them_in_its_snippets(start_hub: StartHub) -> None:
    hub = start_hub(env={"JWT_REQUIRED": "true", "JWT_SECRET": "s" * 32}).wait_until_ready()
    assert '--header "Authorization: Bearer $AICP_TOKEN"' in hub.output
    assert "?agent=" not in hub.output


def test_servers_that_run_already_are_used_and_none_is_started(
    start_hub: StartHub, shared: Hub, tmp_path: Path
) -> None:
    other = shared.state
    url_file = tmp_path / "redis-url"
    url_file.write_text(other["redis_url"] + "\n")
    hub = start_hub("--nats-url", other["nats_url"], env={"REDIS_URL_FILE": str(url_file)}).wait_until_ready()
    assert hub.state["nats_url"] == other["nats_url"]
    assert hub.state["redis_url"] == other["redis_url"]
    assert set(hub.state["processes"]) == {"statehub-1", "router-1", "orchestrator-1", "gateway-1"}


@pytest.mark.parametrize(("option", "scheme"), [("nats_url", "nats"), ("redis_url", "redis")])
def test_a_server_that_should_run_already_but_does_not_is_named(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, option: str, scheme: str
) -> None:
    monkeypatch.setattr(command, "_OUTSIDE_TIMEOUT_S", 0.3)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        line = refused(**{option: f"{scheme}://:secret@127.0.0.1:{port}"})
    assert f"nothing listens at 127.0.0.1:{port}" in line
    assert "--" + option.replace("_", "-") in line
    assert "secret" not in line


def test_a_wrong_configuration_of_a_service_is_told_once_and_ends_the_hub(start_hub: StartHub) -> None:
    wrong = "exit:78:configuration: JWT_SECRET: was 'x'; allowed: 32 characters or more"
    hub = start_hub(env={"STANDIN_GATEWAY": wrong, "STANDIN_ROUTER": wrong})
    assert _refusal(hub) == "aicp hub: configuration: JWT_SECRET: was 'x'; allowed: 32 characters or more"
    assert hub.left_behind() == []


def test_a_service_that_dies_at_its_start_ends_the_hub_after_three_times(start_hub: StartHub) -> None:
    hub = start_hub(env={"STANDIN_ROUTER": "exit:3:ImportError: no module named nowhere"})
    assert hub.wait() == 1
    assert "router-1 does not start: it died 3 times before it was ready" in hub.output
    assert "exited with status 3" in hub.lines[-2]
    assert hub.lines[-1].strip() == "ImportError: no module named nowhere"
    assert hub.left_behind() == []


def test_a_service_that_is_never_ready_ends_the_hub(start_hub: StartHub) -> None:
    hub = start_hub(
        env={"STANDIN_ORCHESTRATOR": "never-ready"}, python="import aicp.hub.supervisor as s; s.READY_TIMEOUT_S = 0.5"
    )
    assert hub.wait() == 1
    assert "orchestrator-1 was not ready after 0.5 s: it does not answer on its admin port" in hub.lines[-2]
    assert hub.lines[-1].strip() == "waiting for a thing that never comes"
    assert hub.left_behind() == []
