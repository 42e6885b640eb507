"""The rules of the stateless era that no schema expresses."""

from typing import Any

import pytest

from tests.checked.stage import (
    STATELESS,
    TEXT,
    Client,
    Line,
    Server,
    complete,
    error,
    handshake,
    listed,
    notice,
    over_websocket,
    request,
    result,
    stateless,
)

CALL = Client(stateless(1, "tools/call", name="t"))
DONE = Server(complete(1, content=TEXT))

EVERYTHING = {
    "toolsListChanged": True,
    "promptsListChanged": True,
    "resourcesListChanged": True,
    "resourceSubscriptions": ["a://b", "a://c"],
    "taskIds": ["k", "l"],
}
LISTEN = Client(stateless(9, "subscriptions/listen", notifications=EVERYTHING))
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
HEARD = Server(listed(9, ACKNOWLEDGED, notifications=EVERYTHING))
TASK = {
    "taskId": "k",
    "status": "working",
    "createdAt": "2026-07-28T10:00:00Z",
    "lastUpdatedAt": "2026-07-28T10:00:00Z",
    "ttlMs": 5,
}
NEWS: dict[str, dict[str, Any]] = {
    "notifications/tools/list_changed": {},
    "notifications/prompts/list_changed": {},
    "notifications/resources/list_changed": {},
    "notifications/resources/updated": {"uri": "a://b"},
    "notifications/tasks": TASK,
}


def can(**capabilities: Any) -> dict[str, Any]:
    """`_meta` of a client that declares these capabilities."""
    return {"io.modelcontextprotocol/clientCapabilities": capabilities}


async def test_a_call_and_its_answer_are_right() -> None:
    assert await over_websocket(CALL, DONE) == []
    assert await over_websocket(CALL, Server(error(1, -32602))) == []


async def test_an_id_is_answered_once() -> None:
    assert await over_websocket(CALL, DONE, DONE) == [f"{STATELESS} : a second answer for the id 1"]


async def test_the_server_asks_nothing() -> None:
    for asked in (request("r", "ping"), request("r", "roots/list")):
        faults = await over_websocket(CALL, Server(asked), DONE)
        assert faults == [f"{STATELESS} {asked['method']}: a request of the server; {STATELESS} has none"]


async def test_both_eras_are_spoken_on_one_connection() -> None:
    asked = Client(request(2, "tools/call", name="t"))
    ping = Server(request("r", "ping"))
    news = Server(notice("notifications/tools/list_changed"))
    lines = *handshake(), CALL, asked, ping, news, Server(result(2, content=TEXT)), DONE
    assert await over_websocket(*lines) == []
    assert await over_websocket(*handshake(), CALL, Server(result(1, content=TEXT)))


async def test_a_client_that_repeats_what_was_agreed_on_stays_in_the_handshake_era() -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2025-11-25"}
    asked = Client(request(2, "tools/call", name="t", _meta=meta))
    assert await over_websocket(*handshake(), asked, Server(result(2, content=TEXT))) == []
    assert await over_websocket(asked, Server(result(2, content=TEXT)))


@pytest.mark.parametrize("version", ["1900-01-01", "2025-11-25", 5, None])
async def test_a_revision_that_is_not_spoken_gets_no_result(version: Any) -> None:
    asked = Client(stateless(1, "tools/call", {"io.modelcontextprotocol/protocolVersion": version}))
    faults = await over_websocket(asked, DONE)
    assert faults == [
        f"{STATELESS} tools/call: a result for a request of the revision {version!r}; that is error -32022"
    ]
    refused = Server(error(1, -32022, supported=[STATELESS], requested=str(version)))
    assert await over_websocket(asked, refused) == []


@pytest.mark.parametrize("code", [-32002, -32042, -32023, -32099])
async def test_codes_that_are_gone_or_have_no_meaning_are_not_sent(code: int) -> None:
    (fault,) = await over_websocket(CALL, Server(error(1, code)))
    assert fault.startswith(f"{STATELESS} tools/call: error.code is {code}, which ")
    # An error that answers nothing has to keep to the rule too.
    lost = {name: value for name, value in error(1, code).items() if name != "id"}
    assert await over_websocket(CALL, DONE, Client("rubbish"), Server(lost))


@pytest.mark.parametrize("code", [-32700, -32600, -32601, -32602, -32603, -32000, -32015, 1])
async def test_other_codes_are_let_through(code: int) -> None:
    assert await over_websocket(CALL, Server(error(1, code))) == []


@pytest.mark.parametrize("kind", ["task", "song", "input_required"])
async def test_a_kind_of_result_is_for_the_methods_that_have_it(kind: str) -> None:
    answer = Server(result(1, resultType=kind, tools=[], cacheScope="public", requestState="s", **TASK))
    faults = await over_websocket(Client(stateless(1, "tools/list")), answer)
    assert faults == [f"{STATELESS} tools/list: a result of the kind {kind!r} for 'tools/list'"]


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read"])
async def test_a_server_that_asks_back_says_what_or_keeps_its_state(method: str) -> None:
    asked = Client(stateless(1, method))
    assert await over_websocket(asked, Server(result(1, resultType="input_required", requestState="s"))) == []
    faults = await over_websocket(asked, Server(result(1, resultType="input_required")))
    assert faults == [f"{STATELESS} {method}: result has neither inputRequests nor requestState"]


