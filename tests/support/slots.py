"""What Redis is asked to do while a test runs, and whether each command keeps to one slot of a Redis Cluster."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import ResponseError

from tests.support.redis_servers import client

_LINE = re.compile(r"\+[\d.]+ \[\d+ (\S+)\] (.*)")
_ARGUMENT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b"}
_LAST = "the last command"


@dataclass
class Step:
    """What Redis does in one: a command, a script with all that it does, or a transaction."""

    commands: list[list[str]] = field(default_factory=list)

    def __str__(self) -> str:
        return " | ".join(" ".join(argument[:60] for argument in command) for command in self.commands)


@contextlib.contextmanager
def monitored(port: int) -> Iterator[list[Step]]:
    """Everything that Redis is asked to do meanwhile; complete once the context is left."""
    steps: list[Step] = []
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"MONITOR\r\n")
        lines = sock.makefile("r", encoding="utf-8", errors="surrogateescape", newline="\r\n")
        assert lines.readline() == "+OK\r\n"
        thread = threading.Thread(target=_collect, args=(lines, steps))
        thread.start()
        try:
            yield steps
        finally:
            with client(port) as redis:
                redis.echo(_LAST)
            thread.join()


def _collect(lines: Iterator[str], steps: list[Step]) -> None:
    transactions: dict[str, Step] = {}
    for line in lines:
        match = _LINE.match(line)
        assert match is not None, line
        client_name, said = match[1], [_plain(argument) for argument in _ARGUMENT.findall(match[2])]
        if said == ["ECHO", _LAST]:
            return
        name = said[0].upper()
        if client_name == "lua":
            # Nothing comes between a script and what it does.
            steps[-1].commands.append(said)
        elif client_name in transactions:
            transactions[client_name].commands.append(said)
            if name in ("EXEC", "DISCARD"):
                steps.append(transactions.pop(client_name))
        elif name == "MULTI":
            transactions[client_name] = Step([said])
        else:
            steps.append(Step([said]))


def _plain(quoted: str) -> str:
    def meant(escape: "re.Match[str]") -> str:
        what = escape[1]
        return chr(int(what[1:], 16)) if len(what) == 3 else _ESCAPES.get(what, what)

    return _ESCAPE.sub(meant, quoted)


def across_slots(port: int, steps: Iterable[Step]) -> list[Step]:
    """Those that name keys of more than one slot, by Redis' own word on which arguments are keys."""
    with client(port) as redis:
        return [step for step in steps if len({key_slot(key.encode()) for key in _keys(redis, step)}) > 1]


def _keys(redis: "Redis", step: Step) -> Iterator[str]:
    for command in step.commands:
        with contextlib.suppress(ResponseError):  # it has no keys
            yield from map(str, redis.command_getkeys(*command))
