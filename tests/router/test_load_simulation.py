"""Agents of unequal speed are kept busy, and nobody waits longer than need be."""

from collections.abc import Iterator

import pytest

from aicp_router.tasks.desk import NEAR, PATIENCE_S, Desk, near, pick, room
from bench_routing.load import Run, arrivals, crew
from bench_routing.queueing import Simulation
from tests.support.processes import Backend, ServiceProcess

SIGNAL_MS = 50
"""How long a signal may take to bring an idle agent to a task."""


@pytest.fixture(scope="module")
def load_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """With a router whose decisions cost little: the machine shall not be what is measured."""
    backend = Backend(tmp_path_factory.mktemp("load"))
    backend.start()
    router = ServiceProcess("router", backend, {"EMBEDDER": "off"}).start().wait()
    yield backend
    assert router.stop() == 0, router.process.output()[-4000:]
    backend.stop()


@pytest.mark.slow
async def test_unequal_agents_at_80_percent_wait_a_third_of_what_they_do_in_turn(load_backend: Backend) -> None:
    workers = crew(10, 0.1)
    tasks = arrivals(workers, 250, seed=1)
    chosen = await Run(load_backend, workers, tasks).measure(in_turn=False)
    in_turn = await Run(load_backend, workers, tasks).measure(in_turn=True)
    assert chosen.unclaimed == 0
    assert chosen.p99_ms * 3 <= in_turn.p99_ms
    # A busy machine delays the signals of both.
    assert chosen.idle_share * 2 < in_turn.idle_share


@pytest.mark.parametrize("seed", [1, 2])
def test_no_agent_is_idle_while_a_task_waits_that_it_could_take(seed: int) -> None:
    workers = crew(10, 0.2)
    tasks = arrivals(workers, 800, seed)
    chosen = Simulation(workers, tasks).run()
    assert chosen.idle_longest_ms == 0
    assert chosen.p99_ms * 3 <= Simulation(workers, tasks, in_turn=True).run().p99_ms
    assert chosen.p99_ms < Simulation(workers, tasks, late=False).run().p99_ms


def test_agents_that_take_fewer_at_once_than_they_say_are_relieved_within_a_moment() -> None:
    workers = crew(10, 0.2)
    assert Simulation(workers, arrivals(workers, 800, 1), slots=4).run().idle_longest_ms <= SIGNAL_MS


def desk(fit: float = 0.5, has: int = 0, slots: int = 1, pace: float = 1.0, *, online: bool = True) -> Desk:
    return Desk(fit, has, slots, pace, online)


def test_among_those_with_room_fit_and_room_add_up() -> None:
    assert pick([desk(0.5, has=1, slots=2), desk(0.46)], 0.1) == 1
    assert pick([desk(0.5, has=1, slots=2), desk(0.44)], 0.1) == 0


def test_a_full_desk_gives_way_to_one_with_room_that_fits_nearly_as_well() -> None:
    assert pick([desk(0.9, has=1), desk(0.9 - NEAR + 0.01)], 0.01) == 1
    assert pick([desk(0.9, has=1), desk(0.9 - NEAR - 0.01)], 0.01) == 0


def test_a_busy_agent_that_is_here_goes_before_an_idle_one_that_is_away() -> None:
    assert pick([desk(0.9, has=1), desk(0.89, online=False)], 0.0) == 0


def test_where_all_are_full_the_wait_decides() -> None:
    assert pick([desk(has=3), desk(has=2)], 0.1) == 1
    assert pick([desk(has=2, pace=4.0), desk(has=3, pace=0.25)], 0.1) == 1
    assert room(desk(has=1_000_000)) > -0.41


def test_what_has_waited_is_less_particular() -> None:
    assert near() == NEAR
    assert near(PATIENCE_S) == 2 * NEAR
