"""The headers with which an HTTP request of the stateless era repeats what its body says.

Whoever stands between may have acted on the headers, so a request whose headers say anything else than its body is
refused. Source: MCP 2026-07-28, basic/transports/streamable-http, "Request Metadata".
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import msgspec

VERSION = "mcp-protocol-version"
METHOD = "mcp-method"
NAME = "mcp-name"
PARAM_PREFIX = "mcp-param-"

_PLAIN = re.compile(r"[\t -~]*").fullmatch
_SENTINEL = "=?base64?"
_SENTINEL_END = "?="


class Mismatch(Exception):
    """The headers and the body say different things, or a header is missing. The message says which."""


def check_version(headers: Mapping[str, str], version: str) -> None:
    """Compare the version of the body.

    Raises:
        Mismatch: the header is missing or has another.
    """
    given = headers.get(VERSION)
    if given != version:
        _compare("MCP-Protocol-Version", given, version, decode=False)


def check_standard(headers: Mapping[str, str], method: str, name: str | None) -> None:
    """Compare the method, and the name of what it acts on where it has one.

    Raises:
        Mismatch: a header is missing or has another value.
    """
    given = headers.get(METHOD)
    if given != method:
        _compare("Mcp-Method", given, method, decode=False)
    if name is not None:
        given = headers.get(NAME)
        # What is the same to the letter needs a closer look only if it could mean something else.
        if given != name or not name.isascii() or not name.isprintable() or name.startswith(_SENTINEL):
            _compare("Mcp-Name", given, name, decode=True)


def check_params(headers: Mapping[str, str], mirrored: Mapping[str, tuple[str, ...]], arguments: bytes) -> None:
    """Compare the arguments that a tool wants to have repeated.

    Args:
        headers: Of the request, names in lower case.
        mirrored: By header name, without its prefix: where in the arguments the value stands.
        arguments: Of the call, JSON.

    Raises:
        Mismatch: a header is missing, has another value, or is there without a value.
    """
    try:
        values = msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Mismatch(f"the arguments cannot be read: {error}") from None
    for name, path in mirrored.items():
        value = _at(values, path)
        title = f"Mcp-Param-{name}"
        given = headers.get(PARAM_PREFIX + name.lower())
        if value is None:
            if given is not None:
                raise Mismatch(f"{title} is there, and the arguments have no {'.'.join(path)}")
            continue
        _check_param(title, given, value)


def mirrored_params(schema: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What a tool's `inputSchema` wants to have repeated in headers: for `check_params`."""
    found: dict[str, tuple[str, ...]] = {}
    _collect(schema, (), found)
    return found


def _collect(schema: Any, path: tuple[str, ...], found: dict[str, tuple[str, ...]]) -> None:
    if not isinstance(schema, Mapping):
        return
    name = schema.get("x-mcp-header")
    if isinstance(name, str) and name and path:
        found[name] = path
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        for key, inner in properties.items():
            _collect(inner, (*path, key), found)


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(values, dict):
            return None
        values = values.get(key)
    return values


def _check_param(title: str, given: str | None, value: Any) -> None:
    if isinstance(value, bool):
        _compare(title, given, "true" if value else "false", decode=True)
    elif isinstance(value, int | float):
        if given is None:
            raise Mismatch(f"the header {title} is missing")
        try:
            # A number as JSON writes it, and nothing else that `float` takes.
            same = msgspec.json.decode(_decode(title, given), type=int | float) == value
        except msgspec.MsgspecError:
            same = False
        if not same:
            raise Mismatch(f"the header {title} is {given[:80]!r}, the body has {value!r}")
    elif isinstance(value, str):
        _compare(title, given, value, decode=True)
    else:
        raise Mismatch(f"{title} stands for a value that no header can hold")


def _compare(title: str, given: str | None, wanted: str, *, decode: bool) -> None:
    if given is None:
        raise Mismatch(f"the header {title} is missing; the body has {wanted[:80]!r}")
    if (_decode(title, given) if decode else given) != wanted:
        raise Mismatch(f"the header {title} is {given[:80]!r}, the body has {wanted[:80]!r}")


def _decode(title: str, value: str) -> str:
    if _PLAIN(value) is None:
        raise Mismatch(f"the header {title} has characters that a header cannot have")
    if not (value.startswith(_SENTINEL) and value.endswith(_SENTINEL_END)):
        return value
    try:
        return base64.b64decode(value[len(_SENTINEL) : -len(_SENTINEL_END)], validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise Mismatch(f"the header {title} is not base64 of UTF-8") from None
