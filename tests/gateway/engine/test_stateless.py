"""The stateless era: each request says for itself what it is. Source: MCP 2026-07-28, basic."""

import json
from typing import Any

import pytest

from aicp_gateway.protocol.actions import Action, Call, Listen, Send
from aicp_gateway.protocol.engine import is_stateless
from aicp_gateway.protocol.jsonrpc import Request
from aicp_gateway.protocol.revisions import HANDSHAKE, STATELESS, SUPPORTED
from tests.gateway.engine.oracle import check_send
from tests.gateway.engine.peer import (
    CAPABILITIES_KEY,
    EVERYTHING,
    SERVER_INFO_KEY,
    VERSION_KEY,
    Peer,
    headers_of,
    request,
)

META = {VERSION_KEY: STATELESS, CAPABILITIES_KEY: {}}

EVERY_METHOD: list[tuple[str, dict[str, Any]]] = [
    ("server/discover", {}),
    ("tools/list", {}),
    ("tools/call", {"name": "echo"}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "fixture://still"}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "greet"}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "a", "value": ""}}),
    ("subscriptions/listen", {"notifications": {}}),
    ("tasks/get", {"taskId": "task-1"}),
    ("tasks/update", {"taskId": "task-1", "inputResponses": {}}),
    ("tasks/cancel", {"taskId": "task-1"}),
]


def went_well(actions: list[Action]) -> bool:
    """Whether a request was taken."""
    [action] = actions
    return isinstance(action, Call | Listen) or (isinstance(action, Send) and "result" in json.loads(action.message))


@pytest.mark.parametrize("http", [False, True])
@pytest.mark.parametrize(("method", "params"), EVERY_METHOD)
def test_every_method_is_taken_without_a_handshake(http: bool, method: str, params: dict[str, Any]) -> None:
    peer = Peer(STATELESS, capabilities=EVERYTHING, http=http)
    assert went_well(peer.receive(peer.message(method, params)))


@pytest.mark.parametrize("revision", HANDSHAKE)
@pytest.mark.parametrize(("method", "params"), EVERY_METHOD)
def test_every_method_is_taken_beside_a_handshake_that_agreed_on_something_else(
    revision: str, method: str, params: dict[str, Any]
) -> None:
    modern, peer = Peer(STATELESS, capabilities=EVERYTHING), Peer(revision)
    assert went_well(peer.receive(modern.message(method, params)))
    assert peer.result("ping") == {}
    assert peer.conversation.agreed.can == ()


@pytest.mark.parametrize("http", [False, True])
@pytest.mark.parametrize(
    "method",
    [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/list",
        "tasks/result",
        "no/such",
        "Tools/List",
    ],
)
def test_a_method_that_is_not_there_is_answered_with_those_that_are(http: bool, method: str) -> None:
    peer = Peer(STATELESS, http=http)
    sent = peer.sent(peer.message(method, {"uri": "fixture://moving"}))
    error = check_send(sent, b"1")["error"]
    assert (error["code"], sent.status) == (-32601, 404)
    assert "server/discover" in error["message"]
    assert not peer.conversation.agreed.revision


@pytest.mark.parametrize("method", [*(method for method, _ in EVERY_METHOD), "no/such"])
@pytest.mark.parametrize("without", [VERSION_KEY, CAPABILITIES_KEY])
def test_a_request_that_lacks_a_required_field_of_meta_is_refused(method: str, without: str) -> None:
    meta = {key: value for key, value in META.items() if key != without}
    for headers in (None, {"mcp-protocol-version": STATELESS, "mcp-method": method}):
        sent = Peer(STATELESS).sent(request(method, {"_meta": meta}), headers)
        error = check_send(sent, b"1")["error"]
        assert (error["code"], sent.status) == (-32602, 400)
        assert without in error["message"]


