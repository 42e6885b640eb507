"""An event on its way from a tenant's outbox to the event log: pure translation."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from aicp_common import subjects
from aicp_common.ids import digest, is_id
from aicp_statehub.contexts.keys import folders_of
from aicp_statehub.contexts.state import ENTITY

MESSAGE_ID_HEADER = "Nats-Msg-Id"
"""JetStream drops a second message with the same one within its duplicate window."""


class UnusableEntry(Exception):
    """An entry of an outbox from which no event can be made; the text says why."""


class _Body(msgspec.Struct):
    event_id: str
    tenant: str
    entity: str
    id: str
    what: str
    at_ms: int
    traceparent: str
    data: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Event:
    """A message for the event log."""

    tenant: str
    entry_id: str
    """Of the outbox entry: milliseconds since the epoch, a dash, a number."""
    subject: str
    body: bytes
    folders: tuple[str, ...] = ()
    """Of an event of a context: the subjects of those who watch the folders in which it lies."""

    @property
    def notice(self) -> bytes:
        """What those who watch a folder get to know: which event, and the trace that it belongs to."""
        return self.body[: self.body.index(b',"data":')] + b"}"

    @property
    def event_id(self) -> str:
        """Unique, for ever the same for one change."""
        return f"{self.tenant}:{self.entry_id}"


_is_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def at_ms(entry_id: str) -> int:
    """When Redis appended the entry, in milliseconds since the epoch."""
    return int(entry_id.partition("-")[0])


def event_of(tenant: str, entry_id: str, fields: Mapping[bytes, bytes]) -> Event:
    """The event that an entry of the outbox stands for.

    Raises:
        UnusableEntry: a field is missing, its name is no subject token, or its data no JSON object.
    """
    try:
        text = {name: fields[name.encode()].decode() for name in ("entity", "id", "what", "traceparent", "data")}
        data = text.pop("data")
        _is_object(data)
    except KeyError as error:
        raise UnusableEntry(f"it has no field {error.args[0].decode()}") from error
    except UnicodeDecodeError as error:
        raise UnusableEntry("it is not UTF-8") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnusableEntry(f"data is no JSON object: {error}") from error
    for name in ("entity", "id", "what"):
        if not is_id(text[name]):
            raise UnusableEntry(f"{name} {text[name][:80]!r} cannot stand in a subject")
    body = _Body(
        event_id=f"{tenant}:{entry_id}",
        tenant=tenant,
        at_ms=at_ms(entry_id),
        data=msgspec.Raw(data.encode()),
        **text,
    )
    subject = subjects.event(tenant, text["entity"], text["id"], text["what"])
    folders = _folders(tenant, data) if text["entity"] == ENTITY else ()
    return Event(tenant, entry_id, subject, msgspec.json.encode(body), folders)


class _Named(msgspec.Struct):
    key: str = ""


_decode_named = msgspec.json.Decoder(_Named).decode


def _folders(tenant: str, data: str) -> tuple[str, ...]:
    try:
        return _watched(tenant, _decode_named(data).key)
    except msgspec.ValidationError:
        return ()


@lru_cache(4_096)
def _watched(tenant: str, key: str) -> tuple[str, ...]:
    return tuple(subjects.context_folder(tenant, digest(folder)) for folder in folders_of(key))
