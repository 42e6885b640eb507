"""Dispatch: from a message to a task in an agent's queue, and from an agent that gave it up to the next one."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from aicp_common import subjects
from aicp_common.envelope import Envelope, encode_json
from aicp_common.errors import Busy, Conflict, Forbidden, NotFound
from aicp_common.ids import RESERVED_AGENTS, digest, new_id
from aicp_common.service import Service
from aicp_router.agents.picture import Picture
from aicp_router.agents.profile import is_guest
from aicp_router.agents.registry import Registry
from aicp_router.clock import now_ms
from aicp_router.matching.scoring import Match
from aicp_router.settings import RouterSettings
from aicp_router.tasks import request_scripts, sweep_scripts, task_scripts
from aicp_router.tasks.arguments import MAX_ANSWER_BYTES, bounded_json
from aicp_router.tasks.choice import Choice, Nearest, Why, choices, named, nearest, why, why_nobody
from aicp_router.tasks.desk import pick
from aicp_router.tasks.metrics import TASKS
from aicp_router.tasks.offers import PICTURE_S, Offers
from aicp_router.tasks.record import ID_STEM, QUEUE_OFFSET_MS, Kind, Priority, Record, State, no_such_task
from aicp_router.tasks.request_scripts import Created, NewTask, candidate
from aicp_router.tasks.turns import SPREAD_MS
from aicp_router.tasks.wishes import wish_for, wish_of

CLAIMED = "claimed "
"""How the signal begins that says no more than that somebody has taken a task."""

ORCHESTRATOR = "orchestrator"
"""The hub's own worker: it needs no profile, takes work from everybody and as much as there is."""

COLLABORATION_ATTEMPTS = 1_000
"""An orchestrator that is killed loses its leases. That is no fault of the collaborations: only one that kills its
worker each time is given up, some hours later."""

_TRIES = 8
"""Among how many agents the script that writes a task chooses."""


@dataclass(frozen=True, slots=True)
class Order:
    """A message that is to become a task, its arguments checked."""

    message: str
    task_id: str = ""
    """Of the task that it will be; empty for a new one."""
    capabilities: Sequence[str] = ()
    agent: str = ""
    """Whom the requester named; empty when the router chooses."""
    context: str = ""
    """JSON object, inline."""
    keys: Sequence[str] = ()
    """Of the shared context."""
    priority: Priority = "normal"
    deadline_s: float = 86_400.0
    kind: Kind = "task"
    input: str = ""
    """JSON."""
    excluded: Sequence[str] = ()
    parent: str = ""
    step: str = ""
    lease_s: float | None = None
    idempotency: str = ""
    """Digest of the key with all that it is valid for."""
    fingerprint: str = ""
    may_name_itself: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """What became of an order: a task, or nobody who could do it."""

    task_id: str = ""
    state: str = ""
    agent: str = ""
    online: bool = False
    created: bool = False
    why: Why | None = None
    reason: str = ""
    """Why there is no task."""
    nearest: list[Nearest] = field(default_factory=list)