@pytest.mark.parametrize("method", [*(method for method, _ in EVERY_METHOD), "no/such"])
@pytest.mark.parametrize("params", [None, {}, {"_meta": {}}, {"_meta": None}, {"_meta": {"progressToken": 1}}])
def test_a_request_without_meta_is_refused_where_the_header_names_the_revision(method: str, params: Any) -> None:
    sent = Peer(STATELESS).sent(request(method, params), {"mcp-protocol-version": STATELESS, "mcp-method": method})
    error = check_send(sent, b"1")["error"]
    assert (error["code"], sent.status) == (-32602, 400)
    assert VERSION_KEY in error["message"]


@pytest.mark.parametrize("method", ["tools/list", "tools/call", "no/such"])
@pytest.mark.parametrize(
    "meta",
    [
        {VERSION_KEY: 5},
        {VERSION_KEY: None},
        {CAPABILITIES_KEY: None},
        {CAPABILITIES_KEY: []},
        {CAPABILITIES_KEY: "all"},
        {"progressToken": 1.5},
        {"traceparent": []},
    ],
)
def test_a_field_of_meta_that_is_wrong_is_as_if_it_were_missing(method: str, meta: dict[str, Any]) -> None:
    message = request(method, {"name": "echo", "_meta": META | meta})
    for headers in (None, {"mcp-protocol-version": STATELESS, "mcp-method": method, "mcp-name": "echo"}):
        sent = Peer(STATELESS).sent(message, headers)
        error = check_send(sent, b"1")["error"]
        assert (error["code"], sent.status) == (-32602, 400)


@pytest.mark.parametrize("meta", [5, [], "x", True])
def test_meta_is_an_object(meta: Any) -> None:
    headers = {"mcp-protocol-version": STATELESS, "mcp-method": "tools/list"}
    sent = Peer(STATELESS).sent(request("tools/list", {"_meta": meta}), headers)
    assert (check_send(sent, b"1")["error"]["code"], sent.status) == (-32602, 400)


def test_the_client_need_not_say_who_it_is() -> None:
    peer = Peer(STATELESS)
    for info in ({"name": "c", "version": "1"}, None, 5):
        assert peer.result("tools/list", {"_meta": {"io.modelcontextprotocol/clientInfo": info}})["tools"]
    assert peer.result("tools/list")["tools"]


@pytest.mark.parametrize("http", [False, True])
@pytest.mark.parametrize("method", ["server/discover", "tools/list", "tools/call", "no/such"])
@pytest.mark.parametrize(
    "version", ["1900-01-01", "2027-01-01", "", "2026-07-28 ", "v999.0.0", "2025-11-25", "x" * 500]
)
def test_another_version_is_refused_with_those_that_are_spoken(http: bool, method: str, version: str) -> None:
    peer = Peer(STATELESS, http=http)
    sent = peer.sent(peer.message(method, {"_meta": {VERSION_KEY: version}}))
    error = check_send(sent, b"1")["error"]
    assert (error["code"], sent.status) == (-32022, 400)
    assert error["data"] == {"supported": list(SUPPORTED), "requested": version[:200]}
    assert len(error["message"]) < 200


def test_a_version_that_is_not_spoken_is_told_before_what_else_it_may_lack() -> None:
    # A later version may do without the capabilities.
    sent = Peer(STATELESS).sent(request("tools/list", {"_meta": {VERSION_KEY: "2099-01-01"}}))
    assert check_send(sent, b"1")["error"]["code"] == -32022


def test_discovery_tells_what_is_spoken_and_offered() -> None:
    result = Peer(STATELESS).result("server/discover")
    assert result["supportedVersions"] == list(SUPPORTED)
    assert result["capabilities"] == {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "prompts": {"listChanged": True},
        "completions": {},
        "logging": {},
        "extensions": {"io.modelcontextprotocol/tasks": {}},
    }
    assert "'alice'" in result["instructions"]
    assert (result["ttlMs"], result["cacheScope"]) == (0, "private")
    assert result["_meta"][SERVER_INFO_KEY]["version"]


# What era a request is of


def of_params(
    params: bytes, method: str = "tools/call", headers: dict[str, str] | None = None, *, greeted: bool = False
) -> bool:
    return is_stateless(Request(b"1", method, params), headers, greeted=greeted)


