"""What ends the bridge."""

from typing import ClassVar

from aicp.connect.message import FORBIDDEN, UNAUTHENTICATED, UNAVAILABLE


class ConnectError(Exception):
    """Trying again would not help; the text is what the user reads."""

    code: ClassVar[int] = UNAVAILABLE
    """JSON-RPC error code of what waits for an answer."""
    exit_status: ClassVar[int] = 1


class TokenRefused(ConnectError):
    """The hub does not take the token, or wants one."""

    code = UNAUTHENTICATED
    exit_status = 3


class Refused(ConnectError):
    """The hub knows who calls and does not let them in."""

    code = FORBIDDEN
