"""The mix: which calls there are, how often each, and in what order."""

import random
from collections.abc import Mapping

from tests.load.calls import KINDS

MAX_WEIGHT = 1000
DEFAULT = {"list_agents": 1, "share_context": 2, "get_context": 4, "route": 1}
"""What agents of a hub do most."""


def parse(text: str) -> dict[str, int]:
    """The weights in a text such as `get_context=3,list_tools`; a name alone has the weight 1.

    Raises:
        ValueError: a name or a weight is none; the message says what there is.
    """
    weights: dict[str, int] = {}
    for part in text.split(","):
        name, equals, weight = (piece.strip() for piece in part.partition("="))
        if name not in KINDS:
            raise ValueError(f"there is no call {name!r}; there are {', '.join(KINDS)}")
        if name in weights:
            raise ValueError(f"{name} is there twice")
        if equals and not (weight.isascii() and weight.isdigit() and 1 <= int(weight) <= MAX_WEIGHT):
            raise ValueError(f"the weight of {name} is {weight!r}, not a whole number from 1 to {MAX_WEIGHT}")
        weights[name] = int(weight) if equals else 1
    return weights


def deck(weights: Mapping[str, int]) -> list[str]:
    """The names, each as often as its weight says, in an order that is mixed and the same each time."""
    names = [name for name, weight in weights.items() for _ in range(weight)]
    random.Random(0).shuffle(names)
    return names
