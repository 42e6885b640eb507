"""The headers of HTTP requests of the stateless era say what the body says, or the request is refused.

Source: MCP 2026-07-28, basic/transports/streamable-http, "Request Metadata".
"""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aicp_gateway.protocol.actions import Call, Listen
from aicp_gateway.protocol.headers import Mismatch, check_params, check_standard, check_version, mirrored_params
from aicp_gateway.protocol.revisions import STATELESS
from tests.gateway.engine import announced
from tests.gateway.engine.oracle import check_send
from tests.gateway.engine.peer import EVERYTHING, VERSION_KEY, Peer, header_value, headers_of, sentinel
from tests.gateway.engine.test_stateless import EVERY_METHOD, went_well

NAMED = ["tools/call", "prompts/get", "resources/read", "tasks/get", "tasks/update", "tasks/cancel"]


def client() -> Peer:
    return Peer(STATELESS, capabilities=EVERYTHING)


def refused(message: dict[str, Any], headers: dict[str, str]) -> str:
    """Why this request with these headers is refused for a mismatch."""
    sent = client().sent(message, headers)
    error = check_send(sent, b"1")["error"]
    assert (error["code"], sent.status) == (-32020, 400), error
    assert len(error["message"]) < 400
    return str(error["message"])


@pytest.mark.parametrize(("method", "params"), EVERY_METHOD)
def test_a_request_with_the_right_headers_is_taken(method: str, params: dict[str, Any]) -> None:
    peer = client()
    message = peer.message(method, params)
    headers = headers_of(message)
    assert ("mcp-name" in headers) == (method in NAMED)
    assert went_well(peer.receive(message, headers))


@pytest.mark.parametrize(("method", "params"), EVERY_METHOD)
def test_each_header_that_is_missing_or_different_is_a_mismatch(method: str, params: dict[str, Any]) -> None:
    message = client().message(method, params)
    headers = headers_of(message)
    for name in headers:
        without = {key: value for key, value in headers.items() if key != name}
        assert f"{name} is missing" in refused(message, without).lower()
        for wrong in ("", "x", headers[name].upper() + "x", f"{headers[name]}, {headers[name]}", f" {headers[name]}"):
            assert name in refused(message, headers | {name: wrong}).lower()


def test_without_any_header_it_is_the_version_that_is_missing() -> None:
    assert "MCP-Protocol-Version is missing" in refused(client().message("tools/list"), {})


def test_other_headers_do_not_matter() -> None:
    peer = client()
    message = peer.message("tools/list")
    other = {"mcp-name": "for nothing", "mcp-param-region": "for nothing", "mcp-session-id": "old", "x": "\u00ff"}
    assert went_well(peer.receive(message, headers_of(message) | other))


def test_without_http_there_are_no_headers_to_check() -> None:
    peer = client()
    assert isinstance(peer.call("tools/call", {"name": "mirror", "arguments": {"region": "a"}}), Call)
    assert isinstance(peer.listen({}, id=2), Listen)


@pytest.mark.parametrize("value", ["tools/LIST", "Tools/list", "tools%2Flist", sentinel("tools/list"), "tools/list\t"])
def test_the_method_is_compared_as_it_is(value: str) -> None:
    message = client().message("tools/list")
    assert "Mcp-Method" in refused(message, headers_of(message) | {"mcp-method": value})


def test_the_version_of_the_header_is_compared_before_the_version_is_judged() -> None:
    message = client().message("tools/list", {"_meta": {VERSION_KEY: "v999.0.0"}})
    assert "MCP-Protocol-Version" in refused(message, headers_of(message) | {"mcp-protocol-version": STATELESS})
    message = client().message("tools/list")
    for version in ("2025-11-25", "2026-07-2", "2026-07-28, 2026-07-28"):
        assert "MCP-Protocol-Version" in refused(message, headers_of(message) | {"mcp-protocol-version": version})


@pytest.mark.parametrize(
    "uri", ["fixture://things/é", "fixture://things/ ", "fixture://things/a\nb", "fixture://things/a?b=c d"]
)
@pytest.mark.parametrize("always", [False, True])
def test_a_name_may_come_in_base64(uri: str, always: bool) -> None:
    peer = client()
    message = peer.message("resources/read", {"uri": uri})
    name = sentinel(uri) if always else header_value(uri)
    [call] = peer.receive(message, headers_of(message) | {"mcp-name": name})
    assert isinstance(call, Call)
    assert call.uri == uri


