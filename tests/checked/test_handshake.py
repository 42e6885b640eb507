"""The rules of the handshake era that no schema expresses."""

from typing import Any

import pytest

from tests.checked.stage import (
    CALL,
    LATEST,
    TEXT,
    Client,
    Line,
    Server,
    error,
    handshake,
    notice,
    over_websocket,
    request,
    result,
)

DONE = result(1, content=TEXT)


async def after_handshake(*lines: Line, client: dict[str, Any] | None = None, server: Any = None) -> list[str]:
    """What is wrong with what is said after a handshake with these capabilities."""
    return await over_websocket(*handshake(client=client, server=server), *lines)


async def test_a_call_and_its_answer_are_right() -> None:
    assert await after_handshake(Client(CALL), Server(DONE)) == []


async def test_an_id_is_answered_once() -> None:
    faults = await after_handshake(Client(CALL), Server(DONE), Server(DONE))
    assert faults == [f"{LATEST} : a second answer for the id 1"]
    faults = await after_handshake(Client(CALL), Server(error(1, -32603)), Server(DONE))
    assert faults == [f"{LATEST} : a second answer for the id 1"]


async def test_only_what_was_asked_is_answered() -> None:
    assert await after_handshake(Server(DONE)) == [f"{LATEST} : nobody asked with the id 1"]
    # An id is sent back as it came: as a text, or as a number.
    other = {**DONE, "id": "1"}
    assert await after_handshake(Client(CALL), Server(other)) == [f'{LATEST} : nobody asked with the id "1"']


async def test_an_id_that_was_answered_may_be_used_again() -> None:
    assert await after_handshake(Client(CALL), Server(DONE), Client(CALL), Server(DONE)) == []


async def test_an_id_that_is_in_use_twice_is_refused_once_and_answered_once() -> None:
    listing = Client(request(1, "tools/list"))
    listed = Server(result(1, tools=[]))
    busy = Server(error(1, -32600))
    assert await after_handshake(Client(CALL), listing, busy, Server(DONE)) == []
    assert await after_handshake(Client(CALL), listing, listed, Server(DONE)) == []
    assert await after_handshake(Client(CALL), listing, listed, Server(DONE), busy)


async def test_each_answer_has_either_a_result_or_an_error() -> None:
    both = {**DONE, **error(1, -32603)}
    neither = {"jsonrpc": "2.0", "id": 1}
    for wrong in (both, neither):
        faults = await after_handshake(Client(CALL), Server(wrong))
        assert faults == [f"{LATEST} : has to have either a result or an error"]


async def test_a_result_is_an_object() -> None:
    wrong = {"jsonrpc": "2.0", "id": 1, "result": []}
    assert await after_handshake(Client(CALL), Server(wrong)) == [f"{LATEST} tools/call: result is not an object"]


@pytest.mark.parametrize("id", [None, 1.5, True, {}])
async def test_no_answer_has_an_id_that_no_request_can_have(id: Any) -> None:
    faults = await after_handshake(Client("rubbish"), Server(error(id, -32700)))
    assert faults == [f"{LATEST} : id has to be a text or an integer; an error may leave it out"]


async def test_a_result_has_an_id() -> None:
    assert await after_handshake(Client("rubbish"), Server({"jsonrpc": "2.0", "result": {}}))


WITHOUT_ID = {name: value for name, value in error(1, -32600).items() if name != "id"}


