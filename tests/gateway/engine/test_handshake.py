"""The handshake: revisions are agreed on, and nothing but ping goes before it."""

import json
from typing import Any

import pytest

from aicp_gateway.protocol.actions import Call, Unwatch
from aicp_gateway.protocol.engine import Conversation
from aicp_gateway.protocol.handshake import Agreed
from aicp_gateway.protocol.revisions import HANDSHAKE, primes_streams, resumes_streams
from tests.gateway.engine import announced
from tests.gateway.engine.peer import EVERYTHING, LIMIT, TASKS, Peer, notification, request, sealer

BEFORE = "2025-11-25"


def fresh(**options: Any) -> Peer:
    """A client that has not said `initialize` yet."""
    return Peer(BEFORE, initialized=False, **options)


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_a_revision_that_the_client_asks_for_is_spoken(revision: str) -> None:
    assert fresh().result("initialize", {"protocolVersion": revision})["protocolVersion"] == revision


@pytest.mark.parametrize("wanted", ["1999-01-01", "", "2026-07-28", "2025-11-26", "2025-11-25 ", "2025-06-18\u0000"])
def test_a_client_that_asks_for_something_else_is_offered_the_newest_with_a_handshake(wanted: str) -> None:
    assert fresh().result("initialize", {"protocolVersion": wanted})["protocolVersion"] == "2025-11-25"


def test_a_client_that_asks_for_nothing_is_offered_the_newest() -> None:
    assert fresh().result("initialize", {})["protocolVersion"] == "2025-11-25"
    assert fresh().result("initialize")["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_the_server_says_who_it_is_what_it_offers_and_how_to_use_it(revision: str) -> None:
    result = fresh().result("initialize", {"protocolVersion": revision})
    assert result.keys() == {"protocolVersion", "capabilities", "serverInfo", "instructions"}
    assert result["serverInfo"]["name"] == "aicp"
    assert result["serverInfo"]["version"]
    assert result["capabilities"] == {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "prompts": {"listChanged": True},
        "completions": {},
        "logging": {},
    }
    assert "The fixture echoes." in result["instructions"]
    assert "'alice'" in result["instructions"]


def test_what_the_client_said_of_itself_is_kept() -> None:
    peer = fresh()
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": EVERYTHING,
        "clientInfo": {"name": "n" * 300, "version": "v" * 300, "title": "ignored"},
    }
    peer.result("initialize", params)
    agreed = peer.conversation.agreed
    assert agreed.revision == "2025-06-18"
    assert set(agreed.can) == {"elicitation", "sampling", "roots"}
    assert (agreed.client_name, agreed.client_version) == ("n" * 200, "v" * 100)
    assert agreed.log_level == "info"


def test_the_tasks_extension_is_not_spoken_in_this_era() -> None:
    peer = Peer("2025-11-25", capabilities=TASKS)
    assert peer.conversation.agreed.can == ()
    assert "extensions" not in fresh().result("initialize")["capabilities"]


@pytest.mark.parametrize(
    "params",
    [
        {"protocolVersion": 5},
        {"capabilities": []},
        {"capabilities": None},
        {"capabilities": "all"},
        {"clientInfo": "me"},
        {"clientInfo": {"name": 7}},
        {"_meta": 3},
    ],
)
def test_an_initialize_that_is_wrong_agrees_on_nothing(params: dict[str, Any]) -> None:
    peer = fresh()
    assert peer.error("initialize", params)["code"] == -32602
    assert peer.conversation.agreed == Agreed()
    assert peer.error("tools/list")["code"] == -32600


@pytest.mark.parametrize(
    "capabilities", [b'{"x":1e999}', b'{"roots":' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"}", b'{"x":"\\ud800"}']
)
def test_capabilities_that_cannot_be_read_are_answered_under_the_requests_id(capabilities: bytes) -> None:
    message = b'{"jsonrpc":"2.0","id":4,"method":"initialize","params":{"capabilities":%b}}' % capabilities
    sent = fresh().sent(message)
    answer = json.loads(sent.message)
    assert answer.get("id") == 4 or answer["error"]["code"] == -32700


def test_nothing_but_ping_goes_before_initialize() -> None:
    peer = fresh()
    assert peer.result("ping") == {}
    for method in ("tools/list", "tools/call", "resources/read", "logging/setLevel", "no/such"):
        sent = peer.sent(request(method, {}))
        error = json.loads(sent.message)["error"]
        assert (error["code"], sent.status) == (-32600, 400)
        assert "initialize" in error["message"]
        assert method in error["message"]


