"""The options: what the command line says, checked and made a plan."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import msgspec
import typer

from tests.load import mix
from tests.load.calls import KINDS
from tests.load.message import Era

_SCHEMES = ("ws", "wss", "http", "https")
_MAX_WORKERS = 16


def url_of(text: str) -> str:
    """A URL that can be connected to.

    Raises:
        BadParameter: it is none.
    """
    try:
        split = urlsplit(text)
        complete = bool(split.hostname) and split.port != 0
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}") from None
    if split.scheme not in _SCHEMES or not complete:
        raise typer.BadParameter(f"{text!r} is no URL of a hub, such as ws://127.0.0.1:8765/mcp")
    if split.fragment or "@" in split.netloc:
        raise typer.BadParameter("a URL with a fragment or a user name is not taken; tokens go into --token-file")
    if not text.isascii() or any(character <= " " or character == "\x7f" for character in text):
        raise typer.BadParameter(f"{text!r} has characters that must be written as %XX")
    return text


def token_of(token: str | None, file: Path | None, variable: str) -> str:
    """The token: from the option, the file, or the environment variable; empty when there is none.

    Raises:
        BadParameter: both options are given, or what was found is no token.
    """
    if token is not None and file is not None:
        raise typer.BadParameter("a token and a file with a token are given; one is enough")
    if file is not None:
        try:
            found = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"the token cannot be read: {error}") from None
    elif token is not None:
        found = token
    else:
        return _checked(os.environ.get(variable, ""), variable) if os.environ.get(variable) else ""
    return _checked(found, "the token")


def _checked(token: str, what: str) -> str:
    if not token or not all("!" <= character <= "~" for character in token):
        raise typer.BadParameter(f"{what} is empty or has characters that no token has")
    return token


def weights_of(text: str | None, era: Era, tool: str, *, can_route: bool) -> Mapping[str, int]:
    """The mix; without a text the tool that was named, or what agents of a hub do most.

    Args:
        text: Of the option.
        era: Some calls are of one era.
        tool: Of the option; empty without.
        can_route: Whether there can be workers: they must be other agents than those that ask.

    Raises:
        BadParameter: the text says something that cannot be called.
    """
    if text is None:
        if tool:
            return {"tool": 1}
        return {name: weight for name, weight in mix.DEFAULT.items() if can_route or name != "route"}
    try:
        weights = mix.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    for name in weights:
        only = KINDS[name].era
        if only is not None and only is not era:
            raise typer.BadParameter(f"there is {name} only in the {only.value} era")
    if ("tool" in weights) != bool(tool):
        raise typer.BadParameter("the call 'tool' is the one that --tool names: give both or neither")
    if "route" in weights and not can_route:
        raise typer.BadParameter(
            "'route' needs workers, and with a token they need one of another agent: --worker-token-file"
        )
    return weights


def check_two_agents(token: str, worker_token: str) -> None:
    """See that the workers of 'route' are another agent than those who ask: an agent is never handed its own work.

    What the tokens say is read and not verified, which is the hub's part; one that is no JWT is only compared.

    Raises:
        BadParameter: both tokens are of one agent, or of two tenants, whose agents never meet.
    """
    mine, theirs = _bearer_of(token), _bearer_of(worker_token)
    if token == worker_token or (mine and mine == theirs):
        whose = f" ({mine[1]!r})" if mine else ""
        raise typer.BadParameter(
            f"'route' needs two agents, and both tokens are of the same one{whose}: give the workers the token of"
            " another agent, or leave 'route' out with --mix"
        )
    if mine and theirs and mine[0] != theirs[0]:
        raise typer.BadParameter(
            f"'route' needs two agents of one tenant, and the tokens are of {mine[0]!r} and {theirs[0]!r}"
        )


def _bearer_of(token: str) -> tuple[str, str] | None:
    """Tenant and agent of a hub's token; None when it says neither."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    agent = claims.get("agent", claims.get("sub"))
    return (str(claims.get("tenant", "default")), str(agent)) if agent else None


def arguments_of(text: str | None, tool: str) -> Mapping[str, Any]:
    """The arguments of the tool.

    Raises:
        BadParameter: they are no JSON object, or there is no tool.
    """
    if text is None:
        return {}
    if not tool:
        raise typer.BadParameter("arguments of what? --tool names it")
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise typer.BadParameter(f"not a JSON object: {error}") from None


def workers_of(workers: int | None, weights: Mapping[str, int], connections: int) -> int:
    """How many workers there are: none when nothing is handed over."""
    if "route" not in weights:
        return 0
    return min(connections, _MAX_WORKERS) if workers is None else workers


def json_file_of(text: str | None) -> Path | None:
    """Where the report goes as JSON; None for nowhere or, with `-`, for standard output.

    Raises:
        BadParameter: nothing can be written there.
    """
    if text in (None, "-"):
        return None
    assert text is not None
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise typer.BadParameter(f"{text!r} cannot be written")
    return path
