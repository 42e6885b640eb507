"""What the hub has promised: each answer that it gave, held against every other one."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

ENDED = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Handed:
    """A result that the hub took, or the end that it told of."""

    state: str
    attempt: int
    agent: str | None
    result: Any


@dataclass
class Ledger:
    """Of one run. What contradicts what was said before goes to `violations`."""

    asked: dict[str, str] = field(default_factory=dict)
    """Idempotency keys to task ids."""
    ends: dict[str, Handed] = field(default_factory=dict)
    """Task ids to what their requesters were told."""
    accepted: dict[str, Handed] = field(default_factory=dict)
    """Task ids to the result that was taken."""
    holders: dict[tuple[str, int], str] = field(default_factory=dict)
    """Task ids and attempts to agents."""
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """What happened how often."""

    def routed(self, key: str, task_id: str) -> None:
        """The hub said which task a key stands for."""
        known = self.asked.setdefault(key, task_id)
        if known != task_id:
            self.violations.append(f"the key {key} stood for {known} and stands for {task_id}")

    def delivered(self, task_id: str, attempt: int, agent: str, *, answered: bool) -> None:
        """A worker got a task."""
        self.counts["delivered"] += 1
        known = self.holders.get((task_id, attempt))
        if known is not None and (known != agent or not answered):
            self.violations.append(f"attempt {attempt} of {task_id} went to {known} and again to {agent}")
        self.holders[task_id, attempt] = agent

    def taken(self, task_id: str, handed: Handed) -> None:
        """The hub took a result that ends the task."""
        known = self.accepted.setdefault(task_id, handed)
        if known != handed:
            self.violations.append(f"{task_id} ended with {known} and with {handed}")

    def told(self, task_id: str, end: Handed) -> None:
        """A requester learned how its task ended."""
        self.counts[end.state] += 1
        known = self.ends.setdefault(task_id, end)
        if known != end:
            self.violations.append(f"{task_id} had ended as {known} and has ended as {end}")

    def settle(self) -> None:
        """Hold what workers were told against what requesters were told."""
        for key, task_id in self.asked.items():
            if task_id not in self.ends:
                self.violations.append(f"nobody was told of the end of {task_id} ({key})")
        for task_id, handed in self.accepted.items():
            if self.ends.get(task_id) != handed:
                self.violations.append(f"{handed} was taken for {task_id}, which is {self.ends.get(task_id)}")
        for task_id, end in self.ends.items():
            if end.state == "completed" and task_id not in self.accepted:
                self.violations.append(f"{task_id} completed with {end} which nobody handed in")


def end_of(task: dict[str, Any]) -> Handed:
    """The end of a task, as `get_task` shows it."""
    return Handed(task["state"], task["attempt"], task.get("agent"), task.get("result"))
