"""Frames: what is no JSON-RPC message of MCP is answered with what is wrong, under its id where it has one."""

import json
from typing import Any

import pytest

from aicp_gateway.protocol.actions import Answered
from aicp_gateway.protocol.revisions import HANDSHAKE, SUPPORTED
from tests.gateway.engine.oracle import check_send
from tests.gateway.engine.peer import Peer, notification, request


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize("id", [0, -1, 2**62, 10**30, "", "a", "日本", 'quote"and\\slash', " ", "a/b"])
def test_an_id_comes_back_as_it_was(revision: str, id: Any) -> None:
    peer = Peer(revision)
    assert peer.answer("tools/list", id=id)["id"] == id
    call = peer.call("tools/call", {"name": "echo"}, id=id)
    assert peer.concluded(call, {"content": []})["id"] == id


def test_an_id_comes_back_as_it_was_written() -> None:
    sent = Peer("2025-11-25").sent(b'{"jsonrpc":"2.0","id":"a\\/\\u0062","method":"ping"}')
    assert b'"id":"a\\/\\u0062"' in sent.message


@pytest.mark.parametrize("id", [None, 1.5, 1.0, True, [], {}, "x" * 300, 10**50])
def test_an_id_of_another_kind_is_refused_with_what_is_expected(id: Any) -> None:
    sent = Peer("2025-11-25").sent(request("ping", id=id))
    error = check_send(sent, None)["error"]
    assert error["code"] == -32600
    assert "string or an integer" in error["message"]


WRONG = [
    (b"", -32700, "JSON"),
    (b"{", -32700, "JSON"),
    (b'{"jsonrpc":"2.0"', -32700, "JSON"),
    (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}', -32700, "JSON"),
    (b"\xff\xfe", -32700, "UTF-8"),
    (b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}', -32700, "UTF-8"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"\xed\xa0\x80":1}}', -32700, "UTF-8"),
    (b'{"jsonrpc":"2.0","id":"a","result":{"\xff":1}}', -32700, "UTF-8"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping"}{}', -32700, "JSON"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\x01"}}', -32700, "JSON"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 100_000, -32700, "deep"),
    (b"5", -32600, "object"),
    (b'"text"', -32600, "object"),
    (b"null", -32600, "object"),
    (b"{}", -32600, "jsonrpc"),
    (b'{"jsonrpc":2.0,"method":"ping"}', -32600, "jsonrpc"),
]


@pytest.mark.parametrize(("message", "code", "says"), WRONG)
def test_what_has_no_id_is_refused_without_one(message: bytes, code: int, says: str) -> None:
    error = check_send(Peer("2025-11-25").sent(message), None)["error"]
    assert error["code"] == code
    assert says in error["message"]


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600, "2.0"),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600, "method"),
        (b'{"jsonrpc":"2.0","method":null,"id":1}', -32600, "method"),
        (b'{"jsonrpc":"2.0","id":1}', -32600, "neither method"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32602, "object"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}', -32602, "object"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":null}', -32602, "object"),
    ],
)
def test_what_has_an_id_is_refused_under_it(message: bytes, code: int, says: str) -> None:
    error = check_send(Peer("2025-11-25").sent(message), b"1")["error"]
    assert error["code"] == code
    assert says in error["message"]


@pytest.mark.parametrize("revision", SUPPORTED)
def test_what_is_almost_json_is_refused_under_its_id(revision: str) -> None:
    peer = Peer(revision)
    for id in (1, "a", "é"):
        for almost in ('"half of a pair: \\ud83d"', '"\\udc00\\ud83d"', "NaN", "Infinity"):
            message = json.dumps(peer.message("tools/call", {"name": "echo", "arguments": {"text": 0}}, id))
            sent = peer.sent(message.replace('"text": 0', f'"text": {almost}').encode())
            error = check_send(sent, json.dumps(id).encode())["error"]
            assert (error["code"], sent.status, "JSON" in error["message"]) == (-32700, 400, True)


@pytest.mark.parametrize("id", [b"null", b"1.5", b"true", b"[]", b"9" * 5000, b'"\\ud800"', b'"' + b"x" * 300 + b'"'])
def test_what_is_almost_json_with_an_id_that_cannot_be_echoed_is_refused_without_one(id: bytes) -> None:
    sent = Peer("2025-11-25").sent(b'{"jsonrpc":"2.0","id":%b,"method":"ping","params":{"a":NaN}}' % id)
    assert check_send(sent, None)["error"]["code"] == -32700


@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_message_that_is_too_long_is_answered_under_its_id(revision: str) -> None:
    peer = Peer(revision)
    data = json.dumps(peer.message("tools/list", {"x": "y" * 200}, id=9)).encode()
    [action] = peer.conversation.receive(data, 100)
    error = check_send(action, b"9")["error"]
    assert error["code"] == -32600
    assert f"{len(data)} bytes" in error["message"]
    assert "at most 100" in error["message"]


def test_a_message_of_just_the_allowed_length_is_taken() -> None:
    peer = Peer("2025-11-25")
    data = json.dumps(request("ping")).encode()
    [action] = peer.conversation.receive(data, len(data))
    assert "result" in check_send(action, b"1")
    [action] = peer.conversation.receive(data, len(data) - 1)
    assert "error" in check_send(action, b"1")


@pytest.mark.parametrize(
    "data", [b"[" * 200, b"x" * 200, b'{"jsonrpc":"2.0","id":null,"method":"' + b"y" * 200 + b'"}', b"\xff" * 200]
)
def test_what_is_too_long_and_no_request_is_refused_without_an_id(data: bytes) -> None:
    [action] = Peer("2025-11-25").conversation.receive(data, 100)
    assert "at most 100" in check_send(action, None)["error"]["message"]


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize("method", ["notifications/initialized", "notifications/whatever", "tools/call", ""])
def test_notifications_are_never_answered(revision: str, method: str) -> None:
    assert Peer(revision).receive(notification(method)) == []
    assert Peer(revision).receive(notification(method, {"name": 5, "_meta": 7})) == []


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_an_answer_to_a_request_of_the_server_is_handed_on(revision: str) -> None:
    peer = Peer(revision)
    [good] = peer.receive({"jsonrpc": "2.0", "id": "q", "result": {"action": "accept"}})
    assert isinstance(good, Answered)
    assert (good.id, json.loads(good.result or b""), good.error) == ("q", {"action": "accept"}, None)
    [bad] = peer.receive({"jsonrpc": "2.0", "id": "q", "error": {"code": -1, "message": "no"}})
    assert isinstance(bad, Answered)
    assert (bad.id, bad.result, json.loads(bad.error or b"")) == ("q", None, {"code": -1, "message": "no"})


@pytest.mark.parametrize("id", [None, 7, 1.5, [], {}])
def test_an_answer_under_an_id_that_the_server_never_gives_is_nobodys(id: Any) -> None:
    assert Peer("2025-11-25").receive({"jsonrpc": "2.0", "id": id, "result": {}}) == []


def test_an_answer_without_an_id_is_nobodys() -> None:
    assert Peer("2025-11-25").receive({"jsonrpc": "2.0", "error": {"code": -32700, "message": "what?"}}) == []
