"""The parts of a hub that decide without touching anything: delays, texts, log lines."""

import asyncio
import json
import os
import shlex
import socket
from pathlib import Path

import pytest

from aicp import __version__
from aicp.hub import binaries, welcome
from aicp.hub.exceptions import HubError
from aicp.hub.output import Output
from aicp.hub.ports import FreePorts, listen
from aicp.hub.process import Backoff, describe_exit
from aicp.hub.servers import (
    LOADING,
    nats_config,
    probe_nats,
    probe_redis,
    read_nats_line,
    read_redis_line,
    redis_config,
)

HTTP_URL = "http://localhost:8080/mcp"
WS_URL = "ws://localhost:8765/mcp"


def test_delays_double_up_to_ten_seconds_and_start_over_after_thirty_seconds_of_health() -> None:
    backoff = Backoff()
    assert [backoff.after(0.0) for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert backoff.after(29.9) == 10.0
    assert backoff.after(30.0) == 0.2
    assert backoff.after(0.0) == 0.4


def test_an_exit_is_described_by_status_or_signal_name() -> None:
    assert describe_exit(1) == "exited with status 1"
    assert describe_exit(-9) == "was killed by SIGKILL"
    assert describe_exit(-99) == "was killed by signal 99"


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        ("[12] 2026/11/23 04:15:18.605211 [INF] Server is ready", "info", "Server is ready"),
        ("[12] 2026/11/23 04:15:18.605211 [WRN] disk is slow", "warning", "disk is slow"),
        ("[12] 2026/11/23 04:15:18.605211 [FTL] no port", "error", "no port"),
        ("nats-server: nats.conf:1: syntax", "error", "nats-server: nats.conf:1: syntax"),
    ],
)
def test_lines_of_nats_keep_their_level(line: str, level: str, message: str) -> None:
    assert read_nats_line(line) == (level, message)


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        ("8:M 23 Nov 2026 04:15:20.072 * Ready to accept connections", "info", "Ready to accept connections"),
        ("8:M 23 Nov 2026 04:15:20.072 # Short read while loading", "warning", "Short read while loading"),
        ("8:M 23 Nov 2026 04:15:20.072 # Server initialized", "info", "Server initialized"),
        ("*** FATAL CONFIG FILE ERROR ***", "error", "*** FATAL CONFIG FILE ERROR ***"),
    ],
)
def test_lines_of_redis_keep_their_level_save_for_routine(line: str, level: str, message: str) -> None:
    assert read_redis_line(line) == (level, message)


def test_servers_listen_on_loopback_only() -> None:
    assert 'host: "127.0.0.1"\nport: 4222\n' in nats_config(4222, "token")
    assert "bind 127.0.0.1\nport 6379\n" in redis_config(6379, "password", "always")


@pytest.mark.parametrize("with_token", [False, True])
def test_snippets_are_valid_in_the_language_of_their_place(with_token: bool) -> None:
    command = shlex.split(welcome.claude_code_snippet(HTTP_URL, with_token=with_token))
    assert command[:6] == ["claude", "mcp", "add", "--transport", "http", "aicp"]
    vs_code = json.loads(welcome.vs_code_snippet(HTTP_URL, with_token=with_token))
    assert vs_code["servers"]["aicp"]["url"].startswith(HTTP_URL)
    desktop = json.loads(welcome.claude_desktop_snippet(WS_URL, "/opt/python", with_token=with_token))
    assert desktop["mcpServers"]["aicp"]["command"] == "/opt/python"
    assert desktop["mcpServers"]["aicp"]["args"][:5] == ["-m", "aicp", "connect", "--url", WS_URL]
    first, *script, last = welcome.script_snippet(HTTP_URL, "python", with_token=with_token).splitlines()
    assert (first, last) == ("python - <<'END'", "END")
    compile("\n".join(script), "script", "exec")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1", "localhost"),
        ("0.0.0.0", "localhost"),
        ("::", "localhost"),
        ("10.0.0.5", "10.0.0.5"),
        ("fd00::5", "[fd00::5]"),
    ],
)
def test_urls_name_a_host_that_a_client_here_can_reach(host: str, name: str) -> None:
    assert welcome.client_urls(host, 8765, 8080) == {
        "websocket": f"ws://{name}:8765/mcp",
        "http": f"http://{name}:8080/mcp",
    }


