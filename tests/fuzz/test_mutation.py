"""Mutations: always a play, never a longer one than may be, the same for the same seed."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import mutate
from tests.fuzz.play import SEPARATOR
from tests.fuzz.seeds import plays

PLAYS = list(plays())


@settings(deadline=None)
@given(st.sampled_from(PLAYS), st.integers(0, 2**32 - 1), st.integers(0, 4000))
def test_a_mutation_is_within_its_size_and_can_be_made_again(play: bytes, seed: int, max_size: int) -> None:
    mutated = mutate(play, max_size, seed)
    assert mutated is None or len(mutated) <= max_size
    assert mutate(play, max_size, seed) == mutated


@settings(deadline=None)
@given(st.binary(), st.integers(0, 2**32 - 1))
def test_any_bytes_can_be_mutated_or_left(data: bytes, seed: int) -> None:
    mutated = mutate(data, 10_000, seed)
    assert mutated is None or isinstance(mutated, bytes)


def test_messages_change_and_stay_json() -> None:
    [play] = [play for play in PLAYS if b'"server/discover"' in play and not play.startswith(b"@")]
    mutated = {mutate(play, 10_000, seed) for seed in range(200)} - {None, play}
    assert len(mutated) > 100
    for other in mutated:
        assert other is not None
        for part in other.split(SEPARATOR):
            if part[:1] == b"{":
                json.loads(part)
