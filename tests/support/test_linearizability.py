"""The checker of histories accepts what one copy of a key could have said, and nothing else."""

import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.linearizability import (
    CHANGED,
    NEVER,
    NOTHING,
    UNTOLD,
    Answer,
    Kind,
    NotLinearizable,
    Operation,
    State,
    check,
    merge_patch,
    step,
    text,
)

# ------------------------------------------------------------------------------------------------ histories by hand


def wrote(at: tuple[float, float], value: object, version: int, expected: int | None = None) -> Operation:
    return Operation("a writer", "write", *at, Answer("stored", version), text(value), expected)


def merged(at: tuple[float, float], patch: object, version: int) -> Operation:
    return Operation("a merger", "merge", *at, Answer("stored", version), text(patch))


def refused(at: tuple[float, float], expected: int, version: int, value: object) -> Operation:
    return Operation("a writer", "write", *at, Answer("conflict", version, text(value)), text("refused"), expected)


def deleted(at: tuple[float, float], version: int, expected: int | None = None) -> Operation:
    return Operation("a deleter", "delete", *at, Answer("deleted", version), None, expected)


def read(at: tuple[float, float], version: int, value: object) -> Operation:
    return Operation("a reader", "read", *at, Answer("found", version, text(value)))


def read_nothing(at: tuple[float, float], version: int) -> Operation:
    return Operation("a reader", "read", *at, Answer("not_found", version))


def lost(called_at: float, kind: Kind, value: object = None, expected: int | None = None) -> Operation:
    return Operation("unlucky", kind, called_at, NEVER, None, None if kind == "delete" else text(value), expected)


GOOD = {
    "nothing happened": [],
    "one after the other": [read_nothing((0, 1), 0), wrote((2, 3), 1, 1), read((4, 5), 1, 1), deleted((6, 7), 2)],
    "a read beside a write sees it or not": [
        wrote((0, 9), 1, 1),
        read_nothing((1, 2), 0),
        read((3, 4), 1, 1),
        read((5, 6), 1, 1),
    ],
    "writes at the same time, in the order of their versions": [
        wrote((0, 9), "second", 2),
        wrote((0, 9), "first", 1),
        read((10, 11), 2, "second"),
    ],
    "of two with the same expected version one is refused": [
        wrote((0, 1), 0, 1),
        wrote((2, 9), "won", 2, expected=1),
        refused((2, 9), 1, 2, "won"),
    ],
    "a key that was deleted does not exist": [
        wrote((0, 1), 1, 1),
        deleted((2, 3), 2, expected=1),
        read_nothing((4, 5), 2),
        wrote((6, 7), 3, 3, expected=0),
    ],
    "merges that meet": [
        wrote((0, 1), {"a": 1}, 1),
        merged((2, 9), {"b": 2}, 3),
        merged((2, 9), {"a": None}, 2),
        read((10, 11), 3, {"b": 2}),
    ],
    "a lost write that never happened": [lost(0, "write", "lost"), wrote((1, 2), 1, 1), read((3, 4), 1, 1)],
    "a lost write that took effect late": [
        wrote((0, 1), 1, 1),
        lost(2, "write", "late"),
        read((3, 4), 1, 1),
        wrote((5, 6), 2, 2),
        read((7, 8), 3, "late"),
    ],
    "a lost write that is only seen in the next version": [
        lost(0, "write", {"a": 1}),
        merged((1, 2), {"b": 2}, 2),
        read((3, 4), 2, {"a": 1, "b": 2}),
    ],
    "lost deletes, of which one happened": [
        wrote((0, 1), 1, 1),
        *(lost(2, "delete") for _ in range(30)),
        read_nothing((3, 4), 2),
        read_nothing((5, 6), 2),
    ],
    "a lost change under a condition that held": [wrote((0, 1), 1, 1), lost(2, "write", 2, 1), read((3, 4), 2, 2)],
    "a refusal that does not tell the value": [
        wrote((0, 1), 1, 1),
        Operation("a deleter", "delete", 2, 3, Answer("conflict", 1, UNTOLD), None, 7),
    ],
}