@pytest.mark.parametrize(
    "name",
    [
        "=?base64?ZWNobw=?=",  # padding is missing
        "=?base64?ZWNo bw==?=",
        "=?base64?ZWNobw==!?=",
        "=?base64?ZWN_bw==?=",  # of another alphabet
        "=?base64?/w==?=",  # no UTF-8
        "=?BASE64?ZWNobw==?=",
        "=?Base64?ZWNobw==?=",
        "?base64?ZWNobw==?=",
        "=?base64?ZWNobw==",
        "=?base64?ZWNobw==?",
        "ZWNobw==",
        "=?base64??=",
        "=?base64?=",
        "echo\u00e9",
        "echo\u0000",
        "echo\x7f",
        "\u65e5",
    ],
)
def test_a_name_that_cannot_be_read_is_a_mismatch(name: str) -> None:
    message = client().message("tools/call", {"name": "echo"})
    assert "Mcp-Name" in refused(message, headers_of(message) | {"mcp-name": name})


@pytest.mark.parametrize("name", ["=?base64?", "?=", "=?base64?echo", "echo?="])
def test_half_of_the_signs_of_base64_is_a_name_as_it_is(name: str) -> None:
    check_standard({"mcp-method": "m", "mcp-name": name}, "m", name)


@settings(deadline=None)
@given(st.text())
def test_whatever_a_client_names_it_can_write_into_a_header(name: str) -> None:
    check_standard({"mcp-method": "m", "mcp-name": header_value(name)}, "m", name)
    check_standard({"mcp-method": "m", "mcp-name": sentinel(name)}, "m", name)


@settings(deadline=None)
@given(st.text(), st.text())
def test_no_header_whatever_passes_for_another_name(name: str, header: str) -> None:
    if header == name or (header.startswith("=?base64?") and header.endswith("?=")):
        return
    with pytest.raises(Mismatch):
        check_standard({"mcp-method": "m", "mcp-name": header}, "m", name)


@settings(deadline=None)
@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_no_headers_whatever_do_anything_but_match_or_mismatch(text: str, headers: dict[str, str]) -> None:
    for headers_too in (headers, headers | {"mcp-protocol-version": text, "mcp-method": text, "mcp-name": text}):
        with contextlib.suppress(Mismatch):
            check_version(headers_too, text)
            check_standard(headers_too, text, text)


# Arguments in headers

ARGUMENTS: dict[str, Any] = {"region": "eu", "count": 42, "dry": True, "where": {"zone": "b"}, "text": "free"}


def test_a_tool_says_which_arguments_are_mirrored() -> None:
    assert mirrored_params(announced.MIRRORED) == {
        "Region": ("region",),
        "Count": ("count",),
        "Dry-Run": ("dry",),
        "Zone": ("where", "zone"),
    }


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "x-mcp-header": "Root"},
        {"properties": {"a": {"x-mcp-header": ""}, "b": {"x-mcp-header": 5}, "c": True, "d": None}},
        {"properties": []},
        {"properties": {"a": {"items": {"x-mcp-header": "A"}}}},
        {"properties": {"a": {"anyOf": [{"x-mcp-header": "A"}]}}},
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"x-mcp-header": "A"}}},
        {"allOf": [{"properties": {"a": {"x-mcp-header": "A"}}}]},
    ],
)
def test_only_what_properties_lead_to_is_mirrored(schema: dict[str, Any]) -> None:
    assert mirrored_params(schema) == {}


def call_of(arguments: Any) -> dict[str, Any]:
    return client().message("tools/call", {"name": "mirror", "arguments": arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        ARGUMENTS,
        {},
        None,
        {"region": None, "count": None, "dry": None, "where": None},
        {"where": {}},
        {"where": "elsewhere"},
        {"region": "", "count": 0, "dry": False},
        {"region": "é", "where": {"zone": " padded "}},
        {"region": "=?base64?literal?="},
        {"region": "line\nbreak", "count": -(2**53) + 1},
        {"region": "42", "where": {"zone": "true"}},
    ],
)
def test_mirrored_arguments_that_match_are_taken(arguments: Any) -> None:
    message = call_of(arguments)
    [call] = client().receive(message, headers_of(message))
    assert isinstance(call, Call)


