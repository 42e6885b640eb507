"""The registry: which agents a tenant has, what they can do, who is online and how much they have to do."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import msgspec
from nats.aio.msg import Msg
from redis.asyncio import Redis

from aicp_common.envelope import Envelope, encode_json
from aicp_common.errors import Busy, Unavailable
from aicp_common.ids import RESERVED_AGENTS, is_id
from aicp_common.store import Tenants, key, redis_errors
from aicp_router import agent_scripts, outcomes
from aicp_router.index import AgentIndex
from aicp_router.learning import Outcome
from aicp_router.picture import Agent, Picture
from aicp_router.profile import Profile, decode_profile, encode_profile
from aicp_router.settings import RouterSettings

log = logging.getLogger(__name__)

_TENANTS_IN_MEMORY = 1_000
_LEARNED_AT_ONCE = 200
"""Outcomes that are taken in before others have their turn."""
_SEEN_AGAIN_S = 2.0
"""An agent that was noted this recently is not noted again: presence is counted in tens of seconds."""


@dataclass(slots=True)
class _Tenant:
    """What is kept of a tenant in memory."""

    index: AgentIndex
    version: str = ""
    """Of the profiles that are in the index."""
    profiles: dict[str, Profile] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    learned: str = "0-0"
    """The id of the last outcome that the index knows."""
    learning: asyncio.Task[None] | None = None
    picture: tuple[float, Picture] | None = None
    """The last one, and when it was taken."""


class Registry:
    """Profiles in Redis, with a copy in memory that is read again when their version has changed."""

    def __init__(self, redis: Redis, tenants: Tenants, settings: RouterSettings) -> None:
        self._redis = redis
        self._tenants = tenants
        self._settings = settings
        self._known: OrderedDict[str, _Tenant] = OrderedDict()
        self._seen: dict[tuple[str, str], float] = {}

    async def register(self, envelope: Envelope, profile: Profile) -> None:
        """Write `profile`, in place of the one that was there.

        Raises:
            Busy: the tenant has as many agents as it may.
        """
        who = envelope.principal
        await self._tenants.remember(who.tenant)
        written = await agent_scripts.register(
            self._redis,
            who.tenant,
            agent=profile.agent,
            profile=encode_profile(profile).decode(),
            slots=profile.max_concurrency,
            react_ms=None if profile.react_s is None else int(profile.react_s * 1000),
            cap=self._settings.agent_cap,
            data=encode_json({"agent": profile.agent, "capabilities": profile.capabilities}).decode(),
            traceparent=envelope.traceparent,
        )
        self._forget_picture(who.tenant)
        if not written:
            raise Busy(
                f"there are {self._settings.agent_cap} agents already",
                hint="agents that have not been seen for long are forgotten; the operator may raise AGENT_CAP",
            )

    async def agents(self, tenant: str, *, max_age_s: float = 0.0) -> Picture:
        """Every registered agent, and those that are online without a profile.

        Args:
            tenant: Whose.
            max_age_s: How old the picture may be. Who is there and how much they have to do changes all the time; who
                came or said something new in this process is always in it.
        """
        known = self._known.get(tenant)
        if known is not None and known.picture is not None and time.monotonic() - known.picture[0] < max_age_s:
            return known.picture[1]
        began = time.monotonic()
        look = await agent_scripts.look(self._redis, tenant, online_ms=int(self._settings.online_s * 1000))
        known = await self._current(tenant, look.version)
        if look.last_outcome != known.learned and (known.learning is None or known.learning.done()):
            known.learning = asyncio.create_task(self._learn(tenant, known))
        found = {
            name: Agent(name, profile, name in look.online, look.loads.get(name, 0))
            for name, profile in known.profiles.items()
        }
        for name in look.online - known.profiles.keys():
            found[name] = Agent(name, None, True, look.loads.get(name, 0))
        picture = Picture(found, known.names, known.index)
        known.picture = began, picture
        return picture

    async def last_seen(self, tenant: str, limit: int) -> list[str]:
        """Registered agents, the most recently seen first; one that is online stands where it came."""
        async with redis_errors():
            return cast("list[str]", await self._redis.zrange(key(tenant, "seen"), 0, limit - 1, desc=True))

    async def leave_network(self, envelope: Envelope) -> bool:
        """Drop the profile of the envelope's principal; False when it has none."""
        who = envelope.principal
        await self._tenants.remember(who.tenant)
        left = await agent_scripts.leave_network(
            self._redis, who.tenant, agent=who.agent, traceparent=envelope.traceparent
        )
        self._forget_picture(who.tenant)
        return left

    def _forget_picture(self, tenant: str) -> None:
        if tenant in self._known:
            self._known[tenant].picture = None

    async def _current(self, tenant: str, version: str) -> _Tenant:
        """What is known of a tenant, with its profiles as they were at `version` or later."""
        known = self._known.get(tenant)
        if known is None:
            known = self._known[tenant] = _Tenant(AgentIndex())
        self._known.move_to_end(tenant)
        if len(self._known) > _TENANTS_IN_MEMORY:
            self._known.popitem(last=False)
        if known.version == version:
            return known
        async with redis_errors():
            written = cast("dict[str, str]", await self._redis.hgetall(key(tenant, "agents")))
        profiles = {name: decode_profile(text) for name, text in written.items()}
        for name in known.profiles.keys() - profiles.keys():
            known.index.remove(name)
        for name, profile in profiles.items():
            if known.profiles.get(name) != profile:
                known.index.put(name, profile)
        if known.profiles.keys() != profiles.keys():
            known.names = tuple(profiles)
        # Read after the version was: what it holds may be newer than the version says, never older.
        known.version, known.profiles = version, profiles
        return known

    async def _learn(self, tenant: str, known: _Tenant) -> None:
        """Take in what has come of messages since the last time, without holding up anybody for long."""
        try:
            while found := await outcomes.read(self._redis, tenant, after=known.learned, count=_LEARNED_AT_ONCE):
                for one in found:
                    known.index.learn(Outcome(one.agent, one.message, one.reward, one.at_s, one.duration_s))
                    known.learned = one.id
                await asyncio.sleep(0)
        except Unavailable as error:
            # The next picture begins where this ended.
            log.debug("routing learns later: %s", error)

    async def see(self, tenant: str, agent: str) -> None:
        """Note that `agent` is here: it called, or it waits."""
        now = time.monotonic()
        if agent in RESERVED_AGENTS or self._seen.get((tenant, agent), 0.0) > now - _SEEN_AGAIN_S:
            return
        if len(self._seen) > 50_000:
            self._seen.clear()
        self._seen[tenant, agent] = now
        await self._tenants.remember(tenant)
        await agent_scripts.see(self._redis, tenant, (agent,))
        known = self._known.get(tenant)
        if known is not None and known.picture is not None:
            shown = known.picture[1].get(agent)
            if shown is None or not shown.online:
                known.picture = None

    async def on_presence(self, message: Msg) -> None:
        """What a gateway says: who is connected to it, and whose last connection closed."""
        said = msgspec.json.decode(message.data, type=_Presence)
        for tenant, names in _by_tenant(said.agents).items():
            await self._tenants.remember(tenant)
            await agent_scripts.see(self._redis, tenant, names)
        for tenant, names in _by_tenant(said.left).items():
            for name in names:
                self._seen.pop((tenant, name), None)
            await agent_scripts.leave(
                self._redis,
                tenant,
                names,
                online_ms=int(self._settings.online_s * 1000),
                grace_ms=int(self._settings.leave_grace_s * 1000),
            )


class _Presence(msgspec.Struct):
    gateway: str = ""
    agents: list[tuple[str, str]] = []
    left: list[tuple[str, str]] = []


def _by_tenant(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tenant, agent in pairs:
        if is_id(tenant) and is_id(agent):
            found.setdefault(tenant, []).append(agent)
    return found
