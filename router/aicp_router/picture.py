"""A picture: who there is in one tenant at one moment, and who of them fits a message."""

import random
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from aicp_router.index import AgentIndex, Wish
from aicp_router.profile import DEFAULT_CONCURRENCY, Profile, is_guest
from aicp_router.scoring import Candidates, Match


@dataclass(frozen=True, slots=True)
class Agent:
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


class Picture(Mapping[str, Agent]):
    """The agents of a tenant by name: those who are registered, and those who are online without a profile.

    Args:
        agents: By name.
        names: Those who are registered; the same object as long as nobody comes or goes.
        index: Finds among these.
    """

    def __init__(self, agents: Mapping[str, Agent], names: tuple[str, ...], index: AgentIndex) -> None:
        self._agents = agents
        self._index = index
        registered = [agents[name] for name in names]
        self._candidates = Candidates(
            names,
            np.fromiter((max(0.0, 1 - one.load / one.slots) for one in registered), np.float64, len(names)),
            np.fromiter((one.online for one in registered), np.bool_, len(names)),
        )
        self._gone = frozenset(one.name for one in registered if one.gone)
        self._choosy = [one for one in registered if one.profile is not None and one.profile.accept_from]

    def __getitem__(self, name: str) -> Agent:
        return self._agents[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._agents)

    def __len__(self) -> int:
        return len(self._agents)

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
        refusing = (one.name for one in self._choosy if not one.accepts(requester))
        return self.match(wish, barred={requester, *passed, *self._gone, *refusing}, limit=limit, rng=rng)