FORM = {
    "method": "elicitation/create",
    "params": {"message": "which?", "requestedSchema": {"type": "object", "properties": {}}},
}


@pytest.mark.parametrize(
    ("wanted", "declared", "missing"),
    [
        ({"method": "roots/list"}, {}, "roots"),
        ({"method": "roots/list"}, {"roots": {}}, ""),
        (FORM, {"sampling": {}}, "elicitation"),
        (FORM, {"elicitation": {}}, ""),
        ({"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}, {}, "sampling"),
    ],
)
async def test_a_server_asks_back_what_the_client_can_do(
    wanted: dict[str, Any], declared: dict[str, Any], missing: str
) -> None:
    answer = Server(result(1, resultType="input_required", inputRequests={"q": wanted}))
    faults = await over_websocket(Client(stateless(1, "tools/call", can(**declared))), answer)
    fault = f"{STATELESS} tools/call: result.inputRequests.q: the client did not declare {missing}"
    assert faults == ([fault] if missing else [])


async def test_what_a_server_asks_back_has_its_type() -> None:
    wanted = {"method": "elicitation/create", "params": {"message": "which?"}}
    answer = Server(result(1, resultType="input_required", inputRequests={"q": wanted}))
    assert await over_websocket(Client(stateless(1, "tools/call", can(elicitation={}))), answer)


async def test_what_a_server_asks_back_has_no_null_in_it() -> None:
    answer = Server(
        result(1, resultType="input_required", inputRequests={"q": {"method": "roots/list", "params": None}})
    )
    (fault,) = await over_websocket(Client(stateless(1, "tools/call", can(roots={}))), answer)
    assert fault.endswith("result.inputRequests.q.params is null; it may be left out")


async def test_a_task_is_for_a_client_that_declares_the_extension() -> None:
    answer = Server(result(1, resultType="task", **TASK))
    declared = can(extensions={"io.modelcontextprotocol/tasks": {}})
    assert await over_websocket(Client(stateless(1, "tools/call", declared)), answer) == []
    (fault,) = await over_websocket(CALL, answer)
    assert fault.startswith(f"{STATELESS} tools/call: a task for a client that did not declare")


async def test_who_discovers_a_server_finds_the_revision_that_it_asked_in() -> None:
    fields = {"capabilities": {}, "ttlMs": 1, "cacheScope": "public"}
    asked = Client(stateless(1, "server/discover"))
    assert await over_websocket(asked, Server(complete(1, supportedVersions=["2025-11-25", STATELESS], **fields))) == []
    faults = await over_websocket(asked, Server(complete(1, supportedVersions=["2025-11-25"], **fields)))
    assert faults == [f"{STATELESS} server/discover: result.supportedVersions lacks {STATELESS}, in which it was asked"]


async def heard(*lines: Line) -> list[str]:
    """What is wrong with what is said after a subscription to everything was acknowledged."""
    return await over_websocket(LISTEN, HEARD, *lines)


@pytest.mark.parametrize("method", NEWS)
async def test_a_subscription_brings_what_it_is_for(method: str) -> None:
    assert await heard(Server(listed(9, method, **NEWS[method]))) == []


@pytest.mark.parametrize("method", NEWS)
async def test_what_a_subscription_brings_carries_its_id(method: str) -> None:
    faults = await heard(Server(notice(method, **NEWS[method])))
    assert faults == [f"{STATELESS} {method}: params._meta lacks io.modelcontextprotocol/subscriptionId"]
    for id in (8, "9"):
        faults = await heard(Server(listed(id, method, **NEWS[method])))
        assert faults == [f"{STATELESS} {method}: no subscription {id!r} is open here"]


@pytest.mark.parametrize("method", NEWS)
async def test_a_subscription_is_acknowledged_first(method: str) -> None:
    faults = await over_websocket(LISTEN, Server(listed(9, method, **NEWS[method])))
    assert faults == [f"{STATELESS} {method}: the subscription has not been acknowledged yet"]


@pytest.mark.parametrize("method", NEWS)
async def test_a_subscription_brings_nothing_that_was_not_agreed_on(method: str) -> None:
    acknowledged = Server(listed(9, ACKNOWLEDGED, notifications={"taskIds": ["l"], "toolsListChanged": False}))
    faults = await over_websocket(LISTEN, acknowledged, Server(listed(9, method, **NEWS[method])))
    assert faults == [f"{STATELESS} {method}: the subscription is not for this"]


async def test_a_subscription_is_acknowledged_once() -> None:
    assert await heard(HEARD) == [f"{STATELESS} {ACKNOWLEDGED}: the subscription is acknowledged twice"]


@pytest.mark.parametrize(
    ("agreed", "fault"),
    [
        ({"toolsListChanged": True, "resourceSubscriptions": ["a://b"]}, ""),
        ({"promptsListChanged": False}, ""),
        ({"promptsListChanged": True}, "params.notifications.promptsListChanged was not asked for"),
        (
            {"resourceSubscriptions": ["a://b", "a://d"]},
            "params.notifications.resourceSubscriptions has more than was asked for",
        ),
        ({"taskIds": ["k"]}, "params.notifications.taskIds was not asked for"),
        ({"taskIds": [{}]}, "params.notifications.taskIds is not a list of texts"),
    ],
)
async def test_no_more_is_acknowledged_than_was_asked_for(agreed: dict[str, Any], fault: str) -> None:
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["a://b", "a://c"]}
    asked = Client(stateless(9, "subscriptions/listen", notifications=wanted))
    faults = await over_websocket(asked, Server(listed(9, ACKNOWLEDGED, notifications=agreed)))
    assert faults == ([f"{STATELESS} {ACKNOWLEDGED}: {fault}"] if fault else [])


async def test_a_subscription_that_has_ended_brings_nothing() -> None:
    ended = Server(complete(9, _meta={"io.modelcontextprotocol/subscriptionId": 9}))
    news = Server(listed(9, "notifications/tools/list_changed"))
    assert await heard(ended) == []
    faults = await heard(ended, news)
    assert faults == [f"{STATELESS} notifications/tools/list_changed: no subscription 9 is open here"]


async def test_the_end_of_a_subscription_carries_its_id() -> None:
    for id in (8, "9"):
        faults = await heard(Server(complete(9, _meta={"io.modelcontextprotocol/subscriptionId": id})))
        assert faults == [f"{STATELESS} subscriptions/listen: result._meta has the subscription id {id!r}; it is 9"]


async def test_the_server_may_cancel_a_subscription_and_nothing_else() -> None:
    assert await heard(Server(notice("notifications/cancelled", requestId=9))) == []
    cancelled = Server(notice("notifications/cancelled", requestId=9))
    faults = await heard(cancelled, Server(listed(9, "notifications/tools/list_changed")))
    assert faults == [f"{STATELESS} notifications/tools/list_changed: no subscription 9 is open here"]
    for id in (1, 8):
        faults = await heard(CALL, Server(notice("notifications/cancelled", requestId=id)), DONE)
        assert faults == [f"{STATELESS} notifications/cancelled: cancels {id}, which is no open subscription"]


async def test_after_a_client_has_cancelled_a_subscription_what_was_under_way_may_come() -> None:
    cancelled = Client(notice("notifications/cancelled", requestId=9))
    assert await heard(cancelled, Server(listed(9, "notifications/tools/list_changed"))) == []


async def test_news_without_a_subscription_are_wrong() -> None:
    faults = await over_websocket(CALL, Server(notice("notifications/tools/list_changed")), DONE)
    assert faults == [
        f"{STATELESS} notifications/tools/list_changed: params._meta lacks io.modelcontextprotocol/subscriptionId"
    ]


TOKEN = "p"
TRACKED = Client(stateless(1, "tools/call", {"progressToken": TOKEN}))


def at(progress: float, token: Any = TOKEN) -> Server:
    return Server(notice("notifications/progress", progressToken=token, progress=progress))


async def test_progress_increases_and_stops_with_the_answer() -> None:
    assert await over_websocket(TRACKED, at(0), at(1), DONE) == []
    where = f"{STATELESS} notifications/progress"
    assert await over_websocket(TRACKED, at(1), at(1)) == [f"{where}: progress goes from 1 to 1; it has to increase"]
    assert await over_websocket(TRACKED, at(1), DONE, at(2)) == [f"{where}: progress after the answer"]
    assert await over_websocket(CALL, at(1)) == [f"{where}: no request brought the progress token 'p'"]
    assert await over_websocket(*handshake(), TRACKED, at(1), DONE, at(2)) == [f"{where}: progress after the answer"]


async def test_a_subscription_has_no_progress() -> None:
    asked = Client(stateless(9, "subscriptions/listen", {"progressToken": "p"}, notifications=EVERYTHING))
    faults = await over_websocket(asked, HEARD, at(1))
    assert faults == [
        f"{STATELESS} notifications/progress: progress of a subscription; it delivers what it is for and nothing else"
    ]


def logged(level: str) -> Server:
    return Server(notice("notifications/message", level=level, data="x"))


@pytest.mark.parametrize(
    ("wanted", "level", "right"),
    [
        ("info", "info", True),
        ("info", "emergency", True),
        ("info", "debug", False),
        (None, "error", False),
        (5, "error", False),
    ],
)
async def test_log_messages_are_for_requests_that_want_them(wanted: Any, level: str, right: bool) -> None:
    meta = {} if wanted is None else {"io.modelcontextprotocol/logLevel": wanted}
    asked = Client(stateless(1, "tools/call", meta))
    assert (await over_websocket(asked, logged(level), DONE) == []) is right
    assert await over_websocket(asked, DONE, logged(level))


async def test_a_subscription_has_no_log_messages() -> None:
    meta = {"io.modelcontextprotocol/logLevel": "debug"}
    asked = Client(stateless(9, "subscriptions/listen", meta, notifications=EVERYTHING))
    assert await over_websocket(asked, HEARD, logged("error"))