@pytest.mark.parametrize(
    ("host", "with_token", "warned"), [("127.0.0.1", False, False), ("0.0.0.0", False, True), ("0.0.0.0", True, False)]
)
def test_an_open_hub_that_others_can_reach_is_warned_about(host: str, with_token: bool, warned: bool) -> None:
    text = welcome.welcome_text(
        version="1",
        urls=welcome.client_urls(host, 8765, 8080),
        host=host,
        data_dir=Path("/data"),
        python="/usr/bin/python3",
        with_token=with_token,
        bold=False,
    )
    assert ("Warning" in text) is warned


def test_the_version_is_that_of_the_project() -> None:
    project = Path(__file__).parents[2].joinpath("pyproject.toml").read_text()
    assert f'\nversion = "{__version__}"\n' in project


async def test_output_that_nobody_reads_is_dropped_and_counted() -> None:
    reading, writing = os.pipe()
    output = Output(writing)
    for number in range(30_000):
        output.write(f"{number:079}")
    seen = b""
    os.set_blocking(reading, False)
    while b"dropped" not in seen:
        await asyncio.sleep(0.01)
        while True:
            try:
                seen += os.read(reading, 1 << 16)
            except BlockingIOError:
                break
    lines = seen.decode().splitlines()
    dropped = int(lines[-1].strip("(").split(" ")[0])
    assert dropped > 0
    assert [int(line) for line in lines[:-1]] == list(range(30_000 - dropped))
    os.close(reading)
    output.write("to nobody")
    output.write("still no error")
    os.close(writing)


def test_free_ports_are_given_once_and_the_last_one_again_when_free() -> None:
    ports, other = FreePorts(), FreePorts()
    taken = [ports.take() for _ in range(20)]
    assert len(set(taken)) == 20
    ports.close()
    assert other.take(preferred=taken[0]) == taken[0]
    with listen("127.0.0.1", taken[0], "--port"):
        assert ports.take(preferred=taken[0]) != taken[0]
    ports.close()
    other.close()


def test_a_reserved_port_is_free_for_the_process_it_was_given_to_and_for_no_other() -> None:
    ports = FreePorts()
    port = ports.take()
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)):
            pass
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    ports.close()


def _fake_redis(folder: Path, version: str) -> Path:
    path = folder / "redis-server"
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0 bits=64'\n")
    path.chmod(0o755)
    return path


def test_binaries_come_from_the_environment_of_python_before_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "venv" / "bin", tmp_path / "usr"
    ours.mkdir(parents=True)
    theirs.mkdir()
    expected, fallback = _fake_redis(ours, "6.2.14"), _fake_redis(theirs, "7.0.15")
    monkeypatch.setattr(binaries, "_folders", lambda: iter([ours]))
    monkeypatch.setenv("PATH", f"{theirs}:{os.environ['PATH']}")
    assert binaries.find_redis_server(tmp_path) == expected
    expected.unlink()
    assert binaries.find_redis_server(tmp_path) == fallback
    monkeypatch.setenv("PATH", "")
    with pytest.raises(HubError, match="redis-server was not found"):
        binaries.find_redis_server(tmp_path)
    with pytest.raises(HubError, match="nats-server was not found"):
        binaries.find_nats_server()


def test_a_redis_that_is_too_old_or_older_than_the_data_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(binaries, "_folders", lambda: iter([tmp_path]))
    _fake_redis(tmp_path, "6.0.16")
    with pytest.raises(HubError, match=r"is Redis 6\.0, but 6\.2 or newer is needed.*--redis-url"):
        binaries.find_redis_server(tmp_path)
    _fake_redis(tmp_path, "6.2.14")
    assert binaries.find_redis_server(tmp_path).name == "redis-server"
    (tmp_path / "appendonlydir").mkdir()
    with pytest.raises(HubError, match=r"written by Redis 7 or newer.*--data-dir"):
        binaries.find_redis_server(tmp_path)


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (b"+OK\r\n+PONG\r\n", None),
        (b"+OK\r\n-LOADING Redis is loading the dataset in memory\r\n", LOADING),
        (b"-WRONGPASS invalid\r\n-NOAUTH Authentication required.\r\n", "answers"),
        (b"", "answers"),
    ],
)
async def test_a_redis_is_ready_once_it_answers_commands(reply: bytes, found: str | None) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(reply)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        told = await probe_redis(server.sockets[0].getsockname()[1], "password")
    assert told == found or (found is not None and told is not None and told.startswith(found))


async def test_a_server_that_is_not_there_is_not_ready() -> None:
    ports = FreePorts()
    port = ports.take()
    assert await probe_redis(port, "password") == f"does not answer on port {port}"
    assert await probe_nats(port) == f"does not answer on port {port}"
    ports.close()
