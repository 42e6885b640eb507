"""Messages have the type that their revision has for them."""

from typing import Any

import pytest

from tests.checked.stage import (
    CALL,
    LATEST,
    STATELESS,
    TEXT,
    Client,
    Line,
    Server,
    complete,
    error,
    handshake,
    notice,
    over_websocket,
    request,
    result,
    stateless,
)

TOOL = {"name": "t", "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}}}
PAGE = {"ttlMs": 0, "cacheScope": "private"}
TASK = {
    "taskId": "k",
    "status": "working",
    "createdAt": "2026-07-28T10:00:00Z",
    "lastUpdatedAt": "2026-07-28T10:00:00Z",
    "ttlMs": None,
}
TASKS: dict[str, Any] = {
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}
}

HANDSHAKE_RESULTS: dict[str, dict[str, Any]] = {
    "ping": {},
    "tools/list": {"tools": [TOOL], "nextCursor": "2"},
    "tools/call": {"content": TEXT, "isError": False},
    "resources/list": {"resources": [{"uri": "a://b", "name": "b"}]},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "a://{b}", "name": "b"}]},
    "resources/read": {"contents": [{"uri": "a://b", "text": "b"}]},
    "resources/subscribe": {},
    "resources/unsubscribe": {},
    "prompts/list": {"prompts": [{"name": "p", "arguments": [{"name": "a", "required": True}]}]},
    "prompts/get": {"messages": [{"role": "user", "content": TEXT[0]}]},
    "completion/complete": {"completion": {"values": ["a"], "hasMore": False}},
    "logging/setLevel": {},
}

STATELESS_RESULTS: dict[str, dict[str, Any]] = {
    "server/discover": {"supportedVersions": [STATELESS], "capabilities": {}, **PAGE},
    "tools/list": {"tools": [TOOL], **PAGE},
    "tools/call": {"content": TEXT},
    "resources/list": {"resources": [{"uri": "a://b", "name": "b"}], **PAGE},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "a://{b}", "name": "b"}], **PAGE},
    "resources/read": {"contents": [{"uri": "a://b", "blob": "AAAA"}], **PAGE},
    "prompts/list": {"prompts": [{"name": "p"}], **PAGE},
    "prompts/get": {"messages": [{"role": "user", "content": TEXT[0]}]},
    "completion/complete": {"completion": {"values": []}},
    "subscriptions/listen": {"_meta": {"io.modelcontextprotocol/subscriptionId": 1}},
    "tasks/get": TASK,
    "tasks/update": {},
    "tasks/cancel": {},
}

REQUIRED = {
    "tools/list": "tools",
    "tools/call": "content",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "resources/read": "contents",
    "prompts/list": "prompts",
    "prompts/get": "messages",
    "completion/complete": "completion",
    "server/discover": "supportedVersions",
    "subscriptions/listen": "_meta",
    "tasks/get": "taskId",
}

revisions = pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", LATEST])


async def in_handshake(revision: str, *lines: Line) -> list[str]:
    """What is wrong with what is said after a handshake in which each side can do everything."""
    client: dict[str, Any] = {"roots": {}, "sampling": {"tools": {}}, "elicitation": {"form": {}, "url": {}}}
    return await over_websocket(*handshake(revision, client=client), *lines)


async def answered(revision: str, method: str, **fields: Any) -> list[str]:
    """What is wrong with this result for a request of the handshake era."""
    return await in_handshake(revision, Client(request(1, method)), Server(result(1, **fields)))


async def answered_stateless(method: str, **fields: Any) -> list[str]:
    """What is wrong with this complete result for a request of the stateless era."""
    return await over_websocket(Client(stateless(1, method, TASKS)), Server(complete(1, **fields)))


@revisions
@pytest.mark.parametrize("method", HANDSHAKE_RESULTS)
async def test_a_right_result_of_the_handshake_era_is_let_through(revision: str, method: str) -> None:
    assert await answered(revision, method, **HANDSHAKE_RESULTS[method]) == []


@pytest.mark.parametrize("method", STATELESS_RESULTS)
async def test_a_right_result_of_the_stateless_era_is_let_through(method: str) -> None:
    assert await answered_stateless(method, **STATELESS_RESULTS[method]) == []


@revisions
@pytest.mark.parametrize("method", [method for method in REQUIRED if method in HANDSHAKE_RESULTS])
async def test_a_result_of_the_handshake_era_without_what_it_is_for_is_wrong(revision: str, method: str) -> None:
    fields = {name: value for name, value in HANDSHAKE_RESULTS[method].items() if name != REQUIRED[method]}
    (fault,) = await answered(revision, method, **fields)
    assert fault == f"{revision} {method}: result of {method}: result.{REQUIRED[method]}: field required"


