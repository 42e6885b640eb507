"""Whether what clients saw of one key can be told as one thing happening after the other.

A history is *linearizable* when each operation can be given one moment between its call and its answer, so that all
answers are what a single copy of the key would have said at these moments. Source: Herlihy and Wing, "Linearizability:
a correctness condition for concurrent objects" (1990).

The search is the one of Wing and Gong (1993) with the memory of Lowe ("Testing for linearizability", 2017): of all
operations that may come next, one is taken, and a set of taken operations that led nowhere in some state is not tried
again. An operation may come next when no other one that is still to come was answered before it was called. The
versions of the key cut the search into pieces, for each change makes exactly one:

- What changed nothing and was answered as the state is now, is taken at once. No order that is right is lost by this:
  taken first, it leaves the state and all others as they are.
- When somebody was answered that a change made the next version, no other change can have made it.
- Only a version that nobody was told to have made has to be guessed, among the operations whose answers were lost. A
  value that somebody read under this version leaves few of them, mostly one.

So the time grows with the number of operations and not with that of their orders. An operation whose answer was lost
may have happened at any moment after its call, or never. One that surely did not happen does not belong into a history.
"""

import bisect
import functools
import json
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

NEVER = math.inf
"""When an operation whose answer was lost has ended."""

UNTOLD = "(untold)"
"""A value of which an answer says nothing. No JSON text."""

MAX_CONFIGURATIONS = 200_000

CHANGED = ("stored", "deleted")

