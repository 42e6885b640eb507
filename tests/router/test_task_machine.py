"""The Lua scripts of tasks beside a model in plain Python: whatever happens in whatever order, both agree."""

import asyncio
import itertools
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from redis.asyncio import Redis

from aicp_common.store import key
from aicp_router.agents import agent_scripts
from aicp_router.agents.profile import GUEST_PREFIX
from aicp_router.tasks import offer_scripts, request_scripts, sweep_scripts, work_scripts
from aicp_router.tasks.request_scripts import Created, NewTask, candidate
from tests.router.chaos.stored import Stored, read_all
from tests.router.chaos.task_model import DEFAULT_SLOTS, OFFSET_MS, Candidate, Model, Task
from tests.support.machines import run_machine

EXAMPLES = int(os.environ.get("TASK_MACHINE_EXAMPLES", "80"))
STEPS = 60

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., None])

TENANT = "machine"
AGENTS = ("ann", "bob", "guest-1")
REQUESTERS = ("rita", "rob")
QUEUE_CAP = 4
REQUESTER_CAP = 3
CAPS = {"queue_cap": QUEUE_CAP, "requester_cap": REQUESTER_CAP}
FAR_MS = 10_000_000
"""So far away that it does not come in a test."""
NEAR_MS = 300_000
"""Neither does this one, but it is sooner than what is not urgent would have its turn."""
RATED = ("rating", "rating_comment", "ratings", "updated_ms")
"""Fields of an ended task that its requester may still change."""
RETENTION_MS = FAR_MS
ONLINE_MS = FAR_MS

agents = st.sampled_from(AGENTS)
candidates = st.lists(
    st.builds(
        Candidate,
        agents,
        st.sampled_from([0.25, 0.5, 0.75]),
        st.integers(1, 3),
        st.sampled_from([0.5, 2.0]),
        st.booleans(),
    ),
    min_size=1,
    max_size=len(AGENTS),
    unique_by=lambda candidate: candidate.agent,
)


@dataclass(frozen=True, slots=True)
class Order:
    """What a requester wants."""

    requester: str
    candidates: list[Candidate]
    load_weight: float
    excluded: tuple[str, ...]
    deadline_ms: int
    priority: str
    named: bool
    attempts: int
    impatient: bool
    idempotency: str
    fingerprint: str


orders = st.builds(
    Order,
    requester=st.sampled_from(REQUESTERS),
    candidates=candidates,
    load_weight=st.sampled_from([0.0, 0.1, 0.3]),
    excluded=st.sampled_from([(), (), ("ann",)]),
    deadline_ms=st.sampled_from([FAR_MS, FAR_MS, NEAR_MS]),
    priority=st.sampled_from(sorted(OFFSET_MS)),
    named=st.sampled_from([False, False, True]),
    attempts=st.integers(1, 3),
    impatient=st.booleans(),
    idempotency=st.sampled_from(["", "", "", "k1", "k2"]),
    fingerprint=st.sampled_from(["f1", "f1", "f2"]),
)


def _some(*states: str) -> st.SearchStrategy[str]:
    """The id of a task: mostly of one in these states, now and then of any or of none."""

    def ids(machine: "TaskMachine") -> st.SearchStrategy[str]:
        found = [task.id for task in machine.model.tasks.values() if task.state in states]
        others = st.sampled_from([*machine.model.tasks, "t-none"])
        return st.one_of(*[st.sampled_from(found)] * 6, others) if found else others

    return st.runner().flatmap(ids)


def _held(*states: str) -> st.SearchStrategy[tuple[str, str, int]]:
    """A task with an agent and an attempt: mostly those that it has, now and then wrong ones."""

    def claim(machine: "TaskMachine", id: str) -> st.SearchStrategy[tuple[str, str, int]]:
        task = machine.model.tasks.get(id)
        agent, attempt = (task.agent, task.attempt) if task else ("ann", 1)
        right = st.just((id, agent or "ann", attempt))
        wrong = st.tuples(st.just(id), agents, st.integers(max(attempt - 1, 0), attempt + 1))
        return st.one_of(right, right, right, wrong)

    return st.runner().flatmap(lambda machine: _some(*states).flatmap(lambda id: claim(machine, id)))


