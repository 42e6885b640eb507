"""Queueing: the simulation of load without processes, in a time of its own: the same each time, and as fast as it goes.

The real index, scoring and choice among desks decide; queues, offers and workers are plain lists. What it leaves out is
the time that signals and scripts take: `load` measures with these.
"""

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from aicp_router.matching.index import AgentIndex, Candidates, Described, Wish
from aicp_router.matching.learning import Outcome
from aicp_router.matching.scoring import Scorer, Weights
from aicp_router.tasks.choice import Choice
from aicp_router.tasks.desk import near, pick
from aicp_router.tasks.offers import NUDGE_S
from bench_routing.load import Stay, Task, Waits, Worker, judged

_CANDIDATES = 8


@dataclass
class _Held:
    """A task under way."""

    number: int
    task: Task
    agent: str
    offered: list[str] = field(default_factory=list)
    claimed_s: float | None = None
    ended_s: float | None = None
    worker: str = ""


class Simulation:
    """One run.

    Args:
        workers: The agents; each works on one task at a time.
        tasks: What comes.
        slots: How many tasks at once each agent says that it takes.
        weights: Of scores.
        late: Whether waiting tasks are offered to others; otherwise each stays where it was put.
        in_turn: Each agent gets a task in turn, whatever the index says.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        tasks: Sequence[Task],
        *,
        slots: int = 1,
        weights: Weights | None = None,
        late: bool = True,
        in_turn: bool = False,
    ) -> None:
        self._workers = {worker.name: worker for worker in workers}
        self._names = [worker.name for worker in workers]
        self._held = [_Held(number, task, "") for number, task in enumerate(tasks)]
        self._slots, self._late, self._in_turn = slots, late, in_turn
        self._index = AgentIndex(scorer=Scorer(weights or Weights()))
        for worker in workers:
            self._index.put(worker.name, Described(worker.capabilities, "does what it can"))
        self._queues: dict[str, list[_Held]] = {name: [] for name in self._names}
        self._offers: dict[str, list[_Held]] = {name: [] for name in self._names}
        self._working: dict[str, _Held | None] = dict.fromkeys(self._names)
        self._turns = {
            task.capability: itertools.cycle([one.name for one in workers if task.capability in one.capabilities])
            for task in tasks
        }
        self._now = 0.0
        self._events: list[tuple[float, int, str, _Held]] = []
        self._order = itertools.count()

    def run(self) -> Waits:
        """Until every task has ended; in turn, until the last one came."""
        for held in self._held:
            self._at(held.task.at_s, "arrives", held)
        left = len(self._held)
        while self._events and (left or not self._in_turn):
            self._now, _, what, held = heapq.heappop(self._events)
            if what == "arrives":
                left -= 1
                self._arrives(held)
            elif what == "ends":
                self._ends(held)
            elif held.claimed_s is None:
                self._widen(held)
        over_ms = _ms(self._now)
        stays = [
            Stay(
                _ms(held.task.at_s),
                None if held.claimed_s is None else _ms(held.claimed_s),
                None if held.ended_s is None else _ms(held.ended_s),
                held.worker,
                held.task.capability,
            )
            for held in self._held
        ]
        return judged(stays, list(self._workers.values()), over_ms)

    def _at(self, at_s: float, what: str, held: _Held) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), what, held))

    def _load(self, name: str) -> int:
        return len(self._queues[name]) + (self._working[name] is not None)

    def _arrives(self, held: _Held) -> None:
        if self._in_turn:
            held.agent = next(self._turns[held.task.capability])
        else:
            self._choose(held)
        self._queues[held.agent].append(held)
        self._wake(held.agent)
        if held.claimed_s is not None or not self._late or self._in_turn:
            return
        if self._load(held.agent) > self._slots:
            self._widen(held)
        else:
            self._at(self._now + NUDGE_S, "is late", held)

    def _found(self, held: _Held, limit: int) -> list[Choice]:
        room = np.array([max(0.0, 1 - self._load(name) / self._slots) for name in self._names])
        wish = Wish("please do this", (held.task.capability,))
        matches = self._index.match(wish, Candidates(self._names, room), now=self._now, limit=limit)
        return [Choice(one.agent, True, one, self._slots, one.load_weight) for one in matches if one.eligible]

    def _widen(self, held: _Held) -> None:
        """Offer what waits to all who fit nearly as well, and wake them."""
        found = self._found(held, len(self._names))
        fit = next(one.fit for one in found if one.agent == held.agent)
        for one in found:
            if one.agent not in (held.agent, *held.offered) and one.fit >= fit - near():
                held.offered.append(one.agent)
                self._offers[one.agent].append(held)
        for name in held.offered:
            self._wake(name)

    def _choose(self, held: _Held) -> None:
        found = self._found(held, _CANDIDATES)
        desks = [one.desk(self._load(one.agent)) for one in found]
        place = pick(desks, found[0].load_weight)
        held.agent = found[place].agent
        if self._late and desks[place].has:
            least = desks[place].fit - near()
            held.offered = [one.agent for n, one in enumerate(found) if n != place and desks[n].fit >= least]
            for name in held.offered:
                self._offers[name].append(held)

    def _wake(self, name: str) -> None:
        """Let an agent take the first that waits for it, if it is idle."""
        waiting = [*self._queues[name], *self._offers[name]]
        if self._working[name] is not None or not waiting:
            return
        held = min(waiting, key=lambda one: one.number)
        self._queues[held.agent].remove(held)
        for other in held.offered:
            self._offers[other].remove(held)
        held.claimed_s, held.worker = self._now, name
        self._working[name] = held
        self._at(self._now + self._workers[name].service_s * held.task.size, "ends", held)

    def _ends(self, held: _Held) -> None:
        assert held.claimed_s is not None
        held.ended_s = self._now
        self._working[held.worker] = None
        self._index.learn(Outcome(held.worker, "please do this", 1.0, self._now, self._now - held.claimed_s))
        self._wake(held.worker)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
