"""Orders of a campaign: collaborations of every pattern, some of whose steps fail, and what must come of each."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from aicp_orchestrator.collaborations import patterns
from aicp_orchestrator.collaborations.plan import OnFailure, Pattern, Plan, Step, sinks
from tests.orchestrator.scenario import Answer, Scenario
from tests.orchestrator.seen import Seen

WORKERS = tuple(f"worker-{number}" for number in range(8))
PLANNER = "planner"
WRITER = "writer"
SKILL = "analysis"
CHOICES = ["red", "green", "blue"]

_NAMED = re.compile(r"order-\d+")


@dataclass
class Order:
    """One collaboration, and what is known of it."""

    name: str
    arguments: dict[str, Any]
    """For orchestrate_collaboration."""
    scenario: Scenario
    """The plan that is to be made of it, and what its steps answer to one task after the other."""
    submits: Any = None
    """What its planner makes of it; None: it fails."""
    seen: Seen = field(default_factory=Seen)
    task_id: str = ""
    whole: dict[str, Any] = field(default_factory=dict)
    """The collaboration once it has ended."""
    tasks: list[dict[str, Any]] = field(default_factory=list)
    """Of its steps, once it has ended."""


def name_in(text: str) -> str:
    """The order that a task is for."""
    found = _NAMED.search(text)
    assert found is not None, text
    return found.group()


def orders(count: int, seed: int) -> list[Order]:
    """As many of each kind, one after the other."""
    chance = random.Random(seed)
    return [_KINDS[number % len(_KINDS)](f"order-{number}", chance) for number in range(count)]


def _order(
    name: str,
    chance: random.Random,
    plan: Plan,
    asked: dict[str, Any],
    *,
    with_writer: bool = False,
    submits: Any = None,
) -> Order:
    """An order for a plan without a closing step, some of whose steps fail once or twice."""
    arguments = {"task": plan.task, "on_failure": plan.on_failure, **asked}
    if with_writer:
        arguments["synthesizer"] = "auto"
        closing = patterns.closing(plan.pattern, "", sinks(plan.steps))
        closing = replace(closing, retries=asked.get("retries", closing.retries))
        plan = replace(plan, closing=closing)
    if plan.quorum:
        arguments["quorum"] = plan.quorum
    failures = {step.id: chance.choice((0, 0, 0, 0, 0, 1, 1, 2)) for step in plan.all_steps}
    answers = {id: (Answer("failed"),) * count for id, count in failures.items()}
    return Order(name, arguments, Scenario(plan, answers, ()), submits)


def _plan(
    name: str, pattern: Pattern, on_failure: OnFailure, steps: Sequence[Step], retries: int | None = None
) -> Plan:
    if retries is not None:
        steps = [replace(step, retries=retries) for step in steps]
    return Plan(task=f"the {SKILL} of {name}", pattern=pattern, on_failure=on_failure, steps=tuple(steps))


def _some(chance: random.Random, count: int) -> list[str]:
    return chance.sample(WORKERS, count)


def _parallel(name: str, chance: random.Random) -> Order:
    agents, retries = _some(chance, 3), chance.randint(0, 1)
    plan = _plan(name, "parallel", "continue", patterns.side_by_side(agents), retries)
    if chance.random() < 0.5:
        plan = replace(plan, on_failure="quorum", quorum=2)
    asked = {"agents": agents, "pattern": "parallel", "retries": retries}
    return _order(name, chance, plan, asked, with_writer=chance.random() < 0.5)


def _pipeline(name: str, chance: random.Random) -> Order:
    agents, retries = _some(chance, chance.randint(3, 5)), chance.randint(0, 2)
    plan = _plan(name, "pipeline", "fail_fast", patterns.one_after_the_other(agents), retries)
    return _order(name, chance, plan, {"agents": agents, "pattern": "pipeline", "retries": retries})


def _debate(name: str, chance: random.Random) -> Order:
    agents = _some(chance, chance.randint(2, 3))
    plan = _plan(name, "debate", "continue", patterns.debate(agents, 2, needs=1))
    return _order(name, chance, plan, {"agents": agents, "rounds": 2}, with_writer=chance.random() < 0.5)


def _vote(name: str, chance: random.Random) -> Order:
    agents = _some(chance, chance.randint(3, 5))
    plan = _plan(name, "vote", "continue", patterns.vote(agents, CHOICES))
    return _order(name, chance, plan, {"agents": agents, "choices": CHOICES})


def _map_reduce(name: str, chance: random.Random) -> Order:
    inputs = [f"piece {number}" for number in range(chance.randint(3, 5))]
    plan = _plan(name, "map_reduce", "continue", patterns.map_inputs(inputs, ()), 1)
    return _order(name, chance, plan, {"inputs": inputs}, with_writer=chance.random() < 0.5)


def _planned(name: str, chance: random.Random) -> Order:
    agents, with_writer = _some(chance, 3), chance.random() < 0.5
    on_failure: OnFailure = chance.choice(("continue", "fail_fast"))
    asked = {"agents": [*agents, PLANNER]}
    if chance.random() < 0.25:
        plan = _plan(name, "parallel", on_failure, patterns.side_by_side(agents))
        return _order(name, chance, plan, asked, with_writer=with_writer)
    steps = _drawn(name, chance, agents)
    plan = _plan(name, "planned", on_failure, steps)
    return _order(name, chance, plan, asked, with_writer=with_writer, submits={"steps": [_written(s) for s in steps]})


def _own(name: str, chance: random.Random) -> Order:
    steps = _drawn(name, chance, WORKERS)
    plan = _plan(name, "steps", chance.choice(("continue", "fail_fast")), steps)
    if chance.random() < 0.3:
        plan = replace(plan, on_failure="quorum", quorum=chance.randint(1, len(sinks(steps))))
    return _order(name, chance, plan, {"steps": [_written(step) for step in steps]}, with_writer=chance.random() < 0.5)


def _drawn(name: str, chance: random.Random, agents: Sequence[str]) -> list[Step]:
    """4 to 8 steps, each after some of those before it."""
    steps: list[Step] = []
    for number in range(chance.randint(4, 8)):
        before = chance.sample([step.id for step in steps], min(len(steps), chance.randint(0, 2)))
        named = chance.random() < 0.4
        step = Step(
            id=f"s{number}",
            task=f"the {SKILL} of {name}, part {number}",
            agent=chance.choice(agents) if named else "",
            capabilities=() if named else (SKILL,),
            depends_on=tuple(before),
            input_from=tuple(before[:1]) if before and chance.random() < 0.3 else None,
            retries=chance.randint(0, 2),
        )
        steps.append(step)
    return steps


def _written(step: Step) -> dict[str, Any]:
    """A step as a requester or a planner writes it."""
    fields = msgspec.to_builtins(step)
    return {name: value for name, value in fields.items() if value} | {"retries": step.retries}


_KINDS = (_parallel, _own, _pipeline, _debate, _own, _vote, _map_reduce, _planned)
