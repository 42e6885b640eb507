"""The resources of the state hub: one context, and a snapshot of all; and the subjects on which they change."""

from typing import Any

import msgspec
from pydantic import Field

from aicp_common import subjects
from aicp_common.envelope import Envelope, encode_json
from aicp_common.errors import Forbidden, NotFound
from aicp_common.ids import digest
from aicp_common.service import Raw, Service
from aicp_common.tool import Arguments
from aicp_statehub import contexts
from aicp_statehub.arguments import iso_time
from aicp_statehub.contexts import Context
from aicp_statehub.json_text import MAX_VALUE_BYTES
from aicp_statehub.keys import CONTEXT_URI, key_of
from aicp_statehub.settings import StatehubSettings

CONTEXT_TEMPLATE = f"{CONTEXT_URI}{{key}}"
SNAPSHOT_URI = "aicp://shared-state"
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
        description="One shared context: its value, version, author and time.",
        scope=SCOPE,
    )
    service.resource(
        uri=SNAPSHOT_URI,
        name="shared-state",
        title="Shared state",
        description=f"Snapshot of the shared contexts in the order of their names: up to {SNAPSHOT_ENTRIES} entries or "
        "256 KiB of values; get_context lists the rest.",
        scope=SCOPE,
    )

    async def resource_read(envelope: Envelope, given: ResourceArguments) -> Raw:
        _check_scope(envelope)
        tenant = envelope.principal.tenant
        if given.uri == SNAPSHOT_URI:
            text = await _snapshot(service, tenant)
        else:
            key = key_of(given.uri)
            context = await contexts.read(service.redis, tenant, key)
            if context.value is None:
                raise NotFound(f"there is no context {key!r}", hint="get_context lists which there are")
            text = encode_json(_document(context))
        contents = {"uri": given.uri, "mimeType": "application/json", "text": text.decode()}
        return Raw(encode_json({"contents": [contents]}))

    async def resource_watch(envelope: Envelope, given: ResourceArguments) -> dict[str, str]:
        _check_scope(envelope)
        # A key may be watched before it exists: its first value is a change.
        which = "*" if given.uri == SNAPSHOT_URI else digest(key_of(given.uri))
        return {"subject": subjects.event(envelope.principal.tenant, contexts.ENTITY, which, "*")}

    service.method(ResourceArguments)(resource_read)
    service.method(ResourceArguments)(resource_watch)


def _check_scope(envelope: Envelope) -> None:
    if not envelope.principal.may(SCOPE):
        raise Forbidden(f"reading contexts needs the scope {SCOPE!r}, which {envelope.principal.agent!r} lacks")


async def _snapshot(service: Service[StatehubSettings], tenant: str) -> bytes:
    page = await contexts.list_page(service.redis, tenant, limit=SNAPSHOT_ENTRIES, max_value_bytes=MAX_VALUE_BYTES)
    snapshot: dict[str, Any] = {
        "total": page.total,
        "truncated": bool(page.cursor),
        "entries": [_document(context) for context in page.contexts],
    }
    if page.cursor:
        snapshot["next_cursor"] = page.cursor
        snapshot["how_to_read_on"] = "call get_context with with_values true and next_cursor as its cursor"
    return encode_json(snapshot)


def _document(context: Context) -> dict[str, Any]:
    document: dict[str, Any] = {
        "key": context.key,
        "value": msgspec.Raw(context.value or b"null"),
        "version": context.version,
        "author": context.author,
        "updated_at": iso_time(context.updated_ms),
    }
    if context.expires_ms is not None:
        document["expires_at"] = iso_time(context.expires_ms)
    return document
