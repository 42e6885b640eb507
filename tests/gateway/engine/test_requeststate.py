"""Request state: what goes through the client comes back from the same one, for the same request, in time, untouched.

Source: MCP 2026-07-28, basic/patterns/mrtr.
"""

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aicp_common.envelope import Principal
from aicp_gateway.protocol.actions import Call
from aicp_gateway.protocol.requeststate import LIFETIME_S, BadState, digest_request
from aicp_gateway.protocol.revisions import STATELESS
from tests.gateway.engine.peer import EVERYTHING, KEY, Peer, sealer

ALICE = Principal("default", "alice", "alice", ("a", "b"))
ROOTS = {"method": "roots/list"}
FORM = {"method": "elicitation/create", "params": {"mode": "form", "message": "Who?", "requestedSchema": {}}}

RETRIABLE: list[tuple[str, dict[str, Any]]] = [
    ("tools/call", {"name": "echo", "arguments": {"text": "a", "n": [1, 2]}}),
    ("prompts/get", {"name": "greet", "arguments": {"whom": "Ann"}}),
    ("resources/read", {"uri": "fixture://things/a"}),
]

ANSWERS = {"form": {"action": "accept", "content": {"name": "Ann"}}}


def client(**options: Any) -> Peer:
    return Peer(STATELESS, capabilities=EVERYTHING, **options)


def required(peer: Peer, method: str, params: dict[str, Any], state: str = "kept", id: Any = 1) -> dict[str, Any]:
    """What the client gets when the service asks it something."""
    call = peer.call(method, params, id)
    told = peer.concluded(call, {"inputRequests": {"form": FORM, "folders": ROOTS}, "state": state}, "input_required")
    result: dict[str, Any] = told["result"]
    return result


def retried(peer: Peer, method: str, params: dict[str, Any], **brought: Any) -> Call:
    return peer.call(method, {**params, **brought}, id="retry")


def refused(peer: Peer, method: str, params: dict[str, Any], **brought: Any) -> str:
    error = peer.error(method, {**params, **brought})
    assert error["code"] == -32602
    return str(error["message"])


@pytest.mark.parametrize(("method", "params"), RETRIABLE)
def test_a_request_whose_service_asks_the_client_ends_with_what_it_asks(method: str, params: dict[str, Any]) -> None:
    result = required(client(), method, params)
    assert result["resultType"] == "input_required"
    assert result["inputRequests"] == {"form": FORM, "folders": ROOTS}
    assert isinstance(result["requestState"], str)


@pytest.mark.parametrize(("method", "params"), RETRIABLE)
def test_the_retry_brings_state_and_answers_back_to_the_service(method: str, params: dict[str, Any]) -> None:
    peer = client()
    state = required(peer, method, params, state="kept é\n")["requestState"]
    call = retried(peer, method, params, requestState=state, inputResponses=ANSWERS)
    assert call.resumed is not None
    assert (call.resumed.state, call.resumed.answers) == ("kept é\n", ANSWERS)
    assert call.body == peer.call(method, params, id="first").body


@pytest.mark.parametrize(("method", "params"), RETRIABLE)
def test_another_gateway_with_the_same_key_takes_the_retry(method: str, params: dict[str, Any]) -> None:
    state = required(client(), method, params)["requestState"]
    call = retried(client(), method, params, requestState=state)
    assert call.resumed is not None
    assert (call.resumed.state, call.resumed.answers) == ("kept", {})


def test_a_service_may_only_want_to_be_called_again() -> None:
    peer = client()
    call = peer.call("tools/call", {"name": "echo"})
    result = peer.concluded(call, {"inputRequests": {}, "state": "later"}, "input_required")["result"]
    assert result.keys() == {"resultType", "requestState", "_meta"}
    resumed = retried(peer, "tools/call", {"name": "echo"}, requestState=result["requestState"]).resumed
    assert resumed is not None
    assert (resumed.state, resumed.answers) == ("later", {})


def test_answers_without_a_state_reach_the_service_as_what_they_are() -> None:
    call = retried(client(), "tools/call", {"name": "echo"}, inputResponses=ANSWERS)
    assert call.resumed is not None
    assert (call.resumed.state, call.resumed.answers) == ("", ANSWERS)


