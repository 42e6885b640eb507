"""Where the hub is and who connects to it, checked before the first attempt."""

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from aicp.connect.exceptions import ConnectError

DEFAULT_URL = "ws://127.0.0.1:8765/mcp"

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_is_agent = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}").fullmatch
_is_token = re.compile(r"[\x21-\x7e]+").fullmatch


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A hub's WebSocket, and how this client names itself there."""

    url: str
    agent: str = ""
    """Empty: the address or the token says it."""
    token: str = ""
    token_file: Path | None = None
    """Read before each attempt, so that a token can be renewed while the bridge runs."""

    @classmethod
    def of(cls, url: str, *, agent: str = "", token: str = "", token_file: Path | None = None) -> "Endpoint":
        """Check everything that can be checked here.

        Args:
            url: `ws`, `wss`, `http` or `https`; the path `/mcp` may be left out.
            agent: Its name on an open hub; without one, and without a token, a guest name for the bridge's lifetime.
            token: Bearer token.
            token_file: File that holds one, instead.

        Raises:
            ConnectError: the address, the name or the token cannot be right.
        """
        address = _address(url)
        if agent:
            agent = agent.strip().lower()
            if _is_agent(agent) is None:
                raise ConnectError(
                    f"--agent {agent[:80]!r} is not a valid name; expected 1 to 64 of a-z, 0-9, '_' and '-', the first"
                    " a letter or a digit"
                )
        endpoint = cls(address, agent, token.strip(), token_file)
        endpoint.headers()
        if not (agent or token or token_file or parse_qs(urlsplit(address).query).get("agent")):
            # The hub would make up a new one for each connection, and what was handed to the old one would be lost.
            endpoint = cls(address, f"guest-{secrets.token_hex(4)}")
        return endpoint

    @property
    def shown(self) -> str:
        """The address for people: without what may be secret in it."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))

    @property
    def on_this_machine(self) -> bool:
        """Whether the hub runs here."""
        return (urlsplit(self.url).hostname or "") in _LOOPBACK

    @property
    def exposes_token(self) -> bool:
        """Whether the token would travel unencrypted to another machine."""
        return bool(self.token or self.token_file) and self.url.startswith("ws:") and not self.on_this_machine

    def headers(self) -> dict[str, str]:
        """Of the request that opens the WebSocket.

        Raises:
            ConnectError: the file of the token cannot be read, or there is no token in it.
        """
        token = self.token
        if self.token_file is not None:
            try:
                token = self.token_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConnectError(f"the token cannot be read from {str(self.token_file)!r}: {error}") from error
        headers = {"X-AICP-Agent": self.agent} if self.agent else {}
        if token or self.token_file is not None:
            if _is_token(token) is None:
                raise ConnectError("the token is not one: expected visible ASCII characters without spaces")
            headers["Authorization"] = f"Bearer {token}"
        return headers


def _address(url: str) -> str:
    wrong = f"{url[:200]!r} is not the address of a hub"
    expected = f"expected something like {DEFAULT_URL}"
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise ConnectError(f"{wrong}: {error}; {expected}") from error
    if parts.scheme not in _SCHEMES:
        raise ConnectError(f"{wrong}: it begins with none of ws://, wss://, http:// and https://; {expected}")
    if not parts.hostname or port == 0 or not url.strip().isascii() or re.search(r"\s", url.strip()):
        raise ConnectError(f"{wrong}; {expected}")
    if parts.username is not None or parts.fragment:
        raise ConnectError(f"the address of a hub has no user name and no '#'; {expected}")
    path = parts.path if parts.path not in ("", "/") else "/mcp"
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, parts.query, ""))
