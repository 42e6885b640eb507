"""Any message at all: nothing raises, and each request has one answer, one call or one subscription."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aicp_gateway.protocol.actions import Action, Batch, Call, Listen, Send
from aicp_gateway.protocol.revisions import BATCHES, STATELESS, SUPPORTED
from tests.gateway.engine.oracle import check_send, count_answers
from tests.gateway.engine.peer import CAPABILITIES_KEY, EVERYTHING, LOG_LEVEL_KEY, VERSION_KEY, Peer, header_value

METHODS = [
    "initialize",
    "ping",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "server/discover",
    "subscriptions/listen",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
    "notifications/cancelled",
    "notifications/initialized",
]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def mostly(*right: Any) -> st.SearchStrategy[Any]:
    """One of these values most of the time, else anything."""
    return st.sampled_from(right) | st.sampled_from(right) | anything


metas = st.fixed_dictionaries(
    {},
    optional={
        VERSION_KEY: mostly(STATELESS, "2025-11-25"),
        CAPABILITIES_KEY: mostly({}, EVERYTHING),
        LOG_LEVEL_KEY: mostly("info", "alert"),
        "progressToken": mostly(1, "t"),
        "traceparent": mostly("00-" + "1" * 32 + "-" + "2" * 16 + "-01"),
    },
)

params = st.fixed_dictionaries(
    {},
    optional={
        "_meta": metas | anything,
        "name": mostly("echo", "hidden", "mirror", "form", "greet"),
        "arguments": mostly({}, {"region": "eu", "count": 1}, {"whom": "Ann"}),
        "uri": mostly("fixture://still", "fixture://things/a"),
        "cursor": mostly("dG9vbHMvbGlzdABlY2hv"),
        "level": mostly("debug"),
        "protocolVersion": mostly(*SUPPORTED),
        "capabilities": mostly({}, EVERYTHING),
        "clientInfo": mostly({"name": "c", "version": "1"}),
        "ref": mostly({"type": "ref/prompt", "name": "greet"}, {"type": "ref/resource", "uri": "other://{name}"}),
        "argument": mostly({"name": "whom", "value": "A"}),
        "context": mostly({"arguments": {}}),
        "notifications": mostly({}, {"toolsListChanged": True, "resourceSubscriptions": ["fixture://moving"]}),
        "taskId": mostly("task-1"),
        "inputResponses": mostly({}, {"k": {"action": "accept"}}),
        "requestState": mostly("a.b.c"),
        "requestId": mostly(1, "a"),
    },
)

messages = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | st.just("2.0") | anything},
    optional={
        "id": mostly(0, 1, "a", "é"),
        "method": st.sampled_from(METHODS) | st.sampled_from(METHODS) | anything,
        "params": params | params | anything,
        "result": mostly({}),
        "error": mostly({"code": 1, "message": "m"}),
    },
)

headers = st.none() | st.dictionaries(
    st.sampled_from(["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-region", "mcp-param-count"]),
    st.sampled_from([*SUPPORTED, *METHODS, "echo", "eu", "1", "=?base64?ZWNobw==?="]) | st.text(),
)


def is_request(message: Mapping[str, Any]) -> bool:
    """Whether JSON-RPC and MCP together take this for a request."""
    id = message.get("id")
    return (
        message.get("jsonrpc") == "2.0"
        and isinstance(message.get("method"), str)
        and (isinstance(id, str) or (isinstance(id, int) and not isinstance(id, bool)))
        and len(json.dumps(id, ensure_ascii=False).encode()) <= 40
        and isinstance(message.get("params", {}), dict)
    )


def is_notification(message: Mapping[str, Any]) -> bool:
    """Whether it is a notification, which is never answered."""
    return (
        message.get("jsonrpc") == "2.0"
        and isinstance(message.get("method"), str)
        and "id" not in message
        and isinstance(message.get("params", {}), dict)
    )


def check_actions(actions: list[Action], message: Any) -> None:
    """Assert what holds for the actions that a message leads to."""
    if isinstance(message, dict) and is_request(message):
        assert count_answers(actions) == 1
        raw = json.dumps(message["id"]).encode()
    else:
        assert not any(isinstance(action, Call | Listen) for action in actions)
        raw = None
    if isinstance(message, dict) and is_notification(message):
        assert count_answers(actions) == 0
    for action in actions:
        if isinstance(action, Send):
            decoded = json.loads(action.message)
            check_send(action, json.dumps(decoded["id"]).encode() if raw is None and "id" in decoded else raw)
        elif isinstance(action, Call | Listen):
            assert raw is not None
            assert json.loads(action.id) == json.loads(raw)
        elif isinstance(action, Batch):
            assert action.answers == count_answers(action.actions)


def finish_all(peer: Peer, actions: list[Action]) -> None:
    """Finish what the actions began; nothing is left."""
    for action in actions:
        if isinstance(action, Call | Listen):
            peer.conversation.finish(action)
        elif isinstance(action, Batch):
            finish_all(peer, action.actions)
    assert not peer.conversation._in_flight


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=400), st.sampled_from(SUPPORTED), headers)
def test_no_bytes_whatever_raise(data: bytes, revision: str, headers: dict[str, str] | None) -> None:
    peer = Peer(revision)
    actions = peer.conversation.receive(data, 300, headers)
    for action in actions:
        if isinstance(action, Send):
            decoded = json.loads(action.message)
            check_send(action, json.dumps(decoded["id"]).encode() if "id" in decoded else None)
    finish_all(peer, actions)


@settings(deadline=None, max_examples=250)
@given(messages, st.sampled_from(SUPPORTED), st.booleans(), headers)
def test_no_message_whatever_raises_and_each_request_has_one_answer_one_call_or_one_subscription(
    message: dict[str, Any], revision: str, initialized: bool, headers: dict[str, str] | None
) -> None:
    peer = Peer(revision, initialized=initialized)
    actions = peer.receive(message, headers)
    check_actions(actions, message)
    finish_all(peer, actions)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(METHODS), params, st.booleans())
def test_a_request_in_the_form_of_the_stateless_era_is_judged_by_its_rules(
    method: str, params: dict[str, Any], http: bool
) -> None:
    peer = Peer(STATELESS, capabilities=EVERYTHING)
    message = peer.message(
        method, {**params, "_meta": params["_meta"] if isinstance(params.get("_meta"), dict) else {}}
    )
    sent_headers = None
    if http:
        named = (
            params.get("uri") if method == "resources/read" else params.get("taskId" if "tasks" in method else "name")
        )
        sent_headers = {"mcp-protocol-version": STATELESS, "mcp-method": method}
        if isinstance(named, str):
            sent_headers["mcp-name"] = header_value(named)
    actions = peer.receive(message, sent_headers)
    check_actions(actions, message)
    for action in actions:
        if isinstance(action, Send):
            decoded = json.loads(action.message)
            if "error" in decoded:
                assert decoded["error"]["code"] not in (-32002, -32042)
            else:
                assert decoded["result"]["resultType"] == "complete"
    finish_all(peer, actions)
    assert not peer.conversation.agreed.revision


@settings(deadline=None, max_examples=80)
@given(st.lists(messages | anything, max_size=6), headers)
def test_each_request_of_any_batch_has_an_answer_of_its_own(batch: list[Any], headers: dict[str, str] | None) -> None:
    peer = Peer(BATCHES, max_in_flight=100)
    [action] = actions = peer.receive(batch, headers)
    if not batch:
        assert isinstance(action, Send)
        return
    assert isinstance(action, Batch)
    assert action.answers == count_answers(action.actions)
    requests = [each for each in batch if isinstance(each, dict) and is_request(each)]
    assert action.answers >= len(requests)
    finish_all(peer, actions)
