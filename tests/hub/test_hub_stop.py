"""Stopping a hub, by whatever way: in time, with nothing left but the data."""

import os
import signal
import time
from collections.abc import Callable

import pytest
import redis

from tests.hub.harness import Hub

StartHub = Callable[..., Hub]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_five_seconds(start_hub: StartHub, number: signal.Signals) -> None:
    hub = start_hub().wait_until_ready()
    assert len(hub.left_behind()) == 7
    began = time.monotonic()
    hub.signal(number)
    assert hub.wait() == 0
    assert time.monotonic() - began < 5
    assert hub.left_behind() == []
    assert not (hub.data_dir / "hub.json").exists()


def test_under_nohup_the_end_of_the_terminal_is_ignored(start_hub: StartHub) -> None:
    hub = start_hub(python="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)").wait_until_ready()
    hub.signal(signal.SIGHUP)
    os.kill(hub.pid_of("router-1"), signal.SIGKILL)
    hub.expect("router-1 is ready again")


def test_ctrl_c_during_the_start_stops_it(start_hub: StartHub) -> None:
    hub = start_hub(env={"STANDIN_ROUTER": "never-ready", "LOG_LEVEL": "debug"})
    hub.expect("waiting for a thing that never comes")
    assert hub.stop() < 5
    assert hub.left_behind() == []


def test_a_service_that_does_not_stop_is_killed_within_five_seconds(start_hub: StartHub) -> None:
    hub = start_hub(env={"STANDIN_GATEWAY": "ignore-sigterm"}).wait_until_ready()
    with redis.Redis.from_url(hub.state["redis_url"]) as client:
        client.set("kept", "yes")
    assert hub.stop() < 5
    hub.expect(r"gateway-1 \(pid \d+\) did not stop in time; killed")
    assert hub.left_behind() == []


def test_a_second_ctrl_c_kills_at_once(start_hub: StartHub) -> None:
    hub = start_hub(env={"STANDIN_GATEWAY": "ignore-sigterm"}).wait_until_ready()
    began = time.monotonic()
    hub.signal(signal.SIGINT)
    hub.expect(r"stopping \(SIGINT\)")
    hub.signal(signal.SIGINT)
    assert hub.wait() == 0
    assert time.monotonic() - began < 2
    assert hub.left_behind() == []


def test_kill_9_of_the_supervisor_leaves_no_process(start_hub: StartHub) -> None:
    hub = start_hub(env={"STANDIN_GATEWAY": "ignore-sigterm"}).wait_until_ready()
    hub.signal(signal.SIGKILL)
    hub.popen.wait()
    hub.wait_until_none_left()


def test_data_ports_and_secrets_are_there_after_a_restart(start_hub: StartHub) -> None:
    first = start_hub().wait_until_ready()
    before = first.state
    with redis.Redis.from_url(before["redis_url"]) as client:
        client.set("kept", "yes")
    first.stop()
    second = start_hub().wait_until_ready()
    assert second.state["redis_url"] == before["redis_url"]
    assert second.state["nats_url"] == before["nats_url"]
    with redis.Redis.from_url(second.state["redis_url"]) as client:
        assert client.get("kept") == b"yes"


def test_a_hub_starts_right_after_a_kill_9_of_the_last_one_and_has_its_data(start_hub: StartHub) -> None:
    first = start_hub().wait_until_ready()
    with redis.Redis.from_url(first.state["redis_url"]) as client:
        for number in range(100):
            client.set(f"key-{number}", number)
    first.signal(signal.SIGKILL)
    first.popen.wait()
    second = start_hub().wait_until_ready()
    with redis.Redis.from_url(second.state["redis_url"]) as client:
        assert client.dbsize() == 100
