"""Votes: what an agent's words choose, and when there is a majority."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_orchestrator.collaborations.handover import Progress, count, result_of
from aicp_orchestrator.collaborations.patterns import vote
from aicp_orchestrator.collaborations.plan import Plan
from aicp_orchestrator.collaborations.votes import MAX_CHOICE_CHARACTERS, Tally, tally


def chosen(result: Any, *choices: str) -> str | None:
    """What one result chooses; None when that is unclear."""
    counted = tally({"a": result}, choices, 1)
    assert bool(counted.votes) != bool(counted.unclear)
    return next(iter(counted.votes), None)


@pytest.mark.parametrize(
    "result",
    [
        {"choice": "yes", "why": "it is cheap"},
        {"vote": "Yes"},
        {"answer": "YES!"},
        '{"choice": "yes", "why": "it is cheap"}',
        '  {"choice": "yes"}\n',
        '```json\n{"choice": "yes", "why": "it is cheap"}\n```',
        "```\nyes\n```",
        "yes",
        " **Yes**, because it is cheap",
        "Yes - it is cheap",
        '"yes"',
        "\n\n「yes」\nIt is cheap.",
        "Yes.\nThough no would do as well.",
        True,
        {"choice": True},
    ],
)
def test_a_choice_is_read_however_an_agent_writes_it(result: Any) -> None:
    assert chosen(result, "yes", "no") == "yes"


@pytest.mark.parametrize(
    "result",
    [
        "",
        "   \n ",
        "maybe",
        "yesterday",
        "I would say yes",
        {"why": "it is cheap"},
        {"choice": None},
        {"choice": ["yes"]},
        {"choice": {"it": "yes"}},
        ["yes"],
        None,
        "{not json",
    ],
)
def test_what_is_none_of_the_choices_is_unclear(result: Any) -> None:
    assert chosen(result, "yes", "no") is None


def test_of_two_choices_that_begin_alike_the_longer_one_that_was_said_is_meant() -> None:
    assert chosen("Yes, but later: it is dear", "yes", "yes, but later") == "yes, but later"
    assert chosen("Yes, and now", "yes", "yes, but later") == "yes"
    assert chosen("C++ of course", "C", "C++") == "C++"
    assert chosen(10, "1", "10") == "10"
    assert chosen("1.", "1", "10") == "1"


def test_a_choice_of_signs_alone_is_only_chosen_by_saying_it() -> None:
    assert chosen("?", "!", "?") == "?"
    assert chosen("!", "!", "?") == "!"
    assert chosen("", "!", "?") is None
    assert chosen("- why not", "!", "?") is None


def test_the_choice_is_told_as_the_requester_wrote_it() -> None:
    assert chosen("POSTGRESQL", "PostgreSQL", "Redis") == "PostgreSQL"
    assert chosen("찬성: 비용이 적다", "찬성", "반대") == "찬성"


def test_without_choices_the_first_line_is_the_choice_and_equal_words_count_together() -> None:
    counted = tally({"a": "Postgres", "b": {"choice": "postgres"}, "c": "POSTGRES.\nBecause.", "d": "Redis"}, (), 4)
    assert counted == Tally(votes={"Postgres": ["a", "b", "c"], "Redis": ["d"]}, unclear=[], asked=4, winner="Postgres")
    assert chosen("x" * MAX_CHOICE_CHARACTERS) is not None
    assert chosen("x" * (MAX_CHOICE_CHARACTERS + 1)) is None


def test_numbers_and_yes_or_no_are_choices_too() -> None:
    assert chosen(3) == "3"
    assert chosen(2.5) == "2.5"
    assert chosen(False) == "no"


def test_the_choice_with_most_votes_comes_first_and_steps_keep_their_order() -> None:
    counted = tally({"a": "x", "b": "y", "c": "z", "d": "y"}, ("x", "y", "z"), 4)
    assert list(counted.votes.items()) == [("y", ["b", "d"]), ("x", ["a"]), ("z", ["c"])]
    assert counted.winner is None


@pytest.mark.parametrize(
    ("results", "asked", "winner"),
    [
        (["x"], 1, "x"),
        (["x", "x", "y"], 3, "x"),
        (["x", "x", "y", "y"], 4, None),
        (["x", "y", "z"], 3, None),
        # Those who were asked and said nothing count too.
        (["x", "x"], 4, None),
        (["x", "x", "x"], 4, "x"),
        (["x", "x", "?", "?"], 4, None),
        ([], 3, None),
    ],
)
def test_a_majority_is_more_than_half_of_those_who_were_asked(
    results: list[str], asked: int, winner: str | None
) -> None:
    by_step = {f"s{number}": result for number, result in enumerate(results)}
    assert tally(by_step, ("x", "y", "z"), asked).winner == winner


def voted(quorum: int, *results: Any) -> tuple[Plan, dict[str, Progress]]:
    """A vote in which each of these was handed in; Ellipsis: nothing yet."""
    steps = vote([f"agent-{number}" for number in range(len(results))], ("x", "y"))
    plan = Plan("t", "vote", "quorum" if quorum else "continue", steps, choices=("x", "y"), quorum=quorum)
    progress = {
        step.id: Progress("running") if result is ... else Progress("completed", result=result)
        for step, result in zip(steps, results, strict=True)
    }
    return plan, progress


def test_with_a_quorum_so_many_votes_are_enough_for_a_majority() -> None:
    assert count(*voted(0, "x", "x", ..., ...)).winner is None
    assert count(*voted(2, "x", "x", ..., ...)).winner == "x"
    assert count(*voted(3, "x", "x", "y", ...)).winner == "x"
    assert count(*voted(2, "x", "y", ..., ...)).winner is None


def test_votes_that_came_in_beyond_the_quorum_count_too_and_a_tie_stays_a_tie() -> None:
    assert count(*voted(2, "x", "x", "y", "y")).winner is None
    assert count(*voted(1, "x", "y")).winner is None
    assert count(*voted(2, "x", "y", "y", ...)).winner == "y"


def test_the_requester_is_told_how_the_vote_stands() -> None:
    plan, progress = voted(0, "x", "x", "perhaps")
    told = result_of(plan, progress)
    assert told["vote"] == {
        "winner": "x",
        "votes": {"x": ["step-1", "step-2"]},
        "asked": 3,
        "unclear": ["step-3"],
    }
    assert told["answer"] == "x"
    plan, progress = voted(0, "x", "y")
    told = result_of(plan, progress)
    assert told["vote"] == {"winner": None, "votes": {"x": ["step-1"], "y": ["step-2"]}, "asked": 2}
    assert "answer" not in told
    assert told["instruction"].startswith("No choice has a majority;")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.sampled_from(["x", "Y!", '{"choice": "x"}']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["choice", "vote", "z"]), inner),
    max_leaves=4,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), ANYTHING), st.sampled_from([(), ("x", "y")]))
def test_whatever_is_handed_in_every_vote_is_counted_once(results: dict[str, Any], choices: tuple[str, ...]) -> None:
    counted = tally(results, choices, max(1, len(results)))
    steps = [step for steps in counted.votes.values() for step in steps] + counted.unclear
    assert sorted(steps) == sorted(results)
    if choices:
        assert set(counted.votes) <= set(choices)
    if counted.winner is not None:
        assert 2 * len(counted.votes[counted.winner]) > counted.asked


@pytest.mark.parametrize("text", ['{"a":' * 40_000, "\n" * 130_000, "[" * 100_000, "x" * 200_000])
def test_a_hostile_vote_is_unclear(text: str) -> None:
    assert tally({"a": text}, [], 1).unclear == ["a"]


def test_a_choice_with_a_long_reason_counts() -> None:
    text = '{"choice": "yes", "why": "' + "because " * 2_000 + '"}'
    assert tally({"a": text}, ["yes", "no"], 1).winner == "yes"


def test_a_number_of_many_digits_is_read_or_unclear_and_no_fault() -> None:
    found = tally({"a": '{"choice": ' + "9" * 5_000 + "}"}, [], 1)
    assert found.unclear == ["a"] or found.winner


def test_an_agent_that_stood_in_for_another_voter_has_one_vote() -> None:
    plan, progress = voted(0, "x", "y", "x", "y")
    for step, agent in zip(plan.steps, ("bob", "carol", "bob", "dave"), strict=True):
        progress[step.id].agent = agent
    told = result_of(plan, progress)
    assert told["vote"] == {
        "winner": None,
        "votes": {"y": ["carol", "dave"], "x": ["bob"]},
        "asked": 4,
        "repeated": ["bob"],
    }
