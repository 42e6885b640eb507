"""Scenarios of a collaboration drawn by chance, and what a plain sequential model says must come of each.

The model knows nothing of moves and workers: it goes through the steps in the order of their dependencies, and asks of
each what its agents say to one task after the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

from aicp_orchestrator.collaborations.plan import CLOSING_STEP, OnFailure, Plan, Step, sinks

AGENTS = tuple(f"agent-{number}" for number in range(6))
"""More than ever say no to one step, so that there is always somebody else."""

SKILLS = ("analysis",)
"""What each of them can do, and each step wants."""

TASK_ATTEMPTS = 3
"""Agents that the router asks for one task before it has failed."""

Word = Literal["completed", "failed", "declined"]
"""What an agent says to a task."""


@dataclass(frozen=True)
class Answer:
    """Of an agent to one delivery."""

    word: Word = "completed"
    after_ms: int = 0


@dataclass(frozen=True)
class Death:
    """A moment at which the worker that runs the collaboration is gone."""

    at: int
    """How many tasks were handed out or handed in before."""
    after_ms: int
    """After that."""
    how: Literal["killed", "deaf", "asleep"] = "killed"
    """`deaf`: it lives and works on, but extends no leases any more, so that others take over what it has; `asleep`: it
    extends none for a while, and there is nobody but itself to take over."""


@dataclass(frozen=True)
class Scenario:
    """A plan, what its agents say, and when workers die."""

    plan: Plan
    answers: dict[str, tuple[Answer, ...]]
    """By step: to its first delivery, its second and so on; whoever is asked after these completes it."""
    deaths: tuple[Death, ...]

    def answer(self, step: str, delivery: int) -> Answer:
        """To delivery 0, 1, … of a step."""
        given = self.answers[step]
        return given[delivery] if delivery < len(given) else Answer(after_ms=given[-1].after_ms if given else 0)


@dataclass(frozen=True)
class Run:
    """What comes of a step that is begun and not called off."""

    completed: bool
    tries: int
    """Tasks that are made for it."""
    deliveries: int
    """How often an agent gets one of these."""


def run_of(scenario: Scenario, step: Step) -> Run:
    """One task after the other, each for one agent after the other, until somebody completes it."""
    deliveries = 0
    for number in range(1, step.retries + 2):
        # Who is named has no deputies; when somebody has failed nobody is named any more.
        named = bool(step.agent) and number == 1
        for _ in range(1 if named else TASK_ATTEMPTS):
            word = scenario.answer(step.id, deliveries).word
            deliveries += 1
            if word == "completed":
                return Run(True, number, deliveries)
            if word == "failed":
                break
    return Run(False, step.retries + 1, deliveries)


def ends_of(scenario: Scenario) -> dict[str, str]:
    """How each step ends when nothing is called off: completed, failed, or skipped for want of one that it needs."""
    ends: dict[str, str] = {}
    left = list(scenario.plan.steps)
    while left:
        step = next(step for step in left if all(before in ends for before in step.depends_on))
        left.remove(step)
        if sum(ends[before] == "completed" for before in step.depends_on) < (step.needs or len(step.depends_on)):
            ends[step.id] = "skipped"
        else:
            ends[step.id] = "completed" if run_of(scenario, step).completed else "failed"
    return ends


@dataclass(frozen=True)
class Expected:
    """What must come of a scenario, as far as it does not depend on who is faster."""

    state: str
    """Of the whole."""
    statuses: dict[str, frozenset[str]]
    """By step: what it may have become."""
    closes_over: frozenset[str] | None
    """The steps whose results the closing step gets; None: that depends."""
    least: int = 0
    """How many targets have completed, at least."""
    some_failed: bool = False
    """One at least of the steps that may have failed did."""


def expected(scenario: Scenario) -> Expected:
    """What the model says."""
    plan, ends = scenario.plan, ends_of(scenario)
    good = frozenset(id for id in plan.targets if ends[id] == "completed")
    exactly = {id: frozenset({end}) for id, end in ends.items()}
    least = {"continue": 1, "quorum": plan.quorum, "fail_fast": len(plan.targets)}[plan.on_failure]
    succeeds = len(good) >= least
    statuses = exactly
    if plan.on_failure == "quorum" or (plan.on_failure == "fail_fast" and not succeeds):
        # What is not needed any more when it is decided is called off, wherever it is by then.
        statuses = {id: frozenset({end, "cancelled", "skipped"}) for id, end in ends.items()}
    state = "completed" if succeeds else "failed"
    if plan.closing is not None:
        closed = run_of(scenario, plan.closing).completed
        statuses[CLOSING_STEP] = frozenset({"skipped" if not succeeds else "completed" if closed else "failed"})
        if succeeds and not closed and plan.on_failure == "fail_fast":
            state = "failed"
    return Expected(
        state,
        statuses,
        closes_over=None if plan.on_failure == "quorum" else good,
        least=least if succeeds else 0,
        some_failed=plan.on_failure == "fail_fast" and not succeeds,
    )


def _words(draw: st.DrawFn) -> tuple[Answer, ...]:
    before: Sequence[Word] = draw(
        st.one_of(
            st.just(()),
            st.just(()),
            st.lists(st.sampled_from(("failed", "declined")), max_size=3),
            st.lists(st.sampled_from(("failed", "declined")), min_size=1, max_size=9),
        )
    )
    delays = st.sampled_from((0, 0, 1, 5, 20, 40))
    return tuple(Answer(word, draw(delays)) for word in (*before, "completed"))


def _steps(draw: st.DrawFn, most: int) -> Iterator[Step]:
    names = [f"s{number}" for number in range(draw(st.integers(1, most)))]
    for place, name in enumerate(names):
        before = draw(st.lists(st.sampled_from(names[:place]), unique=True, max_size=3)) if place else []
        fed_by = draw(st.one_of(st.none(), st.lists(st.sampled_from(before), unique=True))) if before else None
        yield Step(
            id=name,
            task=f"do {name}",
            capabilities=SKILLS,
            agent=draw(st.sampled_from(("", "", "", AGENTS[0], AGENTS[1]))),
            depends_on=tuple(before),
            input_from=None if fed_by is None else tuple(fed_by),
            retries=draw(st.integers(0, 2)),
        )


@st.composite
def scenarios(
    draw: st.DrawFn, most: int = 30, deaths: int = 3, ways: tuple[str, ...] = ("killed", "deaf", "asleep")
) -> Scenario:
    """Any plan of up to `most` steps with any answers, while workers die up to `deaths` times."""
    steps = tuple(_steps(draw, most))
    targets = sinks(steps)
    on_failure: OnFailure = draw(st.sampled_from(("continue", "fail_fast", "quorum")))
    closing = Step(id=CLOSING_STEP, capabilities=SKILLS, depends_on=targets, needs=1, retries=draw(st.integers(0, 2)))
    plan = Plan(
        task="the whole",
        pattern="steps",
        on_failure=on_failure,
        steps=tuple(draw(st.permutations(steps))),
        quorum=draw(st.integers(1, len(targets))) if on_failure == "quorum" else 0,
        closing=closing if draw(st.booleans()) else None,
    )
    moments = st.builds(
        Death,
        at=st.integers(0, 2 * len(steps)),
        after_ms=st.sampled_from((0, 0, 1, 2, 5, 10, 30)),
        how=st.sampled_from(ways),
    )
    return Scenario(
        plan=plan,
        answers={step.id: _words(draw) for step in plan.all_steps},
        deaths=tuple(sorted(draw(st.lists(moments, max_size=deaths)), key=lambda death: death.at)),
    )
