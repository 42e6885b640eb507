"""Request state: what a service wants to find again when a client retries a request, sealed for its way through the
client.

It is a signed token that holds who it was given to, for which request, and until when; whatever does not fit is
refused. Source: MCP 2026-07-28, basic/patterns/mrtr, "Server Requirements".
"""

import contextlib
import hashlib
from collections.abc import Callable

import jwt
import msgspec

from aicp_common.envelope import Principal

LIFETIME_S = 600
"""How long a person may take to answer."""

_ALGORITHM = "HS256"


class BadState(Exception):
    """The state is not one that was given out, or not for this principal, this request or this moment."""


class StateSealer:
    """Seals and opens request states.

    Args:
        key: At least 32 bytes, the same on all gateways.
        clock: Seconds since the epoch.
    """

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        self._key = key
        self._clock = clock

    def seal(self, state: str, principal: Principal, request: str) -> str:
        """A text for the client.

        Args:
            state: The service's.
            principal: Who alone may bring it back.
            request: What it belongs to; see `digest_request`.
        """
        claims = {"s": state, "p": _digest_principal(principal), "r": request, "e": self._clock() + LIFETIME_S}
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def open(self, sealed: str, principal: Principal, request: str) -> str:
        """What was sealed.

        Raises:
            BadState: says why it is refused.
        """
        try:
            claims = jwt.decode(sealed, self._key, algorithms=[_ALGORITHM], options={"verify_signature": True})
        except (jwt.PyJWTError, RecursionError):
            raise BadState("it is not one that was given out here") from None
        # Base64 has several spellings for the same bytes; only the one that was given out is right.
        if jwt.encode(claims, self._key, algorithm=_ALGORITHM) != sealed:
            raise BadState("it is not one that was given out here")
        if claims["p"] != _digest_principal(principal) or claims["r"] != request:
            raise BadState("it belongs to another request")
        if claims["e"] < self._clock():
            raise BadState(f"it has lapsed after {LIFETIME_S} s; begin again without it")
        state: str = claims["s"]
        return state


def digest_request(kind: str, name: str, body: bytes) -> str:
    """The same for a request and its retries, whatever the order and spacing of the JSON in `body`."""
    # Numbers or depths beyond what can be decoded: then the retry has to be the same to the letter.
    with contextlib.suppress(msgspec.MsgspecError, RecursionError):
        body = msgspec.json.encode(msgspec.json.decode(body), order="sorted")
    return hashlib.sha256(b"\0".join((kind.encode(), name.encode(), body))).hexdigest()


def _digest_principal(principal: Principal) -> str:
    who = msgspec.json.encode((principal.tenant, principal.agent, principal.user))
    return hashlib.sha256(who).hexdigest()