def test_a_request_that_brings_nothing_is_not_a_retry() -> None:
    assert retried(client(), "tools/call", {"name": "echo"}).resumed is None
    assert retried(client(), "tools/call", {"name": "echo"}, requestState=None, inputResponses=None).resumed is None


@pytest.mark.parametrize("responses", [{"form": 5}, {"a": {}, "form": None}, {"form": []}, {"x" * 1000: "text"}])
def test_an_answer_is_an_object(responses: dict[str, Any]) -> None:
    message = refused(client(), "tools/call", {"name": "echo"}, inputResponses=responses)
    assert "is not an object" in message
    assert len(message) < 200


@pytest.mark.parametrize("responses", [5, [], "x", True])
def test_answers_are_an_object(responses: Any) -> None:
    assert "inputResponses" in refused(client(), "tools/call", {"name": "echo"}, inputResponses=responses)


@pytest.mark.parametrize(("method", "params"), RETRIABLE)
def test_a_state_is_of_its_principal_alone(method: str, params: dict[str, Any]) -> None:
    state = required(client(), method, params)["requestState"]
    assert "another request" in refused(client(agent="bob"), method, params, requestState=state)


def test_a_state_is_of_its_request_alone() -> None:
    peer = client(scopes=("*",))
    state = required(peer, "tools/call", {"name": "echo", "arguments": {"text": "a"}})["requestState"]
    others: list[tuple[str, dict[str, Any]]] = [
        ("tools/call", {"name": "hidden", "arguments": {"text": "a"}}),
        ("tools/call", {"name": "echo", "arguments": {"text": "b"}}),
        ("tools/call", {"name": "echo", "arguments": {}}),
        ("tools/call", {"name": "echo"}),
        ("prompts/get", {"name": "greet"}),
        ("resources/read", {"uri": "fixture://still"}),
    ]
    for method, params in others:
        assert "another request" in refused(peer, method, params, requestState=state)
    state = required(peer, "resources/read", {"uri": "fixture://things/a"}, id=2)["requestState"]
    assert "another request" in refused(peer, "resources/read", {"uri": "fixture://things/b"}, requestState=state)


def test_the_same_arguments_in_another_order_and_spacing_are_the_same_request() -> None:
    peer = client()
    state = required(peer, "tools/call", {"name": "echo", "arguments": {"a": 1, "b": {"c": [1], "d": None}}})
    message = peer.message("tools/call", {"name": "echo", "requestState": state["requestState"]}, id=2)
    data = json.dumps(message)[:-2] + ', "arguments": {"b": {"d":null , "c":[ 1 ]}, "\\u0061":1}}}'
    [call] = peer.receive(data.encode())
    assert isinstance(call, Call)
    assert call.resumed is not None


def test_a_state_lapses() -> None:
    now = [1000.0]
    peer = client(clock=lambda: now[0])
    params = {"name": "echo"}
    state = required(peer, "tools/call", params)["requestState"]
    now[0] += LIFETIME_S
    call = retried(peer, "tools/call", params, requestState=state)
    assert call.resumed is not None
    peer.conversation.finish(call)
    now[0] += 0.001
    assert f"{LIFETIME_S} s" in refused(peer, "tools/call", params, requestState=state)


def test_each_byte_of_a_state_counts() -> None:
    sealed = sealer().seal("kept", ALICE, "r")
    assert sealer().open(sealed, ALICE, "r") == "kept"
    letters = "ABab01_-.=+/ \n\u00e9"
    for place in range(len(sealed)):
        for letter in letters:
            for tampered in (
                sealed[:place] + letter + sealed[place + 1 :],
                sealed[:place] + letter + sealed[place:],
                sealed[:place] + sealed[place + 1 :],
            ):
                if tampered != sealed:
                    with pytest.raises(BadState):
                        sealer().open(tampered, ALICE, "r")
    for tampered in (sealed + "=", sealed + "A", sealed + ".", sealed[:-1]):
        with pytest.raises(BadState):
            sealer().open(tampered, ALICE, "r")