@pytest.mark.parametrize("name", sorted(announced.MIRRORED_PATHS))
def test_a_mirrored_argument_whose_header_is_missing_is_a_mismatch(name: str) -> None:
    message = call_of(ARGUMENTS)
    headers = headers_of(message)
    del headers[name]
    assert f"{name} is missing" in refused(message, headers).lower()


@pytest.mark.parametrize("arguments", [{}, None, {"region": None}, {"region": {}}])
def test_a_header_without_its_argument_is_a_mismatch(arguments: Any) -> None:
    message = call_of(arguments)
    assert "Mcp-Param-Region" in refused(message, headers_of(message) | {"mcp-param-region": "eu"})


@pytest.mark.parametrize(
    ("header", "wrong"),
    [
        ("mcp-param-region", ["EU", "us", "", "eu, eu", sentinel("us"), "=?base64?!?=", "e\u00fc", "eu\u0000"]),
        (
            "mcp-param-count",
            [
                "43",
                "",
                "forty",
                "42x",
                "0x2a",
                "4_2",
                "+42",
                "٤٢",
                "nan",
                "inf",
                "1e400",
                "true",
                "[42]",
                '"42"',
                "42, 42",
            ],
        ),
        ("mcp-param-dry-run", ["True", "TRUE", "1", "yes", "false", ""]),
        ("mcp-param-zone", ["a", "B", ""]),
    ],
)
def test_a_header_that_says_something_else_is_a_mismatch(header: str, wrong: list[str]) -> None:
    message = call_of(ARGUMENTS)
    for value in wrong:
        assert header in refused(message, headers_of(message) | {header: value}).lower()


@pytest.mark.parametrize("value", ["42", "42.0", "4.2e1", "420e-1", sentinel("42"), sentinel("42.0")])
def test_numbers_are_compared_as_numbers(value: str) -> None:
    message = call_of(ARGUMENTS)
    [call] = client().receive(message, headers_of(message) | {"mcp-param-count": value})
    assert isinstance(call, Call)


@pytest.mark.parametrize(("body", "header"), [(0, "-0"), (0, "0.0"), (1.5, "1.5"), (2**53 + 1, str(2**53 + 1))])
def test_numbers_beside_the_usual_are_compared_too(body: float, header: str) -> None:
    check_params({"mcp-param-n": header}, {"N": ("n",)}, b'{"n":%b}' % str(body).encode())


def test_a_large_number_does_not_pass_for_its_neighbour() -> None:
    with pytest.raises(Mismatch):
        check_params({"mcp-param-n": str(2**53)}, {"N": ("n",)}, b'{"n":%d}' % (2**53 + 1))


@pytest.mark.parametrize("value", [[], {}, ["eu"], {"zone": "b"}])
def test_a_value_that_no_header_can_hold_is_a_mismatch(value: Any) -> None:
    for headers in ({}, {"mcp-param-region": "eu"}):
        message = call_of({"region": value})
        assert "Mcp-Param-Region" in refused(message, headers_of(call_of({})) | headers)


def test_arguments_that_cannot_be_read_are_a_mismatch() -> None:
    with pytest.raises(Mismatch, match="cannot be read"):
        check_params({"mcp-param-n": "1"}, {"N": ("n",)}, b'{"n":1e999}')


def test_of_two_values_under_one_name_the_header_has_the_one_that_the_service_takes() -> None:
    check_params({"mcp-param-n": "2"}, {"N": ("n",)}, b'{"n":1,"n":2}')
    with pytest.raises(Mismatch):
        check_params({"mcp-param-n": "1"}, {"N": ("n",)}, b'{"n":1,"n":2}')


_values = st.text() | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans() | st.none()


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional={"region": _values, "count": _values, "dry": _values}))
def test_whatever_the_arguments_are_a_client_can_write_their_headers(arguments: dict[str, Any]) -> None:
    message = call_of(arguments)
    [action] = client().receive(message, headers_of(message))
    assert isinstance(action, Call)
