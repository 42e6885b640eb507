"""State machines of hypothesis that drive scripts in a real Redis beside a model."""

import asyncio
import faulthandler
from collections.abc import Callable
from functools import partial
from typing import cast

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from redis.asyncio import Redis

from aicp_common.store import connect_redis


def run_machine(
    machine: Callable[[Redis, asyncio.Runner], RuleBasedStateMachine], redis_url: str, *, examples: int, steps: int
) -> None:
    """Run `examples` of `steps` each; `machine` makes a new one for each of them, and empties Redis."""
    # A campaign may take longer than a test that hangs.
    faulthandler.cancel_dump_traceback_later()
    with asyncio.Runner() as runner:
        redis = connect_redis(redis_url)
        try:
            run_state_machine_as_test(
                cast("type[RuleBasedStateMachine]", partial(machine, redis, runner)),
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=steps,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(redis.aclose())
