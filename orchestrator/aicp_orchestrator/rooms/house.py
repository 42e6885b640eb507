"""The house: what all rooms of a worker share, and who is told when something happens in one."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Literal

from prometheus_client import Counter
from redis.asyncio import Redis

from aicp_common import subjects
from aicp_common.envelope import Envelope
from aicp_common.errors import AicpError
from aicp_common.service import Service
from aicp_orchestrator.rooms.arguments import ShownMember, iso_time
from aicp_orchestrator.rooms.posting import members_of, post_as_hub
from aicp_orchestrator.rooms.reading import Member
from aicp_orchestrator.rooms.state import bounds_of
from aicp_orchestrator.router_client import RouterClient
from aicp_orchestrator.settings import OrchestratorSettings

log = logging.getLogger(__name__)

POSTED = Counter("aicp_room_messages_total", "Messages posted in rooms by this worker, by kind.", ["kind"])

READ_SCOPE = "rooms:read"
WRITE_SCOPE = "rooms:write"

MAX_NOTES = 1_000
"""Calls to the router that nobody waits for; beyond it notes are left out."""

REST_S = 5.0
"""After a question to the router that was not answered nobody who reads is held up by another one for so long."""


class House:
    """What the handlers of rooms use.

    Args:
        service: The worker.
        router: Knows who is here, and tells agents what they do not look at.
    """

    def __init__(self, service: Service[OrchestratorSettings], router: RouterClient) -> None:
        self.service = service
        self.bounds = bounds_of(service.settings)
        self._router = router
        self._asks_again_at = 0.0
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def redis(self) -> Redis:
        """Where the rooms are."""
        return self.service.redis

    async def post(
        self, tenant: str, room: str, *, opened_ms: int, author: str, text: str, data: Mapping[str, Any], key: str
    ) -> None:
        """Post in the name of a collaboration, once for each key, in the room that was opened at `opened_ms`.

        Raises:
            NotFound, Conflict, Busy, Unavailable: see `post_as_hub`.
        """
        await post_as_hub(
            self.redis,
            tenant,
            room,
            author=author,
            text=text,
            data=data,
            idempotency_key=key,
            bounds=self.bounds,
            opened_ms=opened_ms,
        )
        POSTED.labels("collaboration").inc()
        self.say_changed(tenant, room)

    async def members(self, tenant: str, room: str, agent: str) -> tuple[int, list[str]]:
        """When a room in which `agent` is was opened, and who is in it.

        Raises:
            NotFound: there is no such room, or `agent` is no member of it.
        """
        return await members_of(self.redis, tenant, room, agent)

    def say_changed(self, tenant: str, room: str) -> None:
        """Those who wait for a room or watch it read on."""
        self.service.waiters.tell(self.service.bus, subjects.room(tenant, room))

    def say_moved(self, tenant: str, agents: Iterable[str]) -> None:
        """The lists of rooms of these agents have changed."""
        for agent in agents:
            self.service.bus.say(subjects.rooms_of(tenant, agent), b"")

    def say_invited(self, envelope: Envelope, room: str, agents: Sequence[str]) -> None:
        """These agents are invited now, and learn of it without looking."""
        self.say_moved(envelope.principal.tenant, agents)
        self._leave_note(envelope, room, agents, "invited")

    def say_mentioned(self, envelope: Envelope, room: str, agents: Sequence[str]) -> None:
        """These agents are mentioned, and learn of it without looking."""
        self._leave_note(envelope, room, [agent for agent in agents if agent != envelope.principal.agent], "mentioned")

    def say_removed(self, envelope: Envelope, room: str, agent: str) -> None:
        """This agent is no longer a member, by the word of another one."""
        self._leave_note(envelope, room, [agent], "removed")

    def say_withdrawn(self, envelope: Envelope, room: str, agents: Sequence[str]) -> None:
        """These agents are not invited any more: they need not hear that they were."""
        self.say_moved(envelope.principal.tenant, agents)
        if agents:
            self._beside(self._drop_notes(envelope, room, agents))

    def _leave_note(
        self, envelope: Envelope, room: str, agents: Sequence[str], kind: Literal["invited", "mentioned", "removed"]
    ) -> None:
        if agents:
            self._beside(self._note(envelope, room, agents, kind))

    def _beside(self, telling: Coroutine[Any, Any, None]) -> None:
        if len(self._telling) >= MAX_NOTES:
            telling.close()
            return
        task = asyncio.create_task(telling)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _note(self, envelope: Envelope, room: str, agents: Sequence[str], kind: str) -> None:
        me = envelope.principal
        try:
            await self._router.leave_note(
                me.tenant, envelope.traceparent, agents=agents, kind=kind, room=room, by=me.agent
            )
        except AicpError as error:
            # It is in the room all the same, and in list_rooms.
            log.info("agents are not told that they are %s: %s", kind, error)

    async def drop_notes(self, envelope: Envelope, room: str) -> None:
        """The caller has just seen by itself what it would have been told of a room."""
        await self._drop_notes(envelope, room, [envelope.principal.agent])

    async def _drop_notes(self, envelope: Envelope, room: str, agents: Sequence[str]) -> None:
        try:
            await self._router.drop_notes(envelope.principal.tenant, envelope.traceparent, agents=agents, room=room)
        except AicpError as error:
            log.info("agents are told what they know, or what is no longer so: %s", error)

    async def unknown(self, envelope: Envelope, agents: Sequence[str]) -> list[str] | None:
        """Under which of these names the hub knows nobody, as far as that is to be had; None: of none."""
        if not agents:
            return None
        return await self._router.unknown_if_reachable(envelope.principal.tenant, envelope.traceparent, agents) or None

    async def shown_members(self, envelope: Envelope, members: Sequence[Member]) -> list[ShownMember]:
        """Members with their presence, where that is to be had."""
        names = [member.agent for member in members]
        online = None
        if time.monotonic() >= self._asks_again_at:
            online = await self._router.online_if_reachable(envelope.principal.tenant, envelope.traceparent, names)
            if online is None:
                self._asks_again_at = time.monotonic() + REST_S
        return [
            ShownMember(
                agent=member.agent,
                online=None if online is None else member.agent in online,
                read_up_to=member.read_up_to,
                joined=iso_time(member.joined_ms),
            )
            for member in members
        ]