class Dispatch:
    """Writes tasks and says so on the bus."""

    def __init__(self, service: Service[RouterSettings], registry: Registry) -> None:
        settings = service.settings
        self.redis = service.redis
        self.registry = registry
        self.settings = settings
        self.retention_ms = int(settings.task_retention_s * 1000)
        self._bus = service.bus
        self._waiters = service.waiters
        self._rng = random.Random()  # noqa: S311 - no secret
        self._tenants = service.tenants
        if registry.semantics.wanted:
            service.background("embeddings", registry.embed)
        service.also_check(registry.check)
        self.offers = Offers(self.redis, registry, self.say_work)

    async def read(self, tenant: str, task_id: str) -> Record | None:
        """The task, or None."""
        return Record.of(task_id, await task_scripts.read(self.redis, tenant, task_id))

    async def say_changed(
        self,
        tenant: str,
        task_id: str,
        traceparent: str = "",
        *,
        claimed: bool = False,
        ended: Record | None = None,
    ) -> None:
        """Wake those who wait for this task.

        Args:
            tenant: Whose.
            task_id: Of the task.
            traceparent: Of what changed it.
            claimed: It was only claimed: few have to look.
            ended: The task, without history and dialog, when it has ended and is at hand.
        """
        if claimed:
            self.offers.claimed(tenant, task_id)
        said = f"{CLAIMED if claimed else ''}{traceparent}"
        self._waiters.tell(self._bus, subjects.task(tenant, task_id), said, ended)

    async def say_work(self, tenant: str, agent: str, traceparent: str = "") -> None:
        """Wake this agent."""
        self._waiters.tell(self._bus, subjects.agent(tenant, agent), traceparent)

    async def open(self, envelope: Envelope, order: Order) -> Opened:
        """Make a task of `order` in the name of the envelope's principal and put it into an agent's queue.

        Raises:
            NotFound: the named agent or the parent is not there.
            Forbidden: the named agent does not take work from the requester.
            Conflict: the idempotency key stands for something else, or the parent has ended.
            Busy: the queues of all who could do it are full, or have as many tasks of the requester as they take.
            InvalidArgument: the requester named itself.
        """
        tenant = envelope.principal.tenant
        await self._tenants.remember(tenant)
        if order.agent in RESERVED_AGENTS:
            if order.agent != ORCHESTRATOR or order.kind != "collaboration":
                raise NotFound(f"{order.agent!r} is a part of the hub and takes no tasks")
            choice = [Choice(ORCHESTRATOR, True, None)]
        else:
            agents = await self.registry.agents(tenant, max_age_s=PICTURE_S)
            choice, matches = await self._choose(envelope, order, agents)
            if not choice or not any(one.online for one in choice):
                # Whoever is missing may have come just now.
                agents = await self.registry.agents(tenant)
                choice, matches = await self._choose(envelope, order, agents)
            if order.agent and not choice:
                known = await self._known_before(tenant, order, agents)
                if known is not None:
                    return known
                choice = [named(envelope.principal.agent, agents, order.agent, may_name_itself=order.may_name_itself)]
            if not choice:
                return await self._nobody(tenant, order, matches, agents)
        return await self._create(envelope, order, choice[:_TRIES])

    async def _choose(self, envelope: Envelope, order: Order, agents: Picture) -> tuple[list[Choice], list[Match]]:
        """Who may get the task, the best first, and how well everybody fits who was not named."""
        me = envelope.principal.agent
        if order.agent:
            try:
                return [named(me, agents, order.agent, may_name_itself=order.may_name_itself)], []
            except (NotFound, Forbidden):
                return [], []
        wish = wish_for(order.message, order.capabilities, order.priority, order.deadline_s)
        matches = await self.registry.match_for(agents, me, wish, passed=order.excluded, limit=_TRIES, rng=self._rng)
        return choices(agents, matches), matches

    async def _nobody(self, tenant: str, order: Order, matches: list[Match], agents: Picture) -> Opened:
        known = await self._known_before(tenant, order, agents)
        if known is not None:
            return known
        return Opened(reason=why_nobody(order.capabilities, matches), nearest=nearest(matches, agents))

    async def _known_before(self, tenant: str, order: Order, agents: Picture) -> Opened | None:
        """What became of the first call with the same idempotency key. Its agent may be gone by now, or take no more
        tasks from the requester; its task is not gone."""
        if not order.idempotency:
            return None
        known = await request_scripts.seen(self.redis, tenant, order.idempotency, order.fingerprint)
        return None if known is None else _known(known, agents)

    async def _create(self, envelope: Envelope, order: Order, choice: Sequence[Choice]) -> Opened:
        tenant = envelope.principal.tenant
        made = await request_scripts.create(
            self.redis,
            tenant,
            self._new_task(envelope, order, choice),
            queue_cap=self.settings.queue_cap,
            requester_cap=self.settings.requester_cap,
            retention_ms=self.retention_ms,
        )
        match made.outcome:
            case "full":
                names = ", ".join(one.agent for one in choice)
                raise Busy(
                    f"the queue of {names} is full: {self.settings.queue_cap} tasks wait there",
                    hint="try again later, or ask for other capabilities",
                )
            case "share":
                raise Busy(
                    f"{envelope.principal.agent} has as many tasks in the queue of {made.agent} as one requester may:"
                    f" {self.settings.requester_cap} of {self.settings.queue_cap}",
                    hint="wait until some of these tasks are taken, cancel some, or ask for other capabilities",
                )
            case "known" | "other":
                return _known(made, await self.registry.agents(tenant, max_age_s=PICTURE_S))
            case "left":
                raise NotFound(f"{made.agent} has left the network", hint="list_agents shows who is there")
            case "no_parent":
                raise no_such_task(order.parent)
            case "parent_ended":
                raise Conflict(f"the task {order.parent} has ended as {made.state}; it takes no more steps")
            case "many_children":
                raise Busy(f"the task {order.parent} has {request_scripts.MAX_CHILDREN} steps, and that is the most")
        await self.say_work(tenant, made.agent, envelope.traceparent)
        one = next(one for one in choice if one.agent == made.agent)
        if made.load >= one.slots and len(choice) == _TRIES:
            # There may be more who fit than were asked about.
            await self.offers.widen(tenant, made.task_id)
        elif made.load and len(choice) > 1:
            self.offers.look_again(tenant, made.task_id)
        return Opened(
            task_id=made.task_id,
            state=made.state,
            agent=made.agent,
            online=one.online,
            created=True,
            why=why(one, made.load),
        )

    def _new_task(self, envelope: Envelope, order: Order, choice: Sequence[Choice]) -> NewTask:
        who = envelope.principal
        attempts = COLLABORATION_ATTEMPTS if order.kind == "collaboration" else self.settings.task_attempts
        about = {
            "kind": order.kind,
            "requester": who.agent,
            "priority": order.priority,
            "parent": order.parent,
            "step": order.step,
        }
        return NewTask(
            task_id=order.task_id or new_id(ID_STEM),
            candidates=" ".join(map(_candidate, choice)),
            load_weight=choice[0].load_weight,
            about=_json({name: value for name, value in about.items() if value}),
            kind=order.kind,
            requester=who.agent,
            user=who.user,
            scopes=_json(who.scopes),
            message=order.message,
            priority=order.priority,
            capabilities=_json(order.capabilities),
            named=int(bool(order.agent)),
            attempts=attempts,
            lease_ms=int((order.lease_s or self.settings.task_lease_s) * 1000),
            deadline_in_ms=int(order.deadline_s * 1000),
            offset_ms=QUEUE_OFFSET_MS[order.priority],
            spread_ms=SPREAD_MS[order.priority],
            traceparent=envelope.traceparent,
            idempotency=order.idempotency,
            fingerprint=order.fingerprint,
            context=order.context,
            keys=_json(order.keys),
            input=order.input,
            parent=order.parent,
            step=order.step,
            excluded=_json(order.excluded),
            react_ms=0 if order.agent else int(self.settings.react_s * 1000),
        )

    async def reassign(self, tenant: str, task_id: str) -> None:
        """Find the next agent for a task that was declined or whose lease lapsed.

        One that was declined by the only agent who fits fails, and so does one that was asked for by the name of an
        agent that has left; one whose agent was silent goes back to it when there is nobody else. Many workers may do
        this at once: the first one counts.
        """
        record = await self.read(tenant, task_id)
        if record is None or record.state != "submitted" or record.agent:
            await sweep_scripts.drop_unassigned(self.redis, tenant, task_id)
            return
        chosen = await self._successor(tenant, record)
        if chosen:
            if await sweep_scripts.assign(self.redis, tenant, task_id=task_id, attempt=record.attempt, agent=chosen):
                await self.say_work(tenant, chosen, record.fields["traceparent"])
                self.offers.look_again(tenant, task_id)
                await self.say_changed(tenant, task_id)
            return
        code, text = _given_up(record)
        failed = await sweep_scripts.fail(
            self.redis,
            tenant,
            task_id=task_id,
            attempt=record.attempt,
            code=code,
            text=text,
            retention_ms=self.retention_ms,
        )
        if failed:
            TASKS.of("failed").value += 1
            await self.say_changed(tenant, task_id)

    async def _successor(self, tenant: str, record: Record) -> str:
        """Who gets a task that its agent gave up; empty when there is nobody."""
        agents = await self.registry.agents(tenant)
        if not record.named:
            passed = [*record.holders, *record.excluded]
            matches = await self.registry.match_for(agents, record.requester, wish_of(record), passed=passed)
            chosen = _freest(choices(agents, matches), agents)
            if chosen:
                return chosen
        if record.fields.get("requeued") != "lease_lapsed":
            return ""
        last = record.holders[-1]
        # A guest that was forgotten is as gone as one that is offline.
        gone = is_guest(last) and (last not in agents or agents[last].gone)
        return "" if gone else last

    async def pass_on(self, tenant: str, task_id: str) -> None:
        """Give a task whose agent does not take it to the next one that fits and is there."""
        record = await self.read(tenant, task_id)
        agent, attempt, successor = (record.agent, record.attempt, "") if record else ("", 0, "")
        if record is not None and record.state == "submitted" and agent:
            agents = await self.registry.agents(tenant)
            passed = [*record.holders, *record.excluded, *record.passed, agent]
            matches = await self.registry.match_for(agents, record.requester, wish_of(record), passed=passed, limit=50)
            successor = _freest([one for one in choices(agents, matches) if one.online], agents)
        passed_on = await sweep_scripts.pass_on(
            self.redis, tenant, task_id=task_id, agent=agent, attempt=attempt, successor=successor
        )
        if passed_on and record is not None:
            TASKS.of("passed_on").value += 1
            await self.say_work(tenant, agent)
            await self.say_work(tenant, successor, record.fields["traceparent"])
            self.offers.look_again(tenant, task_id)
            await self.say_changed(tenant, task_id)

    async def turn_away(self, tenant: str, agent: str, *, limit: int, online_ms: int = 0) -> int:
        """Find other agents for what waits unclaimed for one that has left, at most `limit` tasks; how many there were.

        An agent that was seen within `online_ms` keeps what it has.
        """
        found = await sweep_scripts.waiting(self.redis, tenant, agent=agent, limit=limit)
        for task_id in found:
            turned = await sweep_scripts.turn_away(
                self.redis,
                tenant,
                task_id=task_id,
                agent=agent,
                online_ms=online_ms,
                text=f"{agent} left before it took the task",
                grace_ms=task_scripts.UNASSIGNED_GRACE_MS,
            )
            if turned:
                await self.reassign(tenant, task_id)
                await self.say_changed(tenant, task_id)
        return len(found)

    async def answer(self, envelope: Envelope, record: Record, answer: Any, *, place: int | None = None) -> list[str]:
        """Hand the requester's answer to the agent that asked.

        Args:
            envelope: Of the requester.
            record: The task whose worker asked.
            answer: Any JSON.
            place: Of the question in the task's dialog, when it is for this one and no later one.

        Returns:
            What `request_scripts.answer` returns.

        Raises:
            TooLarge: the answer is too big.
            NotFound: the task is gone by now.
        """
        tenant, task_id = envelope.principal.tenant, record.task_id
        text = bounded_json("answer", answer, MAX_ANSWER_BYTES)
        outcome = await request_scripts.answer(
            self.redis,
            tenant,
            task_id=task_id,
            entry=_json({"answer": answer, "at_ms": now_ms()}),
            # One answer to one question: the same words to a later question are another answer.
            digest=digest(f"{len(record.questions())}\n{text}"),
            place=place,
            by=envelope.principal.agent,
            traceparent=envelope.traceparent,
        )
        if outcome[0] == "missing":
            raise no_such_task(task_id)
        if outcome[0] != "not_asked":
            await self.say_work(tenant, outcome[2], record.fields["traceparent"])
            await self.say_changed(tenant, task_id, envelope.traceparent)
            if record.fields["parent"]:
                # Whoever looks at the whole sees there which steps ask.
                await self.say_changed(tenant, record.fields["parent"], envelope.traceparent)
        return outcome

    async def cancel(
        self, tenant: str, record: Record, *, by: str, reason: str, traceparent: str
    ) -> tuple[State, bool]:
        """End a task and its children; the state after it, and whether this call did it."""
        outcome, state, agent = await request_scripts.cancel(
            self.redis,
            tenant,
            task_id=record.task_id,
            by=by,
            text=f"{by} cancelled it" + (f": {reason}" if reason else ""),
            reason=_json(reason) if reason else "",
            retention_ms=self.retention_ms,
            traceparent=traceparent,
        )
        if outcome == "missing":
            raise no_such_task(record.task_id)
        if outcome == "cancelled":
            TASKS.of("cancelled").value += 1
            await self.say_changed(tenant, record.task_id, traceparent)
            if record.state == "input_required" and record.fields["parent"]:
                await self.say_changed(tenant, record.fields["parent"], traceparent)
            if agent:
                await self.say_work(tenant, agent)
        await self.cancel_children(tenant, record.task_id, record.children, traceparent)
        return cast("State", state), outcome == "cancelled"

    async def cancel_children(self, tenant: str, task_id: str, children: Iterable[str], traceparent: str) -> None:
        """End what was a part of a task that has ended."""
        for child_id in children:
            child = await self.read(tenant, child_id)
            if child is not None and (not child.ended or child.children):
                await self.cancel(
                    tenant, child, by="router", reason=f"the task {task_id} has ended", traceparent=traceparent
                )
        await sweep_scripts.settle_orphans(self.redis, tenant, task_id)


