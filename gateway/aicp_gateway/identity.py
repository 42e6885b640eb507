"""Who is calling: from a bearer token, or on an open hub from the name that the client gives itself."""

import ipaddress
import secrets
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from msgspec import Struct

from aicp_common.envelope import ALL_SCOPES, Principal
from aicp_common.errors import Forbidden, Unauthenticated
from aicp_common.ids import RESERVED_AGENTS, digest, id_from_text, require_id
from aicp_gateway.protocol.headers import VERSION
from aicp_gateway.protocol.revisions import STATELESS
from aicp_gateway.settings import GatewaySettings

DEFAULT_TENANT = "default"
GUEST_PREFIX = "guest-"
MAX_KNOWN = 10_000
"""Tokens that are remembered as valid until they expire."""
MAX_HOST_CHARS = 300
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Facts(Struct, frozen=True):
    """What is known of a connection before its first message."""

    headers: Mapping[str, str]
    """Names in lower case; a header that came several times has all its values, joined by commas."""
    query: str
    address: str = ""
    """Where the connection comes from."""


class Caller(Struct, frozen=True):
    """Who a connection belongs to."""

    principal: Principal
    expires_at: float | None = None
    """When its token ends, in seconds since the epoch; None on an open hub."""

    def lasts_s(self) -> float | None:
        """How long from now the token is valid; None: for ever."""
        return None if self.expires_at is None else max(0.0, self.expires_at - time.time())


class Identity:
    """Tells who is calling. Pure: it looks at the facts of a connection and at the settings."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        # HTTP clients send their token with each request, and to verify one takes a quarter of a request's time.
        self._known: dict[str, Caller] = {}
        names = {name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()}
        self._hosts = _LOOPBACK | names | {settings.host.lower()}

    def check_origin(self, facts: Facts) -> None:
        """Refuse pages of other sites, which a browser on this machine may have open.

        Raises:
            Forbidden: the `Origin` is not of this machine, or on an open hub the `Host` is not (DNS rebinding).
                Source: MCP 2025-11-25, basic/transports, "Security Warning".
        """
        host = _host_of("//" + facts.headers.get("host", ""))
        if not self._settings.jwt_required and host not in self._hosts:
            raise Forbidden(
                f"requests for the host {host!r} are not taken", hint="the operator can add it to ALLOWED_HOSTS"
            )
        origin = facts.headers.get("origin")
        if origin is not None and _host_of(origin) not in self._hosts | {host}:
            raise Forbidden(
                f"pages of {origin[:200]!r} may not use this hub", hint="the operator can add its host to ALLOWED_HOSTS"
            )

    def check_local(self, facts: Facts) -> None:
        """Refuse everybody but this machine, and pages of other sites that are open on it.

        Raises:
            Forbidden: the request comes from elsewhere, or is for another host.
        """
        self.check_origin(facts)
        if not (_is_loopback(facts.address) and _host_of("//" + facts.headers.get("host", "")) in _LOOPBACK):
            raise Forbidden(
                "this is for this machine alone", hint="ADMIN_HOST and ADMIN_PORT say where others may look"
            )

    def caller(self, facts: Facts) -> Caller:
        """Who is calling.

        Raises:
            Unauthenticated: a token is needed and missing or not valid.
            InvalidArgument: the name is not one that an agent can have.
            Forbidden: the name is the hub's own.
        """
        if self._settings.jwt_required:
            return self._from_token(facts)
        given = facts.headers.get("x-aicp-agent") or parse_qs(facts.query).get("agent", [""])[0]
        agent = require_id(given.strip().lower(), "the agent name") if given else _guest(facts)
        _refuse_reserved(agent)
        return Caller(Principal(tenant=DEFAULT_TENANT, agent=agent, user=agent, scopes=(ALL_SCOPES,)))

    def _from_token(self, facts: Facts) -> Caller:
        kind, _, token = facts.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Unauthenticated(
                "a token is needed",
                expected="the header Authorization: Bearer TOKEN",
                hint="whoever runs the hub makes one with: aicp token --sub NAME",
            )
        token = token.strip()
        known = self._known.get(token)
        if known is not None and known.lasts_s():
            return known
        caller = self._verify(token)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[token] = caller
        return caller

    def _verify(self, token: str) -> Caller:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._settings.jwt_secret,
                algorithms=["HS256"],
                audience=self._settings.jwt_audience or None,
                issuer=self._settings.jwt_issuer or None,
                options={"require": ["sub", "exp"], "verify_aud": bool(self._settings.jwt_audience)},
            )
            expires_at = float(claims["exp"])
        except (jwt.PyJWTError, OverflowError) as error:
            raise Unauthenticated(
                f"the token is not valid: {str(error).lower()}",
                hint="whoever runs the hub makes a new one with: aicp token --sub NAME",
            ) from error
        user = _text(claims, "sub", "")
        agent = id_from_text(_text(claims, "agent", user))
        _refuse_reserved(agent)
        principal = Principal(
            tenant=require_id(_text(claims, "tenant", DEFAULT_TENANT), "the token's tenant"),
            agent=agent,
            user=user[:200],
            scopes=_scopes(claims),
        )
        return Caller(principal, expires_at)


def _guest(facts: Facts) -> str:
    """A name for a client that gave none: for its connection or session, and in the stateless era, which has neither,
    the same for all requests of one program on one machine.
    """
    if facts.headers.get(VERSION) == STATELESS:
        return f"{GUEST_PREFIX}{digest(facts.address + facts.headers.get('user-agent', ''))[:8]}"
    return f"{GUEST_PREFIX}{secrets.token_hex(4)}"


def _text(claims: dict[str, Any], name: str, default: str) -> str:
    value = claims.get(name, default)
    if not isinstance(value, str) or not value.strip():
        raise Unauthenticated(f"the token's claim {name!r} is {value!r}", expected="a text that is not empty")
    return value


def _scopes(claims: dict[str, Any]) -> tuple[str, ...]:
    """The `scope` claim restricts; a token without one may do everything in its tenant."""
    if "scope" not in claims:
        return (ALL_SCOPES,)
    if not isinstance(claims["scope"], str):
        raise Unauthenticated("the token's claim 'scope' is not a text", expected="scopes separated by spaces")
    return tuple(sorted(set(claims["scope"].split())))


def _refuse_reserved(agent: str) -> None:
    if agent in RESERVED_AGENTS:
        raise Forbidden(f"the name {agent!r} is the hub's own", hint="choose another agent name")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _host_of(url: str) -> str:
    # No host is as long, and what is kept must not be as large as a client likes.
    return _parsed_host(url) if len(url) <= MAX_HOST_CHARS else ""


@lru_cache(maxsize=1024)
def _parsed_host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def challenge(error: Exception) -> list[tuple[bytes, bytes]]:
    """The `WWW-Authenticate` header of a 401. Source: RFC 6750, section 3."""
    if not isinstance(error, Unauthenticated):
        return []
    reason = error.message.replace('"', "'").encode("ascii", "replace").replace(b"\n", b" ")
    return [(b"www-authenticate", b'Bearer realm="aicp", error="invalid_token", error_description="%b"' % reason)]