def _unassigned() -> st.SearchStrategy[tuple[str, int]]:
    """A task, mostly one that waits for an agent, and the attempt that somebody has read."""

    def ids(machine: "TaskMachine") -> st.SearchStrategy[tuple[str, int]]:
        found = [(task.id, task.attempt) for task in machine.model.unassigned()]
        others = st.tuples(_some("submitted"), st.integers(0, 2))
        return st.one_of(*[st.sampled_from(found)] * 3, others) if found else others

    return st.runner().flatmap(ids)


def _waited_for() -> st.SearchStrategy[str]:
    """An agent: mostly one that something waits for."""

    def names(machine: "TaskMachine") -> st.SearchStrategy[str]:
        found = sorted({task.agent for task in machine.model.tasks.values() if task.queued})
        return st.one_of(*[st.sampled_from(found)] * 6, agents) if found else agents

    return st.runner().flatmap(names)


def _when(*states: str) -> Callable[[F], F]:
    """For rules that need a task in one of these states."""
    return precondition(lambda machine: any(task.state in states for task in machine.model.tasks.values()))


_when_unassigned = precondition(lambda machine: bool(machine.model.unassigned()))


class TaskMachine(RuleBasedStateMachine):
    """Changes of every kind, in any order; after each of them Redis holds what the model says, and nothing else."""

    def __init__(self, redis: Redis, runner: asyncio.Runner) -> None:
        super().__init__()
        self.redis = redis
        self.runner = runner
        self.model = Model()
        self.numbers = itertools.count(1)
        self.ends: dict[str, dict[str, str]] = {}
        """The fields of tasks when they had ended, without those that change with a rating."""
        self.run(redis.flushall())

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    def waits_since(self, task: Task) -> None:
        """Tell the model when an answer was put into the queue: the clock is Redis' own."""
        if task.answered_ms is not None:
            found = self.run(self.redis.hget(key(TENANT, "task", task.id), "updated_ms"))
            task.answered_ms = int(found or 0)

    # Those who ask.

    @initialize(
        several=st.lists(orders, min_size=2, max_size=5),
        family=st.booleans(),
        claimed=st.integers(0, 4),
        asked=st.integers(0, 4),
    )
    def begin(self, several: list[Order], family: bool, claimed: int, asked: int) -> None:
        """Tasks in different states, so that most steps have something to change; maybe steps of the first of them."""
        for order in several:
            self.create(order, next(iter(self.model.tasks), "") if family else "", again=False)
        for task in [task for task in self.model.tasks.values() if task.queued][:claimed]:
            self.claim(task.agent, unlimited=True)
        for task in [task for task in self.model.tasks.values() if task.state == "working"][:asked]:
            self.report((task.id, task.agent, task.attempt), "", "which?")

    @rule(order=orders, parent=st.one_of(st.just(""), _some("working")), again=st.sampled_from([False] * 4 + [True]))
    def create(self, order: Order, parent: str, again: bool) -> None:
        id = next(iter(self.model.tasks)) if again and self.model.tasks else f"t-{next(self.numbers):04}"
        offset_ms, parent = OFFSET_MS[order.priority], "" if parent == id else parent
        task = Task(
            id, order.requester, offset_ms, order.named, order.attempts, parent, order.impatient, order.excluded
        )
        new = NewTask(
            task_id=id,
            kind="task",
            requester=task.requester,
            user=task.requester,
            scopes="[]",
            message="please",
            priority=order.priority,
            capabilities="[]",
            candidates=" ".join(candidate(c.agent, c.fit, c.slots, c.pace, online=c.online) for c in order.candidates),
            load_weight=order.load_weight,
            excluded=json.dumps(task.excluded),
            named=int(task.named),
            attempts=task.attempts,
            react_ms=FAR_MS if task.impatient else 0,
            lease_ms=FAR_MS,
            deadline_in_ms=order.deadline_ms,
            offset_ms=task.offset_ms,
            about='{"kind":"task"}',
            traceparent="",
            idempotency=order.idempotency,
            fingerprint=order.fingerprint,
            parent=task.parent,
        )
        found = self.model.seen(order.idempotency, order.fingerprint)
        seen = self.run(request_scripts.seen(self.redis, TENANT, order.idempotency, order.fingerprint))
        assert seen == (Created(*found) if found else None)
        expected = self.model.create(
            task, order.candidates, order.load_weight, order.idempotency, order.fingerprint, **CAPS
        )
        made = self.run(request_scripts.create(self.redis, TENANT, new, retention_ms=RETENTION_MS, **CAPS))
        assert made == Created(*expected)
        if made.outcome == "created":
            record = key(TENANT, "task", id)
            times = self.run(self.redis.hmget(record, ["created_ms", "deadline_ms", "score"]))
            created_ms, deadline_ms, task.score = (int(time or 0) for time in times)
            assert task.score == min(created_ms + task.offset_ms, deadline_ms)
            assert deadline_ms <= max(created_ms + order.deadline_ms, 1)

    @_when("input_required")
    @rule(id=_some("input_required"), text=st.sampled_from(["yes", "no"]), late=st.sampled_from([None, None, 0, 1]))
    def answer(self, id: str, text: str, late: int | None) -> None:
        task = self.model.tasks.get(id)
        digest = f"{len(task.dialog) if task and task.state == 'input_required' else 1}{text}"
        place = None if late is None else (len(task.dialog) if task else 1) - late
        expected = self.model.answer(id, text, digest, place)
        told = self.run(
            request_scripts.answer(
                self.redis, TENANT, task_id=id, entry=text, digest=digest, place=place, by="rita", traceparent=""
            )
        )
        assert told == expected
        if task:
            self.waits_since(task)

    # Those who work.

    @_when("submitted", "working")
    @rule(agent=_waited_for(), unlimited=st.sampled_from([False, False, True]))
    def claim(self, agent: str, unlimited: bool) -> None:
        registered = agent in self.model.slots
        task, full, relieved = self.model.claim(agent, unlimited=unlimited)
        got = self.run(
            work_scripts.claim(
                self.redis,
                TENANT,
                agent=agent,
                unlimited=unlimited,
                default_slots=DEFAULT_SLOTS,
                traceparent="",
            )
        )
        assert (got.task_id, got.full, got.registered) == (task.id if task else "", full, registered)
        assert got.relieved == relieved
        assert got.waiting == len(self.model.queue(agent))
        if task:
            assert (got.fields["agent"], int(got.fields["attempt"])) == (agent, task.attempt)
            assert got.dialog == task.dialog

    @_when("submitted")
    @rule(
        id=_some("submitted"),
        desks=st.lists(st.tuples(agents, st.integers(1, 3)), max_size=len(AGENTS), unique_by=lambda desk: desk[0]),
        right=st.sampled_from([True, True, False]),
    )
    def offer(self, id: str, desks: list[tuple[str, int]], right: bool) -> None:
        task = self.model.tasks.get(id)
        agent = task.agent if task and task.agent and right else "ann"
        attempt = task.attempt if task and right else 1
        told = self.run(offer_scripts.offer(self.redis, TENANT, task_id=id, agent=agent, attempt=attempt, desks=desks))
        assert told == self.model.offer(id, agent, attempt, desks)
        behind = self.run(offer_scripts.behind(self.redis, TENANT, start=0.5, limit=100))
        assert set(behind) == self.model.behind()

    @_when("working")
    @rule(held=_held("working"))
    def give_back(self, held: tuple[str, str, int]) -> None:
        id, agent, attempt = held
        expected = self.model.give_back(id, agent, attempt)
        assert (
            self.run(work_scripts.give_back(self.redis, TENANT, task_id=id, agent=agent, attempt=attempt)) == expected
        )
        if expected:
            self.waits_since(self.model.tasks[id])

    @_when("working", "input_required")
    @rule(
        held=_held("working", "input_required"),
        progress=st.sampled_from(["", "0.5"]),
        question=st.sampled_from(["", "which?", "when?"]),
    )
    def report(self, held: tuple[str, str, int], progress: str, question: str) -> None:
        id, agent, attempt = held
        parent = task.parent if (task := self.model.tasks.get(id)) and question else ""
        expected = self.model.report(id, agent, attempt, progress, question)
        told = self.run(
            work_scripts.report(
                self.redis,
                TENANT,
                task_id=id,
                agent=agent,
                attempt=attempt,
                progress=progress,
                message="",
                question=question,
                entry=question,
                text="",
                traceparent="",
            )
        )
        assert told[:2] == expected
        if expected[0] == "ok":
            assert bool(told[2]) == (expected[1] == "working")
            assert told[3] == parent

    @_when("working", "input_required")
    @rule(
        held=_held("working", "input_required"),
        status=st.sampled_from(["completed", "failed", "declined"]),
        result=st.sampled_from(['"this"', '"that"']),
    )
    def submit(self, held: tuple[str, str, int], status: str, result: str) -> None:
        id, agent, attempt = held
        expected = self.model.submit(id, agent, attempt, status, result)
        told = self.run(
            work_scripts.submit(
                self.redis,
                TENANT,
                task_id=id,
                agent=agent,
                attempt=attempt,
                status=status,
                result=result,
                text=status,
                reason="",
                grace_ms=0,
                retention_ms=RETENTION_MS,
                traceparent="",
            )
        )
        assert [told.outcome, *filter(None, [told.state])] == expected
        if told.state:
            assert told.waiting == len(self.model.queue(agent))

    @precondition(lambda self: any(task.outcome for task in self.model.tasks.values()))
    @rule(data=st.data())
    def submit_again(self, data: st.DataObject) -> None:
        """As a worker does that did not hear the answer."""
        said = [(task.id, task.outcome) for task in self.model.tasks.values() if task.outcome]
        id, outcome = data.draw(st.sampled_from(said))
        attempt, agent, status = outcome.split(":")
        result = data.draw(st.sampled_from([self.model.tasks[id].said, '"other words"']))
        self.submit((id, agent, int(attempt)), status, result)

    # Time.

    @_when("working")
    @rule(
        id=_some("working"), passes=st.sampled_from([True, True, False]), is_swept=st.sampled_from([True, True, False])
    )
    def lease(self, id: str, passes: bool, is_swept: bool) -> None:
        task = self.model.tasks.get(id)
        if passes and task and task.state == "working":
            task.lease_passed = True
            self.run(self.redis.hset(key(TENANT, "task", id), "lease_until_ms", 1))
            self.run(self.redis.zadd(key(TENANT, "leases"), {id: 1}))
        self.what_is_due_is_found()
        if is_swept:
            told = self.run(sweep_scripts.lapse(self.redis, TENANT, task_id=id, grace_ms=0, retention_ms=RETENTION_MS))
            assert told == self.model.lapse(id)

    @_when("submitted", "working", "input_required")
    @rule(id=_some("submitted", "working", "input_required"), passes=st.booleans(), is_swept=st.booleans())
    def deadline(self, id: str, passes: bool, is_swept: bool) -> None:
        task = self.model.tasks.get(id)
        if passes and task and not task.ended:
            task.deadline_passed = True
            self.run(self.redis.hset(key(TENANT, "task", id), "deadline_ms", 1))
            self.run(self.redis.zadd(key(TENANT, "deadlines"), {id: 1}))
        self.what_is_due_is_found()
        if is_swept:
            told = self.run(sweep_scripts.expire(self.redis, TENANT, task_id=id, retention_ms=RETENTION_MS))
            assert told == self.model.expire(id)

    def what_is_due_is_found(self) -> None:
        due = self.run(sweep_scripts.due(self.redis, TENANT, limit=100, online_ms=ONLINE_MS, retention_ms=RETENTION_MS))
        tasks = self.model.tasks.values()
        assert set(due.leases) == {task.id for task in tasks if task.state == "working" and task.lease_passed}
        assert set(due.deadlines) == {task.id for task in tasks if not task.ended and task.deadline_passed}
        assert set(due.ignored) == {task.id for task in self.model.expected() if task.ignored}
        assert set(due.unassigned) == {task.id for task in self.model.unassigned()}
        assert set(due.orphans) == self.model.orphans
        assert set(due.away) == {agent for agent, lately in self.model.present.items() if not lately}

    @precondition(lambda self: self.model.expected())
    @rule(data=st.data(), passes=st.sampled_from([True, True, False]), successor=st.sampled_from([*AGENTS, ""]))
    def time_to_react(self, data: st.DataObject, passes: bool, successor: str) -> None:
        task = data.draw(st.sampled_from(self.model.expected()))
        if passes:
            task.ignored = True
            self.run(self.redis.zadd(key(TENANT, "reacts"), {task.id: 1}))
        self.what_is_due_is_found()
        agent = data.draw(st.one_of(st.just(task.agent), agents))
        attempt = data.draw(st.sampled_from([task.attempt] * 3 + [task.attempt + 1]))
        expected = self.model.pass_on(task.id, agent, attempt, successor)
        told = self.run(
            sweep_scripts.pass_on(
                self.redis, TENANT, task_id=task.id, agent=agent, attempt=attempt, successor=successor
            )
        )
        assert told == expected

    @_when_unassigned
    @rule(read=_unassigned(), agent=agents)
    def assign(self, read: tuple[str, int], agent: str) -> None:
        id, attempt = read
        told = self.run(sweep_scripts.assign(self.redis, TENANT, task_id=id, attempt=attempt, agent=agent))
        assert told == self.model.assign(id, attempt, agent)

    @_when("submitted")
    @rule(id=_some("submitted"), agent=agents, right=st.booleans())
    def turn_away(self, id: str, agent: str, right: bool) -> None:
        task = self.model.tasks.get(id)
        agent = task.agent if right and task and task.agent else agent
        expected = self.model.turn_away(id, agent)
        told = self.run(
            sweep_scripts.turn_away(
                self.redis, TENANT, task_id=id, agent=agent, online_ms=ONLINE_MS, text="left", grace_ms=0
            )
        )
        assert told == expected

    @_when("completed", "failed")
    @rule(id=_some("completed", "failed"), score=st.sampled_from([-1, 0.5]), comment=st.sampled_from(["", "good"]))
    def rate(self, id: str, score: float, comment: str) -> None:
        told = self.run(
            request_scripts.rate(
                self.redis, TENANT, task_id=id, score=score, comment=comment, by="rita", traceparent=""
            )
        )
        assert told == self.model.rate(id, f"{score:g}", comment)

    # Ends, all in one rule: tasks that end early try nothing else.

    @rule(data=st.data(), how=st.sampled_from(["cancel", "cancel", "fail", "drop", "settle", "forget"]))
    def end(self, data: st.DataObject, how: str) -> None:
        ended = _some("completed", "failed", "cancelled")
        if how == "cancel":
            self._cancel(data.draw(_some("submitted", "working", "input_required")))
        elif how == "fail":
            self._fail(*data.draw(_unassigned()))
        elif how == "drop":
            self.run(sweep_scripts.drop_unassigned(self.redis, TENANT, data.draw(ended)))
        elif how == "settle":
            id = data.draw(ended)
            self.run(sweep_scripts.settle_orphans(self.redis, TENANT, id))
            self.model.orphans.discard(id)
        elif self.ends:
            self._forget(data.draw(st.sampled_from(sorted(self.ends))))

    def _cancel(self, id: str) -> None:
        told = self.run(
            request_scripts.cancel(
                self.redis,
                TENANT,
                task_id=id,
                by="rita",
                text="rita cancelled it",
                reason="",
                retention_ms=RETENTION_MS,
                traceparent="",
            )
        )
        assert told == self.model.cancel(id)

    def _fail(self, id: str, attempt: int) -> None:
        told = self.run(
            sweep_scripts.fail(
                self.redis,
                TENANT,
                task_id=id,
                attempt=attempt,
                code="unroutable",
                text="nobody",
                retention_ms=RETENTION_MS,
            )
        )
        assert told == self.model.fail(id, attempt)

    def _forget(self, id: str) -> None:
        """Redis drops a record whose time is over; what knows of the task has to bear it."""
        del self.ends[id]
        self.model.forget_record(id)
        parts = [(), ("history",), ("dialog",), ("children",), ("asking",)]
        self.run(self.redis.delete(*(key(TENANT, "task", id, *part) for part in parts)))

    # Agents.

    @rule(
        agent=agents,
        what=st.sampled_from(
            [
                *("registers", "registers_patiently", "registers_for_one"),
                *("is_seen", "goes_away", "is_called_away", "leaves"),
            ]
        ),
    )
    def something_happens_to(self, agent: str, what: str) -> None:
        changes: dict[str, Callable[[str], None]] = {
            "registers": partial(self._registers, react_ms=None),
            "registers_patiently": partial(self._registers, react_ms=FAR_MS),
            "registers_for_one": partial(self._registers, react_ms=None, accepts=REQUESTERS[0]),
            "is_seen": self._is_seen,
            "goes_away": self._goes_away,
            "is_called_away": self._is_called_away,
            "leaves": self._leaves,
        }
        changes[what](agent)

    def _registers(self, agent: str, react_ms: int | None, accepts: str = "") -> None:
        self.model.register(agent, 3, patient=react_ms is not None, accepts=accepts)
        data = json.dumps({"agent": agent})
        assert self.run(
            agent_scripts.register(
                self.redis,
                TENANT,
                agent=agent,
                profile=json.dumps({"accept_from": [accepts]} if accepts else {}),
                slots=3,
                react_ms=react_ms,
                cap=100,
                data=data,
                traceparent="",
            )
        )

    def _is_seen(self, agent: str) -> None:
        self.model.see(agent)
        self.run(agent_scripts.see(self.redis, TENANT, [agent]))

    def _goes_away(self, agent: str) -> None:
        """Nothing was heard of it for a while."""
        if agent in self.model.present:
            self.model.present[agent] = False
            self.run(self.redis.zadd(key(TENANT, "presence"), {agent: 1}))

    def _is_called_away(self, agent: str) -> None:
        if agent.startswith(GUEST_PREFIX):
            self.model.depart(agent)
            self.run(agent_scripts.depart(self.redis, TENANT, agent=agent, online_ms=ONLINE_MS))
        else:
            self.model.go_offline(agent)
            self.run(agent_scripts.go_offline(self.redis, TENANT, agent=agent, online_ms=ONLINE_MS))

    def _leaves(self, agent: str) -> None:
        told = self.run(agent_scripts.leave_network(self.redis, TENANT, agent=agent, traceparent=""))
        assert told == self.model.leave_network(agent)

    # What holds after each step.

    @invariant()
    def redis_holds_what_the_model_says(self) -> None:
        stored = self.run(read_all(self.redis, TENANT))
        self._events(stored)
        for task in self.model.tasks.values():
            self._record(stored, task)
        self._places(stored)
        self._agents(stored)
        self._nothing_else(stored)

    def _events(self, stored: Stored) -> None:
        assert stored.events() == self.model.events
        self.model.events.clear()

    def _record(self, stored: Stored, task: Task) -> None:
        name = f"task:{task.id}"
        fields = stored.fields(name)
        assert (fields["state"], fields["agent"], int(fields["attempt"]), int(fields["attempts"])) == (
            task.state,
            task.agent,
            task.attempt,
            task.attempts,
        )
        assert fields.get("result", "") == task.result
        assert fields.get("error_code", "") == task.error
        assert fields.get("outcome", "") == task.outcome
        assert fields.get("progress", "") == task.progress
        assert fields.get("answered_step", "") == task.answered_step
        assert ("question" in fields) == task.asking
        history = stored.entries(f"{name}:history")
        assert [json.loads(entry)["what"] for entry in history] == task.history
        dialog = stored.entries(f"{name}:dialog")
        assert dialog == task.dialog
        assert stored.members(f"{name}:children") == task.children
        assert (fields.get("rating", ""), fields.get("rating_comment", "")) == task.rating
        assert fields.get("passed", "") == ",".join(task.passed)
        assert fields.get("offered", "") == " ".join(task.offered)
        assert fields.get("holders", "") == ",".join(task.holders)
        if not task.ended:
            assert stored.members(f"{name}:asking") == self.model.asking(task.id)
            assert stored.lifetimes[name] == -1
            return
        lasting = {name: value for name, value in fields.items() if name not in RATED}
        assert self.ends.setdefault(task.id, lasting) == lasting
        # A step is kept for as long as the whole, which may be gone by now, can have needed it.
        longest = RETENTION_MS + (FAR_MS if fields["parent"] else 0)
        for part in stored.kinds:
            if part == name or part.startswith(f"{name}:"):
                assert 0 < stored.lifetimes[part] <= longest, part

    def _places(self, stored: Stored) -> None:
        model = self.model
        alive = list(model.alive())
        for agent in AGENTS:
            assert list(stored.scores(f"queue:{agent}")) == [task.id for task in model.queue(agent)]
            queued = {name: int(count) for name, count in stored.fields(f"queued:{agent}").items()}
            assert queued == model.queued(agent)
            assert stored.members(f"working:{agent}") == model.working(agent)
            assert list(stored.scores(f"offers:{agent}")) == [task.id for task in model.offers(agent)]
        assert stored.fields("loads") == {agent: str(load) for agent, load in model.loads().items()}
        leases = stored.scores("leases")
        assert set(leases) == {task.id for task in alive if task.state == "working"}
        deadlines = stored.scores("deadlines")
        assert set(deadlines) == {task.id for task in alive}
        for task in model.tasks.values():
            fields = stored.fields(f"task:{task.id}")
            assert leases.get(task.id) == (float(fields["lease_until_ms"]) if "lease_until_ms" in fields else None)
            assert deadlines.get(task.id) == (None if task.ended else float(fields["deadline_ms"]))
            if task.id in leases:
                assert (leases[task.id] == 1) == task.lease_passed
        reacts = stored.scores("reacts")
        assert {id: score == 1 for id, score in reacts.items()} == {task.id: task.ignored for task in model.expected()}
        assert set(stored.scores("unassigned")) == {task.id for task in model.unassigned()}
        assert set(stored.scores("orphans")) == model.orphans
        assert {name: stored.entries(f"asked:{name}") for name in stored.named("asked:")} == model.asked

    def _agents(self, stored: Stored) -> None:
        assert {agent: int(slots) for agent, slots in stored.fields("slots").items()} == self.model.slots
        assert set(stored.fields("patience")) == self.model.patience
        assert set(stored.fields("agents")) == set(self.model.slots)
        assert {agent: score > 1 for agent, score in stored.scores("presence").items()} == self.model.present

    def _nothing_else(self, stored: Stored) -> None:
        """No queue of an agent that is not there, no part of a task that is not there."""
        for part in ("queue", "queued", "working", "offers"):
            assert stored.named(f"{part}:") <= set(AGENTS)
        assert {name.partition(":")[0] for name in stored.named("task:")} == set(self.model.tasks)
        known = {"task", "queue", "working", "asked", "idem", "loads", "leases", "deadlines", "unassigned", "orphans"}
        known |= {"slots", "patience", "agents", "presence", "seen", "reacts", "outbox", "outcomes", "offers"}
        known |= {"turns", "learned", "left", "queued"}
        assert {name.partition(":")[0] for name in stored.kinds} <= known


@pytest.mark.slow
def test_the_scripts_of_tasks_do_what_the_model_does_in_any_order(redis_url: str) -> None:
    run_machine(TaskMachine, redis_url, examples=EXAMPLES, steps=STEPS)