@pytest.mark.parametrize("method", REQUIRED)
async def test_a_result_of_the_stateless_era_without_what_it_is_for_is_wrong(method: str) -> None:
    fields = {name: value for name, value in STATELESS_RESULTS[method].items() if name != REQUIRED[method]}
    faults = await answered_stateless(method, **fields)
    assert len(faults) == 1
    assert faults[0].startswith(f"{STATELESS} {method}: result of {method}: result.")
    assert faults[0].endswith(f"{REQUIRED[method]}: field required")


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text"}],
        [{"type": "text", "text": 5}],
        [{"type": "text", "text": "a", "annotations": {"priority": "high"}}],
        [{"type": "text", "text": "a", "annotations": {"priority": 2}}],
        [{"type": "image", "data": "AAAA"}],
        [{"type": "song", "text": "a"}],
        [{"type": "resource", "resource": {"uri": "a://b"}}],
        {"type": "text", "text": "a"},
        ["a"],
        None,
    ],
)
async def test_content_that_is_not_of_its_kind_is_wrong(content: Any) -> None:
    assert await answered(LATEST, "tools/call", content=content)
    assert await answered_stateless("tools/call", content=content)


async def test_of_a_union_the_member_that_was_meant_is_told() -> None:
    faults = await answered(LATEST, "tools/call", content=[{"type": "image", "data": "AAAA"}])
    assert faults == [
        f"{LATEST} tools/call: result of tools/call: result.content.0.ImageContent.mimeType: field required"
    ]


@pytest.mark.parametrize("value", ["false", 0, 1, None, {}])
async def test_no_value_is_taken_for_another(value: Any) -> None:
    assert await answered(LATEST, "tools/call", content=TEXT, isError=value)
    assert await answered_stateless("tools/call", content=TEXT, isError=value)


async def test_a_field_that_may_be_left_out_may_not_be_null() -> None:
    faults = await answered(LATEST, "tools/list", tools=[{**TOOL, "title": None, "annotations": {"title": None}}])
    assert faults == [
        f"{LATEST} tools/list: result of tools/list: result.tools.0.annotations.title is null; it may be left out",
        f"{LATEST} tools/list: result of tools/list: result.tools.0.title is null; it may be left out",
    ]


async def test_null_is_right_where_anything_is() -> None:
    assert await answered_stateless("tools/call", content=TEXT, structuredContent=None) == []
    assert await in_handshake(LATEST, Server(notice("notifications/message", level="info", data=None))) == []


async def test_fields_go_by_the_names_on_the_wire() -> None:
    faults = await answered(LATEST, "tools/list", tools=[{"name": "t", "input_schema": {"type": "object"}}])
    assert faults == [f"{LATEST} tools/list: result of tools/list: result.tools.0.inputSchema: field required"]


async def test_fields_that_no_schema_has_are_let_through() -> None:
    assert await answered(LATEST, "tools/call", content=TEXT, more={"a": None}) == []


async def test_a_tool_has_objects_for_the_properties_of_its_schema() -> None:
    tool = {"name": "t", "inputSchema": {"type": "object", "properties": {"a": True}}}
    faults = await answered(LATEST, "tools/list", tools=[tool])
    assert faults == [f"{LATEST} tools/list: tools.0.inputSchema.properties.a is not an object"]
    tool = {**TOOL, "outputSchema": {"type": "object", "properties": []}}
    assert await answered(LATEST, "tools/list", tools=[tool])
    assert await answered_stateless("tools/list", tools=[tool], **PAGE) == []


LINK = {"type": "resource_link", "uri": "a://b", "name": "b"}
AUDIO = {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}


@pytest.mark.parametrize(
    ("revision", "block", "right"),
    [
        ("2024-11-05", AUDIO, False),
        ("2025-03-26", AUDIO, True),
        ("2024-11-05", LINK, False),
        ("2025-03-26", LINK, False),
        ("2025-06-18", LINK, True),
        (LATEST, LINK, True),
    ],
)
async def test_kinds_of_content_came_one_after_the_other(revision: str, block: dict[str, Any], right: bool) -> None:
    called = await answered(revision, "tools/call", content=[block])
    got = await answered(revision, "prompts/get", messages=[{"role": "user", "content": block}])
    assert (not called, not got) == (right, right)


