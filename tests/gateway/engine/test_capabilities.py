"""Capabilities: what a client says that it can do, and what is not asked of one that cannot."""

import json
from typing import Any

import pytest

from aicp_gateway.protocol.capabilities import as_capabilities, needed_for, read_capabilities
from aicp_gateway.protocol.revisions import HANDSHAKE, STATELESS
from tests.gateway.engine.oracle import check_send
from tests.gateway.engine.peer import EVERYTHING, TASKS, Peer, reply

WORDS = ("elicitation", "elicitation.url", "sampling", "sampling.tools", "roots", "tasks")


@pytest.mark.parametrize(
    ("capabilities", "words"),
    [
        ({}, ()),
        ({"elicitation": {}}, ("elicitation",)),
        ({"elicitation": {"form": {}}}, ("elicitation",)),
        ({"elicitation": {"url": {}}}, ("elicitation.url",)),
        ({"elicitation": {"form": {}, "url": {}}}, ("elicitation", "elicitation.url")),
        ({"elicitation": {"later": {}}}, ("elicitation",)),
        ({"sampling": {}}, ("sampling",)),
        ({"sampling": {"tools": {}, "context": {}}}, ("sampling", "sampling.tools")),
        ({"roots": {"listChanged": True}}, ("roots",)),
        (TASKS, ("tasks",)),
        ({"extensions": {"com.example/other": {}}}, ()),
        ({"tasks": {}}, ()),
        (EVERYTHING, WORDS),
        ({"elicitation": None, "sampling": True, "roots": [], "extensions": 5}, ()),
        ({"experimental": {"x": [1, {"y": None}]}, "é": "ü"}, ()),
    ],
)
def test_capabilities_are_read_into_words(capabilities: dict[str, Any], words: tuple[str, ...]) -> None:
    assert set(read_capabilities(json.dumps(capabilities).encode())) == set(words)


@pytest.mark.parametrize("raw", [b"null", b"[]", b"5", b'"all"', b"true"])
def test_capabilities_are_an_object(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not an object"):
        read_capabilities(raw)


@pytest.mark.parametrize(
    "raw",
    [b'{"x":1e999}', b'{"\xff":1}', b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}", b"{"],
    ids=["number", "encoding", "depth", "end"],
)
def test_capabilities_that_cannot_be_read_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        read_capabilities(raw)


@pytest.mark.parametrize("words", [WORDS[:1], WORDS[1:2], WORDS[:2], WORDS[2:3], WORDS[2:4], WORDS[4:], WORDS])
def test_words_are_told_as_capabilities_that_have_just_these(words: tuple[str, ...]) -> None:
    assert set(read_capabilities(json.dumps(as_capabilities(words)).encode())) == set(words)


def test_a_capability_within_another_is_told_with_it() -> None:
    assert as_capabilities(("sampling.tools",)) == {"sampling": {"tools": {}}}


@pytest.mark.parametrize(
    ("method", "params", "needed"),
    [
        ("elicitation/create", {}, "elicitation"),
        ("elicitation/create", {"mode": "form"}, "elicitation"),
        ("elicitation/create", {"mode": "url"}, "elicitation.url"),
        ("sampling/createMessage", {}, "sampling"),
        ("sampling/createMessage", {"tools": []}, "sampling.tools"),
        ("sampling/createMessage", {"toolChoice": {"mode": "none"}}, "sampling.tools"),
        ("roots/list", {}, "roots"),
        ("ping", {}, None),
    ],
)
def test_each_request_of_the_server_needs_a_capability(method: str, params: dict[str, Any], needed: str | None) -> None:
    assert needed_for(method, params) == needed


SINCE = {"elicitation": "2025-06-18", "elicitation.url": "2025-11-25", "sampling.tools": "2025-11-25"}


def knows(revision: str, capabilities: dict[str, Any]) -> bool:
    """Whether a revision has the messages for all of these."""
    words = read_capabilities(json.dumps(capabilities).encode())
    return all(SINCE.get(word, revision) <= revision for word in words)


NEEDY = [
    ("form", {"elicitation": {}}, {"elicitation": {"url": {}}}),
    ("link", {"elicitation": {"url": {}}}, {"elicitation": {}}),
    ("think", {"sampling": {}}, {"elicitation": {}}),
    ("think_with_tools", {"sampling": {"tools": {}}, "roots": {}}, {"sampling": {"tools": {}}}),
]


@pytest.mark.parametrize(("tool", "enough", "too_little"), NEEDY)
@pytest.mark.parametrize("revision", HANDSHAKE)
def test_a_tool_that_needs_more_than_the_client_can_is_refused_before_the_call(
    revision: str, tool: str, enough: dict[str, Any], too_little: dict[str, Any]
) -> None:
    # Whatever a client declares, an older revision has no message to ask it with.
    known = knows(revision, enough)
    if known:
        assert Peer(revision, capabilities=enough).call("tools/call", {"name": tool}).label == tool
    for capabilities in (too_little, {}, *([] if known else [enough])):
        error = Peer(revision, capabilities=capabilities).error("tools/call", {"name": tool})
        assert error["code"] == -32602
        assert "did not declare it in initialize" in error["message"]


@pytest.mark.parametrize(("tool", "enough", "too_little"), NEEDY)
def test_in_the_stateless_era_the_error_says_what_is_missing(
    tool: str, enough: dict[str, Any], too_little: dict[str, Any]
) -> None:
    assert Peer(STATELESS, capabilities=enough).call("tools/call", {"name": tool}).label == tool
    for capabilities in (too_little, {}):
        peer = Peer(STATELESS, capabilities=capabilities)
        sent = peer.sent(peer.message("tools/call", {"name": tool}))
        error = check_send(sent, b"1")["error"]
        assert (error["code"], sent.status) == (-32021, 400)
        missing = set(read_capabilities(json.dumps(error["data"]["requiredCapabilities"]).encode()))
        have = set(read_capabilities(json.dumps(capabilities).encode()))
        need = set(read_capabilities(json.dumps(enough).encode()))
        assert need <= missing | have
        assert missing <= need


def test_capabilities_of_one_request_say_nothing_of_the_next() -> None:
    peer = Peer(STATELESS, capabilities={"elicitation": {}})
    call = peer.call("tools/call", {"name": "form"}, id=1)
    assert call.client is not None
    assert call.client.can == ("elicitation",)
    peer.capabilities = {}
    assert peer.answer("tools/call", {"name": "form"}, id=2)["error"]["code"] == -32021


def test_a_call_tells_the_service_what_its_client_can() -> None:
    for revision in ("2025-11-25", STATELESS):
        call = Peer(revision, capabilities=EVERYTHING).call("tools/call", {"name": "echo"})
        assert call.client is not None
        assert set(call.client.can) == set(WORDS) - (set() if revision == STATELESS else {"tasks"})


ASKED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"method": "elicitation/create", "params": {"mode": "form", "message": "m"}}, {"elicitation": {}}),
    ({"method": "elicitation/create", "params": {"message": "m"}}, {"elicitation": {}}),
    ({"method": "elicitation/create", "params": {"mode": "url", "url": "u"}}, {"elicitation": {"url": {}}}),
    ({"method": "sampling/createMessage", "params": {"messages": []}}, {"sampling": {}}),
    ({"method": "sampling/createMessage", "params": {"tools": []}}, {"sampling": {"tools": {}}}),
    ({"method": "roots/list"}, {"roots": {}}),
    ({"method": "roots/list", "params": None}, {"roots": {}}),
]


