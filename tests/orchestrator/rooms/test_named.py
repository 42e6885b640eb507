"""Names in a text."""

import pytest

from aicp_orchestrator.rooms.named import named_in


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("@bob", ("bob",)),
        ("Look, @bob-2: and @carol_x. (@dave) **@erin**", ("bob-2", "carol_x", "dave", "erin")),
        ("@Bob and @BOB and @bob", ("bob",)),
        ("@밥 @-x @ bob", ()),
        ("bob@carol.example, mailto:bob@carol, @carol.example", ()),
        ("npm i @scope/name, path/@bob, @bob@example", ()),
        ("@" + "a" * 64, ("a" * 64,)),
        ("@" + "a" * 65, ()),
    ],
)
def test_a_name_after_an_at_sign_is_one_unless_it_is_a_part_of_something_else(
    text: str, names: tuple[str, ...]
) -> None:
    assert named_in(text, 20) == names


def test_no_more_are_named_than_may_be() -> None:
    assert named_in("@a @b @c", 2) == ("a", "b")
    assert named_in("@a", 0) == ()
