"""Whatever is said, the judge says what is wrong and never fails itself."""

import json
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checked.stage import META, Notes, handshake, request, stateless
from tests.support.checked.session import SUBSCRIPTION_KEY, Session
from tests.support.checked.talk import Talk

METHODS = [
    "initialize",
    "ping",
    "tools/call",
    "tools/list",
    "subscriptions/listen",
    "tasks/get",
    "elicitation/create",
    "sampling/createMessage",
    "notifications/progress",
    "notifications/cancelled",
    "notifications/message",
    "notifications/tools/list_changed",
    "notifications/resources/updated",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks",
]
FIELDS = ["content", "type", "text", "progressToken", "progress", "requestId", "uri", "level", "data", "notifications"]
FIELDS += [
    "resultType",
    "tools",
    "requestedSchema",
    "properties",
    "messages",
    "mode",
    "inputRequests",
    "taskIds",
    "task",
]
FIELDS += ["code", "message", "protocolVersion", "capabilities", "_meta", SUBSCRIPTION_KEY, *META]

words = st.sampled_from([*METHODS, "complete", "input_required", "task", "2025-11-25", "2026-07-28", "form", "url"])
plain = st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.text(max_size=3) | words
values: st.SearchStrategy[Any] = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)
fields = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6) | values
messages = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | values,
        "id": st.integers(0, 2) | values,
        "method": st.sampled_from(METHODS) | values,
        "params": fields,
        "result": fields,
        "error": fields,
    },
)
asked = st.builds(stateless, st.integers(0, 2), st.sampled_from(METHODS)) | st.builds(
    request, st.integers(0, 2), st.sampled_from(METHODS), _meta=fields
)
said = messages | st.lists(messages, max_size=2) | values
lines = st.lists(st.tuples(st.just("client"), asked | said) | st.tuples(st.just("server"), said), max_size=8)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(["websocket", "post", "stream"]), st.booleans(), st.booleans(), st.booleans(), lines)
def test_nothing_that_is_said_is_too_much_for_the_judge(
    transport: Literal["websocket", "post", "stream"],
    begun: bool,
    resumed: bool,
    modern: bool,
    lines: list[tuple[str, Any]],
) -> None:
    report = Notes()
    talk = Talk(Session(), report, transport, stateless=modern, resumed=resumed)
    if begun:
        opening, answered = handshake()
        talk.heard(json.dumps(opening.message))
        talk.said(json.dumps(answered.message))
    for who, message in lines:
        if who == "client":
            talk.heard(json.dumps(message))
        else:
            before = report.violations
            talk.said(json.dumps(message), 200)
            proper = isinstance(message, dict) and message.get("jsonrpc") == "2.0"
            assert proper or isinstance(message, list) or report.violations > before
