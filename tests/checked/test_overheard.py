"""A WebSocket of the gateway is heard and checked in both directions, and passes everything on."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast
from unittest import mock

import msgspec
import pytest

from aicp_gateway.hub import Hub
from aicp_gateway.textsocket import Refusal
from aicp_gateway.websocket import WebSocketConnection
from tests.checked.stage import CALL, LATEST, Notes, error, handshake, result
from tests.support.checked.websocket import OverheardConnection

REFUSED = msgspec.json.encode({name: value for name, value in error(1, -32011).items() if name != "id"})
WITHOUT_CONTENT = f"{LATEST} tools/call: result of tools/call: result.content: field required"


class Wire:
    """A connection with the gateway's part cut away: what it was given to send and to take lies in `passed`."""

    def __init__(self) -> None:
        self.report = Notes()
        self.passed: list[Any] = []
        self.refusal: Refusal | None = None
        self.connection = OverheardConnection(cast("Hub", None), cast("Any", None), self.report)

    def replaced(self, name: str) -> Callable[..., Any]:
        """What stands for a method of the gateway's part."""
        return lambda _, *arguments: self.refusal if name == "refusal" else self.passed.append(*arguments or [name])


@pytest.fixture
def wire() -> Iterator[Wire]:
    names = ("refusal", "on_text", "on_binary", "send", "send_to_many")
    with mock.patch.object(WebSocketConnection, "__init__", return_value=None):
        wire = Wire()
    with contextlib.ExitStack() as replaced:
        for name in names:
            replaced.enter_context(mock.patch.object(WebSocketConnection, name, wire.replaced(name)))
        yield wire


def test_what_the_client_says_is_heard_and_what_the_gateway_says_is_checked(wire: Wire) -> None:
    asked, answered = handshake()
    call, wrong = msgspec.json.encode(CALL), msgspec.json.encode(result(1))
    wire.connection.on_text(msgspec.json.encode(asked.message))
    wire.connection.send(msgspec.json.encode(answered.message))
    wire.connection.on_text(call)
    wire.connection.send(wrong)
    assert wire.report.take() == [WITHOUT_CONTENT]
    assert wire.passed[2:] == [call, wrong]


def test_what_many_are_told_is_checked(wire: Wire) -> None:
    wire.connection.send_to_many("rubbish")
    assert len(wire.report.take()) == 1
    assert wire.passed == ["rubbish"]


def test_a_binary_frame_may_be_answered_without_an_id(wire: Wire) -> None:
    wire.connection.on_binary()
    wire.connection.send(REFUSED)
    assert wire.report.take() == []
    wire.connection.send(REFUSED)
    assert len(wire.report.take()) == 1
    assert wire.passed == ["on_binary", REFUSED, REFUSED]


def test_a_refused_connection_is_told_why_in_an_error(wire: Wire) -> None:
    assert wire.connection.refusal("/mcp", "", {}) is None
    wire.refusal = Refusal(401, REFUSED)
    assert wire.connection.refusal("/mcp", "", {}) is wire.refusal
    assert wire.report.take() == []
    wire.refusal = Refusal(401, b'{"error":"no"}')
    wire.connection.refusal("/mcp", "", {})
    assert wire.report.take()
    # Where nothing is, there is no MCP.
    wire.refusal = Refusal(404, b'{"error":"no"}')
    wire.connection.refusal("/elsewhere", "", {})
    assert wire.report.take() == []