@pytest.mark.parametrize(("asked", "enough"), ASKED)
def test_a_client_is_never_asked_for_what_it_cannot(asked: dict[str, Any], enough: dict[str, Any]) -> None:
    answer = reply({"inputRequests": {"k": asked}, "state": "s"}, "input_required")
    peer = Peer(STATELESS, capabilities=enough)
    call = peer.call("prompts/get", {"name": "greet"})
    result = peer.concluded(call, answer.body, "input_required")["result"]
    assert result["inputRequests"]["k"]["method"] == asked["method"]
    unable = {name: value for name, value in EVERYTHING.items() if name not in enough}
    peer = Peer(STATELESS, capabilities=unable)
    call = peer.call("prompts/get", {"name": "greet"})
    sent = call.exchange.conclude(call, answer)
    error = check_send(sent, b"1")["error"]
    assert (error["code"], error["data"]) == (-32021, {"requiredCapabilities": enough})


@pytest.mark.parametrize("revision", HANDSHAKE)
@pytest.mark.parametrize(("asked", "enough"), ASKED)
def test_a_tool_that_would_ask_too_much_fails(revision: str, asked: dict[str, Any], enough: dict[str, Any]) -> None:
    unable = {name: value for name, value in EVERYTHING.items() if name not in enough}
    known = knows(revision, enough)
    for capabilities in (unable, *([] if known else [enough])):
        peer = Peer(revision, capabilities=capabilities)
        call = peer.call("tools/call", {"name": "echo"})
        told = peer.concluded(call, {"inputRequests": {"k": asked}, "state": ""}, "input_required")
        assert told["result"]["isError"]
        assert "did not declare it" in told["result"]["content"][0]["text"]
    peer = Peer(revision, capabilities=enough)
    assert not known or len(peer.asked(peer.call("tools/call", {"name": "echo"}), {"k": asked}).requests) == 1


@pytest.mark.parametrize("revision", ["2025-11-25", STATELESS])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"not json",
        b'{"inputRequests":{},"state":5}',
        b'{"inputRequests":[],"state":""}',
        b'{"inputRequests":{"k":5},"state":""}',
        b'{"inputRequests":{"k":{}},"state":""}',
        b'{"inputRequests":{"k":{"method":5}},"state":""}',
        b'{"inputRequests":{"k":{"method":"roots/list","params":5}},"state":""}',
        b'{"inputRequests":{"k":{"method":"tools/call","params":{}}},"state":""}',
        b'{"inputRequests":{"k":{"method":"ping"}},"state":""}',
    ],
)
def test_a_service_that_asks_what_cannot_be_asked_has_failed(revision: str, body: bytes) -> None:
    peer = Peer(revision, capabilities=EVERYTHING)
    told = peer.concluded(peer.call("resources/read", {"uri": "fixture://still"}), body, "input_required")
    assert told["error"]["code"] == -32603
    told = peer.concluded(peer.call("tools/call", {"name": "echo"}, id=2), body, "input_required")
    assert told["result"]["isError"]


@pytest.mark.parametrize("revision", ["2025-11-25", STATELESS])
def test_completion_and_tasks_never_ask(revision: str) -> None:
    peer = Peer(revision, capabilities=EVERYTHING)
    call = peer.call(
        "completion/complete", {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "a", "value": ""}}
    )
    told = peer.concluded(call, {"inputRequests": {}, "state": "s"}, "input_required")
    assert told["error"]["code"] == -32603
    if revision == STATELESS:
        call = peer.call("tasks/get", {"taskId": "task-1"})
        assert peer.concluded(call, {"inputRequests": {}, "state": "s"}, "input_required")["error"]["code"] == -32603
