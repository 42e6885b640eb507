"""Over HTTP: one document or a stream of events for each POST, a stream for each GET, sessions in the handshake era."""

from typing import Any

import pytest

from tests.checked.stage import (
    CALL,
    LATEST,
    STATELESS,
    TEXT,
    Web,
    complete,
    error,
    handshake,
    listed,
    notice,
    request,
    result,
    stateless,
)

DONE = result(1, content=TEXT)
IN_SESSION = {"mcp-session-id": "s-1"}
NEWS = notice("notifications/tools/list_changed")
ASKS = request("r", "ping")
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


async def test_a_call_in_a_session_has_the_revision_of_the_session() -> None:
    web = Web()
    assert await web.begin("s-1", "2024-11-05") == []
    assert await web.begin("s-2", LATEST) == []
    link = result(1, content=[{"type": "resource_link", "uri": "a://b", "name": "b"}])
    assert await web.post(CALL, link, sent={"mcp-session-id": "s-2", "mcp-protocol-version": "2024-11-05"}) == []
    (fault,) = await web.post(CALL, link, sent=IN_SESSION)
    assert fault.startswith("2024-11-05 tools/call: content.0.type is 'resource_link'")


async def test_a_session_of_another_gateway_is_looked_up() -> None:
    web = Web(elsewhere={"s-1": "2024-11-05"})
    link = result(1, content=[{"type": "resource_link", "uri": "a://b", "name": "b"}])
    (fault,) = await web.post(CALL, link, sent={**IN_SESSION, "mcp-protocol-version": LATEST})
    assert fault.startswith("2024-11-05 tools/call: ")


async def test_what_is_no_session_has_the_revision_that_the_client_names() -> None:
    link = result(1, content=[{"type": "resource_link", "uri": "a://b", "name": "b"}])
    for sent in (IN_SESSION, {}):
        assert await Web().post(CALL, link, sent={**sent, "mcp-protocol-version": LATEST}) == []
        (fault,) = await Web().post(CALL, link, sent={**sent, "mcp-protocol-version": "2025-03-26"})
        assert fault.startswith("2025-03-26 tools/call: ")
    (fault,) = await Web().post(CALL, link, sent=IN_SESSION)
    assert fault.startswith("2025-03-26 tools/call: ")


async def test_a_session_that_was_ended_is_none_any_more() -> None:
    web = Web()
    await web.begin("s-1", "2024-11-05")
    assert await web.delete("s-1") == []
    (fault,) = await web.post(CALL, result(1), sent=IN_SESSION)
    assert fault.startswith("2025-03-26 ")


async def test_a_session_may_be_begun_with_a_stream() -> None:
    web = Web()
    asked, answered = handshake("2024-11-05")
    assert await web.stream(asked.message, [b": open\n\n", answered.message], headers=IN_SESSION) == []
    (fault,) = await web.post(CALL, result(1), sent=IN_SESSION)
    assert fault.startswith("2024-11-05 ")


@pytest.mark.parametrize("cut", [0, 1, 3, 100])
async def test_a_stream_may_be_cut_anywhere(cut: int) -> None:
    web = Web()
    await web.begin("s-1")
    tracked = request(1, "tools/call", _meta={"progressToken": 5})
    progress = [notice("notifications/progress", progressToken=5, progress=step) for step in (1, 2, 2)]
    faults = await web.stream(tracked, [b"id: 1\ndata:\n\n", *progress, DONE], sent=IN_SESSION, cut=cut)
    assert faults == [f"{LATEST} notifications/progress: progress goes from 2 to 2; it has to increase"]


async def test_a_stream_of_a_post_may_ask_the_client() -> None:
    web = Web()
    await web.begin("s-1")
    assert await web.stream(CALL, [ASKS, DONE], sent=IN_SESSION) == []
    assert await web.stream(CALL, [ASKS, DONE], sent=IN_SESSION) == [
        f"{LATEST} ping: the server has used the id 'r' before"
    ]


async def test_a_post_is_answered_with_what_it_asked() -> None:
    web = Web()
    await web.begin("s-1")
    assert await web.post(CALL, result(2), sent=IN_SESSION) == [f"{LATEST} : nobody asked with the id 2"]
    assert await web.stream(request(3, "ping"), [], sent=IN_SESSION) == []
    # The request 3 came with another POST.
    assert await web.post(request(4, "ping"), result(3), sent=IN_SESSION) == [f"{LATEST} : nobody asked with the id 3"]


async def test_ids_of_one_session_are_answered_once_each() -> None:
    web = Web()
    await web.begin("s-1")
    assert await web.stream(CALL, [DONE, DONE], sent=IN_SESSION) == [f"{LATEST} : a second answer for the id 1"]
    assert await web.post(CALL, DONE, sent=IN_SESSION) == []


