"""A running hub: what dies comes back, what it prints never holds it up."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.hub.harness import PATIENCE_S, Hub

StartHub = Callable[..., Hub]


def test_a_killed_service_is_started_again_with_a_log_line(shared: Hub) -> None:
    before = shared.pid_of("router-1")
    os.kill(before, signal.SIGKILL)
    line = json.loads(shared.expect(r"router-1 \(pid"))
    assert re.fullmatch(
        rf"router-1 \(pid {before}\) was killed by SIGKILL after [0-9.]+ s; starting it again in 0.2 s", line["message"]
    )
    assert (line["level"], line["service"], line["instance"]) == ("error", "hub", "hub")
    shared.expect("router-1 is ready again")
    assert shared.pid_of("router-1") != before


def test_a_service_that_dies_again_waits_longer_each_time(shared: Hub) -> None:
    for again, delay in enumerate(("0.2", "0.4"), start=1):
        os.kill(shared.pid_of("statehub-1"), signal.SIGTERM)
        assert shared.expect(r"statehub-1 \(pid", count=again).count(f"again in {delay} s")
        shared.expect("statehub-1 is ready again", count=again)


def test_nats_and_redis_come_back_in_their_place_with_their_data(shared: Hub) -> None:
    before = shared.state
    with redis.Redis.from_url(before["redis_url"]) as client:
        client.set("kept", "yes")
    for name in ("redis", "nats"):
        os.kill(shared.pid_of(name), signal.SIGKILL)
        shared.expect(rf"{name} \(pid \d+\) was killed by SIGKILL")
        shared.expect(f"{name} is ready again")
    assert shared.state["redis_url"] == before["redis_url"]
    assert shared.state["nats_url"] == before["nats_url"]
    with redis.Redis.from_url(before["redis_url"]) as client:
        assert client.get("kept") == b"yes"


def test_a_client_that_comes_while_no_gateway_runs_is_served(shared: Hub) -> None:
    port = int(shared.state["urls"]["http"].split(":")[2].split("/")[0])
    for name in ("gateway-1", "gateway-2"):
        os.kill(shared.pid_of(name), signal.SIGKILL)
    for name in ("gateway-1", "gateway-2"):
        shared.expect(rf"{name} \(pid \d+\) was killed")
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 200")
    for name in ("gateway-1", "gateway-2"):
        shared.expect(f"{name} is ready again")


def test_lines_of_services_are_passed_on_as_they_are_and_servers_are_quiet(shared: Hub) -> None:
    assert '{"message":"router-1 started"}' in shared.lines
    assert not [line for line in shared.lines if '"service":"redis"' in line or '"service":"nats"' in line]


def test_at_debug_the_servers_talk_too_in_the_same_form(start_hub: StartHub) -> None:
    hub = start_hub(env={"LOG_LEVEL": "debug"}).wait_until_ready()
    line = json.loads(hub.expect("Ready to accept connections"))
    assert (line["level"], line["service"], line["instance"]) == ("info", "redis", "redis")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert json.loads(hub.expect("Server is ready"))["service"] == "nats"


def test_plain_lines_name_the_process(start_hub: StartHub) -> None:
    hub = start_hub(env={"LOG_FORMAT": "plain"}).wait_until_ready()
    hub.expect(r"^router-1       \| .*router-1 started")
    assert "\033" not in hub.output
    hub.stop()
    hub.expect(r"^hub            \| [0-9:.]{12} info    stopping \(SIGINT\)")


def test_on_a_terminal_lines_are_coloured_and_ctrl_c_stops(tmp_path: Path, standins: Path) -> None:
    ours, theirs = pty.openpty()
    seen = b""
    done = threading.Event()

    def read() -> None:
        nonlocal seen
        try:
            while piece := os.read(ours, 4096):
                seen += piece
                if b"\r\nEND\r\n" in seen:
                    done.set()
        except OSError:
            pass

    arguments = ["-m", "aicp", "hub", "--port", "0", "--http-port", "0", "--data-dir", str(tmp_path / "data")]
    popen = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "LOG_FORMAT")}
        | {"PYTHONPATH": str(standins)},
        # The pty becomes the terminal of a new session, so that typing Ctrl-C there signals the hub, as for a person.
        start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )
    os.close(theirs)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert done.wait(PATIENCE_S), seen.decode()
        os.write(ours, b"\x03")
        assert popen.wait(5) == 0
    finally:
        popen.kill()
        popen.wait()
        reader.join(PATIENCE_S)
        os.close(ours)
    assert b"\033[32mrouter-1       |\033[0m " in seen
    assert b"\033[1mClaude Code\033[0m" in seen
    assert b"stopping (SIGINT)" in seen


def test_a_hub_whose_output_nobody_reads_goes_on_working(start_hub: StartHub, tmp_path: Path, standins: Path) -> None:
    # A pipe holds 64 KiB; the router writes far more at its start.
    unread, theirs = os.pipe()
    arguments = ["-m", "aicp", "hub", "--port", "0", "--http-port", "0", "--data-dir", str(tmp_path / "data")]
    popen = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(standins), "LOG_LEVEL": "debug", "STANDIN_ROUTER": "chatty:200000"},
    )
    os.close(theirs)
    try:
        _wait_for(lambda: _is_ready(tmp_path / "data"))
        popen.send_signal(signal.SIGTERM)
        assert popen.wait(5) == 0
    finally:
        popen.kill()
        popen.wait()
        os.close(unread)


def test_a_hub_whose_output_is_closed_goes_on_and_stops_cleanly(tmp_path: Path, standins: Path) -> None:
    reading, theirs = os.pipe()
    arguments = ["-m", "aicp", "hub", "--port", "0", "--http-port", "0", "--data-dir", str(tmp_path / "data")]
    popen = subprocess.Popen(
        [sys.executable, *arguments], stdout=theirs, stderr=theirs, env=os.environ | {"PYTHONPATH": str(standins)}
    )
    os.close(theirs)
    os.close(reading)
    try:
        _wait_for(lambda: _is_ready(tmp_path / "data"))
        before = json.loads((tmp_path / "data" / "hub.json").read_text())["processes"]["router-1"]["pid"]
        os.kill(before, signal.SIGKILL)
        _wait_for(lambda: _router_pid(tmp_path / "data") not in (before, None))
        popen.send_signal(signal.SIGTERM)
        assert popen.wait(5) == 0
    finally:
        popen.kill()
        popen.wait()


def _is_ready(data_dir: Path) -> bool:
    try:
        return json.loads((data_dir / "hub.json").read_text())["ready"] is True
    except FileNotFoundError:
        return False


def _router_pid(data_dir: Path) -> int | None:
    pid: int | None = json.loads((data_dir / "hub.json").read_text())["processes"]["router-1"]["pid"]
    return pid


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("arguments", [["--help"], ["hub", "--help"], ["--version"]])
def test_help_is_quick_and_loads_no_client_library(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom aicp.__main__ import main\n"
        "try:\n    main()\nfinally:\n    print({'mcp', 'asyncio', 'nats'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert "set()" in done.stdout
