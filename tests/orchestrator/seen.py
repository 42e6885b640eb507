"""What agents saw of one collaboration."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Delivery:
    """A task that an agent got."""

    agent: str
    task_id: str
    attempt: int
    fed: dict[str, Any] | None
    """The results that came with it."""


@dataclass(frozen=True)
class Seen:
    """All of it."""

    deliveries: dict[str, list[Delivery]] = field(default_factory=lambda: defaultdict(list))
    """By step, as they came."""
    results: dict[str, list[tuple[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """By step: each result that the hub took as completing it, and the id of its task."""

    def deliver(self, agent: str, task: dict[str, Any]) -> None:
        """An agent got a task."""
        fed = (task.get("context") or {}).get("input_from")
        self.deliveries[task["step"]].append(Delivery(agent, task["task_id"], task["attempt"], fed))

    def tries(self, step: str) -> list[str]:
        """The ids of the tasks of a step that were handed out, each once."""
        return list(dict.fromkeys(delivery.task_id for delivery in self.deliveries.get(step, ())))