async def test_a_batch_over_http_is_for_2025_03_26() -> None:
    web = Web()
    await web.begin("s-1", "2025-03-26")
    both = [CALL, request(2, "ping")]
    assert await web.post(both, [DONE, result(2)], sent=IN_SESSION) == []
    assert await web.stream(both, [result(2), DONE], sent=IN_SESSION) == []
    assert await web.post(both, [DONE, result(3)], sent=IN_SESSION) == ["2025-03-26 : nobody asked with the id 3"]


async def test_a_stream_of_a_session_tells_and_asks() -> None:
    web = Web()
    await web.begin("s-1")
    assert await web.stream("", [NEWS, ASKS], sent=IN_SESSION, method="GET") == []
    (fault,) = await web.stream("", [notice("notifications/message", level="x", data=1)], sent=IN_SESSION, method="GET")
    assert fault.startswith(f"{LATEST} notifications/message: LoggingMessageNotification: ")


async def test_a_stream_of_a_session_has_no_answers() -> None:
    web = Web()
    await web.begin("s-1")
    await web.stream(CALL, [], sent=IN_SESSION)
    faults = await web.stream("", [DONE], sent=IN_SESSION, method="GET")
    assert faults == [f"{LATEST} : a response on a stream that was not resumed"]


async def test_a_resumed_stream_answers_what_a_broken_one_was_for_and_repeats_what_it_said() -> None:
    web = Web()
    await web.begin("s-1")
    resumed = {**IN_SESSION, "last-event-id": "1"}
    tracked = request(1, "tools/call", _meta={"progressToken": 5})
    progress = notice("notifications/progress", progressToken=5, progress=1)
    assert await web.stream(tracked, [progress, ASKS], sent=IN_SESSION) == []
    assert await web.stream("", [progress, ASKS, DONE], sent=resumed, method="GET") == []
    assert await web.stream("", [DONE], sent=resumed, method="GET") == []
    wrong = result(2, content="wrong")
    await web.stream(request(2, "tools/call"), [], sent=IN_SESSION)
    assert await web.stream("", [wrong], sent=resumed, method="GET")


@pytest.mark.parametrize("elsewhere", [{}, {"s-1": LATEST}])
async def test_what_another_gateway_was_asked_may_be_answered_on_a_resumed_stream(elsewhere: dict[str, str]) -> None:
    web = Web(elsewhere)
    if not elsewhere:
        await web.begin("s-1")
    progress = notice("notifications/progress", progressToken=5, progress=1)
    cancels = notice("notifications/cancelled", requestId="q")
    resumed = {**IN_SESSION, "last-event-id": "1"}
    assert await web.stream("", [NEWS, progress, cancels, DONE], sent=resumed, method="GET") == []
    for field, wrong in (("error", {"code": 5}), ("result", [])):
        faults = await web.stream("", [{"jsonrpc": "2.0", "id": 1, field: wrong}], sent=resumed, method="GET")
        assert len(faults) == 1


async def test_progress_of_what_another_gateway_was_asked_may_come_on_the_stream_of_a_session() -> None:
    web = Web()
    await web.begin("s-1")
    progress = notice("notifications/progress", progressToken=5, progress=1)
    assert await web.stream("", [progress], sent=IN_SESSION, method="GET") == []
    tracked = request(1, "tools/call", _meta={"progressToken": 5})
    assert await web.post(tracked, DONE, sent=IN_SESSION) == []
    faults = await web.stream("", [progress], sent=IN_SESSION, method="GET")
    assert faults == [f"{LATEST} notifications/progress: progress after the answer"]


async def test_what_another_gateway_agreed_on_is_not_judged() -> None:
    web = Web(elsewhere={"s-1": LATEST})
    asks = request("r", "roots/list")
    cancels = notice("notifications/cancelled", requestId="q")
    assert await web.stream("", [NEWS, asks, cancels], sent=IN_SESSION, method="GET") == []


WITHOUT_ID = {name: value for name, value in error(1, -32600).items() if name != "id"}


@pytest.mark.parametrize("status", [400, 401, 404, 415])
async def test_a_refusal_may_have_no_id(status: int) -> None:
    assert await Web().post(CALL, WITHOUT_ID, status=status) == []
    assert await Web().post(CALL, {**WITHOUT_ID, "id": None}, status=status)
    assert await Web().post(CALL, {"error": "no"}, status=status)


async def test_an_answer_with_the_status_200_has_the_id_of_its_request() -> None:
    (fault,) = await Web().post(CALL, WITHOUT_ID)
    assert fault.endswith("an error without an id, though every request had one that can be read")


async def test_a_body_that_is_not_utf_8_may_be_answered_with_or_without_its_id() -> None:
    body = '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\udcff"}}'
    assert await Web().post(body, WITHOUT_ID) == []
    assert await Web().post(body, error(1, -32700)) == []


