"""What comes before an answer: progress, and messages for a client's log."""

import json
from typing import Any

import pytest

from aicp_gateway.protocol.actions import Answers, Call
from aicp_gateway.protocol.revisions import HANDSHAKE, STATELESS, SUPPORTED
from tests.gateway.engine.oracle import check_message
from tests.gateway.engine.peer import LOG_LEVEL_KEY, Peer


def progress(call: Call, **body: Any) -> dict[str, Any] | None:
    """The notification that the client gets when a service says this of its progress."""
    message = call.exchange.progress(call, json.dumps(body, separators=(",", ":")).encode())
    return None if message is None else check_message(message)


def call_with(token: Any, revision: str = "2025-11-25") -> Call:
    """A call whose client wants to hear of progress under this token."""
    return Peer(revision).call("tools/call", {"name": "echo", "_meta": {"progressToken": token}})


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize("token", ["abc", "", 0, -7, 2**53, 10**30, "é\u0000\n", "5"])
def test_progress_is_told_under_the_clients_token(revision: str, token: str | int) -> None:
    call = call_with(token, revision)
    assert call.client is not None
    assert call.client.progress
    told = progress(call, progress=0.5, total=3, message="half")
    assert told == {
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {"progressToken": token, "progress": 0.5, "total": 3, "message": "half"},
    }


@pytest.mark.parametrize("revision", SUPPORTED)
def test_without_a_token_there_is_no_progress(revision: str) -> None:
    call = Peer(revision).call("tools/call", {"name": "echo"})
    assert call.client is None or not call.client.progress
    assert progress(call, progress=1) is None


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize("token", [1.5, True, [], {}])
def test_a_token_is_a_text_or_an_integer(revision: str, token: Any) -> None:
    peer = Peer(revision)
    answer = peer.told(peer.message("tools/call", {"name": "echo", "_meta": {"progressToken": token}}))
    assert answer["error"]["code"] == -32602
    assert "progressToken" in answer["error"]["message"]


def test_progress_only_grows() -> None:
    call = call_with("t")
    given = [0, 0, -1, 0.5, 0.25, 0.5, 7, 6.999, 7.0, 1e300]
    told = [progress(call, progress=value) for value in given]
    assert [each["params"]["progress"] for each in told if each] == [0, 0.5, 7, 1e300]


def test_progress_may_begin_below_nothing() -> None:
    assert progress(call_with("t"), progress=-1e300) is not None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"progress":"1"}', b'{"progress":null}', b"[1]", b'{"progress":1e999}'])
def test_what_is_no_progress_is_not_told(body: bytes) -> None:
    call = call_with("t")
    assert call.exchange.progress(call, body) is None
    assert progress(call, progress=0) is not None


def test_progress_goes_on_where_it_was_when_the_client_has_been_asked() -> None:
    peer = Peer("2025-11-25", capabilities={"roots": {}})
    call = peer.call("tools/call", {"name": "echo", "_meta": {"progressToken": "t"}})
    assert progress(call, progress=3) is not None
    ask = peer.asked(call, {"folders": {"method": "roots/list"}})
    [id] = ask.requests
    resumed = call.exchange.resume(ask, Answers({id: {"roots": []}}))
    assert progress(resumed, progress=2) is None
    assert progress(resumed, progress=4) is not None


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_log_messages_reach_a_client_from_the_level_that_it_set(revision: str) -> None:
    peer = Peer(revision)
    call = peer.call("tools/call", {"name": "echo"})
    assert call.client is not None
    assert call.client.log_level == "info"
    message = call.exchange.log(b'{"level":"error","data":{"a":1}}')
    assert message is not None
    assert check_message(message) == {
        "jsonrpc": "2.0",
        "method": "notifications/message",
        "params": {"level": "error", "data": {"a": 1}},
    }


def test_log_messages_reach_a_client_of_the_stateless_era_only_when_the_request_asked_for_them() -> None:
    peer = Peer(STATELESS)
    quiet = peer.call("tools/call", {"name": "echo"}, id=1)
    assert quiet.client is None
    assert quiet.exchange.log(b'{"level":"emergency","data":1}') is None
    loud = peer.call("tools/call", {"name": "echo", "_meta": {LOG_LEVEL_KEY: "warning"}}, id=2)
    assert loud.client is not None
    assert loud.client.log_level == "warning"
    assert loud.exchange.log(b'{"level":"error","data":1}') is not None
    assert peer.call("tools/call", {"name": "echo"}, id=3).client is None


@pytest.mark.parametrize("level", ["verbose", "", "INFO"])
def test_a_log_level_that_is_not_there_is_refused(level: str) -> None:
    error = Peer(STATELESS).error("tools/call", {"name": "echo", "_meta": {LOG_LEVEL_KEY: level}})
    assert error["code"] == -32602
    assert "warning" in error["message"]