@pytest.mark.parametrize(
    ("revision", "content", "right"),
    [
        ("2024-11-05", AUDIO, False),
        ("2025-03-26", AUDIO, True),
        ("2025-06-18", TEXT, False),
        (LATEST, TEXT, True),
        ("2025-06-18", {"type": "tool_use", "id": "1", "name": "t", "input": {}}, False),
        (LATEST, {"type": "tool_use", "id": "1", "name": "t", "input": {}}, True),
    ],
)
async def test_messages_for_sampling_have_what_their_revision_has(revision: str, content: Any, right: bool) -> None:
    asked = request("s", "sampling/createMessage", messages=[{"role": "user", "content": content}], maxTokens=5)
    assert (await in_handshake(revision, Server(asked)) == []) is right


async def test_tools_for_sampling_have_objects_for_the_properties_of_their_schemas() -> None:
    tool = {"name": "t", "inputSchema": {"type": "object", "properties": {"a": True}}}
    asked = request("s", "sampling/createMessage", messages=[], maxTokens=5, tools=[tool])
    assert await in_handshake(LATEST, Server(asked))


def form(**properties: Any) -> dict[str, Any]:
    """The params of an elicitation with these fields."""
    return {"message": "which?", "requestedSchema": {"type": "object", "properties": properties}}


@pytest.mark.parametrize(
    ("revision", "params", "right"),
    [
        ("2025-06-18", form(a={"type": "string", "format": "email"}, b={"type": "number", "minimum": 0.5}), True),
        (LATEST, form(a={"type": "boolean", "default": True}), True),
        (LATEST, form(a={"type": "object"}), False),
        (LATEST, form(a={"type": "string", "format": "song"}), False),
        (LATEST, form(a={"type": "string", "title": None}), False),
        (LATEST, form(a={"type": "array", "items": {"type": "string", "enum": ["x"]}}), True),
        ("2025-06-18", form(a={"type": "array", "items": {"type": "string", "enum": ["x"]}}), False),
        (LATEST, {"mode": "url", "message": "go", "url": "https://a.example", "elicitationId": "1"}, True),
        (
            "2025-06-18",
            {**form(), "mode": "url", "message": "go", "url": "https://a.example", "elicitationId": "1"},
            False,
        ),
        (LATEST, {"message": "which?"}, False),
        ("2025-03-26", form(), False),
    ],
)
async def test_what_users_are_asked_is_a_flat_form(revision: str, params: dict[str, Any], right: bool) -> None:
    assert (await in_handshake(revision, Server(request("e", "elicitation/create", **params))) == []) is right


@pytest.mark.parametrize(
    ("properties", "right"), [({"a": {"type": "string"}}, True), ({"a": {"type": "object"}}, False), ({"a": 5}, False)]
)
async def test_what_users_are_asked_within_a_result_is_one_too(properties: dict[str, Any], right: bool) -> None:
    asked = {"method": "elicitation/create", "params": form(**properties)}
    can: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    wanted = result(1, resultType="input_required", inputRequests={"q": asked})
    faults = await over_websocket(Client(stateless(1, "tools/call", can)), Server(wanted))
    assert (faults == []) is right