def test_the_client_need_not_say_that_it_is_initialized() -> None:
    peer = Peer("2025-11-25")
    assert peer.result("tools/list")["tools"]
    assert peer.receive(notification("notifications/initialized")) == []
    assert peer.result("tools/list")["tools"]


def test_a_second_initialize_agrees_anew() -> None:
    peer = Peer("2025-03-26", capabilities=EVERYTHING)
    peer.result("logging/setLevel", {"level": "error"})
    assert peer.result("initialize", {"protocolVersion": "2025-06-18"})["protocolVersion"] == "2025-06-18"
    assert peer.conversation.agreed == Agreed(revision="2025-06-18")
    call = peer.call("tools/call", {"name": "echo"})
    assert call.client is not None
    assert (call.client.can, call.client.log_level) == ((), "info")


def test_a_conversation_goes_on_with_what_was_agreed_elsewhere() -> None:
    before = Peer("2025-06-18", capabilities={"roots": {}})
    before.result("logging/setLevel", {"level": "debug"})
    principal = before.conversation.principal
    after = Conversation(principal, announced.catalogue(), sealer(), max_in_flight=1, agreed=before.conversation.agreed)
    [call] = after.receive(json.dumps(request("tools/call", {"name": "echo"})).encode(), LIMIT)
    assert isinstance(call, Call)
    assert call.client == before.call("tools/call", {"name": "echo"}).client
    assert call.exchange.revision == "2025-06-18"


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_a_method_that_is_not_there_is_answered_with_those_that_are(revision: str) -> None:
    for method in ("no/such", "", "Tools/List", "tools/list ", "sampling/createMessage", "roots/list"):
        sent = Peer(revision).sent(request(method))
        error = json.loads(sent.message)["error"]
        assert (error["code"], sent.status) == (-32601, 200)
        assert "resources/subscribe" in error["message"]


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_the_log_level_is_set_for_the_calls_that_follow(revision: str) -> None:
    peer = Peer(revision)
    assert peer.result("logging/setLevel", {"level": "critical"}) == {}
    assert peer.conversation.agreed.log_level == "critical"
    client = peer.call("tools/call", {"name": "echo"}).client
    assert client is not None
    assert client.log_level == "critical"


@pytest.mark.parametrize("level", ["verbose", "", "INFO", 3, None, [], "x" * 1000])
def test_a_log_level_that_is_not_there_is_refused_and_changes_nothing(level: Any) -> None:
    peer = Peer("2025-11-25")
    error = peer.error("logging/setLevel", {"level": level})
    assert error["code"] == -32602
    assert len(error["message"]) < 300
    assert peer.conversation.agreed.log_level == "info"


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_resources_are_subscribed_to_and_unsubscribed_from(revision: str) -> None:
    peer = Peer(revision)
    watch = peer.call("resources/subscribe", {"uri": "fixture://things/a"})
    assert (watch.method, watch.kind, watch.uri) == ("resource_watch", "watch", "fixture://things/a")
    assert json.loads(watch.body) == {"uri": "fixture://things/a"}
    assert peer.concluded(watch, {"subject": "internal"})["result"] == {}
    unwatch, answer = peer.receive(request("resources/unsubscribe", {"uri": "fixture://things/a"}))
    assert unwatch == Unwatch("fixture://things/a")
    assert json.loads(answer.message)["result"] == {}  # type: ignore[union-attr]


def test_only_what_can_be_watched_is_subscribed_to() -> None:
    peer = Peer("2025-11-25")
    error = peer.error("resources/subscribe", {"uri": "fixture://still"})
    assert (error["code"], "fixture://still" in error["message"]) == (-32602, True)
    for uri in ("no://such", "fixture://hidden/a", "fixture://things/"):
        error = peer.error("resources/subscribe", {"uri": uri})
        assert (error["code"], error["data"]) == (-32002, {"uri": uri})


def test_event_streams_can_be_come_back_to_in_the_revisions_that_have_it() -> None:
    assert [revision for revision in HANDSHAKE if resumes_streams(revision)] == [
        "2025-11-25",
        "2025-06-18",
        "2025-03-26",
    ]
    assert [revision for revision in HANDSHAKE if primes_streams(revision)] == ["2025-11-25"]
    assert not resumes_streams("2026-07-28")
