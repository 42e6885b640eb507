"""What the task scripts shall do, in plain Python: tasks as objects, and each change in the few lines that it takes.

The model keeps no queues, leases or loads: they follow from the states of the tasks, and the scripts have to keep them
so. It does not read a clock: that a lease or a deadline has passed is something that it is told.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

ENDED = ("completed", "failed", "cancelled")
OFFSET_MS = {"interactive": 0, "normal": 600_000, "batch": 3_600_000}
DEFAULT_SLOTS = 2
WAIT_SHARE = 0.4
NEAR = 0.25
MAX_DIALOG = 40
MAX_HISTORY = 50
GUEST = "guest-"
ANSWERED_FIRST_MS = 10**12


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the outbox. Events of agents have neither state nor attempt."""

    id: str
    what: str
    state: str = ""
    agent: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent that may get a new task."""

    agent: str
    fit: float
    slots: int
    pace: float
    online: bool

    def worth(self, has: int, load_weight: float) -> float:
        """How much speaks for it when it has so many tasks; the longer one would wait there, the less."""
        if has < self.slots:
            return self.fit + load_weight * (1 - has / self.slots)
        wait = (has - self.slots + 1) / self.slots * self.pace
        return self.fit - load_weight * WAIT_SHARE * wait / (1 + wait)


@dataclass(slots=True)
class Task:
    """One task."""

    id: str
    requester: str
    offset_ms: int
    named: bool
    attempts: int
    parent: str
    impatient: bool
    """Whether its agent has only so long to take it."""
    excluded: tuple[str, ...] = ()
    score: int = 0
    """Its place in a queue; the clock is Redis' own, so this is read from there."""
    offered: list[str] = field(default_factory=list)
    """Agents that may take it out of its agent's queue."""
    refused: set[str] = field(default_factory=set)
    """Those of them that came for it and may not have it."""
    holders: list[str] = field(default_factory=list)
    agent: str = ""
    """Empty while it waits for one."""
    state: str = "submitted"
    attempt: int = 0
    ignored: bool = False
    """Its agent had the time to take it."""
    lease_passed: bool = False
    deadline_passed: bool = False
    answered_ms: int | None = None
    """When its answer was put into the queue; None when none waits there."""
    redelivered: bool = False
    asking: bool = False
    answer: str = ""
    outcome: str = ""
    said: str = ""
    """The result that came with it."""
    result: str = ""
    error: str = ""
    """Code."""
    progress: str = ""
    answered_step: str = ""
    passed: list[str] = field(default_factory=list)
    """Agents that did not take it in time."""
    rating: tuple[str, str] = ("", "")
    """Score and comment."""
    dialog: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    children: set[str] = field(default_factory=set)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def queued(self) -> bool:
        """Whether it waits in its agent's queue."""
        return bool(self.state == "submitted" and self.agent) or self.answered_ms is not None

    @property
    def place(self) -> tuple[int, str]:
        """Its order in a queue: answers first, unless a deadline was in the last century; then by score."""
        return self.score if self.answered_ms is None else self.answered_ms - ANSWERED_FIRST_MS, self.id

    def held_by(self, agent: str, attempt: int) -> bool:
        """Whether this attempt may still say something."""
        return self.state in ("working", "input_required") and (self.agent, self.attempt) == (agent, attempt)

    def note(self, what: str) -> None:
        self.history = [*self.history, what][-MAX_HISTORY:]

    def event(self, what: str, state: str = "", agent: str | None = None) -> Event:
        """That something happens to it, with the state that it goes into."""
        return Event(self.id, what, state or self.state, self.agent if agent is None else agent, self.attempt)


