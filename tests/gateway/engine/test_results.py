"""Results: what a service answered, in the words of the era, with what the era adds to it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aicp_common import __version__
from aicp_gateway.protocol.actions import Call, Send
from aicp_gateway.protocol.revisions import HANDSHAKE, STATELESS
from tests.gateway.engine.oracle import check_message, check_result_of_stateless, check_send
from tests.gateway.engine.peer import SERVER_INFO_KEY, TASKS, Peer, reply

SERVER = {"name": "aicp", "title": "AICP hub", "version": __version__}


def tool_call(revision: str = STATELESS) -> Call:
    return Peer(revision).call("tools/call", {"name": "echo"})


def result_of(call: Call, body: Any) -> dict[str, Any]:
    """The result that a client gets when the service answers `body`."""
    outcome = call.exchange.conclude(call, reply(body))
    assert isinstance(outcome, Send)
    result: dict[str, Any] = check_send(outcome, call.id)["result"]
    return result


@pytest.mark.parametrize("revision", HANDSHAKE)
@pytest.mark.parametrize(
    "body", [b"{}", b'{"content": [ {"type":"text","text":"\xed\x95\x9c _meta"} ]}', b'{"_meta":{"a":1},"ttlMs":"own"}']
)
def test_in_the_handshake_era_a_result_is_the_services_byte_for_byte(revision: str, body: bytes) -> None:
    call = tool_call(revision)
    outcome = call.exchange.conclude(call, reply(body))
    assert isinstance(outcome, Send)
    assert outcome.message == b'{"jsonrpc":"2.0","id":1,"result":%b}' % body


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": []},
        {"content": [{"type": "text", "text": 'says "_meta" and "resultType": "x" and ttlMs'}]},
        {"content": [{"type": "text", "text": "{}"}], "structuredContent": {"_meta": 1, "resultType": 2, "ttlMs": 3}},
        {"content": [], "structuredContent": [[{"cacheScope": "public"}]]},
        {"é\n": {"deep": [1.5, None, "\u2028"]}},
    ],
)
def test_a_result_says_that_it_is_complete_and_who_made_it(body: dict[str, Any]) -> None:
    assert result_of(tool_call(), body) == {
        **body,
        "resultType": "complete",
        "_meta": {SERVER_INFO_KEY: SERVER},
    }


@pytest.mark.parametrize(
    "text", [b"{ }", b"{\n}", b'{ "content" : [ ] }', b'{\n\t"content": []\n}', b'{"content":[]} ']
)
def test_a_service_may_space_its_json_as_it_likes(text: bytes) -> None:
    call = tool_call()
    outcome = call.exchange.conclude(call, reply(text))
    assert isinstance(outcome, Send)
    result = json.loads(outcome.message)["result"]
    assert result["resultType"] == "complete"
    assert result["_meta"] == {SERVER_INFO_KEY: SERVER}


def test_what_the_service_says_in_meta_stays_beside_who_made_it() -> None:
    meta = {"com.example/x": {"y": 1}, "z": None}
    assert result_of(tool_call(), {"content": [], "_meta": meta})["_meta"] == {**meta, SERVER_INFO_KEY: SERVER}


@pytest.mark.parametrize("own", ["complete", "input_required", "task", None, 5])
def test_what_kind_of_result_it_is_is_not_for_the_service_to_write_into_it(own: Any) -> None:
    assert result_of(tool_call(), {"content": [], "resultType": own})["resultType"] == "complete"


@pytest.mark.parametrize("meta", [None, 5, [], "x"])
def test_a_meta_that_is_none_gives_way(meta: Any) -> None:
    assert result_of(tool_call(), {"content": [], "_meta": meta})["_meta"] == {SERVER_INFO_KEY: SERVER}


def test_nobody_can_pass_for_the_server() -> None:
    forged = {SERVER_INFO_KEY: {"name": "somebody else"}}
    assert result_of(tool_call(), {"content": [], "_meta": forged})["_meta"] == {SERVER_INFO_KEY: SERVER}


@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list", "resources/templates/list"])
def test_lists_say_how_long_they_are_fresh_and_for_whom(method: str) -> None:
    result = Peer(STATELESS).result(method)
    assert (result["ttlMs"], result["cacheScope"]) == (60_000, "private")


@pytest.mark.parametrize(
    ("uri", "hints"),
    [
        ("fixture://still", (5000, "public")),
        ("fixture://moving", (0, "private")),
        ("fixture://things/a", (0, "private")),
        ("fixture://things/a/parts/b", (10, "private")),
    ],
)
def test_what_was_read_says_how_long_it_is_fresh_and_for_whom(uri: str, hints: tuple[int, str]) -> None:
    result = result_of(Peer(STATELESS).call("resources/read", {"uri": uri}), {"contents": []})
    assert (result["ttlMs"], result["cacheScope"]) == hints


def test_a_service_may_say_itself_how_long_what_was_read_is_fresh() -> None:
    call = Peer(STATELESS).call("resources/read", {"uri": "fixture://still"})
    result = result_of(call, {"contents": [], "ttlMs": 7, "cacheScope": "private", "_meta": {"a": 1}})
    assert (result["ttlMs"], result["cacheScope"], result["_meta"]["a"]) == (7, "private", 1)
    assert result["resultType"] == "complete"


def test_results_that_are_not_to_be_cached_have_no_hints() -> None:
    peer = Peer(STATELESS, capabilities=TASKS)
    calls = [
        peer.call("tools/call", {"name": "echo"}, id=1),
        peer.call("prompts/get", {"name": "greet"}, id=2),
        peer.call("resources/read", {"uri": "fixture://still"}, id=3),
    ]
    assert not {"ttlMs", "cacheScope"} & result_of(calls[0], {"content": []}).keys()
    assert not {"ttlMs", "cacheScope"} & result_of(calls[1], {"messages": []}).keys()
    peer = Peer(STATELESS, capabilities={"roots": {}})
    call = peer.call("resources/read", {"uri": "fixture://still"})
    told = peer.concluded(call, {"inputRequests": {"k": {"method": "roots/list"}}, "state": ""}, "input_required")
    assert not {"ttlMs", "cacheScope"} & told["result"].keys()


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_hints_for_caches_are_unknown_to_the_handshake_era(revision: str) -> None:
    peer = Peer(revision)
    assert peer.result("tools/list").keys() == {"tools"}
    call = peer.call("resources/read", {"uri": "fixture://still"})
    assert result_of(call, {"contents": []}) == {"contents": []}


@pytest.mark.parametrize("revision", ["2025-11-25", STATELESS])
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"5", b'"x"', b" {}", b"not json"])
@pytest.mark.parametrize("kind", ["complete", "task", "no such kind"])
def test_a_service_that_answers_what_does_not_fit_has_failed(revision: str, body: bytes, kind: str) -> None:
    peer = Peer(revision, capabilities=TASKS)
    told = peer.concluded(peer.call("prompts/get", {"name": "greet"}), body, kind)
    assert told["error"]["code"] == -32603
    told = peer.concluded(peer.call("tools/call", {"name": "echo"}, id=2), body, kind)
    assert told["result"]["isError"]


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
_keys = st.sampled_from(["_meta", "resultType", "content", "ttlMs", "structuredContent", "isError", "a"]) | st.text()


@settings(deadline=None)
@given(st.dictionaries(_keys, _json, max_size=5), st.booleans(), st.sampled_from([None, 1]))
def test_whatever_a_service_answers_is_in_the_result_and_the_result_is_right(
    body: dict[str, Any], escaped: bool, indent: int | None
) -> None:
    data = json.dumps(body, ensure_ascii=escaped, indent=indent).encode()
    call = tool_call()
    outcome = call.exchange.conclude(call, reply(data))
    assert isinstance(outcome, Send)
    decoded = check_message(outcome.message.replace(b"\n", b" "))
    if "result" in decoded and not decoded["result"].get("isError"):
        check_result_of_stateless(decoded)
        for key, value in body.items():
            if key != "_meta":
                assert decoded["result"][key] == value or key == "resultType"