@pytest.mark.parametrize(
    ("message", "right"),
    [
        (notice("notifications/message", level="info", data={"a": 1}), True),
        (notice("notifications/message", level="loud", data={"a": 1}), False),
        (notice("notifications/message", level="info"), False),
        (notice("notifications/resources/updated", uri="a://b"), True),
        (notice("notifications/resources/updated"), False),
        (notice("notifications/tools/list_changed"), True),
        ({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}, True),
        ({"method": "notifications/tools/list_changed"}, False),
        ({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": []}, False),
        (notice("notifications/songs/list_changed"), False),
        (notice("notifications/initialized"), False),
        (request("r", "roots/list"), True),
        (request("r", "ping"), True),
        (request(None, "ping"), False),
        (request(1.5, "ping"), False),
        (request("r", "tools/list"), False),
        (request("r", "sampling/createMessage", messages=[]), False),
    ],
)
async def test_what_the_server_says_unasked_has_its_type(message: dict[str, Any], right: bool) -> None:
    assert (await in_handshake(LATEST, Server(message)) == []) is right


@pytest.mark.parametrize(
    ("revision", "method", "params"),
    [
        ("2025-06-18", "notifications/elicitation/complete", {"elicitationId": "1"}),
        ("2025-06-18", "notifications/tasks/status", {}),
        (LATEST, "notifications/subscriptions/acknowledged", {"notifications": {}}),
        (LATEST, "notifications/tasks", TASK),
    ],
)
async def test_a_revision_has_no_notifications_of_another(revision: str, method: str, params: dict[str, Any]) -> None:
    faults = await in_handshake(revision, Server(notice(method, **params)))
    assert faults == [f"{revision} {method}: this revision has nothing of that name for a server to send"]


@pytest.mark.parametrize(
    ("revision", "method"), [("2024-11-05", "tasks/list"), (LATEST, "server/discover"), (LATEST, "songs/list")]
)
async def test_there_is_no_result_for_what_the_revision_does_not_have(revision: str, method: str) -> None:
    faults = await answered(revision, method)
    assert faults == [f"{revision} {method}: a result of the kind 'complete' for '{method}'"]
    refused = Server(error(1, -32601))
    assert await in_handshake(revision, Client(request(1, method)), refused) == []


@pytest.mark.parametrize("method", ["ping", "initialize", "resources/subscribe", "logging/setLevel", "songs/list"])
async def test_the_stateless_era_has_no_result_for_what_went_with_the_handshake(method: str) -> None:
    assert await over_websocket(Client(stateless(1, method)), Server(complete(1)))


TASK_2025 = {
    "taskId": "k",
    "status": "working",
    "createdAt": "2025-11-25T10:00:00Z",
    "lastUpdatedAt": "2025-11-25T10:00:00Z",
    "ttl": None,
}


@pytest.mark.parametrize(
    ("method", "fields", "right"),
    [
        ("tasks/get", TASK_2025, True),
        ("tasks/get", {}, False),
        ("tasks/list", {"tasks": [TASK_2025]}, True),
        ("tasks/list", {"tasks": [{}]}, False),
        ("tasks/cancel", {**TASK_2025, "status": "cancelled"}, True),
        ("tasks/cancel", {**TASK_2025, "status": "gone"}, False),
    ],
)
async def test_the_tasks_of_2025_11_25_have_their_types(method: str, fields: dict[str, Any], right: bool) -> None:
    assert (await answered(LATEST, method, **fields) == []) is right


@pytest.mark.parametrize(("task", "right"), [(TASK_2025, True), ({"taskId": "k"}, False)])
async def test_who_asks_for_a_task_may_get_one_in_2025_11_25(task: dict[str, Any], right: bool) -> None:
    asked = Client(request(1, "tools/call", name="t", task={"ttl": 5}))
    assert (await in_handshake(LATEST, asked, Server(result(1, task=task))) == []) is right
    assert await in_handshake(LATEST, Client(CALL), Server(result(1, task=task)))
    assert await in_handshake(LATEST, asked, Server(result(1, content=TEXT))) == []


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        ({"status": "cancelled"}, True),
        ({"status": "completed", "result": {"content": TEXT}}, True),
        ({"status": "completed", "result": {"content": TEXT, "resultType": "complete", "isError": False}}, True),
        ({"status": "completed", "result": {"content": 5}}, False),
        ({"status": "completed"}, False),
        ({"status": "failed", "error": {"code": -32603, "message": "no"}}, True),
        ({"status": "failed", "error": {"message": "no"}}, False),
        ({"status": "failed"}, False),
        ({"status": "input_required", "inputRequests": {}}, True),
        ({"status": "input_required"}, False),
        ({"status": "submitted"}, False),
        ({"ttlMs": "long"}, False),
        ({"pollIntervalMs": None}, False),
        ({"createdAt": "yesterday"}, False),
        ({"statusMessage": 5}, False),
    ],
)
async def test_a_task_of_the_extension_has_what_its_status_brings(fields: dict[str, Any], right: bool) -> None:
    assert (await answered_stateless("tasks/get", **{**TASK, **fields}) == []) is right


async def test_a_task_that_asks_its_requester_asks_with_a_flat_form() -> None:
    for kind, right in (("string", True), ("object", False)):
        asked = {"method": "elicitation/create", "params": form(a={"type": kind})}
        waiting = {**TASK, "status": "input_required", "inputRequests": {"q": asked}}
        assert (await answered_stateless("tasks/get", **waiting) == []) is right


async def test_questions_mean_something_only_where_the_server_asks_back() -> None:
    assert await answered_stateless("tools/call", content=TEXT, inputRequests=5) == []
    assert await answered_stateless("tasks/get", **TASK, inputRequests=5) == []


