"""Any plan, whenever its workers die, ends as a sequential model says, and each of its steps is done once."""

import asyncio
import faulthandler
import json
import logging
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings

from aicp_common.bus import Bus
from aicp_common.envelope import encode_json
from tests.conftest import envelope
from tests.orchestrator.cast import Cast
from tests.orchestrator.mortal import Birth, InnerWorker, Mortal, OuterWorker
from tests.orchestrator.network import Network
from tests.orchestrator.scenario import Scenario, scenarios
from tests.orchestrator.verdict import check
from tests.support.processes import Backend, ServiceProcess

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

EXAMPLES = int(os.environ.get("PLAN_EXAMPLES", "60"))
LEASE_S = 0.3
PATIENCE_S = 40.0

# What happens depends on the moment, so a failure is shown as it is: a smaller one would be another one.
NOT_SMALLER = (Phase.explicit, Phase.generate)
OF_MOMENTS = settings(deadline=None, database=None, phases=NOT_SMALLER, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Ground:
    """What collaborations run on."""

    backend: Backend
    runner: asyncio.Runner
    bus: Bus
    errors: "Errors"


class Errors(logging.Handler):
    """What the workers of this process have logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """NATS, Redis and a router that soon sees when a lease has lapsed."""
    backend = Backend(tmp_path_factory.mktemp("plans"))
    backend.start()
    router = ServiceProcess("router", backend, {"SWEEP_INTERVAL_S": "0.05"}).start().wait()
    bus = Bus(backend.nats_url, "tests")
    errors = Errors()
    logging.getLogger("aicp_orchestrator").addHandler(errors)
    with asyncio.Runner() as runner:
        runner.run(bus.connect())
        yield Ground(backend, runner, bus, errors)
        runner.run(bus.close())
    logging.getLogger("aicp_orchestrator").removeHandler(errors)
    assert router.stop() == 0, router.process.output()[-4000:]
    assert "Traceback" not in router.process.output(), router.process.output()[-4000:]
    backend.stop()


@settings(OF_MOMENTS, max_examples=EXAMPLES)
@given(scenario=scenarios())
def test_a_plan_ends_as_the_model_says_whenever_workers_are_dropped(ground: Ground, scenario: Scenario) -> None:
    faulthandler.cancel_dump_traceback_later()
    event(scenario.plan.on_failure)
    ground.runner.run(play(ground, scenario, lambda: InnerWorker(ground.backend.nats_url)))


@settings(OF_MOMENTS, max_examples=6)
@given(scenario=scenarios(most=12, deaths=2, ways=("killed",)))
def test_a_plan_ends_as_the_model_says_whenever_the_process_is_killed(ground: Ground, scenario: Scenario) -> None:
    faulthandler.cancel_dump_traceback_later()
    process = ServiceProcess("orchestrator", ground.backend)
    ground.runner.run(play(ground, scenario, lambda: OuterWorker(process)))
    assert "Traceback" not in process.process.output(), process.process.output()[-4000:]


async def play(ground: Ground, scenario: Scenario, birth: Birth) -> None:
    """Run a scenario to its end, and hold everything that is known of it against the model."""
    network = Network(ground.bus, f"t{secrets.token_hex(6)}")
    cast = Cast(network, scenario)
    workers = [birth()]
    await workers[0].start()
    try:
        async with cast.playing():
            task_id = await begin(network, scenario)
            killing = asyncio.create_task(kill(scenario, cast, workers, birth))
            try:
                whole = await network.ended(task_id, patience_s=PATIENCE_S)
            finally:
                await cast.finish()
                await killing
            # Steps that were called off are ended by the router, a moment later.
            tasks = [await network.ended(child) for child in whole.get("children", ())]
    finally:
        for worker in workers:
            await worker.die()
    check(scenario, cast.seen, whole, tasks)
    assert ground.errors.texts == []


async def begin(network: Network, scenario: Scenario) -> str:
    """Hand the plan of a scenario to the orchestrator, under a short lease; its task id."""
    fields = {"kind": "collaboration", "message": "the whole", "input": scenario.plan, "lease_s": LEASE_S}
    reply = await network.bus.call("router", "create_task", envelope(network.tenant, "alice"), encode_json(fields))
    task_id: str = json.loads(reply.body)["task_id"]
    return task_id


async def kill(scenario: Scenario, cast: Cast, workers: list[Mortal], birth: Birth) -> None:
    """Let workers die when it is their time; each has a successor."""
    for death in scenario.deaths:
        if not await cast.reached(death.at):
            return
        await asyncio.sleep(death.after_ms / 1000)
        worker = workers[-1]
        if isinstance(worker, InnerWorker) and death.how != "killed":
            await worker.go_deaf()
            if death.how == "asleep":
                # So long that it has lost everything, and got it again.
                await asyncio.sleep(1.5 * LEASE_S)
                worker.hear_again()
                continue
        else:
            workers.pop()
            await worker.die()
        workers.append(birth())
        await workers[-1].start()
