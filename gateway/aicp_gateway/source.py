"""Sources: where changes of a resource are told, as its service says when a client subscribes."""

import msgspec

from aicp_common.envelope import Principal
from aicp_common.ids import is_id


class _News(msgspec.Struct):
    method: str
    after: int


class _Watched(msgspec.Struct):
    """What `resource_watch` answers; see `aicp_common.announcement.AnnouncedResource`."""

    subject: str
    news: _News | None = None


class Source(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Where changes of a resource are told to one client, and who knows what is new.

    What follows the subject is empty where clients are told only that something has changed.
    """

    subject: str
    """Of NATS."""
    service: str = ""
    method: str = ""
    """Of the service: says what is new."""
    tenant: str = ""
    agent: str = ""
    """The client's: whether it may hear is decided each time."""
    after: int = 0
    """The number of the last item when the client subscribed: it is told what has a higher one."""

    @property
    def has_news(self) -> bool:
        """Whether clients are told what is new."""
        return bool(self.method)

    def encode(self) -> str:
        """For Redis and for other gateways. One without news is its subject."""
        return _encode(self).decode() if self.has_news else self.subject


_decode_watched = msgspec.json.Decoder(_Watched).decode
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Source).decode


def source_of(answer: bytes, service: str, principal: Principal) -> Source:
    """What a service has answered to `resource_watch`.

    Raises:
        ValueError: it is not what such an answer has to be.
    """
    watched = _decode_watched(answer)
    if watched.news is None:
        return Source(watched.subject)
    if not is_id(watched.news.method):
        raise ValueError(f"{watched.news.method[:80]!r} cannot be a method")
    return Source(watched.subject, service, watched.news.method, principal.tenant, principal.agent, watched.news.after)


def decode_source(text: str) -> Source:
    """What `Source.encode` gave.

    Raises:
        ValueError: it did not.
    """
    return _decode(text) if text.startswith("[") else Source(text)
