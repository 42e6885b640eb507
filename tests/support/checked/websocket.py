"""A WebSocket of the gateway that is listened to."""

from collections.abc import Mapping

from uvicorn.server import ServerState

from aicp_gateway.hub import Hub
from aicp_gateway.textsocket import Refusal
from aicp_gateway.websocket import WebSocketConnection
from tests.support.checked.report import Report
from tests.support.checked.session import Session
from tests.support.checked.talk import Talk


class OverheardConnection(WebSocketConnection):
    """Passes everything through as it is, and checks what the server says on the way.

    Args:
        hub: What all connections share.
        server_state: uvicorn's.
        report: Takes what is wrong.
    """

    __slots__ = ("_talk",)

    def __init__(self, hub: Hub, server_state: ServerState, report: Report) -> None:
        super().__init__(hub, server_state)
        self._talk = Talk(Session(), report, "websocket")

    def refusal(self, path: str, query: str, headers: Mapping[str, str]) -> Refusal | None:
        """See `TextSocket.refusal`."""
        refusal = super().refusal(path, query, headers)
        if refusal is not None and refusal.status != 404:
            self._talk.said(refusal.body, refusal.status)
        return refusal

    def on_text(self, message: bytes) -> None:
        """See `TextSocket.on_text`."""
        self._talk.heard(message)
        super().on_text(message)

    def on_binary(self) -> None:
        """See `TextSocket.on_binary`."""
        self._talk.heard_nothing_readable()
        super().on_binary()

    def send(self, message: bytes) -> None:
        """See `TextSocket.send`."""
        self._talk.said(message)
        super().send(message)

    def send_to_many(self, message: str) -> None:
        """See `TextSocket.send_to_many`."""
        self._talk.said(message)
        super().send_to_many(message)