async def test_an_answer_is_json() -> None:
    assert await Web().post(CALL, "")
    assert await Web().post(CALL, "rubbish")
    (fault,) = await Web().post(CALL, DONE, headers={"content-type": "text/plain"})
    assert fault.endswith("an answer of the type 'text/plain'")


@pytest.mark.parametrize("status", [202, 204])
async def test_what_is_accepted_has_no_body(status: int) -> None:
    said = notice("notifications/initialized")
    assert await Web().post(said, "", status=status) == []
    (fault,) = await Web().post(said, DONE, status=status)
    assert fault.endswith(f"a body with the HTTP status {status}")


async def test_events_are_messages() -> None:
    web = Web()
    await web.begin("s-1")
    (fault,) = await web.stream(CALL, [b"event: song\ndata: la\n\n"], sent=IN_SESSION)
    assert fault.endswith("an event of the type 'song'")
    (fault,) = await web.stream(CALL, [b"data: \xff\n\n"], sent=IN_SESSION)
    assert " : not JSON: " in fault
    (fault,) = await web.stream(CALL, [b"data: {}\n"], sent=IN_SESSION)
    assert fault.endswith("the stream ends within an event")


# The stateless era


async def test_a_stateless_call_needs_no_session() -> None:
    call = stateless(1, "tools/call")
    assert await Web().post(call, complete(1, content=TEXT)) == []
    assert await Web().post(call, DONE) == [f"{STATELESS} tools/call: result.resultType is missing"]


async def test_a_stateless_call_that_names_a_session_is_stateless_all_the_same() -> None:
    web = Web()
    await web.begin("s-1")
    assert await web.post(stateless(1, "tools/call"), complete(1, content=TEXT), sent=IN_SESSION) == []
    assert await web.post(stateless(1, "tools/call"), DONE, sent=IN_SESSION)


async def test_the_header_tells_the_era_of_a_request_without_meta() -> None:
    sent = {"mcp-protocol-version": STATELESS}
    assert await Web().post(CALL, error(1, -32602), status=400, sent=sent) == []
    assert await Web().post(CALL, error(1, -32002), status=400, sent=sent)
    assert await Web().post("rubbish", WITHOUT_ID | {"error": {"code": -32042, "message": "no"}}, status=400, sent=sent)


async def test_a_stateless_answer_begins_no_session() -> None:
    faults = await Web().post(stateless(1, "tools/call"), complete(1, content=TEXT), headers=IN_SESSION)
    assert faults == [f"{STATELESS} : the header Mcp-Session-Id; {STATELESS} has no sessions"]


@pytest.mark.parametrize(
    ("code", "data", "status"),
    [
        (-32020, {}, 400),
        (-32021, {"requiredCapabilities": {}}, 400),
        (-32022, {"supported": [STATELESS], "requested": "x"}, 400),
        (-32601, {}, 404),
    ],
)
async def test_errors_of_the_stateless_era_have_their_status(code: int, data: dict[str, Any], status: int) -> None:
    call = stateless(1, "tools/call")
    assert await Web().post(call, error(1, code, **data), status=status) == []
    faults = await Web().post(call, error(1, code, **data), status=200)
    assert faults == [f"{STATELESS} tools/call: error {code} came with the HTTP status 200; that is {status}"]
    assert await Web().stream(call, [error(1, code, **data)]) == []


async def test_the_handshake_era_has_no_status_for_errors() -> None:
    web = Web()
    await web.begin("s-1")
    assert await web.post(CALL, error(1, -32601), sent=IN_SESSION) == []


async def test_a_stateless_stream_brings_what_belongs_to_its_request() -> None:
    call = stateless(1, "tools/call", {"progressToken": 5, "io.modelcontextprotocol/logLevel": "info"})
    progress = notice("notifications/progress", progressToken=5, progress=1)
    logged = notice("notifications/message", level="info", data=1)
    done = complete(1, content=TEXT)
    assert await Web().stream(call, [progress, logged, done]) == []
    assert await Web().stream(call, [{**progress, "params": {"progressToken": 6, "progress": 1}}, done])
    assert await Web().stream(call, [NEWS, done])
    assert await Web().stream(call, [ASKS, done]) == [
        f"{STATELESS} ping: a request of the server; {STATELESS} has none"
    ]


async def test_a_subscription_over_http_brings_what_it_is_for() -> None:
    wanted = {"toolsListChanged": True}
    asked = stateless(9, "subscriptions/listen", notifications=wanted)
    heard = listed(9, ACKNOWLEDGED, notifications=wanted)
    news = listed(9, "notifications/tools/list_changed")
    ended = complete(9, _meta={"io.modelcontextprotocol/subscriptionId": 9})
    assert await Web().stream(asked, [b": open\n\n", heard, news, ended]) == []
    assert await Web().stream(asked, [heard, NEWS])
    assert await Web().stream(asked, [news])
    assert await Web().stream(asked, [heard, listed(9, "notifications/prompts/list_changed")])