class Model:
    """The tasks and agents of one tenant."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        """Of idempotency: to task id and fingerprint."""
        self.asked: dict[str, list[str]] = {}
        """Of requesters: the tasks that they asked for by themselves, newest first."""
        self.slots: dict[str, int] = {}
        self.left: set[str] = set()
        """Who left by itself, and has not registered since."""
        """Of registered agents."""
        self.choosy: dict[str, str] = {}
        """Registered agents that take work from one requester only."""
        self.patience: set[str] = set()
        """Registered agents that said how long a task may wait for them."""
        self.present: dict[str, bool] = {}
        """Agents that count as seen, and whether that was lately."""
        self.orphans: set[str] = set()
        """Ended tasks whose children may not have ended."""
        self.events: list[Event] = []

    # What follows from the states.

    def queue(self, agent: str) -> list[Task]:
        """What waits for an agent, in order."""
        return sorted((task for task in self.tasks.values() if task.queued and task.agent == agent), key=_place)

    def queued(self, agent: str) -> Counter[str]:
        """How much of that is of each requester."""
        return Counter(task.requester for task in self.queue(agent))

    def offers(self, agent: str) -> list[Task]:
        """What waits for others and is offered to an agent, in order."""
        found = (task for task in self.tasks.values() if agent in task.offered and agent not in task.refused)
        return sorted(found, key=_place)

    def may_take(self, agent: str, task: Task) -> bool:
        """Whether it may have a task that waits for another one."""
        barred = task.named or agent in task.holders or agent in task.excluded
        return not barred and self.choosy.get(agent, task.requester) == task.requester

    def behind(self) -> set[str]:
        """What anybody may have, and waits behind other work of its agent."""
        return {task.id for task in self.expected() if self.waits_behind(task)}

    def waits_behind(self, task: Task) -> bool:
        """Whether a task in a queue has to wait for other work of its agent."""
        return bool(self.working(task.agent)) or self.queue(task.agent)[0] is not task

    def working(self, agent: str) -> set[str]:
        """What an agent works on."""
        return {task.id for task in self.tasks.values() if task.state == "working" and task.agent == agent}

    def loads(self) -> dict[str, int]:
        """How much each agent has to do; an answered task counts in both places."""
        counts: Counter[str] = Counter()
        for task in self.tasks.values():
            counts[task.agent] += task.queued + (task.state == "working")
        return {agent: count for agent, count in counts.items() if count}

    def asking(self, parent: str) -> set[str]:
        """Children that ask something, as their parent knows."""
        return {task.id for task in self.tasks.values() if task.parent == parent and task.asking}

    def unassigned(self) -> list[Task]:
        """What waits for an agent to be found."""
        return [task for task in self.tasks.values() if task.state == "submitted" and not task.agent]

    def expected(self) -> list[Task]:
        """What is passed on to another agent if its own does not take it in time."""
        return [task for task in self.tasks.values() if task.impatient and task.state == "submitted" and task.agent]

    def alive(self) -> Iterator[Task]:
        """Tasks that have not ended."""
        return (task for task in self.tasks.values() if not task.ended)

    # Those who ask.

    def create(
        self,
        task: Task,
        candidates: list[Candidate],
        load_weight: float,
        key: str,
        fingerprint: str,
        *,
        queue_cap: int,
        requester_cap: int,
    ) -> tuple[str, str, str, str, int, int]:
        """Outcome, task id, state, agent, how much the agent had to do before, and to how many others it is offered."""
        if same := self.tasks.get(task.id):
            return "known", same.id, same.state, same.agent, 0, 0
        if found := self.seen(key, fingerprint):
            return found
        if task.parent:
            parent = self.tasks.get(task.parent)
            if parent is None:
                return "no_parent", "", "", "", 0, 0
            if parent.ended:
                return "parent_ended", parent.id, parent.state, "", 0, 0
            task.deadline_passed = parent.deadline_passed
        if task.named and candidates[0].agent in self.left:
            return "left", "", "", candidates[0].agent, 0, 0
        here = [candidate for candidate in candidates if candidate.agent not in self.left]
        not_full = [candidate for candidate in here if len(self.queue(candidate.agent)) < queue_cap]
        open_ = [candidate for candidate in not_full if self.queued(candidate.agent)[task.requester] < requester_cap]
        if not not_full:
            return "full", "", "", candidates[0].agent, 0, 0
        if not open_:
            return "share", "", "", not_full[0].agent, 0, 0
        loads = {candidate.agent: self.loads().get(candidate.agent, 0) for candidate in candidates}
        best = max(open_, key=lambda c: c.worth(loads[c.agent], load_weight))
        if best.online and loads[best.agent] >= best.slots:
            free = [c for c in open_ if c.online and loads[c.agent] < c.slots and c.fit >= best.fit - NEAR]
            best = max(free, key=lambda c: c.worth(loads[c.agent], load_weight), default=best)
        task.agent = best.agent
        if not task.named and loads[best.agent]:
            task.offered = [c.agent for c in here if c is not best and c.fit >= best.fit - NEAR]
        if task.parent:
            self.tasks[task.parent].children.add(task.id)
        else:
            self.asked.setdefault(task.requester, []).insert(0, task.id)
        self.events.append(task.event("created"))
        task.note("created")
        self.tasks[task.id] = task
        if key:
            self.keys[key] = (task.id, fingerprint)
        self._waits(task)
        return "created", task.id, "submitted", task.agent, loads[task.agent], len(task.offered)

    def seen(self, key: str, fingerprint: str) -> tuple[str, str, str, str, int, int] | None:
        """What a key stands for."""
        id, was = self.keys.get(key, ("", ""))
        task = self.tasks.get(id)
        return ("known" if was == fingerprint else "other", id, task.state, task.agent, 0, 0) if task else None

    def answer(self, id: str, text: str, digest: str, place: int | None) -> list[str]:
        task = self.tasks.get(id)
        if task is None:
            return ["missing"]
        if task.state == "working" and task.answer == digest:
            return ["again", task.state, task.agent]
        if task.state != "input_required" or place not in (None, len(task.dialog)):
            return ["not_asked", task.state, task.agent]
        self.events.append(task.event("answered", "working"))
        task.state, task.answer, task.asking, task.lease_passed, task.answered_ms = "working", digest, False, False, 0
        task.dialog.append(text)
        task.note("answered")
        parent = self.tasks.get(task.parent)
        if parent is not None and not parent.ended:
            parent.answered_step = id
        self._waits(task)
        return ["answered", "working", task.agent]

    def cancel(self, id: str) -> list[str]:
        task = self.tasks.get(id)
        if task is None:
            return ["missing", "", ""]
        if task.ended:
            return ["ended", task.state, task.agent]
        self.events.append(task.event("cancelled", "cancelled"))
        self._finish(task, "cancelled", "cancelled", "cancelled")
        return ["cancelled", "cancelled", task.agent]

    def rate(self, id: str, score: str, comment: str) -> list[str]:
        task = self.tasks.get(id)
        if task is None:
            return ["missing", "", ""]
        told = [task.state, task.agent]
        if task.state not in ("completed", "failed"):
            return ["not_ended", *told]
        if task.agent not in task.holders:
            return ["nobody", *told]
        if task.rating == (score, comment):
            return ["again", *told]
        self.events.append(Event(id, "rated", agent=task.agent))
        task.rating = (score, comment)
        task.note("rated")
        return ["rated", *told]

    # Those who work.

    def claim(self, agent: str, *, unlimited: bool) -> tuple[Task | None, bool, str]:
        """The task that the agent gets, whether it has as many as it takes, and whose queue the task stood in, if not
        in its own."""
        full = not unlimited and len(self.working(agent)) >= self.slots.get(agent, DEFAULT_SLOTS)
        found: Task | None = None
        for task in self.queue(agent):
            if task.answered_ms is not None:
                task.answered_ms, task.redelivered, task.lease_passed = None, True, False
                self.events.append(task.event("claimed"))
                return task, False, ""
            if not full and not task.deadline_passed:
                found = task
                break
        for task in self.offers(agent) if agent in self.slots and not full else ():
            if found and found.score <= task.score:
                break
            if not self.may_take(agent, task):
                task.refused.add(agent)
            elif not task.deadline_passed:
                found = task
                break
        if found is None:
            return None, full, ""
        relieved = found.agent if found.agent != agent else ""
        found.state, found.agent, found.attempt = "working", agent, found.attempt + 1
        found.redelivered, found.lease_passed, found.progress = False, False, ""
        found.holders.append(agent)
        self._withdraw(found)
        self.events.append(found.event("claimed"))
        if relieved:
            found.note("passed_on")
        found.note("claimed")
        return found, False, relieved

    def offer(self, id: str, agent: str, attempt: int, desks: list[tuple[str, int]]) -> dict[str, int]:
        """Those that are offered it and have room, and how much they have to do."""
        task = self.tasks.get(id)
        if task is None or task.state != "submitted" or (task.agent, task.attempt) != (agent, attempt) or task.named:
            return {}
        if not self.waits_behind(task):
            return {}
        found = [(name, slots) for name, slots in desks if name != agent and name not in task.holders]
        task.offered += [name for name, _ in found if name not in task.offered]
        return {name: self.loads().get(name, 0) for name, slots in found if self.loads().get(name, 0) < slots}

    def give_back(self, id: str, agent: str, attempt: int) -> bool:
        task = self.tasks.get(id)
        if task is None or task.state != "working" or not task.held_by(agent, attempt):
            return False
        if task.redelivered:
            self.events.append(task.event("answered"))
            task.answered_ms = 0
        else:
            self.events.append(task.event("requeued", "submitted"))
            task.state, task.answered_ms = "submitted", None
            task.attempts += 1
            task.holders.pop()
            task.note("not_delivered")
        self._waits(task)
        return True

    def report(self, id: str, agent: str, attempt: int, progress: str, question: str) -> list[str]:
        """Outcome and state."""
        task = self.tasks.get(id)
        if task is None:
            return ["missing"]
        if not task.held_by(agent, attempt):
            return ["stale"]
        if question and len(task.dialog) >= MAX_DIALOG:
            return ["many_questions"]
        if task.state == "working":
            task.lease_passed = False
        if progress or question:
            state = "input_required" if question else task.state
            self.events.append(task.event("question" if question else "progress", state))
            task.note("question" if question else "progress")
            task.state, task.progress = state, progress or task.progress
        if question:
            if not (task.asking and task.dialog[-1] == question):
                task.dialog.append(question)
            task.answered_ms, task.asking = None, True
        return ["ok", task.state]

    def submit(self, id: str, agent: str, attempt: int, status: str, result: str) -> list[str]:
        """Outcome and state."""
        task = self.tasks.get(id)
        if task is None:
            return ["missing"]
        outcome = f"{attempt}:{agent}:{status}"
        if task.outcome == outcome:
            return ["again" if task.said == result else "kept", task.state]
        if not task.held_by(agent, attempt):
            return ["stale"]
        task.outcome, task.said = outcome, result
        if status == "declined" and not task.named and attempt < task.attempts:
            self._requeue(task, "declined")
            return ["requeued", "submitted"]
        state = "completed" if status == "completed" else "failed"
        self.events.append(task.event(state, state))
        task.result = result
        self._finish(task, state, "" if state == "completed" else status, status)
        return ["ended", state]

    # Time.

    def lapse(self, id: str) -> str:
        task = self.tasks.get(id)
        if task is None or task.state != "working" or not task.lease_passed:
            return ""
        if task.attempt >= task.attempts:
            self.events.append(task.event("failed", "failed"))
            self._finish(task, "failed", "attempts", "lease_lapsed")
            return "failed"
        self._requeue(task, "lease_lapsed")
        return "requeued"

    def expire(self, id: str) -> bool:
        task = self.tasks.get(id)
        if task is None or task.ended or not task.deadline_passed:
            return False
        self.events.append(task.event("failed", "failed"))
        self._finish(task, "failed", "deadline", "deadline")
        return True

    def assign(self, id: str, attempt: int, agent: str) -> bool:
        task = self.tasks.get(id)
        if task is None or task.state != "submitted" or task.agent or task.attempt != attempt:
            return False
        self.events.append(task.event("assigned", agent=agent))
        task.agent = agent
        task.note("assigned")
        self._waits(task)
        return True

    def pass_on(self, id: str, agent: str, attempt: int, successor: str) -> bool:
        task = self.tasks.get(id)
        if task not in self.expected() or not task.ignored or (task.agent, task.attempt) != (agent, attempt):
            return False
        if successor:
            self.events.append(task.event("passed_on", agent=successor))
            task.passed.append(agent)
            task.agent = successor
            self._withdraw(task)
            task.note("passed_on")
        self._waits(task)
        return bool(successor)

    def fail(self, id: str, attempt: int) -> bool:
        task = self.tasks.get(id)
        if task is None or task.state != "submitted" or task.agent or task.attempt != attempt:
            return False
        self.events.append(task.event("failed", "failed"))
        self._finish(task, "failed", "unroutable", "failed")
        return True

    def turn_away(self, id: str, agent: str) -> bool:
        task = self.tasks.get(id)
        if self.present.get(agent) or task is None or task.state != "submitted" or task.agent != agent:
            return False
        self._requeue(task, "agent_left")
        return True

    def forget_record(self, id: str) -> None:
        """An ended task's time of being kept is over."""
        del self.tasks[id]

    # Agents.

    def register(self, agent: str, slots: int, *, patient: bool, accepts: str) -> None:
        self.events.append(Event(agent, "registered", agent=agent))
        self.slots[agent], self.present[agent] = slots, True
        self.left.discard(agent)
        self.patience.discard(agent)
        self.choosy.pop(agent, None)
        if patient:
            self.patience.add(agent)
        if accepts:
            self.choosy[agent] = accepts

    def see(self, agent: str) -> None:
        if agent not in self.present and agent in self.slots:
            self.events.append(Event(agent, "online", agent=agent))
        self.present[agent] = True

    def go_offline(self, agent: str) -> None:
        if self.present.get(agent) is not False:
            return
        if agent in self.slots:
            self.events.append(Event(agent, "offline", agent=agent))
        del self.present[agent]

    def depart(self, agent: str) -> None:
        """As a guest departs."""
        if self.present.get(agent) is not False:
            return
        if self.leave_network(agent):
            self.left.discard(agent)
        if not any(task.state == "submitted" for task in self.queue(agent)):
            del self.present[agent]

    def leave_network(self, agent: str) -> bool:
        if agent not in self.slots:
            return False
        self.events.append(Event(agent, "left", agent=agent))
        del self.slots[agent]
        self.choosy.pop(agent, None)
        self.patience.discard(agent)
        self.left.add(agent)
        return True

    # What changes have in common.

    def _waits(self, task: Task) -> None:
        task.ignored = False
        if task.agent.startswith(GUEST):
            self.present.setdefault(task.agent, False)

    def _withdraw(self, task: Task) -> None:
        task.offered, task.refused = [], set()

    def _requeue(self, task: Task, why: str) -> None:
        self._withdraw(task)
        self.events.append(task.event("requeued", "submitted"))
        task.state, task.agent, task.answered_ms, task.asking = "submitted", "", None, False
        task.note(why)

    def _finish(self, task: Task, state: str, error: str, what: str) -> None:
        self._withdraw(task)
        task.state, task.error, task.answered_ms, task.asking = state, error, None, False
        if task.children:
            self.orphans.add(task.id)
        task.note(what)


def _place(task: Task) -> tuple[int, str]:
    return task.place
