"""The resources of the state hub: one context, a folder, a snapshot of all; and the subjects on which they change."""

from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import Field

from aicp_common import subjects
from aicp_common.envelope import Envelope, encode_json
from aicp_common.errors import Forbidden, NotFound
from aicp_common.ids import digest
from aicp_common.service import Raw, Service
from aicp_common.tool import Arguments
from aicp_statehub.contexts import lists, scripts
from aicp_statehub.contexts.arguments import iso_time
from aicp_statehub.contexts.json_text import MAX_VALUE_BYTES
from aicp_statehub.contexts.keys import CONTEXT_URI, escaped, is_folder, name_of, uri_of
from aicp_statehub.contexts.state import ENTITY, Context
from aicp_statehub.settings import StatehubSettings

CONTEXT_TEMPLATE = f"{CONTEXT_URI}{{key}}"
SNAPSHOT_URI = "aicp://shared-state"
SNAPSHOT_PAGE = f"{SNAPSHOT_URI}?after="
SNAPSHOT_ENTRIES = 200
SCOPE = "context:read"


class ResourceArguments(Arguments):
    """Which resource."""

    uri: str = Field(max_length=2048)


def declare_resources(service: Service[StatehubSettings]) -> None:
    """Announce the resources and serve them."""
    service.resource_template(
        uri_template=CONTEXT_TEMPLATE,
        name="context",
        title="Shared context",
        description="One shared context: its value, version, author and time. With a key that ends in a slash: a "
        f"snapshot of the contexts in this folder, as {SNAPSHOT_URI} is one of all.",
        scope=SCOPE,
    )
    service.resource(
        uri=SNAPSHOT_URI,
        name="shared-state",
        title="Shared state",
        description=f"Snapshot of the shared contexts in the order of their names: up to {SNAPSHOT_ENTRIES} entries or "
        "256 KiB of values; next_uri is the rest.",
        scope=SCOPE,
    )
    service.resource_template(
        uri_template=f"{SNAPSHOT_PAGE}{{key}}",
        name="shared-state-page",
        title="Shared state, further on",
        description="The same from the name after this one on.",
        scope=SCOPE,
    )

    async def resource_read(envelope: Envelope, given: ResourceArguments) -> Raw:
        _check_scope(envelope)
        place = _Place.of(given.uri)
        if place.key:
            context = await scripts.read(
                service.redis, envelope.principal.tenant, place.key, reader=envelope.principal.agent
            )
            if context.value is None:
                raise NotFound(f"there is no context {place.key!r}", hint="get_context lists which there are")
            text = encode_json(_document(context))
        else:
            text = await _snapshot(service, envelope, place)
        contents = {"uri": given.uri, "mimeType": "application/json", "text": text.decode()}
        return Raw(encode_json({"contents": [contents]}))

    async def resource_watch(envelope: Envelope, given: ResourceArguments) -> dict[str, str]:
        _check_scope(envelope)
        tenant, place = envelope.principal.tenant, _Place.of(given.uri)
        if place.folder:
            return {"subject": subjects.context_folder(tenant, digest(place.folder))}
        # A key may be watched before it exists: its first value is a change.
        which = digest(place.key) if place.key else "*"
        return {"subject": subjects.event(tenant, ENTITY, which, "*")}

    service.method(ResourceArguments)(resource_read)
    service.method(ResourceArguments)(resource_watch)


@dataclass(frozen=True, slots=True)
class _Place:
    """What a URI stands for: one context, a folder, or everything."""

    key: str = ""
    folder: str = ""
    after: str = ""

    @classmethod
    def of(cls, uri: str) -> "_Place":
        """
        Raises:
            NotFound: nothing that is here.
            InvalidArgument: what stands in it cannot be a key.
        """
        if uri == SNAPSHOT_URI:
            return cls()
        if uri.startswith(SNAPSHOT_PAGE):
            return cls(after=name_of(CONTEXT_URI + uri.removeprefix(SNAPSHOT_PAGE)))
        folder, _, after = uri.partition("?after=")
        name = name_of(folder)
        if not is_folder(name):
            return cls(key=name_of(uri))
        return cls(folder=name, after=name_of(CONTEXT_URI + after) if after else "")


def _check_scope(envelope: Envelope) -> None:
    if not envelope.principal.may(SCOPE):
        raise Forbidden(f"reading contexts needs the scope {SCOPE!r}, which {envelope.principal.agent!r} lacks")


async def _snapshot(service: Service[StatehubSettings], envelope: Envelope, place: _Place) -> bytes:
    page = await lists.list_page(
        service.redis,
        envelope.principal.tenant,
        reader=envelope.principal.agent,
        prefix=place.folder,
        after=place.after,
        limit=SNAPSHOT_ENTRIES,
        max_value_bytes=MAX_VALUE_BYTES,
    )
    snapshot: dict[str, Any] = {
        **({} if place.folder else {"total": page.total}),
        "revision": page.revision,
        "truncated": bool(page.cursor),
        "entries": [_document(context) for context in page.contexts],
    }
    if page.cursor:
        snapshot["next_uri"] = f"{uri_of(place.folder) if place.folder else SNAPSHOT_URI}?after={escaped(page.cursor)}"
        snapshot["next_cursor"] = page.cursor
        prefix = f" and prefix {place.folder!r}" if place.folder else ""
        snapshot["how_to_read_on"] = (
            f"read next_uri, or call get_context with with_values true, next_cursor as its cursor{prefix}"
        )
    return encode_json(snapshot)


def _document(context: Context) -> dict[str, Any]:
    document: dict[str, Any] = {
        "key": context.key,
        "value": msgspec.Raw(context.value or b"null"),
        "version": context.version,
        "author": context.author,
        "updated_at": iso_time(context.updated_ms),
    }
    if context.readers:
        document["readable_by"] = list(context.readers)
    if context.expires_ms is not None:
        document["expires_at"] = iso_time(context.expires_ms)
    return document
