"""Server-sent events out of the chunks of a response. Source: HTML standard, "Server-sent events"."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a client sees it."""

    type: str
    data: bytes


class EventReader:
    """Takes chunks as they come, cut anywhere, and gives the events that they complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._type = b""
        self._data: list[bytes] = []

    def read(self, chunk: bytes) -> Iterator[Event]:
        """Take the next chunk."""
        self._rest += chunk
        while (end := _LINE_END.search(self._rest)) is not None:
            if end.group() == b"\r" and end.end() == len(self._rest):
                return  # the next chunk may begin with the other half of the line end
            line, self._rest = self._rest[: end.start()], self._rest[end.end() :]
            if line:
                self._take(line)
            elif self._data:
                yield Event(self._type.decode() or "message", b"\n".join(self._data))
                self._type, self._data = b"", []
            else:
                self._type = b""

    @property
    def inside(self) -> bool:
        """Whether an event has begun that is not complete."""
        return bool(self._data or self._rest.strip())

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._type = value
