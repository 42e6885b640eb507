"""The registry: which agents a tenant has, what they can do, who is online and how much they have to do."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import msgspec
from nats.aio.msg import Msg
from redis.asyncio import Redis

from aicp_common.envelope import Envelope, encode_json
from aicp_common.errors import Busy
from aicp_common.ids import RESERVED_AGENTS, is_id
from aicp_common.store import Tenants, key, redis_errors
from aicp_router import agent_scripts, matching
from aicp_router.matching import Candidate, Features
from aicp_router.profile import DEFAULT_CONCURRENCY, Profile, decode_profile, encode_profile, is_guest
from aicp_router.settings import RouterSettings

_TENANTS_IN_MEMORY = 1_000
_SEEN_AGAIN_S = 2.0
"""An agent that was noted this recently is not noted again: presence is counted in tens of seconds."""


@dataclass(frozen=True, slots=True)
class Known:
    """A profile, and what matching made of it."""

    profile: Profile
    features: Features


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent at one moment."""

    name: str
    profile: Profile | None
    """None for one that is online and never registered."""
    features: Features
    online: bool
    load: int
    """Tasks that it has or that wait for it."""

    @property
    def slots(self) -> int:
        """How many tasks it takes at once."""
        return self.profile.max_concurrency if self.profile else DEFAULT_CONCURRENCY

    def candidate(self) -> Candidate:
        """What matching gets to see."""
        return Candidate(self.name, self.features, max(0.0, 1 - self.load / self.slots), self.online)

    def accepts(self, requester: str) -> bool:
        """Whether it takes work from `requester`."""
        return self.profile is None or self.profile.accepts(requester)

    @property
    def gone(self) -> bool:
        """Whether it is a guest that is not there, and so never will be."""
        return is_guest(self.name) and not self.online


_NOTHING = matching.features((), "")


class Registry:
    """Profiles in Redis, with a copy in memory that is read again when their version has changed."""

    def __init__(self, redis: Redis, tenants: Tenants, settings: RouterSettings) -> None:
        self._redis = redis
        self._tenants = tenants
        self._settings = settings
        self._profiles: OrderedDict[str, tuple[str, dict[str, Known]]] = OrderedDict()
        self._seen: dict[tuple[str, str], float] = {}
        self._pictures: dict[str, tuple[float, dict[str, Agent]]] = {}

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
        self._pictures.pop(who.tenant, None)
        if not written:
            raise Busy(
                f"there are {self._settings.agent_cap} agents already",
                hint="agents that have not been seen for long are forgotten; the operator may raise AGENT_CAP",
            )

    async def agents(self, tenant: str, *, max_age_s: float = 0.0) -> Mapping[str, Agent]:
        """Every registered agent by name, and those that are online without a profile.

        Args:
            tenant: Whose.
            max_age_s: How old the picture may be. Who is there and how much they have to do changes all the time; who
                came or said something new in this process is always in it.
        """
        seen = self._pictures.get(tenant)
        if seen is not None and time.monotonic() - seen[0] < max_age_s:
            return seen[1]
        began = time.monotonic()
        look = await agent_scripts.look(self._redis, tenant, online_ms=int(self._settings.online_s * 1000))
        known = await self._known(tenant, look.version)
        found = {
            name: Agent(name, one.profile, one.features, name in look.online, look.loads.get(name, 0))
            for name, one in known.items()
        }
        for name in look.online - known.keys():
            found[name] = Agent(name, None, _NOTHING, True, look.loads.get(name, 0))
        if len(self._pictures) >= _TENANTS_IN_MEMORY:
            self._pictures.clear()
        self._pictures[tenant] = began, found
        return found

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
        self._pictures.pop(who.tenant, None)
        return left

    async def _known(self, tenant: str, version: str) -> dict[str, Known]:
        kept = self._profiles.get(tenant)
        if kept is not None and kept[0] == version:
            self._profiles.move_to_end(tenant)
            return kept[1]
        async with redis_errors():
            written = cast("dict[str, str]", await self._redis.hgetall(key(tenant, "agents")))
        before = kept[1] if kept else {}
        known: dict[str, Known] = {}
        for name, text in written.items():
            profile = decode_profile(text)
            old = before.get(name)
            known[name] = (
                old
                if old is not None and old.profile == profile
                else Known(profile, matching.features(profile.capabilities, profile.description))
            )
        # Read after the version was: what it holds may be newer than the version says, never older.
        self._profiles[tenant] = (version, known)
        self._profiles.move_to_end(tenant)
        if len(self._profiles) > _TENANTS_IN_MEMORY:
            self._profiles.popitem(last=False)
        return known

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
        self._pictures.pop(tenant, None)

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
