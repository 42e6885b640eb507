"""The life of a task against a simple model: whatever happens in whatever order, both agree."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis

from aicp_common.envelope import encode_json
from aicp_common.ids import new_id
from aicp_common.store import connect_redis, key
from aicp_router import request_scripts, sweep_scripts, work_scripts
from aicp_router.request_scripts import NewTask, candidate
from tests.support.processes import Backend

AGENTS = ["a", "b"]
LONG_MS = 86_400_000
ATTEMPTS = 2
CAPS = {"queue_cap": 10, "retention_ms": LONG_MS}

right_mostly = st.sampled_from([True, True, True, False])
seldom = st.sampled_from([False, False, False, False, True])
any_agent = st.sampled_from(AGENTS)
any_attempt = st.integers(0, 4)


@dataclass
class Model:
    """What a task is, without a store."""

    agent: str
    state: str = "submitted"
    attempt: int = 0
    answered: bool = False
    dialog: int = 0
    outcome: tuple[int, str, str] | None = None
    ends: int = 0
    events: list[str] = field(default_factory=lambda: ["created"])

    @property
    def ended(self) -> bool:
        return self.state in ("completed", "failed", "cancelled")

    def held(self, agent: str, attempt: int) -> bool:
        return self.state in ("working", "input_required") and (self.agent, self.attempt) == (agent, attempt)

    def end(self, state: str) -> None:
        assert not self.ended
        self.state, self.answered = state, False
        self.ends += 1
        self.events.append(state)

    def wait(self) -> None:
        self.state, self.agent, self.answered = "submitted", "", False
        self.events.append("requeued")


class Life(RuleBasedStateMachine):
    """One task that three agents, a requester and the sweeps pull at."""

    redis_url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.redis: Redis = connect_redis(self.redis_url)
        self.tenant = new_id("t")
        self.whole_id, self.task_id = new_id("t"), new_id("t")
        whole, new = self.new("p", self.whole_id, ""), self.new("a", self.task_id, self.whole_id)
        assert self.run(request_scripts.create(self.redis, self.tenant, whole, **CAPS)).outcome == "created"
        made = self.run(request_scripts.create(self.redis, self.tenant, new, **CAPS))
        assert made.outcome == "created"
        again = self.run(request_scripts.create(self.redis, self.tenant, new, **CAPS))
        assert again.outcome == "known"
        self.model = Model("a")

    def new(self, agent: str, task_id: str, parent: str) -> NewTask:
        return NewTask(
            task_id=task_id,
            kind="task",
            requester="r",
            user="r",
            scopes="[]",
            message="x",
            priority="normal",
            capabilities="[]",
            candidates=candidate(agent),
            named=0,
            attempts=ATTEMPTS,
            lease_ms=LONG_MS,
            deadline_in_ms=LONG_MS,
            offset_ms=0,
            about='{"kind":"task"}',
            traceparent="",
            parent=parent,
        )

    def run(self, call: Any) -> Any:
        return self.loop.run_until_complete(call)

    def command(self, *words: str | int) -> Any:
        return self.run(self.redis.execute_command(*words))  # type: ignore[no-untyped-call]

    def actor(self, right: bool, agent: str) -> str:
        """The agent that has the task when it is the `right` one, so that lives get long."""
        return self.model.agent if right and self.model.agent else agent

    @rule(right=right_mostly, agent=any_agent)
    def claim(self, right: bool, agent: str) -> None:
        model = self.model
        agent = self.actor(right, agent)
        got = self.run(
            work_scripts.claim(self.redis, self.tenant, agent=agent, unlimited=False, default_slots=1, traceparent="")
        )
        if model.state == "submitted" and model.agent == agent:
            assert got.task_id == self.task_id
            model.state, model.attempt = "working", model.attempt + 1
        elif model.answered and model.agent == agent:
            assert got.task_id == self.task_id
            assert got.fields["redelivered"] == "1"
            model.answered = False
        else:
            assert got.task_id == ""
            return
        model.events.append("claimed")
        assert got.fields["attempt"] == str(model.attempt)

    @rule(right=right_mostly, agent=any_agent, attempt=any_attempt, question=st.booleans())
    def report(self, right: bool, agent: str, attempt: int, question: bool) -> None:
        model = self.model
        agent, attempt = self.actor(right, agent), model.attempt if right else attempt
        answer = self.run(
            work_scripts.report(
                self.redis,
                self.tenant,
                task_id=self.task_id,
                agent=agent,
                attempt=attempt,
                progress="0.5",
                message="",
                question="q" if question else "",
                entry='{"question":"q","at_ms":1}',
                text="",
                traceparent="",
            )
        )
        if not model.held(agent, attempt):
            assert answer[0] == "stale"
        elif answer[0] != "many_questions":
            if question:
                # The same question once more is a repetition.
                model.dialog += model.state != "input_required"
                model.state, model.answered = "input_required", False
            assert answer[:2] == ["ok", model.state]
            model.events.append("question" if question else "progress")

    @rule(
        right=right_mostly,
        agent=any_agent,
        attempt=any_attempt,
        status=st.sampled_from(["declined", "declined", "declined", "declined", "completed", "failed"]),
    )
    def submit(self, right: bool, agent: str, attempt: int, status: str) -> None:
        model = self.model
        agent, attempt = self.actor(right, agent), model.attempt if right else attempt
        answer = self.run(
            work_scripts.submit(
                self.redis,
                self.tenant,
                task_id=self.task_id,
                agent=agent,
                attempt=attempt,
                status=status,
                result="1",
                text="",
                reason="",
                grace_ms=0,
                retention_ms=LONG_MS,
                traceparent="",
            )
        )
        if model.outcome == (attempt, agent, status):
            assert answer[:2] == ("again", model.state)
        elif not model.held(agent, attempt):
            assert answer.outcome == "stale"
        else:
            model.outcome = (attempt, agent, status)
            if status == "declined" and attempt < ATTEMPTS:
                model.wait()
            else:
                model.end("completed" if status == "completed" else "failed")
            assert answer.state == model.state

    @rule(words=st.sampled_from(["x", "y"]), behind=st.sampled_from([None, None, 0, 0, 1]))
    def answer(self, words: str, behind: int | None) -> None:
        """For whatever is asked, or for the question that came last or one that came before it."""
        model = self.model
        place = None if behind is None else model.dialog - behind
        entry = encode_json({"answer": words, "at_ms": 1}).decode()
        said = self.run(
            request_scripts.answer(
                self.redis,
                self.tenant,
                task_id=self.task_id,
                entry=entry,
                digest=words,
                place=place,
                by="r",
                traceparent="",
            )
        )
        if model.state == "input_required" and not behind:
            assert said == ["answered", "working", model.agent]
            model.state, model.answered = "working", True
            model.dialog += 1
            model.events.append("answered")
        else:
            assert said[0] in ("not_asked", "again")

    @rule(now=seldom)
    def cancel(self, now: bool) -> None:
        if not now:
            return
        said = self.run(
            request_scripts.cancel(
                self.redis,
                self.tenant,
                task_id=self.task_id,
                by="r",
                text="",
                reason="",
                retention_ms=LONG_MS,
                traceparent="",
            )
        )
        if self.model.ended:
            assert said[:2] == ["ended", self.model.state]
        else:
            assert said[0] == "cancelled"
            self.model.end("cancelled")

    @rule(late=st.booleans())
    def lapse(self, late: bool) -> None:
        model = self.model
        leased = model.state == "working"
        if late and leased:
            self.command("ZADD", key(self.tenant, "leases"), 1, self.task_id)
        said = self.run(
            sweep_scripts.lapse(self.redis, self.tenant, task_id=self.task_id, grace_ms=0, retention_ms=LONG_MS)
        )
        if not (late and leased):
            assert said == ""
        elif model.attempt >= ATTEMPTS:
            assert said == "failed"
            model.end("failed")
        else:
            assert said == "requeued"
            model.wait()

    @rule(right=right_mostly, agent=any_agent, attempt=any_attempt)
    def assign(self, right: bool, agent: str, attempt: int) -> None:
        model = self.model
        attempt = model.attempt if right else attempt
        done = self.run(
            sweep_scripts.assign(self.redis, self.tenant, task_id=self.task_id, attempt=attempt, agent=agent)
        )
        assert done == (model.state == "submitted" and model.agent == "" and model.attempt == attempt)
        if done:
            model.agent = agent
            model.events.append("assigned")

    @rule(right=seldom, attempt=any_attempt)
    def fail(self, right: bool, attempt: int) -> None:
        model = self.model
        attempt = model.attempt if right else attempt
        done = self.run(
            sweep_scripts.fail(
                self.redis,
                self.tenant,
                task_id=self.task_id,
                attempt=attempt,
                code="declined",
                text="",
                retention_ms=LONG_MS,
            )
        )
        assert done == (model.state == "submitted" and model.agent == "" and model.attempt == attempt)
        if done:
            model.end("failed")

    @rule()
    def expire_early(self) -> None:
        assert not self.run(sweep_scripts.expire(self.redis, self.tenant, task_id=self.task_id, retention_ms=LONG_MS))

    @rule(right=right_mostly, agent=any_agent)
    def turn_away(self, right: bool, agent: str) -> None:
        """The agent has left the network."""
        model = self.model
        agent = self.actor(right, agent)
        done = self.run(
            sweep_scripts.turn_away(
                self.redis, self.tenant, task_id=self.task_id, agent=agent, online_ms=0, text="", grace_ms=0
            )
        )
        assert done == (model.state == "submitted" and model.agent == agent)
        if done:
            model.wait()

    @rule(now=seldom)
    def expire(self, now: bool) -> None:
        if not now:
            return
        self.command("HSET", key(self.tenant, "task", self.task_id), "deadline_ms", 1)
        done = self.run(sweep_scripts.expire(self.redis, self.tenant, task_id=self.task_id, retention_ms=LONG_MS))
        assert done == (not self.model.ended)
        if done:
            self.model.end("failed")

    @rule()
    def give_back(self) -> None:
        """A claim whose reply found nobody; only the claim of this very moment is ever given back."""
        model = self.model
        if model.state != "working" or model.events[-1] != "claimed":
            return
        redelivered = self.command("HGET", key(self.tenant, "task", self.task_id), "redelivered") == "1"
        assert self.run(
            work_scripts.give_back(
                self.redis, self.tenant, task_id=self.task_id, agent=model.agent, attempt=model.attempt
            )
        )
        # The number stays; the model has no room for the chance that it gives back.
        self.command("HSET", key(self.tenant, "task", self.task_id), "attempts", ATTEMPTS)
        if redelivered:
            model.answered = True
            model.events.append("answered")
        else:
            model.state = "submitted"
            model.events.append("requeued")

    @invariant()
    def both_agree(self) -> None:
        model, prefix = self.model, key(self.tenant)
        pipe = self.redis.pipeline(transaction=False)
        pipe.hgetall(f"{prefix}:task:{self.task_id}")
        for name in ("leases", "unassigned", "deadlines"):
            pipe.zscore(f"{prefix}:{name}", self.task_id)
        pipe.pttl(f"{prefix}:task:{self.task_id}")
        pipe.xrange(f"{prefix}:outbox")
        pipe.hgetall(f"{prefix}:loads")
        pipe.smembers(f"{prefix}:task:{self.whole_id}:asking")
        for agent in AGENTS:
            pipe.zrange(f"{prefix}:queue:{agent}", 0, -1)
            pipe.smembers(f"{prefix}:working:{agent}")
        fields, lease, unassigned, deadline, lifetime, outbox, loads, asking, *queues = self.run(pipe.execute())
        assert (fields["state"], fields["agent"], int(fields["attempt"])) == (model.state, model.agent, model.attempt)
        assert model.ends == int(model.ended)
        assert (lease is not None) == (model.state == "working")
        assert (unassigned is not None) == (model.state == "submitted" and model.agent == "")
        assert (deadline is None) == (lifetime > 0) == model.ended
        assert [entry["what"] for _, entry in outbox if entry["id"] == self.task_id] == model.events
        assert asking == ({self.task_id} if model.state == "input_required" else set())
        assert ("question" in fields) == (model.state == "input_required")
        for agent, queued, working in zip(AGENTS, queues[::2], queues[1::2], strict=True):
            mine = model.agent == agent
            assert (queued == [self.task_id]) == (mine and (model.state == "submitted" or model.answered))
            assert (self.task_id in working) == (mine and model.state == "working")
            assert int(loads.get(agent, 0)) == len(queued) + len(working)

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.loop.close()


def test_the_life_of_a_task_is_that_of_the_model(backend: Backend) -> None:
    class Here(Life):
        redis_url = backend.redis_url

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            database=None,
            # Each step asks Redis: making a failure smaller would take minutes, and 40 steps can be read.
            phases=(Phase.generate,),
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
