"""Questions to clients of the handshake era: requests of the server, under ids that nobody else can know."""

import json
from typing import Any

import pytest

from aicp_gateway.protocol.actions import Answers
from aicp_gateway.protocol.revisions import HANDSHAKE
from tests.gateway.engine.oracle import check_message
from tests.gateway.engine.peer import EVERYTHING, Peer

FORM = {"method": "elicitation/create", "params": {"mode": "form", "message": "Who?", "requestedSchema": {}}}
LINK = {"method": "elicitation/create", "params": {"mode": "url", "message": "There", "url": "https://x", "id": 1}}
THINK = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5}}
ROOTS = {"method": "roots/list"}


def client(revision: str = "2025-11-25") -> Peer:
    return Peer(revision, capabilities=EVERYTHING)


@pytest.mark.parametrize("revision", HANDSHAKE)
@pytest.mark.parametrize("request_", [("tools/call", {"name": "echo"}), ("prompts/get", {"name": "greet"})])
def test_each_question_is_a_request_of_the_server(revision: str, request_: tuple[str, dict[str, Any]]) -> None:
    peer = client(revision)
    ask = peer.asked(peer.call(*request_), {"think": THINK, "folders": ROOTS})
    messages = {ask.keys[id]: json.loads(message) for id, message in ask.requests.items()}
    assert messages["think"]["method"] == "sampling/createMessage"
    assert messages["think"]["params"] == THINK["params"]
    assert (messages["folders"]["method"], messages["folders"]["params"]) == ("roots/list", {})


def test_ids_are_never_used_twice_and_cannot_be_guessed() -> None:
    peer = client()
    seen: set[str] = set()
    for number in range(200):
        call = peer.call("tools/call", {"name": "echo"}, id=number)
        ask = peer.asked(call, {"a": FORM, "b": THINK, "c": ROOTS})
        peer.conversation.finish(call)
        assert not seen & ask.requests.keys()
        seen |= ask.requests.keys()
    # 96 random bits each: no part of them repeats or counts.
    assert len({id[-12:] for id in seen}) == len({id[:17] for id in seen}) == 600
    assert min(len(id) for id in seen) >= 24


@pytest.mark.parametrize("revision", ["2025-11-25", "2025-06-18"])
def test_the_mode_of_a_form_is_left_out_for_revisions_that_do_not_know_it(revision: str) -> None:
    peer = client(revision)
    ask = peer.asked(peer.call("tools/call", {"name": "echo"}), {"k": FORM})
    [message] = ask.requests.values()
    params = json.loads(message)["params"]
    assert ("mode" in params) == (revision == "2025-11-25")
    assert params["message"] == "Who?"
    assert FORM["params"]["mode"] == "form"  # type: ignore[index]  # and the service's own request is left as it was


def test_the_mode_of_a_link_always_stays() -> None:
    peer = client("2025-11-25")
    [message] = peer.asked(peer.call("tools/call", {"name": "echo"}), {"k": LINK}).requests.values()
    assert json.loads(message)["params"] == LINK["params"]


def test_the_call_comes_back_with_the_answers_under_the_services_keys() -> None:
    peer = client()
    call = peer.call("tools/call", {"name": "echo", "arguments": {"text": "a"}})
    ask = peer.asked(call, {"think": THINK, "form": FORM}, state="kept")
    by_key = {key: id for id, key in ask.keys.items()}
    answers = Answers({by_key["form"]: {"action": "accept"}, by_key["think"]: {"role": "assistant"}})
    resumed = call.exchange.resume(ask, answers)
    assert resumed.resumed is not None
    assert resumed.resumed.state == "kept"
    assert resumed.resumed.answers == {"form": {"action": "accept"}, "think": {"role": "assistant"}}
    assert (resumed.id, resumed.service, resumed.method, resumed.body) == (call.id, "fixture", "do_echo", call.body)


def test_a_call_that_asks_stays_in_flight_until_it_is_answered() -> None:
    peer = client()
    call = peer.call("tools/call", {"name": "echo"}, id=1)
    ask = peer.asked(call, {"k": ROOTS})
    assert "still under way" in peer.answer("tools/call", {"name": "echo"}, id=1)["error"]["message"]
    [id] = ask.requests
    resumed = call.exchange.resume(ask, Answers({id: {"roots": []}}))
    assert peer.concluded(resumed, {"content": []})["result"] == {"content": []}
    assert peer.call("tools/call", {"name": "echo"}, id=1).resumed is None


def test_a_service_may_ask_again() -> None:
    peer = client()
    call = peer.call("tools/call", {"name": "echo"})
    first = peer.asked(call, {"a": ROOTS}, state="one")
    call = call.exchange.resume(first, Answers({next(iter(first.requests)): {"roots": []}}))
    second = peer.asked(call, {"b": THINK}, state="two")
    call = call.exchange.resume(second, Answers({next(iter(second.requests)): {"role": "assistant"}}))
    assert call.resumed is not None
    assert (call.resumed.state, call.resumed.answers) == ("two", {"b": {"role": "assistant"}})


def test_a_service_that_only_wants_to_be_called_again_asks_nothing() -> None:
    peer = client()
    call = peer.call("tools/call", {"name": "echo"})
    ask = peer.asked(call, {}, state="later")
    assert not ask.requests
    resumed = call.exchange.resume(ask, Answers())
    assert resumed.resumed is not None
    assert (resumed.resumed.state, resumed.resumed.answers) == ("later", {})


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_a_client_cannot_bring_answers_along_by_itself(revision: str) -> None:
    call = client(revision).call(
        "tools/call", {"name": "echo", "inputResponses": {"k": {"action": "accept"}}, "requestState": "made up"}
    )
    assert call.resumed is None


def test_questions_hold_what_the_service_wrote_whatever_it_is() -> None:
    peer = client()
    params = {"message": 'é\n"\\ \u2028', "deep": [[{"a": None}]], "mode": "form"}
    odd = {"method": "elicitation/create", "params": params}
    [message] = peer.asked(peer.call("tools/call", {"name": "echo"}), {"odd key é": odd}).requests.values()
    assert check_message(message)["params"] == params
