"""The registry: which agents a tenant has, what they can do, who is online and how much they have to do."""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import msgspec
from nats.aio.msg import Msg
from redis.asyncio import Redis

from aicp_common.envelope import Envelope, encode_json
from aicp_common.errors import Busy, Unavailable
from aicp_common.ids import RESERVED_AGENTS, is_id
from aicp_common.store import Tenants, key, redis_errors
from aicp_router.agents import agent_scripts, outcomes
from aicp_router.agents.picture import Members, Picture
from aicp_router.agents.profile import Profile, decode_profile, encode_profile
from aicp_router.matching.backlog import Backlog
from aicp_router.matching.index import AgentIndex, Wish, describe
from aicp_router.matching.scoring import DOUBT_MARGIN, Match, Scorer, in_doubt
from aicp_router.matching.semantics import Semantics
from aicp_router.settings import RouterSettings

log = logging.getLogger(__name__)

_TENANTS_IN_MEMORY = 1_000
_LEARNED_AT_ONCE = 200
"""Outcomes that are read at once."""
_TURN_S = 0.005
"""How long profiles and outcomes are taken in before others have their turn."""
_SEEN_AGAIN_S = 5.0
"""An agent that was noted this recently, or within a fifth of the time for which it counts, is not noted again."""


@dataclass(slots=True)
class _Tenant:
    """What is kept of a tenant in memory."""

    index: AgentIndex
    backlog: Backlog
    """What is in the index without an embedding."""
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while profiles are read anew."""
    version: str = ""
    """Of the profiles that are in the index."""
    members: Members = field(default_factory=lambda: Members({}))
    learned: str = "0-0"
    """The id of the last outcome that the index knows."""
    learning: asyncio.Task[None] | None = None
    picture: tuple[float, Picture] | None = None
    """The last one, and when it was begun."""
    forgotten: int = 0
    """How often it was forgotten."""

    @property
    def profiles(self) -> Mapping[str, Profile]:
        return self.members.profiles


class Registry:
    """Profiles in Redis, with a copy in memory that is read again when their version has changed."""

    def __init__(self, redis: Redis, tenants: Tenants, settings: RouterSettings) -> None:
        self._redis = redis
        self._tenants = tenants
        self._settings = settings
        self._scorer = Scorer(settings.weights)
        self.semantics = Semantics(settings.embedding_source, settings.embedding_budget_ms / 1000)
        self._behind: OrderedDict[str, _Tenant] = OrderedDict()
        """The tenants that have a backlog; the one whose turn it is comes first."""
        self._known: OrderedDict[str, _Tenant] = OrderedDict()
        self._seen_again_s = min(_SEEN_AGAIN_S, settings.online_s / 5)
        self._seen: dict[tuple[str, str], float] = {}
        self._looking: dict[str, asyncio.Task[Picture]] = {}
        """By tenant: a look that is under way."""

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
        if not max_age_s:
            return await self._look(tenant)
        known = self._known.get(tenant)
        if known is not None and known.picture is not None and time.monotonic() - known.picture[0] < max_age_s:
            return known.picture[1]
        # All who come meanwhile share one look and its outcome, and none of them ends it.
        looking = self._looking.get(tenant)
        if looking is None:
            looking = self._looking[tenant] = asyncio.create_task(self._look(tenant))
            looking.add_done_callback(lambda done: self._looked(tenant, done))
        return await asyncio.shield(looking)

    def _looked(self, tenant: str, looking: asyncio.Task[Picture]) -> None:
        if self._looking.get(tenant) is looking:
            del self._looking[tenant]
        if not looking.cancelled():
            # Everybody who waited may have gone.
            looking.exception()

    async def _look(self, tenant: str) -> Picture:
        known = self._tenant(tenant)
        began, forgotten = time.monotonic(), known.forgotten
        look = await agent_scripts.look(self._redis, tenant, online_ms=int(self._settings.online_s * 1000))
        if known.version != look.version:
            async with known.reading:
                # Somebody else may have read it meanwhile, maybe a later one; reading it again does no harm.
                if known.version != look.version:
                    await self._read_profiles(tenant, known, look.version)
        if look.last_outcome != known.learned and (known.learning is None or known.learning.done()):
            known.learning = asyncio.create_task(self._learn(tenant, known))
        picture = Picture(known.members, look.online, look.loads, known.index)
        if known.forgotten == forgotten:
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
        """What was looked at before is not to be used from here on."""
        self._looking.pop(tenant, None)
        if tenant in self._known:
            self._known[tenant].picture = None
            self._known[tenant].forgotten += 1

    def _tenant(self, tenant: str) -> _Tenant:
        """What is known of a tenant."""
        known = self._known.get(tenant)
        if known is None:
            index = AgentIndex(scorer=self._scorer)
            index.everyday = self.semantics.everyday
            known = self._known[tenant] = _Tenant(index, Backlog(index))
        self._known.move_to_end(tenant)
        if len(self._known) > _TENANTS_IN_MEMORY:
            gone, _ = self._known.popitem(last=False)
            self._behind.pop(gone, None)
        return known

    async def _read_profiles(self, tenant: str, known: _Tenant, version: str) -> None:
        async with redis_errors():
            written = cast("dict[str, str]", await self._redis.hgetall(key(tenant, "agents")))
        profiles = {name: decode_profile(text) for name, text in written.items()}
        for name in known.profiles.keys() - profiles.keys():
            known.index.remove(name)
        turn = _Turn()
        for name, profile in profiles.items():
            if known.profiles.get(name) != profile:
                vector = self.semantics.kept(describe(name, profile))
                known.index.put(name, profile, vector)
                if vector is None and self.semantics.wanted:
                    known.backlog.add_profile(name)
                await turn.of_others()
        # Read after the version was: what it holds may be newer than the version says, never older.
        known.version, known.members = version, Members(profiles)
        self._is_behind(tenant, known)

    async def _learn(self, tenant: str, known: _Tenant) -> None:
        """Take in what has come of messages since the last time, without holding up anybody for long."""
        turn = _Turn()
        try:
            while found := await outcomes.read(self._redis, tenant, after=known.learned, count=_LEARNED_AT_ONCE):
                for id, outcome in found:
                    vector = self.semantics.kept(outcome.message)
                    number = known.index.learn(outcome, vector)
                    if vector is None and self.semantics.wanted:
                        known.backlog.add_outcome(number, outcome)
                    known.learned = id
                    await turn.of_others()
                self._is_behind(tenant, known)
        except Unavailable as error:
            # The next picture begins where this ended.
            log.debug("routing learns later: %s", error)

    def _is_behind(self, tenant: str, known: _Tenant) -> None:
        if self.semantics.wanted and len(known.backlog) and self._known.get(tenant) is known:
            self._behind.setdefault(tenant, known)
            self.semantics.wake.set()

    async def embed(self) -> None:
        """Give profiles and outcomes their embeddings, tenant by tenant in turns. Never ends."""
        semantics = self.semantics
        try:
            while True:
                await semantics.load()
                semantics.wake.clear()
                if not self._behind:
                    await semantics.wake.wait()
                    continue
                tenant, known = self._behind.popitem(last=False)
                batch = known.backlog.take(semantics.most_texts, known.profiles)
                vectors = await semantics.of_others(batch.texts, batch.of) if batch.texts else ()
                if vectors is None:
                    known.backlog.put_back(batch)
                else:
                    known.index.everyday = semantics.everyday
                    known.backlog.settle(batch, tuple(vectors), known.profiles)
                self._is_behind(tenant, known)
        finally:
            await semantics.close()

    async def match_for(
        self,
        agents: Picture,
        requester: str,
        wish: Wish,
        *,
        passed: Collection[str] = (),
        limit: int = 10,
        rng: random.Random | None = None,
    ) -> list[Match]:
        """As `agents.match_for`; where that leaves doubt, the embedding of the message is asked too, if it is to be
        had in time."""
        matches = agents.match_for(requester, wish, passed=passed, limit=limit, rng=rng)
        if not in_doubt(matches):
            return matches
        rivals = [one.agent for one in matches if one.eligible and matches[0].score - one.score < DOUBT_MARGIN]
        if rivals and not matches[0].thin and not agents.apart(rivals):
            # They say the same of themselves: no meaning of the message tells them apart.
            return matches
        closer = await self._with_meaning(agents, wish)
        return matches if closer is wish else agents.match_for(requester, closer, passed=passed, limit=limit, rng=rng)

    async def search(self, agents: Picture, wish: Wish, *, limit: int) -> list[Match]:
        """As `agents.match`, for somebody who looks for agents: by meaning too, if that is to be had in time."""
        return agents.match(await self._with_meaning(agents, wish), limit=limit)

    async def _with_meaning(self, agents: Picture, wish: Wish) -> Wish:
        if not wish.message.strip() or not agents.covered:
            return wish
        vector = await self.semantics.of_message(wish.message)
        return wish if vector is None else replace(wish, vector=vector)

    async def check(self) -> dict[str, Any]:
        """What /ready says of embeddings; nothing waits for them."""
        return {"embeddings": self.semantics.standing}

    async def see(self, tenant: str, agent: str) -> None:
        """Note that `agent` is here: it called, or it waits."""
        now = time.monotonic()
        if agent in RESERVED_AGENTS or self._seen.get((tenant, agent), 0.0) > now - self._seen_again_s:
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
                self._forget_picture(tenant)

    async def on_presence(self, message: Msg) -> None:
        """What a gateway says: who is connected to it, and whose last connection closed."""
        try:
            await self._note_presence(msgspec.json.decode(message.data, type=_Presence))
        except Unavailable as error:
            # Gateways say it again every few seconds, and who is not named any more goes offline by itself.
            log.debug("presence is noted later: %s", error)

    async def _note_presence(self, said: "_Presence") -> None:
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


class _Turn:
    """Lets others have their turn again and again in a long piece of work."""

    def __init__(self) -> None:
        self._until = time.monotonic() + _TURN_S

    async def of_others(self) -> None:
        """Now, if it is time."""
        if time.monotonic() > self._until:
            await asyncio.sleep(0)
            self._until = time.monotonic() + _TURN_S


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
