"""The fuzzer itself: libFuzzer, which makes up plays and keeps those that reach new lines of the engine.

Takes libFuzzer's own options. `tests.fuzz.engine` starts it.
"""

import sys

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # not for every platform

with atheris.instrument_imports(include=["aicp_gateway"]):
    from tests.fuzz.judge import judge
    from tests.fuzz.mutation import mutate


def mutate_either_way(data: bytes, max_size: int, seed: int) -> bytes:
    """Change a play: as JSON every other time, where it can be, else as bytes."""
    mutated = mutate(data, max_size, seed) if seed % 2 else None
    if mutated is None:
        mutated = atheris.Mutate(data, max_size)
    return mutated


if __name__ == "__main__":
    atheris.Setup(sys.argv, judge, custom_mutator=mutate_either_way)
    atheris.Fuzz()
