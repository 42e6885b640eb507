"""A row of the archive: what a message of the event log becomes there. Pure translation."""

import datetime
import re
from dataclasses import dataclass

import msgspec

from aicp_common.ids import is_id
from aicp_statehub.contexts.state import ENTITY

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)

_event_id = re.compile(r"(?P<tenant>[a-z0-9_-]{1,64}):(?P<ms>[0-9]{1,14})-(?P<ordinal>[0-9]{1,18})").fullmatch


class UnusableMessage(Exception):
    """A message from which no row can be made; the text says why."""


class _Body(msgspec.Struct):
    event_id: str
    tenant: str
    entity: str
    id: str
    what: str
    at_ms: int
    data: dict[str, msgspec.Raw]
    traceparent: str = ""


class _Known(msgspec.Struct):
    """Members of `data` that have columns of their own."""

    agent: str | None = None
    author: str | None = None
    requester: str | None = None
    key: str | None = None
    version: int | None = None
    readers: tuple[str, ...] | None = None
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """The columns of `aicp_events`, in their order."""

    event_id: str
    tenant: str
    entity: str
    entity_id: str
    what: str
    at: datetime.datetime
    ordinal: int
    agent: str | None
    requester: str | None
    key: str | None
    version: int | None
    readers: str | None
    """Separated by commas: a column of lists cannot travel as one array."""
    forgotten: bool
    data: str
    value: str | None
    traceparent: str


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_known = msgspec.json.Decoder(_Known).decode


def time_of(ms: int) -> datetime.datetime:
    """Milliseconds since the epoch as a time."""
    return EPOCH + ms * _MILLISECOND


def ms_of(at: datetime.datetime) -> int:
    """A time as milliseconds since the epoch."""
    return (at - EPOCH) // _MILLISECOND


def row_of(body: bytes) -> Row:
    """The row for one message of the event log.

    Raises:
        UnusableMessage: it is no event.
    """
    try:
        event = _decode_body(body)
        is_context = event.entity == ENTITY
        value = event.data.pop("value", None) if is_context else None
        data = msgspec.json.encode(event.data)
        known = _decode_known(data)
        order = _event_id(event.event_id)
        if order is None or order["tenant"] != event.tenant:
            raise UnusableMessage(f"its id {event.event_id[:100]!r} is none of an event of {event.tenant[:80]!r}")
        if not (is_id(event.entity) and is_id(event.id) and is_id(event.what)):
            raise UnusableMessage("its entity, id or what cannot stand in a subject")
        return Row(
            event_id=event.event_id,
            tenant=event.tenant,
            entity=event.entity,
            entity_id=event.id,
            what=event.what,
            at=time_of(int(order["ms"])),
            ordinal=int(order["ordinal"]),
            agent=_name(known.agent) or _name(known.author),
            requester=_name(known.requester),
            key=known.key if is_context else None,
            version=known.version if is_context else None,
            readers=None if known.readers is None else ",".join(known.readers),
            forgotten=is_context and known.forgotten,
            data=data.decode(),
            value=None if value is None else bytes(value).decode(),
            traceparent=event.traceparent,
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise UnusableMessage(f"it is no event: {error}") from error


def _name(text: str | None) -> str | None:
    return text if text is not None and is_id(text) else None
