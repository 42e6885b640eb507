"""The tools that change contexts: `share_context` and `delete_context`."""

import asyncio
import weakref

from aicp_common.envelope import Envelope
from aicp_common.errors import Busy, InvalidArgument
from aicp_common.service import Service
from aicp_statehub.contexts import scripts
from aicp_statehub.contexts.arguments import DeleteContext, DeleteContextResult, ShareContext, ShareContextResult
from aicp_statehub.contexts.json_text import checked, hidden, kind_of
from aicp_statehub.contexts.keys import signal
from aicp_statehub.contexts.merge_patch import merge_patch
from aicp_statehub.contexts.reading import text_of, time_of
from aicp_statehub.contexts.scripts import Bounds
from aicp_statehub.contexts.state import Context
from aicp_statehub.settings import StatehubSettings

MERGE_ATTEMPTS = 50
"""Merges of one worker onto one context take turns, so an attempt is only lost to other workers and plain writes."""


class ContextSharing:
    """The handlers. `declare` announces them."""

    def __init__(self, service: Service[StatehubSettings], bounds: Bounds) -> None:
        self._service = service
        self._bounds = bounds
        self._merging: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()

    def declare(self) -> None:
        """Declare the two tools."""
        service = self._service
        service.tool(
            title="Share context",
            scope="context:write",
            arguments=ShareContext,
            result=ShareContextResult,
            destructive=True,
        )(self.share_context)
        service.tool(
            title="Delete context",
            scope="context:write",
            arguments=DeleteContext,
            result=DeleteContextResult,
            destructive=True,
        )(self.delete_context)

    async def share_context(self, envelope: Envelope, given: ShareContext) -> ShareContextResult:
        """Put a value where every agent of the network can read it: facts, plans, progress, decisions, results that
        others need. Use it when something should be known beyond this conversation or outlast it. One name holds one
        value; every change gets a new version, and whoever watches the name is told. If others may be changing the
        same context, pass expected_version with the version that you have read: when it is no longer the current one
        you get status conflict and the current value, and can try again. Use merge to change some members of an
        object and keep the rest, and readable_by for what only some agents should know. Example: {"context_key":
        "projects/apollo/plan", "context_value": {"phase": "design", "open": ["budget"]}}.
        """
        if given.merge:
            _must_be_object(bytes(given.context_value))
        principal = envelope.principal
        await self._service.tenants.remember(principal.tenant)
        if given.merge:
            stored, now = await self._merge(envelope, given)
        else:
            stored, now = await self._write(envelope, given, bytes(given.context_value), given.expected_version)
        if stored:
            self._wake(principal.tenant, now)
            return ShareContextResult(
                status="stored",
                key=now.key,
                version=now.version,
                expires_at=time_of(now.expires_ms),
                readable_by=list(now.readers) or None,
                note=_note(bytes(given.context_value)),
            )
        return ShareContextResult(
            status="conflict",
            key=now.key,
            version=now.version,
            value=text_of(now),
            author=now.author or None,
            updated_at=time_of(now.updated_ms),
            expires_at=time_of(now.expires_ms),
        )

    async def delete_context(self, envelope: Envelope, given: DeleteContext) -> DeleteContextResult:
        """Remove a shared context that is wrong or no longer needed, for everybody. Pass expected_version to remove
        only what you have read and not somebody's newer value. Example: {"context_key": "projects/apollo/plan",
        "expected_version": 4}.
        """
        principal = envelope.principal
        await self._service.tenants.remember(principal.tenant)
        outcome, now = await scripts.delete(
            self._service.redis,
            principal.tenant,
            given.context_key,
            author=principal.agent,
            bounds=self._bounds,
            traceparent=envelope.traceparent,
            expected=given.expected_version,
            with_history=given.with_history,
        )
        if outcome == "done":
            self._wake(principal.tenant, now)
            return DeleteContextResult(status="deleted", key=now.key, version=now.version)
        if outcome in ("absent", "cleared"):
            note = "Its old versions were removed." if outcome == "cleared" else None
            return DeleteContextResult(status="not_found", key=now.key, version=now.version, note=note)
        return DeleteContextResult(
            status="conflict",
            key=now.key,
            version=now.version,
            value=text_of(now),
            author=now.author or None,
            updated_at=time_of(now.updated_ms),
        )

    async def _write(
        self, envelope: Envelope, given: ShareContext, value: bytes, expected: int | None
    ) -> tuple[bool, Context]:
        return await scripts.write(
            self._service.redis,
            envelope.principal.tenant,
            given.context_key,
            value,
            author=envelope.principal.agent,
            bounds=self._bounds,
            traceparent=envelope.traceparent,
            expected=expected,
            readers=given.readers(envelope.principal.agent),
            ttl_ms=None if given.ttl_s is None else max(1, round(given.ttl_s * 1000)),
            keep_ttl=given.merge,
        )

    async def _merge(self, envelope: Envelope, given: ShareContext) -> tuple[bool, Context]:
        tenant, key = envelope.principal.tenant, given.context_key
        patch = bytes(given.context_value)
        turn = self._merging.setdefault((tenant, key), asyncio.Lock())
        async with turn:
            now = await scripts.read(self._service.redis, tenant, key, reader=envelope.principal.agent)
            for _ in range(MERGE_ATTEMPTS):
                expected = now.version
                if given.expected_version is not None and not _matches(given.expected_version, now):
                    return False, now
                merged = checked(merge_patch(now.value, patch), "context_value (merged)")
                stored, now = await self._write(envelope, given, merged, expected)
                if stored:
                    return True, now
        raise Busy(f"context_key: {key!r} changes faster than a merge can be made", hint="try again, or use other keys")

    def _wake(self, tenant: str, now: Context) -> None:
        lifetime_ms = 0 if now.expires_ms is None else now.expires_ms - now.updated_ms
        self._service.waiters.tell(self._service.bus, signal(tenant, now.key), str(lifetime_ms or ""))


def _must_be_object(patch: bytes) -> None:
    """Refuse to merge what would replace the whole value, as anything but an object does.

    Raises:
        InvalidArgument: `patch` is no object.
    """
    if patch[:1] == b"{":
        return
    raise InvalidArgument(
        f"context_value: merge needs an object, this is {kind_of(patch)}",
        expected="an object with the members to change",
        hint="send the object itself, not as text" if hidden(patch) == "object" else None,
    )


def _note(value: bytes) -> str | None:
    kind = hidden(value)
    if kind is None:
        return None
    return (
        f"stored as a string that has the text of an {kind} in it; if you meant the {kind}, share it again: "
        f"send the {kind} itself, not as text"
    )


def _matches(expected: int, now: Context) -> bool:
    return expected == now.version or (expected == 0 and now.value is None)