@pytest.mark.parametrize(
    "params",
    [
        b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}',
        b'{"_meta":{"io.modelcontextprotocol\\/protocolVersion":"2026-07-28"}}',
        b'{"_meta":{"io.modelcontextprotocol/\\u0070rotocolVersion":"x"}}',
        b'{"\\u005fmeta":{"io.modelcontextprotocol\\u002fprotocolVersion":"x"}}',
        b'{"_meta":{"\\u0069\\u006f.modelcontextprotocol/protocol\\u0056ersion":""}}',
        b'{"name":"x", "_meta" : {"io.modelcontextprotocol/clientCapabilities" : {}}}',
        b'{"_meta":{"io.modelcontextprotocol\\/clientCapabilities":null}}',
        b'{"_meta":{"io.modelcontextprotocol/protocolVersion":5}}',
        b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"x","progressToken":[]}}',
    ],
)
def test_a_request_that_names_its_revision_is_of_the_stateless_era_however_it_is_written(params: bytes) -> None:
    assert of_params(params)
    assert of_params(params, headers={"mcp-protocol-version": "2025-11-25"})


@pytest.mark.parametrize(
    "params",
    [
        b"{}",
        b'{"_meta":null}',
        b'{"_meta":{"progressToken":1}}',
        b'{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"1"}}}',
        b'{"protocolVersion":"2025-11-25"}',
        b'{"name":"x","arguments":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}',
        b'{"name":"x","arguments":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}',
        b'{"_meta":{"x":"io.modelcontextprotocol/protocolVersion \\u0041"}}',
        b'{"_meta":{"protocolVersion":"2026-07-28"}}',
        b'{"_meta":{"io.modelcontextprotocol/protocolVersion":null}}',
    ],
)
def test_a_request_that_does_not_is_of_the_era_of_its_conversation(params: bytes) -> None:
    assert not of_params(params)
    assert not of_params(params, headers={})
    assert not of_params(params, headers={"mcp-protocol-version": "2025-06-18"})


@pytest.mark.parametrize("version", [STATELESS, "2027-01-01", "1999-01-01", ""])
def test_a_header_that_names_no_handshake_revision_is_of_the_stateless_era(version: str) -> None:
    assert of_params(b"{}", headers={"mcp-protocol-version": version})
    assert not of_params(b"{}", "initialize", {"mcp-protocol-version": version})


@pytest.mark.parametrize("method", ["server/discover", "subscriptions/listen", "tasks/get", "tasks/update"])
def test_a_method_that_only_the_stateless_era_has_is_of_it(method: str) -> None:
    assert of_params(b"{}", method)
    # After a handshake it is a method that its revision does not have, unless it says otherwise.
    assert not of_params(b"{}", method, greeted=True)
    assert of_params(b"{}", method, {"mcp-protocol-version": STATELESS}, greeted=True)


def test_a_handshake_goes_well_with_the_header_of_the_newest_revision() -> None:
    peer = Peer("2025-11-25", initialized=False)
    message = request("initialize", {"protocolVersion": STATELESS})
    assert "result" in peer.told(message, {"mcp-protocol-version": STATELESS})
    assert peer.conversation.agreed.revision == "2025-11-25"


def test_headers_of_a_handshake_request_are_not_held_against_it() -> None:
    peer = Peer("2025-11-25")
    headers = {"mcp-protocol-version": "2025-11-25", "mcp-method": "prompts/list", "mcp-name": "x"}
    assert "result" in peer.told(request("tools/list"), headers)


def test_a_request_remembers_nothing_of_the_one_before() -> None:
    peer = Peer(STATELESS, capabilities=EVERYTHING)
    loud = peer.call("tools/call", {"name": "echo", "_meta": {"io.modelcontextprotocol/logLevel": "debug"}}, id=1)
    assert loud.client is not None
    quiet = Peer(STATELESS)
    quiet.conversation = peer.conversation
    assert quiet.call("tools/call", {"name": "echo"}, id=2).client is None
    assert headers_of(peer.message("tools/list")).keys() == {"mcp-method", "mcp-protocol-version"}