async def test_a_task_says_how_long_it_lives() -> None:
    without = {name: value for name, value in TASK.items() if name != "ttlMs"}
    assert await answered_stateless("tasks/get", **without)


@pytest.mark.parametrize(("fields", "right"), [({}, True), ({"taskId": 5}, False), ({"status": "song"}, False)])
async def test_a_call_may_be_answered_with_a_task_of_the_extension(fields: dict[str, Any], right: bool) -> None:
    answer = Server(result(1, resultType="task", **{**TASK, **fields}))
    assert (await over_websocket(Client(stateless(1, "tools/call", TASKS)), answer) == []) is right


@pytest.mark.parametrize(
    ("code", "data", "right"),
    [
        (-32022, {"supported": [STATELESS], "requested": "1900-01-01"}, True),
        (-32022, {}, False),
        (-32022, {"supported": STATELESS, "requested": "1900-01-01"}, False),
        (-32021, {"requiredCapabilities": {"sampling": {}}}, True),
        (-32021, {}, False),
        (-32020, {}, True),
        (-32602, {"field": "a"}, True),
        (17, {}, True),
    ],
)
async def test_an_error_of_the_stateless_era_has_the_data_of_its_code(
    code: int, data: dict[str, Any], right: bool
) -> None:
    lines = Client(stateless(1, "tools/call")), Server(error(1, code, **data))
    assert (await over_websocket(*lines) == []) is right


@pytest.mark.parametrize(
    ("revision", "data", "right"),
    [
        (
            LATEST,
            {"elicitations": [{"mode": "url", "elicitationId": "1", "url": "https://a.example", "message": "go"}]},
            True,
        ),
        (LATEST, {}, False),
        ("2025-06-18", {}, True),
    ],
)
async def test_minus_32042_tells_in_2025_11_25_where_to_go(revision: str, data: dict[str, Any], right: bool) -> None:
    assert (await in_handshake(revision, Client(CALL), Server(error(1, -32042, **data))) == []) is right


@pytest.mark.parametrize(
    "body",
    [{"code": -32603}, {"message": "no"}, {"code": "-32603", "message": "no"}, {"code": 1.5, "message": "no"}, "no"],
)
async def test_an_error_has_a_code_and_a_message(body: Any) -> None:
    wrong = {"jsonrpc": "2.0", "id": 1, "error": body}
    assert await in_handshake(LATEST, Client(CALL), Server(wrong))
    assert await over_websocket(Client(stateless(1, "tools/call")), Server(wrong))


async def test_the_name_of_the_server_has_its_type() -> None:
    fields = STATELESS_RESULTS["server/discover"]
    key = "io.modelcontextprotocol/serverInfo"
    assert await answered_stateless("server/discover", **fields, _meta={key: {"name": "a", "version": "1"}}) == []
    faults = await answered_stateless("server/discover", **fields, _meta={key: {"name": "a"}})
    assert faults == [f"{STATELESS} server/discover: _meta: Implementation: version: field required"]


@pytest.mark.parametrize("hint", ["ttlMs", "cacheScope"])
@pytest.mark.parametrize("method", [method for method, fields in STATELESS_RESULTS.items() if "cacheScope" in fields])
async def test_what_may_be_cached_says_so(method: str, hint: str) -> None:
    fields = {name: value for name, value in STATELESS_RESULTS[method].items() if name != hint}
    faults = await answered_stateless(method, **fields)
    assert len(faults) == 1
    assert hint in faults[0]


@pytest.mark.parametrize("fields", [{"ttlMs": -1}, {"cacheScope": "some"}])
async def test_hints_for_caches_have_their_values(fields: dict[str, Any]) -> None:
    assert await answered_stateless("tools/list", **{**STATELESS_RESULTS["tools/list"], **fields})


@pytest.mark.parametrize("method", STATELESS_RESULTS)
async def test_a_result_of_the_stateless_era_says_of_which_kind_it_is(method: str) -> None:
    answer = Server(result(1, **STATELESS_RESULTS[method]))
    faults = await over_websocket(Client(stateless(1, method, TASKS)), answer)
    assert faults == [f"{STATELESS} {method}: result.resultType is missing"]


async def test_an_older_cancellation_names_its_request() -> None:
    asked = Server(request("r", "ping"))
    cancelled = Server(notice("notifications/cancelled", reason="no"))
    faults = await in_handshake("2025-06-18", asked, cancelled)
    assert faults == ["2025-06-18 notifications/cancelled: params.requestId is missing"]
