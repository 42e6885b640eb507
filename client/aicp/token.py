"""`aicp token`: makes a token that a hub with the same secret takes. Source: RFC 7519."""

import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIN_SECRET_CHARS = 32
"""The gateway starts with no shorter one."""

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_MAX_LIFETIME_S = 10 * 366 * 86400
_RESERVED = frozenset({"gateway", "router", "orchestrator", "statehub", "aicp", "system"})
"""Names under which the hub itself acts; it refuses tokens for them."""

_is_name = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}").fullmatch
_is_scope = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+").fullmatch
"""Source: RFC 6749, section 3.3."""


class TokenError(Exception):
    """No token can be made; the text is what the user reads."""


@dataclass(frozen=True)
class TokenOptions:
    """The command line of `aicp token`."""

    sub: str
    tenant: str = ""
    agent: str = ""
    scope: str | None = None
    """Separated by spaces; None: everything in the tenant; empty: nothing."""
    expires_in: str = "30d"
    secret_file: Path | None = None


def run_token(options: TokenOptions) -> int:
    """Print a token; returns the exit status of the command."""
    try:
        print(make_token(options, os.environ, time.time()))
    except TokenError as error:
        print(f"aicp token: {error}", file=sys.stderr)
        return 1
    return 0


def make_token(options: TokenOptions, environment: Mapping[str, str], now: float) -> str:
    """A token signed with HS256.

    Args:
        options: What it says.
        environment: `JWT_SECRET` or `JWT_SECRET_FILE`; `JWT_AUDIENCE` and `JWT_ISSUER` when the hub checks them.
        now: Seconds since the epoch.

    Raises:
        TokenError: a name, the lifetime or the secret is not right.
    """
    import jwt

    claims = _claims(options, environment, now)
    return jwt.encode(claims, _secret(options.secret_file, environment), algorithm="HS256")


def lifetime_s(text: str) -> int:
    """Seconds of `30d`, `12h`, `90m`, `45s` or `2w`.

    Raises:
        TokenError: it is no such text, or more than ten years.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,9})([smhdw])", text.strip())
    if found is None:
        raise TokenError(f"--expires-in {text[:40]!r} is no length of time; expected a number and s, m, h, d or w: 30d")
    seconds = int(found[1]) * _UNITS_S[found[2]]
    if seconds > _MAX_LIFETIME_S:
        raise TokenError(f"--expires-in {text[:40]!r} is more than ten years")
    return seconds


def _claims(options: TokenOptions, environment: Mapping[str, str], now: float) -> dict[str, Any]:
    if not options.sub.strip():
        raise TokenError("--sub is empty; expected the name of a person, for instance alice or alice@example.com")
    claims: dict[str, Any] = {"sub": options.sub, "iat": int(now), "exp": int(now) + lifetime_s(options.expires_in)}
    for flag, name in (("tenant", options.tenant), ("agent", options.agent)):
        if not name:
            continue
        if _is_name(name) is None:
            raise TokenError(
                f"--{flag} {name[:80]!r} is not a valid name; expected 1 to 64 of a-z, 0-9, '_' and '-', the first a"
                " letter or a digit"
            )
        claims[flag] = name
    if (options.agent or options.sub) in _RESERVED:
        raise TokenError(
            f"the agent name {options.agent or options.sub!r} is the hub's own; choose another with --agent"
        )
    if options.scope is not None:
        scopes = options.scope.split()
        for scope in scopes:
            if _is_scope(scope) is None:
                raise TokenError(f"--scope: {scope[:80]!r} is no scope; expected for instance 'tasks:work tasks:read'")
        claims["scope"] = " ".join(scopes)
    for claim, variable in (("aud", "JWT_AUDIENCE"), ("iss", "JWT_ISSUER")):
        if environment.get(variable):
            claims[claim] = environment[variable]
    return claims


def _secret(file: Path | None, environment: Mapping[str, str]) -> str:
    path = file or (Path(environment["JWT_SECRET_FILE"]) if environment.get("JWT_SECRET_FILE") else None)
    if file is None and environment.get("JWT_SECRET"):
        secret, where = environment["JWT_SECRET"], "JWT_SECRET"
    elif path is not None:
        try:
            secret, where = path.read_text(encoding="utf-8").strip(), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"the secret cannot be read from {str(path)!r}: {error}") from error
    else:
        raise TokenError("no secret; set JWT_SECRET or JWT_SECRET_FILE to the hub's, or name a file with --secret-file")
    if len(secret) < MIN_SECRET_CHARS:
        raise TokenError(
            f"the secret from {where} has {len(secret)} characters; at least {MIN_SECRET_CHARS} are needed"
        )
    return secret