def _candidate(one: Choice) -> str:
    return candidate(one.agent, one.fit, one.slots, one.pace, online=one.online)


def _freest(found: Sequence[Choice], agents: Picture) -> str:
    """Who of them gets a task as busy as they are; empty when there is nobody."""
    if not found:
        return ""
    return found[pick([one.desk(agents[one.agent].load) for one in found], found[0].load_weight)].agent


def _known(made: Created, agents: Picture) -> Opened:
    if made.outcome == "other":
        raise Conflict(
            f"idempotency_key: it stands for the task {made.task_id}, which was asked for in other words",
            hint="a key belongs to one request; take a new one for a new request",
        )
    agent = agents.get(made.agent)
    return Opened(
        task_id=made.task_id,
        state=made.state,
        agent=made.agent,
        online=made.agent == ORCHESTRATOR or (agent is not None and agent.online),
        why=Why(reason="This was asked for before, under the same idempotency_key: it is the same task."),
    )


def _given_up(record: Record) -> tuple[str, str]:
    """The code and the words of the error when there is no successor."""
    match record.fields.get("requeued"):
        case "declined":
            code, text = "declined", record.fields["refusal"]
        case "agent_left":
            code, text = "unroutable", record.fields["refusal"]
        case _:
            code, text = "unroutable", f"{record.holders[-1]} was silent until its lease lapsed, and has left"
    return code, f"{text}; and " + ("it was asked for by name" if record.named else "nobody else fits")


def idempotency_of(principal_agent: str, method: str, key: str | None) -> str:
    """The digest under which an idempotency key is kept: of one agent and one method."""
    return digest(f"{principal_agent}\n{method}\n{key}") if key else ""


def _json(value: Any) -> str:
    return encode_json(value).decode()