@pytest.mark.parametrize(
    "rubbish",
    [
        "rubbish",
        b"{}",
        "[" * 100_000,
        "5",
        "{}",
        request(None, "ping"),
        request(1.5, "ping"),
        {"jsonrpc": "1.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []},
        {"jsonrpc": "2.0", "id": 1, "method": 5},
        request("i" * 300, "ping"),
        '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}',
        [request(1, "ping")],
    ],
)
async def test_an_error_has_no_id_when_there_was_none_to_read(rubbish: Any) -> None:
    assert await after_handshake(Client(rubbish), Server(WITHOUT_ID)) == []
    faults = await after_handshake(Client(rubbish), Server(WITHOUT_ID), Server(WITHOUT_ID))
    assert faults == [f"{LATEST} : an error without an id, though every request had one that can be read"]


async def test_an_error_without_an_id_is_typed_too() -> None:
    assert await after_handshake(Client("rubbish"), Server({"jsonrpc": "2.0", "error": {"code": 1}}))


async def test_a_message_that_cannot_be_parsed_here_may_be_answered_with_its_id() -> None:
    deep = '{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":' + "[" * 5000 + "]" * 5000 + "}}"
    assert await after_handshake(Client(deep), Server(error(7, -32600))) == []


async def test_a_broken_request_may_be_answered_with_its_id_and_an_error_alone() -> None:
    broken = Client({"jsonrpc": "2.0", "id": 1, "params": {}})
    assert await after_handshake(broken, Server(error(1, -32600))) == []
    assert await after_handshake(broken, Server(DONE))


@pytest.mark.parametrize(
    "text", ["rubbish", '{"jsonrpc": "2.0", "id": 1, "result": {"content": [], "n": NaN}}', "[" * 100_000]
)
async def test_what_is_said_is_json(text: str) -> None:
    (fault,) = await after_handshake(Client(CALL), Server(text))
    assert fault.startswith(f"{LATEST} : not JSON: ")


async def test_what_is_said_is_an_object() -> None:
    assert await after_handshake(Server("5")) == [f"{LATEST} : not an object"]


@pytest.mark.parametrize("method", [None, 5, {}])
async def test_a_method_is_a_text(method: Any) -> None:
    for said in ({"jsonrpc": "2.0", "method": method}, {"jsonrpc": "2.0", "id": 1, "method": method}):
        assert await after_handshake(Server(said)) == [f"{LATEST} : method is not a text"]


async def test_the_result_of_initialize_names_a_revision_with_a_handshake() -> None:
    for revision in ("2026-07-28", "1999-01-01"):
        faults = await over_websocket(*handshake(revision))
        assert faults == [f"{LATEST} initialize: result.protocolVersion is {revision!r}, which has no handshake"]


async def test_nothing_is_said_unasked_before_a_revision_was_agreed_on() -> None:
    asked, answered = handshake()
    news = Server(notice("notifications/tools/list_changed"))
    faults = await over_websocket(asked, news, answered)
    assert faults == [f"{LATEST} notifications/tools/list_changed: a notification before a revision was agreed on"]
    faults = await over_websocket(asked, Server(request("r", "ping")), answered)
    assert faults == [f"{LATEST} ping: a request before a revision was agreed on"]
    assert await over_websocket(asked, answered, news, Server(request("r", "ping"))) == []


async def test_a_refused_initialize_agrees_on_nothing() -> None:
    asked, answered = handshake()
    refused = Server(error(0, -32602))
    assert await over_websocket(asked, refused, asked, answered, Server(request("r", "ping"))) == []
    assert await over_websocket(asked, refused, Server(request("r", "ping")))


LISTS = {
    "notifications/tools/list_changed": "tools.listChanged",
    "notifications/prompts/list_changed": "prompts.listChanged",
    "notifications/resources/list_changed": "resources.listChanged",
    "notifications/resources/updated": "resources.subscribe",
    "notifications/message": "logging",
}


@pytest.mark.parametrize("method", LISTS)
async def test_the_server_tells_only_what_it_said_it_would(method: str) -> None:
    told = Server(notice(method, uri="a://b", level="info", data=1))
    assert await after_handshake(told) == []
    for declared in ({}, {"tools": {}, "prompts": {"listChanged": False}, "resources": {}}):
        faults = await after_handshake(told, server=declared)
        assert faults == [f"{LATEST} {method}: the server did not declare {LISTS[method]}"]


FORM = {"message": "which?", "requestedSchema": {"type": "object", "properties": {}}}
URL = {"mode": "url", "message": "go", "url": "https://a.example", "elicitationId": "1"}


@pytest.mark.parametrize(
    ("method", "params", "declared", "missing"),
    [
        ("ping", {}, {}, ""),
        ("roots/list", {}, {}, "roots"),
        ("roots/list", {}, {"roots": {}}, ""),
        ("sampling/createMessage", {"messages": [], "maxTokens": 1}, {}, "sampling"),
        ("sampling/createMessage", {"messages": [], "maxTokens": 1}, {"sampling": {}}, ""),
        ("sampling/createMessage", {"messages": [], "maxTokens": 1, "tools": []}, {"sampling": {}}, "sampling.tools"),
        ("sampling/createMessage", {"messages": [], "maxTokens": 1, "tools": []}, {"sampling": {"tools": {}}}, ""),
        ("elicitation/create", FORM, {}, "elicitation"),
        ("elicitation/create", FORM, {"elicitation": {}}, ""),
        ("elicitation/create", FORM, {"elicitation": {"url": {}}}, "elicitation.form"),
        ("elicitation/create", URL, {"elicitation": {}}, "elicitation.url"),
        ("elicitation/create", URL, {"elicitation": {"url": {}}}, ""),
    ],
)
async def test_the_server_asks_only_what_the_client_can_do(
    method: str, params: dict[str, Any], declared: dict[str, Any], missing: str
) -> None:
    faults = await after_handshake(Server(request("r", method, **params)), client=declared)
    assert faults == ([f"{LATEST} {method}: the client did not declare {missing}"] if missing else [])


async def test_the_server_uses_no_id_twice() -> None:
    asks = Server(request("r", "ping"))
    answers = Client(result("r"))
    assert await after_handshake(asks, answers, Server(request("s", "ping"))) == []
    assert await after_handshake(asks, answers, asks) == [f"{LATEST} ping: the server has used the id 'r' before"]


async def test_the_server_cancels_only_what_it_has_asked() -> None:
    cancelled = Server(notice("notifications/cancelled", requestId="r"))
    assert await after_handshake(Server(request("r", "ping")), cancelled) == []
    faults = await after_handshake(cancelled)
    assert faults == [f"{LATEST} notifications/cancelled: cancels 'r', which the server has not asked"]


TOKEN = "p"
TRACKED = Client(request(1, "tools/call", name="t", _meta={"progressToken": TOKEN}))


def at(progress: float, token: Any = TOKEN) -> Server:
    return Server(notice("notifications/progress", progressToken=token, progress=progress))


async def test_progress_increases() -> None:
    assert await after_handshake(TRACKED, at(0), at(0.5), at(2), Server(DONE)) == []
    for step in (0.5, 0.4):
        faults = await after_handshake(TRACKED, at(0.5), at(step))
        assert faults == [f"{LATEST} notifications/progress: progress goes from 0.5 to {step}; it has to increase"]


async def test_progress_stops_with_the_answer() -> None:
    faults = await after_handshake(TRACKED, at(1), Server(DONE), at(2))
    assert faults == [f"{LATEST} notifications/progress: progress after the answer"]
    faults = await after_handshake(TRACKED, Server(error(1, -32603)), at(2))
    assert faults == [f"{LATEST} notifications/progress: progress after the answer"]


async def test_progress_is_of_a_token_that_came_with_a_request() -> None:
    for token in ("q", 5):
        faults = await after_handshake(TRACKED, at(1, token))
        assert faults == [f"{LATEST} notifications/progress: no request brought the progress token {token!r}"]


async def test_a_token_may_be_used_again_by_a_later_request() -> None:
    assert await after_handshake(TRACKED, at(5), Server(DONE), TRACKED, at(1), Server(DONE)) == []


async def test_the_progress_of_a_task_goes_on_after_it_was_created() -> None:
    asked = Client(request(1, "tools/call", name="t", task={}, _meta={"progressToken": "p"}))
    task = {"taskId": "k", "status": "working", "createdAt": "x", "lastUpdatedAt": "x", "ttl": None}
    assert await after_handshake(asked, at(1), Server(result(1, task=task)), at(2)) == []
    assert await after_handshake(asked, at(1), Server(result(1, content=TEXT)), at(2))


async def test_a_cancelled_request_may_be_answered_all_the_same() -> None:
    cancelled = Client(notice("notifications/cancelled", requestId=1))
    assert await after_handshake(TRACKED, cancelled, at(1), Server(DONE)) == []
    assert await after_handshake(Client(CALL), cancelled) == []


async def test_the_id_of_a_cancelled_request_may_be_used_again() -> None:
    cancelled = Client(notice("notifications/cancelled", requestId=1))
    lines = Client(CALL), cancelled, Client(request(1, "tools/list")), Server(error(1, -32603)), Server(DONE)
    assert await after_handshake(*lines) == []
    lines = Client(request(1, "tools/list")), cancelled, TRACKED, Server(error(1, -32603)), at(1)
    assert await after_handshake(*lines) == [f"{LATEST} notifications/progress: progress after the answer"]


async def test_an_answer_of_the_client_is_no_request() -> None:
    asks = Server(request(1, "ping"))
    assert await after_handshake(asks, Client(result(1)), Server(error(1, -32600)))


async def test_only_2025_03_26_has_batches() -> None:
    for revision, right in (("2024-11-05", False), ("2025-03-26", True), ("2025-06-18", False), (LATEST, False)):
        both = Client([CALL, request(2, "tools/list")])
        faults = await over_websocket(*handshake(revision), both, Server([DONE, result(2, tools=[])]))
        assert faults == ([] if right else [f"{revision} : a batch; this revision has none"])


@pytest.mark.parametrize(
    ("batch", "fault"),
    [
        ([], ": an empty batch"),
        ([DONE, notice("notifications/tools/list_changed")], ": a batch of responses and of other messages"),
        ([DONE, DONE], ": a second answer for the id 1"),
        ([DONE, 5], ": not an object"),
        ([result(1)], "tools/call: result of tools/call: result.content: field required"),
    ],
)
async def test_a_batch_is_all_answers_and_each_is_checked(batch: list[Any], fault: str) -> None:
    faults = await over_websocket(*handshake("2025-03-26"), Client([CALL]), Server(batch))
    assert faults == [f"2025-03-26 {fault}"]


async def test_a_batch_of_the_server_is_notifications_and_requests() -> None:
    batch = Server([notice("notifications/tools/list_changed"), request("r", "ping")])
    assert await over_websocket(*handshake("2025-03-26"), batch) == []
