"""What is subscribed to with `resources/subscribe`, and what has to be asked for again on a new connection."""

from collections import deque

MAX_SUBSCRIPTIONS = 10_000
"""Of one client."""

_WINDOW = 16
"""Asked at once: a hub takes a limited number of requests at a time, and the client needs its share."""
_RETRY_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""A hub that has just started may not know all its resources yet."""


class Subscriptions:
    """Those of the client, which a new connection must bring back, and those of the bridge itself."""

    def __init__(self) -> None:
        self._client: dict[str, None] = {}
        self._own: set[str] = set()
        self._due: deque[str] = deque()
        self._later: dict[str, float] = {}
        """When to ask again, in seconds, by URI."""
        self._asked: set[str] = set()
        self._failures: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._client)

    def add(self, uri: str) -> None:
        """The hub has said yes to the client."""
        self._client[uri] = None

    def discard(self, uri: str) -> None:
        """The hub has said yes to the client's leaving."""
        self._client.pop(uri, None)

    def of_client(self, uri: str) -> bool:
        """Whether the client wants to be told of it."""
        return uri in self._client

    def watches(self, uri: str) -> bool:
        """Whether the bridge itself is subscribed, or about to be."""
        return uri in self._own

    def watch(self, uri: str) -> None:
        """Ask for it on this connection, for the bridge itself."""
        self._own.add(uri)
        self._due.append(uri)

    def connection_lost(self) -> None:
        """The hub has forgotten everything."""
        self._own.clear()
        self._due.clear()
        self._later.clear()
        self._asked.clear()
        self._failures.clear()

    def restore(self) -> None:
        """Ask for all that the client had, on this connection."""
        self._due.extend(self._client)

    def next(self, now: float) -> str | None:
        """What to ask for next, as long as not too much is asked already."""
        for uri in [uri for uri, due in self._later.items() if due <= now]:
            del self._later[uri]
            self._due.append(uri)
        while self._due and len(self._asked) < _WINDOW:
            uri = self._due.popleft()
            if uri in self._asked or not (uri in self._client or uri in self._own):
                continue
            self._asked.add(uri)
            return uri
        return None

    def confirmed(self, uri: str) -> None:
        """The hub has said yes."""
        self._asked.discard(uri)
        self._failures.pop(uri, None)

    def refused(self, uri: str, now: float) -> bool:
        """The hub has said no; returns whether it will be asked again. If not, the subscription is gone."""
        self._asked.discard(uri)
        failures = self._failures.get(uri, 0)
        if failures < len(_RETRY_S):
            self._failures[uri] = failures + 1
            self._later[uri] = now + _RETRY_S[failures]
            return True
        self._failures.pop(uri, None)
        self._client.pop(uri, None)
        self._own.discard(uri)
        return False
