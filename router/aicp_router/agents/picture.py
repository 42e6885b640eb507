"""A picture: who there is in one tenant at one moment, and who of them fits a message."""

import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from aicp_router.agents.profile import DEFAULT_CONCURRENCY, Profile, is_guest
from aicp_router.matching.index import AgentIndex, Wish
from aicp_router.matching.scoring import Candidates, Match
from aicp_router.matching.text import MAX_CHARS, shown


class Agent(NamedTuple):
    """An agent at one moment."""

    name: str
    profile: Profile | None
    """None for one that is online and never registered."""
    online: bool
    load: int
    """Tasks that it has or that wait for it."""

    @property
    def slots(self) -> int:
        """How many tasks it takes at once."""
        return self.profile.max_concurrency if self.profile else DEFAULT_CONCURRENCY

    def accepts(self, requester: str) -> bool:
        """Whether it takes work from `requester`."""
        return self.profile is None or self.profile.accepts(requester)

    @property
    def gone(self) -> bool:
        """Whether it is a guest that is not there, and so never will be."""
        return is_guest(self.name) and not self.online


class Members:
    """Those who are registered, and what does not change while they stay as they are.

    Args:
        profiles: By name.
    """

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self.profiles = profiles
        self.names = tuple(profiles)
        self.places = {name: place for place, name in enumerate(self.names)}
        self.slots = np.fromiter(
            (profile.max_concurrency for profile in profiles.values()), np.float64, len(self.names)
        )
        """[members]: how many tasks each takes at once."""
        self.guests = tuple(filter(is_guest, self.names))
        self.choosy = tuple((name, profile) for name, profile in profiles.items() if profile.accept_from)
        """Those who do not take work from everybody."""


class Picture(Mapping[str, Agent]):
    """The agents of a tenant by name: those who are registered, and those who are online without a profile.

    Args:
        members: The registered ones.
        online: Who is there.
        loads: Tasks that an agent has or that wait for it; agents without any are left out.
        index: Finds among the members.
    """

    def __init__(self, members: Members, online: AbstractSet[str], loads: Mapping[str, int], index: AgentIndex) -> None:
        self._members = members
        self._online = online
        self._loads = loads
        self._index = index
        places = members.places
        room = np.ones(len(members.names))
        for name, load in loads.items():
            place = places.get(name)
            if place is not None:
                room[place] = max(0.0, 1 - load / members.slots[place])
        there = np.zeros(len(members.names), np.bool_)
        there[[places[name] for name in online if name in places]] = True
        self._candidates = Candidates(members.names, room, there)
        self._gone = frozenset(name for name in members.guests if name not in online)

    def __getitem__(self, name: str) -> Agent:
        profile = self._members.profiles.get(name)
        online = name in self._online
        if profile is None and not online:
            raise KeyError(name)
        return Agent(name, profile, online, self._loads.get(name, 0))

    def __iter__(self) -> Iterator[str]:
        yield from self._members.names
        yield from (name for name in self._online if name not in self._members.profiles)

    def __len__(self) -> int:
        return len(self._members.profiles.keys() | self._online)

    @property
    def covered(self) -> bool:
        """See `AgentIndex.covered`."""
        return self._index.covered

    def apart(self, names: Sequence[str]) -> bool:
        """See `AgentIndex.apart`."""
        return self._index.apart(names)

    def match(
        self, wish: Wish, *, barred: Collection[str] = (), limit: int = 10, rng: random.Random | None = None
    ) -> list[Match]:
        """The registered agents that fit best: those that are eligible first, each group best first.

        Args:
            wish: What is wanted.
            barred: Who is passed over.
            limit: How many at most.
            rng: When given, newcomers get tried now and then.
        """
        if len(wish.message) > MAX_CHARS:
            wish = replace(wish, message=shown(wish.message))
        return self._index.match(
            wish, self._candidates, now=time.time(), rng=rng, limit=limit, barred=frozenset(barred)
        )

    def match_for(
        self,
        requester: str,
        wish: Wish,
        *,
        passed: Collection[str] = (),
        limit: int = 10,
        rng: random.Random | None = None,
    ) -> list[Match]:
        """The same among those that may get work from `requester`, but for those that are `passed`."""
        refusing = (name for name, profile in self._members.choosy if not profile.accepts(requester))
        return self.match(wish, barred={requester, *passed, *self._gone, *refusing}, limit=limit, rng=rng)
