"""The client's messages on their way to the hub: those that wait, and those that the hub has and has not answered."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """What the bridge keeps for a client while the hub is away."""

    patience_s: float = 45.0
    """How long a request waits to be sent; less than common clients wait for an answer."""
    messages: int = 1000
    """Requests without an answer, and notifications not yet sent."""
    bytes: int = 16 * 1024 * 1024
    """Characters of their texts."""
    message_bytes: int = 4 * 1024 * 1024
    """The longest message of a client. A hub closes the connection over a longer one, which would break other calls."""
    sendings: int = 3
    """How often a request is sent, so that one over which a hub falls does not fell it for ever."""


@dataclass(slots=True, eq=False)
class Entry:
    """A message of the client."""

    text: str
    """Empty once the hub has it and it will not be sent again."""
    since: float
    """When it began to wait, in seconds."""
    method: str = ""
    """Of a request or a notification."""
    params: dict[str, Any] = field(default_factory=dict)
    """Of a request: those that the bridge needs to know."""
    key: str | None = None
    """Of a request's id; None: not a request."""
    id: str | int = 0
    fleeting: bool = False
    """Means something on this connection only: an answer to the hub, news of a call."""
    sendings: int = 0
    in_flight: bool = False
    acknowledged: bool = False
    """A `subscriptions/listen` whose acknowledgement the client has."""
    farewell: list[str] = field(default_factory=list)
    """What the hub has said to end a `subscriptions/listen`, as long as the client does not know."""
    farewell_at: float = 0.0


class Backlog:
    """Bounded by `Limits`; keeps the order in which the client sent."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[Entry] = deque()
        self._open: dict[str, Entry] = {}
        """Requests without an answer, by key, in the order in which they came."""
        self._chars = 0
        self._others = 0
        """Entries in `_waiting` that are no requests."""

    @property
    def waiting(self) -> int:
        """Messages that are not sent yet."""
        return len(self._waiting)

    @property
    def waiting_chars(self) -> int:
        """Their size."""
        return sum(len(entry.text) for entry in self._waiting)

    @property
    def chars(self) -> int:
        """Characters kept: of what is not sent yet, and of what may have to be sent again."""
        return self._chars

    @property
    def count(self) -> int:
        """Messages kept or in flight."""
        return len(self._open) + self._others

    def has_room(self, text: str) -> bool:
        """Whether one more fits."""
        fits = self._chars + len(text) <= self._limits.bytes or not self._chars
        return fits and self.count < self._limits.messages

    def find(self, key: str) -> Entry | None:
        """The request without an answer that has this id."""
        return self._open.get(key)

    def append(self, entry: Entry) -> None:
        """One more waits."""
        self._waiting.append(entry)
        self._chars += len(entry.text)
        if entry.key is None:
            self._others += 1
        else:
            self._open[entry.key] = entry

    def next(self) -> Entry | None:
        """Take the one that waits longest; a request stays open until `remove`."""
        if not self._waiting:
            return None
        entry = self._waiting.popleft()
        if entry.key is None:
            self._others -= 1
            self._chars -= len(entry.text)
        else:
            entry.in_flight = True
            entry.sendings += 1
        return entry

    def forget_text(self, entry: Entry) -> None:
        """It will not be sent again."""
        self._chars -= len(entry.text)
        entry.text = ""

    def remove(self, entry: Entry) -> None:
        """A request has its answer, or nobody wants it any more."""
        assert entry.key is not None
        del self._open[entry.key]
        self._chars -= len(entry.text)
        if not entry.in_flight:
            self._waiting.remove(entry)

    def connection_lost(self, now: float) -> list[Entry]:
        """What was in flight waits again, before all that came later; what cannot is removed and returned."""
        kept, lost = [], []
        for entry in self.requests():
            if not entry.in_flight:
                continue
            entry.farewell.clear()
            if entry.text and entry.sendings < self._limits.sendings:
                entry.in_flight, entry.since = False, now
                kept.append(entry)
            else:
                lost.append(entry)
        for entry in lost:
            self.remove(entry)
        rest = [entry for entry in self._waiting if not entry.fleeting]
        dropped = [entry for entry in self._waiting if entry.fleeting]
        self._others -= len(dropped)
        self._chars -= sum(len(entry.text) for entry in dropped)
        self._waiting = deque([*kept, *rest])
        return lost

    def overdue(self, now: float) -> list[Entry]:
        """Remove and return what has waited too long. A subscription of long standing may wait for ever."""
        limit = now - self._limits.patience_s
        late = [entry for entry in self._waiting if entry.since <= limit and not entry.acknowledged]
        for entry in late:
            if entry.key is None:
                self._waiting.remove(entry)
                self._others -= 1
                self._chars -= len(entry.text)
            else:
                self.remove(entry)
        return late

    def requests(self) -> list[Entry]:
        """All without an answer, in the order in which they came."""
        return list(self._open.values())