def test_a_state_under_another_key_is_none() -> None:
    sealed = sealer(key=b"another key that is long enough too!").seal("kept", ALICE, "r")
    with pytest.raises(BadState):
        sealer().open(sealed, ALICE, "r")


@pytest.mark.parametrize(
    "other", [("other", "alice", "alice"), ("default", "bob", "alice"), ("default", "alice", "bob")]
)
def test_tenant_agent_and_user_are_the_principal(other: tuple[str, str, str]) -> None:
    sealed = sealer().seal("kept", ALICE, "r")
    with pytest.raises(BadState):
        sealer().open(sealed, Principal(*other, ("a", "b")), "r")


def test_a_principal_whose_scopes_have_changed_is_the_same() -> None:
    assert sealer().open(sealer().seal("kept", ALICE, "r"), Principal("default", "alice", "alice"), "r") == "kept"


def part(value: Any) -> str:
    """A part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


CLAIMS = {"s": "kept", "p": "x", "r": "r", "e": 9e9}


@pytest.mark.parametrize(
    "sealed",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "\u0000",
        "é.é.é",
        "tampered",
        f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(CLAIMS)}.",
        f"{part({'alg': 'none'})}.{part(CLAIMS)}.{part(b'x' * 32)}",
        f"{part({'alg': []})}.{part(CLAIMS)}.{part(b'x' * 32)}",
        f"{part({'alg': 'HS256', 'b64': False, 'crit': ['b64']})}.{part(CLAIMS)}.{part(b'x' * 32)}",
        f"{part({'alg': 'HS256', 'kid': 5})}.{part(CLAIMS)}.{part(b'x' * 32)}",
        f"{part([])}.{part(CLAIMS)}.{part(b'x' * 32)}",
        f"{part(b'[' * 200_000)}.{part(CLAIMS)}.{part(b'x' * 32)}",
        f"{part(b'{' + bytes([255]) + b'}')}.{part(CLAIMS)}.{part(b'x' * 32)}",
        f"{part(b'9' * 10_000)}.{part(CLAIMS)}.{part(b'x' * 32)}",
        "x" * 500_000,
        "." * 500_000,
    ],
)
def test_a_text_that_was_never_given_out_is_no_state(sealed: str) -> None:
    with pytest.raises(BadState):
        sealer().open(sealed, ALICE, "r")
    assert "requestState" in refused(client(), "tools/call", {"name": "echo"}, requestState=sealed)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_with_the_same_key_is_refused(algorithm: str) -> None:
    with pytest.raises(BadState):
        sealer().open(jwt.encode(CLAIMS, KEY * 2, algorithm=algorithm), ALICE, "r")


@settings(deadline=None)
@given(st.text(), st.text())
def test_whatever_is_sealed_comes_back(state: str, agent: str) -> None:
    principal = Principal("default", agent, "alice")
    sealed = sealer().seal(state, principal, "r")
    assert sealed.isascii()
    assert sealer().open(sealed, principal, "r") == state


@settings(deadline=None)
@given(st.text())
def test_no_text_whatever_is_a_state_by_accident(sealed: str) -> None:
    with pytest.raises(BadState):
        sealer().open(sealed, ALICE, "r")


def test_a_request_has_one_digest_and_another_request_another() -> None:
    same = {digest_request("tool", "a", body) for body in (b'{"x":1,"y":[2]}', b' { "y" : [2], "x":1 } ')}
    assert len(same) == 1
    others = {
        digest_request(*parts)
        for parts in (
            ("tool", "a", b'{"x":1,"y":[2]}'),
            ("tool", "a", b'{"x":1,"y":[3]}'),
            ("tool", "a", b"{}"),
            ("tool", "b", b"{}"),
            ("prompt", "a", b"{}"),
            ("too", "la", b"{}"),
            ("tool", "", b"a\0{}"),
            ("tool", "a", b'{"n":1e999}'),
            ("tool", "a", b'{"n":2e999}'),
            ("tool", "a", b"[" * 10_000),
        )
    }
    assert len(others) == 10
