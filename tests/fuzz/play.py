"""A play: the bytes that the fuzzer makes up, read as a conversation. Every sequence of bytes is one.

Steps stand between separator lines. The first letter of a step says what it is:

    =2025-06-18         the client has said `initialize` and speaks this revision
    {...                the client sends this, on WebSocket or stdio (so does any other letter)
    @name: value        a line with a header before a message: it comes by HTTP; a lone `@` adds the right headers
    <complete {...}     the service of the oldest call answers; likewise `<task`, `<input_required`
    <progress {...}     it tells of progress; `<log` likewise
    <fail               it fails
    <finish             the oldest request's answer has reached the client
    >{...}              the client answers the oldest question with this result

`$STATE` in a message stands for the request state that was given out last.
"""

from dataclasses import dataclass, field

SEPARATOR = b"\n%\n"
STATE = b"$STATE"
MAX_STEPS = 24


@dataclass(frozen=True, slots=True)
class Open:
    """A conversation in this revision begins."""

    revision: str


@dataclass(frozen=True, slots=True)
class Say:
    """The client sends something."""

    data: bytes
    headers: dict[str, str] | None = None
    right_headers: bool = False


@dataclass(frozen=True, slots=True)
class Serve:
    """The service of the oldest call does something."""

    what: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The client answers a question."""

    result: bytes


Step = Open | Say | Serve | Reply


@dataclass(slots=True)
class _Heads:
    headers: dict[str, str] = field(default_factory=dict)
    right: bool = False


def read(data: bytes) -> list[Step]:
    """The steps of a play."""
    return [_step(part) for part in data.split(SEPARATOR, MAX_STEPS)[:MAX_STEPS]]


def _step(part: bytes) -> Step:
    match part[:1]:
        case b"=":
            return Open(part[1:].decode("latin-1"))
        case b"<":
            what, _, body = part[1:].partition(b" ")
            return Serve(what.decode("latin-1"), body)
        case b">":
            return Reply(part[1:])
        case b"@":
            return _with_headers(part)
    return Say(part)


def _with_headers(part: bytes) -> Say:
    heads = _Heads()
    while part[:1] == b"@":
        line, _, part = part[1:].partition(b"\n")
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            heads.headers[name.strip().lower()] = value.strip(" \t")
        else:
            heads.right = True
    return Say(part, heads.headers, heads.right)
