"""Opens the WebSocket to a hub, and says in a few words why there is none."""

import json
import logging
import os
import socket
import ssl
from collections.abc import Mapping

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidProxy, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from aicp import __version__
from aicp.connect.endpoint import Endpoint
from aicp.connect.exceptions import ConnectError, Refused, TokenRefused

SUBPROTOCOL = Subprotocol("mcp")
BROKEN = "the connection broke"

_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 0.5
_MAX_FRAME_BYTES = 64 * 1024 * 1024
_TRY_LATER = frozenset({408, 425, 429})
"""Among the statuses 4xx, which otherwise say that the request is wrong, those that pass."""


async def open_socket(endpoint: Endpoint, headers: Mapping[str, str]) -> ClientConnection:
    """Connect to the hub.

    Args:
        endpoint: Where it is.
        headers: Of the request that opens the WebSocket: the endpoint's.

    Raises:
        ConnectError: the hub would refuse a second time what it refuses now, or the address can be none.
        OSError, EOFError, WebSocketException: there is no connection now; see `reason`.
    """
    try:
        return await _Connect(
            endpoint.url,
            subprotocols=[SUBPROTOCOL],
            additional_headers=headers,
            user_agent_header=f"aicp/{__version__}",
            compression=None,
            proxy=None if endpoint.on_this_machine else True,
            open_timeout=_OPEN_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
            max_size=_MAX_FRAME_BYTES,
            logger=_silence(),
        )
    except InvalidStatus as error:
        _check_refusal(error, endpoint.shown, with_token="Authorization" in headers)
        raise
    except (InvalidURI, InvalidProxy) as error:
        raise ConnectError(f"no connection to {endpoint.shown} is possible: {error}") from error


def reason(error: Exception) -> str:
    """Why there is no connection, in a few words."""
    if isinstance(error, InvalidStatus):
        said = _said_by_hub(error.response.body)
        return said or f"HTTP status {error.response.status_code}"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):
        # The text of asyncio names the address, which is named already.
        return os.strerror(error.errno).lower()
    return clean(str(error)) or BROKEN


def clean(text: object) -> str:
    """A text of the other side for a terminal: one line, and not endless."""
    return " ".join("".join(char if char.isprintable() else " " for char in str(text)[:300]).split())


class _Connect(connect):
    """Follows no redirect."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _check_refusal(error: InvalidStatus, where: str, *, with_token: bool) -> None:
    """Raise when the hub would refuse a second time what it refuses now."""
    status = error.response.status_code
    if 300 <= status < 400:
        # A redirect is not followed: the token was meant for this address.
        place = error.response.headers.get("Location", "another address")
        raise ConnectError(f"{where} has moved to {clean(place)}: use that address")
    if not 400 <= status < 500 or status in _TRY_LATER:
        return
    why = reason(error)
    match status:
        case 401 if with_token:
            raise TokenRefused(f"{where} refuses the token: {why}")
        case 401:
            raise TokenRefused(f"{where} wants a token: {why}")
        case 403:
            raise Refused(f"{where} refuses the connection: {why}")
        case 404:
            raise ConnectError(f"{where} is a wrong address: {why}")
        case _:
            raise ConnectError(f"{where} refuses the connection: {why}")


def _said_by_hub(body: bytes | bytearray | None) -> str:
    """What the body of an HTTP answer says: the message of a JSON-RPC error, or a hub's `error` and `hint`."""
    try:
        answer = json.loads(body or b"")
    except (ValueError, RecursionError):
        return ""
    match answer:
        case {"error": {"message": str(message)}}:
            return clean(message)
        case {"error": str(what), "hint": str(hint)}:
            return clean(f"{what}; {hint}")
        case _:
            return ""


def _silence() -> logging.Logger:
    """What the WebSocket library would say on stderr, the caller says itself."""
    logger = logging.getLogger("aicp.connect.websocket")
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)
    return logger