Kind = Literal["write", "merge", "delete", "read"]
Status = Literal["stored", "deleted", "conflict", "found", "not_found"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client was told."""

    status: Status
    version: int
    """The version of the key after the operation."""
    value: str | None = None
    """JSON text, see `text`; None: there is none, or the answer is about a change of the client's own."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a client."""

    client: str
    kind: Kind
    called_at: float
    """Seconds of one clock that never goes back, the same for all clients."""
    ended_at: float = NEVER
    answer: Answer | None = None
    """None: it was lost."""
    value: str | None = None
    """Of a write the JSON text, of a merge that of the patch."""
    expected: int | None = None
    """The version that must be the current one; 0: there must be no value. None: whatever there is."""

    def __str__(self) -> str:
        given = [] if self.value is None else [self.value]
        given += [] if self.expected is None else [f"expected {self.expected}"]
        told = "no answer" if self.answer is None else f"{self.answer.status} {self.answer.version}"
        if self.answer is not None and self.answer.value is not None:
            told += f" {self.answer.value}"
        return f"[{self.called_at:.6f}, {self.ended_at:.6f}] {self.client}: {self.kind}({', '.join(given)}) -> {told}"


@dataclass(frozen=True, slots=True)
class State:
    """Of the key."""

    version: int = 0
    value: str | None = None
    """JSON text; None: there is none."""


NOTHING = State()
"""There never was a value."""


class NotLinearizable(Exception):
    """No order explains the history. The message has the longest one that does, as far as it goes, and what is left."""


class Undecided(Exception):
    """Too many operations without an answer to try all of their orders."""


def check(
    history: Iterable[Operation], state: State = NOTHING, *, kept: Mapping[int, str | None] = types.MappingProxyType({})
) -> list[Operation]:
    """An order of the operations of one key that explains all answers.

    Args:
        history: In any order.
        state: What there was before.
        kept: What is known of versions beside the answers: their values, by version. The order has to explain them too.

    Returns:
        Every operation that was answered, and those without an answer that must have happened.

    Raises:
        NotLinearizable: there is no such order.
        Undecided: more than `MAX_CONFIGURATIONS` were looked at.
    """
    return _Search(list(history), kept).run(state)


def text(value: Any) -> str:
    """The JSON text by which values are compared."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def step(state: State, operation: Operation) -> tuple[State, Answer]:
    """What an operation does to a state when nothing else happens meanwhile, and what its client is told."""
    version, value = state.version, state.value
    expected = operation.expected
    if operation.kind == "read":
        return state, Answer("not_found" if value is None else "found", version, value)
    if expected is not None and expected != version and not (expected == 0 and value is None):
        return state, Answer("conflict", version, value)
    if operation.kind == "delete":
        if value is None:
            return state, Answer("not_found", version)
        return State(version + 1), Answer("deleted", version + 1)
    assert operation.value is not None
    new = operation.value if operation.kind == "write" else _merged(value, operation.value)
    return State(version + 1, new), Answer("stored", version + 1)


@functools.lru_cache(maxsize=4096)
def _merged(value: str | None, patch: str) -> str:
    return text(merge_patch(None if value is None else json.loads(value), json.loads(patch)))


def merge_patch(target: Any, patch: Any) -> Any:
    """Source: RFC 7396, section 2. On its own here: what is checked does not check itself."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


@dataclass(slots=True)
class _Configuration:
    """How far a search has come."""

    state: State
    taken: int
    """The answered operations in the order of their calls: a bit for each that has its place."""
    first: int
    """The first of them that has not."""
    used: int
    """The same for those without an answer."""
    order: "_Link | None"


@dataclass(frozen=True, slots=True)
class _Link:
    operation: Operation
    before: "_Link | None"
    length: int


class _Search:
    def __init__(self, history: Sequence[Operation], kept: Mapping[int, str | None]) -> None:
        by_call = sorted(history, key=lambda operation: operation.called_at)
        self._answered = [operation for operation in by_call if operation.answer is not None]
        # Nobody saw what a read brought whose answer was lost.
        self._lost = [operation for operation in by_call if operation.answer is None and operation.kind != "read"]
        self._lost_calls = [operation.called_at for operation in self._lost]
        self._makers: dict[int, int] = {}
        self._values = dict(kept)
        self._all = (1 << len(self._answered)) - 1
        for index, operation in enumerate(self._answered):
            answer = operation.answer
            assert answer is not None
            if answer.status in CHANGED:
                other = self._makers.setdefault(answer.version, index)
                if other != index:
                    raise NotLinearizable(
                        f"two changes made version {answer.version}:\n{self._answered[other]}\n{operation}"
                    )
        for operation in self._answered:
            answer = operation.answer
            assert answer is not None
            if answer.status in ("found", "conflict", "not_found") and answer.value != UNTOLD:
                # A value that is told in two ways is found out when the reads are given their places.
                self._values.setdefault(answer.version, answer.value)

    def run(self, state: State) -> list[Operation]:
        longest: _Configuration | None = None
        seen: set[tuple[int, int, State]] = set()
        stack = [_Configuration(state, 0, 0, 0, None)]
        while stack:
            here = stack.pop()
            window = self._take_what_changed_nothing(here)
            if here.taken == self._all:
                return _unrolled(here.order)
            if longest is None or here.taken.bit_count() > longest.taken.bit_count():
                longest = here
            mark = (here.taken, here.used, here.state)
            if mark in seen:
                continue
            seen.add(mark)
            if len(seen) > MAX_CONFIGURATIONS:
                raise Undecided(f"{len(self._lost)} operations without an answer can be put into too many orders")
            # The one that was called first is tried first: most of what was lost happened soon or never.
            stack += reversed(self._next(here, window))
        assert longest is not None
        raise NotLinearizable(self._told(longest))

    def _window(self, here: _Configuration) -> tuple[list[int], float]:
        """The answered operations that may come next, and until when anything that comes next was called."""
        earliest_end = NEVER
        window = []
        for index in range(here.first, len(self._answered)):
            operation = self._answered[index]
            if operation.called_at > earliest_end:
                break
            if not here.taken >> index & 1:
                window.append(index)
                earliest_end = min(earliest_end, operation.ended_at)
        return [index for index in window if self._answered[index].called_at <= earliest_end], earliest_end

    def _take_what_changed_nothing(self, here: _Configuration) -> tuple[list[int], float]:
        while True:
            window, earliest_end = self._window(here)
            same = [index for index in window if self._fits(here.state, index) == here.state]
            if not same:
                return window, earliest_end
            for index in same:
                self._take(here, index)

    def _take(self, here: _Configuration, index: int) -> None:
        here.taken |= 1 << index
        here.order = _Link(self._answered[index], here.order, _length(here) + 1)
        while here.taken >> here.first & 1:
            here.first += 1

    def _fits(self, state: State, index: int) -> State | None:
        """The state after an answered operation; None: in this state the answer would have been another one."""
        operation = self._answered[index]
        after, answer = step(state, operation)
        given = operation.answer
        assert given is not None
        if (given.status, given.version) != (answer.status, answer.version):
            return None
        return after if given.value in (answer.value, UNTOLD) else None

    def _next(self, here: _Configuration, window: tuple[list[int], float]) -> list[_Configuration]:
        may_come, earliest_end = window
        maker = self._makers.get(here.state.version + 1)
        if maker is not None:
            after = self._fits(here.state, maker) if maker in may_come else None
            if after is None or not self._agrees(after):
                return []
            there = _Configuration(after, here.taken, here.first, here.used, here.order)
            self._take(there, maker)
            return [there]
        found = []
        tried = set()
        for index in range(bisect.bisect_right(self._lost_calls, earliest_end)):
            operation = self._lost[index]
            # Of those that do the same, it does not matter which one did.
            same = (operation.kind, operation.value, operation.expected)
            if here.used >> index & 1 or same in tried:
                continue
            tried.add(same)
            after, _ = step(here.state, operation)
            if after != here.state and self._agrees(after):
                order = _Link(operation, here.order, _length(here) + 1)
                found.append(_Configuration(after, here.taken, here.first, here.used | 1 << index, order))
        return found

    def _agrees(self, state: State) -> bool:
        """Whether nobody was told another value of this version."""
        return self._values.get(state.version, state.value) == state.value

    def _told(self, longest: _Configuration) -> str:
        window, _ = self._window(longest)
        last = _unrolled(longest.order)[-8:]
        lost = [operation for index, operation in enumerate(self._lost) if not longest.used >> index & 1]
        lines = [
            f"{longest.taken.bit_count()} of {len(self._answered)} operations with an answer have a place, at last:",
            *map(str, last),
            f"then the key is at version {longest.state.version} with {longest.state.value}, and none of these fits:",
            *(str(self._answered[index]) for index in window),
            f"nor do those without an answer ({len(lost)}):",
            *map(str, lost[:20]),
        ]
        return "\n".join(lines)


def _length(here: _Configuration) -> int:
    return here.order.length if here.order else 0


def _unrolled(link: _Link | None) -> list[Operation]:
    order = []
    while link is not None:
        order.append(link.operation)
        link = link.before
    return order[::-1]