BAD = {
    "a stale read": [wrote((0, 1), 1, 1), wrote((2, 3), 2, 2), read((4, 5), 1, 1)],
    "a read that goes back": [wrote((0, 9), 1, 1), read((1, 2), 1, 1), read_nothing((3, 4), 0)],
    "a read of what nobody wrote": [wrote((0, 1), 1, 1), read((2, 3), 1, "else")],
    "a read of a version that nobody made": [wrote((0, 1), 1, 1), read((2, 3), 2, 1)],
    "a read before the write was called": [read((0, 1), 1, 1), wrote((2, 3), 1, 1)],
    "a lost update": [wrote((0, 1), 1, 1), wrote((2, 9), 2, 2, expected=1), wrote((2, 9), 3, 3, expected=1)],
    "two that made the same version": [wrote((0, 1), 0, 1), wrote((2, 9), 1, 2, 1), wrote((2, 9), 2, 2, 1)],
    "a write that was seen and is gone": [wrote((0, 1), 1, 1), read((2, 3), 1, 1), read_nothing((4, 5), 0)],
    "an acknowledged write that is gone": [wrote((0, 1), 1, 1), wrote((2, 3), 2, 1)],
    "versions against the order of the calls": [wrote((0, 1), 1, 2), wrote((2, 3), 2, 1)],
    "a version that nobody made": [wrote((0, 1), 1, 1), wrote((2, 3), 2, 3)],
    "a condition that did not hold": [wrote((0, 1), 1, 1), wrote((2, 3), 2, 2, expected=0)],
    "a refusal although the condition held": [wrote((0, 1), 1, 1), refused((2, 3), 1, 1, 1)],
    "a delete that was done twice": [
        wrote((0, 1), "old", 1),
        Operation("a deleter", "delete", 2, 9, Answer("deleted", 4)),
        wrote((4, 5), "new", 3, expected=0),
        read_nothing((10, 11), 4),
    ],
    "a deleted value that comes back": [wrote((0, 1), 1, 1), deleted((2, 3), 2), read((4, 5), 1, 1)],
    "a merge that forgot what was there": [
        wrote((0, 1), {"a": 1}, 1),
        merged((2, 3), {"b": 2}, 2),
        read((4, 5), 2, {"b": 2}),
    ],
    "a lost write before it was called": [read((0, 1), 1, "lost"), lost(2, "write", "lost")],
    "a lost write that happened twice": [
        lost(0, "write", "lost"),
        read((1, 2), 1, "lost"),
        wrote((3, 4), 2, 2),
        read((5, 6), 3, "lost"),
    ],
    "a lost change under a condition that did not hold": [
        wrote((0, 1), 1, 1),
        wrote((2, 3), 2, 2),
        lost(4, "write", 3, expected=1),
        read((5, 6), 3, 3),
    ],
    "two values of one version": [lost(0, "write", 1), lost(0, "write", 2), read((1, 2), 1, 1), read((1, 2), 1, 2)],
    "a value that a refusal made up": [wrote((0, 1), 1, 1), refused((2, 3), 9, 1, "else")],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_can_be_told_in_one_order_is_accepted(name: str) -> None:
    assert_explains(check(GOOD[name]), GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_cannot_be_told_in_one_order_is_rejected(name: str) -> None:
    with pytest.raises(NotLinearizable):
        check(BAD[name])


def test_a_rejection_says_how_far_it_went_and_what_does_not_fit() -> None:
    with pytest.raises(NotLinearizable) as failed:
        check([*BAD["a stale read"], lost(0, "delete")])
    said = str(failed.value)
    assert "write(2) -> stored 2" in said
    assert "then the key is at version 2 with 2" in said
    assert "a reader: read() -> found 1 1" in said
    assert "unlucky: delete() -> no answer" in said


def test_what_is_kept_of_a_version_must_be_explained_too() -> None:
    history = [lost(0, "write", 1), lost(0, "write", 2), wrote((1, 2), 3, 2)]
    assert check(history, kept={1: text(2)})[0] is history[1]
    with pytest.raises(NotLinearizable):
        check(history, kept={1: text(4)})
    with pytest.raises(NotLinearizable):
        check(history, kept={2: text(1)})


def test_patches_are_merged_as_in_the_rfc() -> None:
    target = {"title": "Goodbye!", "author": {"given": "John", "family": "Doe"}, "tags": ["a", "b"], "content": "x"}
    patch = {"title": "Hello!", "phone": "+1", "author": {"family": None}, "tags": ["c"]}
    wanted = {"title": "Hello!", "author": {"given": "John"}, "tags": ["c"], "content": "x", "phone": "+1"}
    assert merge_patch(target, patch) == wanted
    assert merge_patch(["a"], {"a": {"b": None}}) == {"a": {}}


# --------------------------------------------------------------------------------------------- histories by the dozen


def executed(
    rng: random.Random, count: int, *, clients: int = 8, losses: float = 0.0, overlap: float = 5.0
) -> list[Operation]:
    """What clients see of a key that does one thing after the other, one each second.

    Args:
        rng: Decides everything.
        count: Operations.
        losses: Share of the changes whose answer is lost. Half of them happen, a tenth of these much later.
        overlap: Seconds by which an operation begins before it happens, or ends after it, at most.
    """
    state = NOTHING
    history: list[Operation] = []
    late: list[tuple[float, Operation]] = []
    for number in range(count):
        for due in [one for one in late if one[0] <= number]:
            state, _ = step(state, due[1])
            late.remove(due)
        kind: Kind = rng.choice(("write", "write", "merge", "delete", "read", "read", "read"))
        value = text({f"m{rng.randrange(3)}": number}) if kind in ("write", "merge") else None
        expected = rng.choice((None, None, 0, state.version, state.version, state.version - 1))
        operation = Operation(
            f"client {rng.randrange(clients)}",
            kind,
            number - rng.random() * overlap,
            value=value,
            expected=None if kind == "read" or expected is None else max(expected, 0),
        )
        if kind != "read" and rng.random() < losses:
            history.append(operation)
            if rng.random() < 0.1:
                late.append((number + rng.random() * 50, operation))
            elif rng.random() < 0.5:
                state, _ = step(state, operation)
            continue
        state, answer = step(state, operation)
        history.append(replace(operation, ended_at=number + rng.random() * overlap, answer=answer))
    rng.shuffle(history)
    return history


def assert_explains(order: Sequence[Operation], history: Sequence[Operation], state: State = NOTHING) -> None:
    """The order has every operation that was answered, once, and none before one that had ended when it was called."""
    assert len({id(operation) for operation in order}) == len(order)
    assert {id(one) for one in history if one.answer} <= {id(one) for one in order} <= {id(one) for one in history}
    latest_call = -NEVER
    for operation in order:
        assert operation.ended_at >= latest_call
        latest_call = max(latest_call, operation.called_at)
        state, answer = step(state, operation)
        if operation.answer is not None:
            assert replace(operation.answer, value=None) == replace(answer, value=None)
            assert operation.answer.value in (answer.value, UNTOLD)


def found_by_trying_everything(history: Sequence[Operation], state: State = NOTHING) -> bool:
    """The definition itself: some order of some of the operations does it."""
    if not any(operation.answer for operation in history):
        return True
    for index, operation in enumerate(history):
        rest = [*history[:index], *history[index + 1 :]]
        if any(other.ended_at < operation.called_at for other in rest):
            continue
        after, answer = step(state, operation)
        fits = operation.answer is None or (
            replace(operation.answer, value=None) == replace(answer, value=None)
            and operation.answer.value in (answer.value, UNTOLD)
        )
        if fits and found_by_trying_everything(rest, after):
            return True
    # What was lost need not have happened.
    return False


def accepted(history: Sequence[Operation]) -> bool:
    try:
        assert_explains(check(history), history)
    except NotLinearizable:
        return False
    return True


seeds = st.integers(0, 2**32).map(random.Random)


@settings(deadline=None)
@given(seeds, st.integers(0, 80), st.floats(0, 20))
def test_what_one_copy_said_is_always_accepted(rng: random.Random, count: int, overlap: float) -> None:
    history = executed(rng, count, overlap=overlap)
    assert_explains(check(history), history)


@settings(deadline=None)
@given(seeds, st.integers(0, 80), st.floats(0, 0.4))
def test_what_one_copy_said_is_accepted_when_answers_are_lost(rng: random.Random, count: int, losses: float) -> None:
    history = executed(rng, count, losses=losses)
    assert_explains(check(history), history)


def mutated(
    rng: random.Random, history: Sequence[Operation], wrong: Callable[[Operation], Operation]
) -> list[Operation]:
    """The history with one read that found something told otherwise."""
    reads = [index for index, one in enumerate(history) if one.kind == "read" and one.answer and one.answer.value]
    assume(reads)
    index = rng.choice(reads)
    return [*history[:index], wrong(history[index]), *history[index + 1 :]]


@settings(deadline=None)
@given(seeds, st.integers(2, 60), st.integers(-5, 5).filter(bool))
def test_a_read_with_another_version_is_always_rejected(rng: random.Random, count: int, off_by: int) -> None:
    def wrong(operation: Operation) -> Operation:
        assert operation.answer is not None
        return replace(operation, answer=replace(operation.answer, version=operation.answer.version + off_by))

    with pytest.raises(NotLinearizable):
        check(mutated(rng, executed(rng, count), wrong))


@settings(deadline=None)
@given(seeds, st.integers(2, 60))
def test_a_read_of_a_version_that_was_over_or_not_yet_made_is_always_rejected(rng: random.Random, count: int) -> None:
    history = executed(rng, count)
    makers = {one.answer.version: one for one in history if one.answer and one.answer.status in CHANGED}
    values = {one.answer.version: one.answer.value for one in history if one.answer and one.answer.status == "found"}

    def wrong(operation: Operation) -> Operation:
        impossible = [
            version
            for version in values
            if makers[version].called_at > operation.ended_at
            or (version + 1 in makers and makers[version + 1].ended_at < operation.called_at)
        ]
        assume(impossible)
        version = rng.choice(impossible)
        return replace(operation, answer=Answer("found", version, values[version]))

    with pytest.raises(NotLinearizable):
        check(mutated(rng, history, wrong))


@settings(max_examples=400, deadline=None)
@given(seeds, st.integers(1, 6), st.integers(0, 2), st.floats(0, 4))
def test_it_agrees_with_trying_everything(rng: random.Random, count: int, lies: int, overlap: float) -> None:
    history = executed(rng, count, losses=0.4, overlap=overlap)
    for _ in range(lies):
        index = rng.randrange(count)
        operation = history[index]
        if operation.answer is None:
            continue
        lie = replace(
            operation.answer,
            version=max(0, operation.answer.version + rng.choice((-1, 0, 1))),
            value=rng.choice([one.value for one in history] + [operation.answer.value, UNTOLD])
            if operation.answer.status == "found"
            else operation.answer.value,
        )
        history[index] = replace(operation, answer=lie)
    assert accepted(history) == found_by_trying_everything(history)


@pytest.mark.parametrize("losses", [0.0, 0.1])
def test_a_thousand_operations_on_one_key_take_no_time(losses: float) -> None:
    for seed in itertools.islice(itertools.count(), 3):
        history = executed(random.Random(seed), 1000, losses=losses, overlap=12)
        started = time.process_time()
        assert_explains(check(history), history)
        assert time.process_time() - started < 5
