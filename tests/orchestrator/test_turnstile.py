"""The turnstile: no more inside than there are places, each requester in its turn, and no place is ever lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aicp_orchestrator.collaborations.turnstile import Turnstile


class Visitors:
    """Those who want in at one turnstile. Each stays inside until it is let out."""

    def __init__(self, places: int) -> None:
        self.turnstile = Turnstile(places)
        self.inside: list[str] = []
        self.came: list[str] = []
        """In the order in which they came in."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._out: dict[str, asyncio.Event] = {}

    async def arrive(self, *names: str) -> None:
        """Let visitors of the requester that their name begins with ask for a place, in this order."""
        for name in names:
            self._out[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._visit(name))
        await turned()

    async def leave(self, name: str) -> None:
        """Let one go that is inside."""
        self._out[name].set()
        await self._tasks[name]
        await turned()

    def cancel(self, name: str) -> None:
        """End one, wherever it is."""
        self._tasks[name].cancel()

    async def gone(self, name: str) -> None:
        """Wait until one that was cancelled has ended."""
        with pytest.raises(asyncio.CancelledError):
            await self._tasks[name]
        await turned()

    async def _visit(self, name: str) -> None:
        async with self.turnstile.turn(name[0]):
            self.inside.append(name)
            self.came.append(name)
            try:
                await self._out[name].wait()
            finally:
                self.inside.remove(name)

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def turned() -> None:
    """Whatever could go on has gone on: nothing here waits for anything but the loop itself."""
    for _ in range(5):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def visitors(places: int) -> AsyncIterator[Visitors]:
    made = Visitors(places)
    try:
        yield made
    finally:
        await made.close()


async def test_no_more_are_inside_than_there_are_places() -> None:
    async with visitors(2) as all_:
        await all_.arrive("a1", "a2", "a3", "a4")
        assert all_.inside == ["a1", "a2"]
        await all_.leave("a1")
        assert all_.inside == ["a2", "a3"]
        await all_.leave("a3")
        await all_.leave("a2")
        await all_.leave("a4")
        await all_.arrive("a5", "a6", "a7")
        assert all_.inside == ["a5", "a6"]


async def test_who_asks_for_much_holds_up_nobody_who_asks_for_little() -> None:
    async with visitors(1) as all_:
        await all_.arrive(*(f"a{number}" for number in range(5)), "b0", "c0", "b1")
        for _ in range(8):
            await all_.leave(all_.inside[0])
        assert all_.came == ["a0", "a1", "b0", "c0", "a2", "b1", "a3", "a4"]


async def test_of_one_requester_the_first_comes_first() -> None:
    async with visitors(1) as all_:
        await all_.arrive("a0", "a1", "a2", "a3")
        for name in ("a0", "a1", "a2", "a3"):
            await all_.leave(name)
        assert all_.came == ["a0", "a1", "a2", "a3"]


async def test_one_that_is_cancelled_while_it_waits_is_passed_by() -> None:
    async with visitors(1) as all_:
        await all_.arrive("a0", "b0", "c0")
        all_.cancel("b0")
        await all_.gone("b0")
        await all_.leave("a0")
        assert all_.inside == ["c0"]


async def test_one_that_is_cancelled_in_the_moment_it_is_let_in_gives_its_place_on() -> None:
    turnstile = Turnstile(1)
    came: list[str] = []

    async def visit(requester: str) -> None:
        async with turnstile.turn(requester):
            came.append(requester)

    async with turnstile.turn("a"):
        second, third = (asyncio.create_task(visit(requester)) for requester in "bc")
        await turned()
    # The place is b's now, but b has not gone on yet.
    second.cancel()
    await third
    assert came == ["c"]
    await visit("a")
    assert came == ["c", "a"]


async def test_a_place_is_given_back_by_whoever_fails_or_is_cancelled_inside() -> None:
    turnstile = Turnstile(1)
    with pytest.raises(RuntimeError):
        async with turnstile.turn("a"):
            raise RuntimeError
    async with visitors(1) as all_:
        await all_.arrive("a0", "a1")
        all_.cancel("a0")
        await all_.gone("a0")
        assert all_.inside == ["a1"]


async def test_when_all_who_waited_have_gone_the_place_is_free_again() -> None:
    async with visitors(1) as all_:
        await all_.arrive("a0", "a1", "b0")
        for name in ("a1", "b0"):
            all_.cancel(name)
            await all_.gone(name)
        await all_.leave("a0")
        assert all_.inside == []
        await all_.arrive("c0")
        assert all_.inside == ["c0"]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from("+-x"), st.integers(0, 30)), max_size=40))
def test_whatever_happens_places_are_neither_lost_nor_given_twice(places: int, moves: list[tuple[str, int]]) -> None:
    async def play() -> None:
        async with visitors(places) as all_:
            here: list[str] = []
            for number, (move, which) in enumerate(moves):
                if move == "+":
                    here.append(f"{'abc'[which % 3]}{number}")
                    await all_.arrive(here[-1])
                elif move == "-" and all_.inside:
                    name = all_.inside[which % len(all_.inside)]
                    here.remove(name)
                    await all_.leave(name)
                elif move == "x" and here:
                    name = here.pop(which % len(here))
                    all_.cancel(name)
                    await all_.gone(name)
                assert len(all_.inside) == min(places, len(here))

    asyncio.run(play())
