"""Server-sent events, sans I/O: bytes in, the data of events out. Source: HTML, "Server-sent events", section 9.2.6."""

import re

from tests.load.failure import BadAnswer

_LINE = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventStream:
    """One stream.

    Args:
        max_bytes: The longest event.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._begun = False

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that end within `data`. Names, ids and comments are left out, and so are events
        without data: no answer is in them.

        Raises:
            BadAnswer: an event is longer than `max_bytes`.
        """
        text = self._rest + data
        if not self._begun:
            if _BYTE_ORDER_MARK.startswith(text[:3]) and len(text) < 3:
                self._rest = text
                return []
            self._begun = True
            text = text.removeprefix(_BYTE_ORDER_MARK)
        # A CR at the end may be half of a line's end.
        held = b"\r" if text.endswith(b"\r") else b""
        *lines, rest = _LINE.split(text.removesuffix(held))
        self._rest = rest + held
        events = [event for line in lines if (event := self._take(line)) is not None]
        if self._size + len(self._rest) > self._max_bytes:
            raise BadAnswer(f"an event is longer than {self._max_bytes} bytes")
        return events

    def _take(self, line: bytes) -> bytes | None:
        """One line; the event's data when it is the empty one that ends an event."""
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
                self._size += len(value)
            return None
        event = b"\n".join(self._data)
        self._data.clear()
        self._size = 0
        return event or None
