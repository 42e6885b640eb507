"""Measuring: one run from the first connection to the report."""

import asyncio
import datetime
import gc
import resource
import signal
import time

from rich.console import Console

from tests.load import mix
from tests.load.book import Book, Second, clock
from tests.load.crew import Crew
from tests.load.live import LiveView
from tests.load.plan import Plan
from tests.load.report import Report, report_of
from tests.load.run import Run

_SPARE_FILES = 64
_SPARE_S = 1.0


class TooManyFiles(Exception):
    """The system does not let this process open so many sockets."""


async def measure(plan: Plan, console: Console, *, live: bool) -> Report:
    """Carry out the plan. The first SIGINT or SIGTERM ends it early, with what was measured until then.

    Args:
        plan: What is wanted.
        console: For the live view and warnings.
        live: Whether to show what happens.

    Raises:
        CallFailed: the hub cannot be reached, or does not let the clients in.
        TooManyFiles: see there.
    """
    _allow_files(plan.sockets + _SPARE_FILES)
    book = Book(plan.weights, Crew.helpers(plan))
    crew = Crew(plan, book)
    seconds: list[Second] = []
    try:
        with LiveView(console, plan, wanted=live) as view:

            def on_second(second: Second) -> None:
                if second.ended_s > 0:
                    seconds.append(second)
                view.show(second)

            await crew.open()
            run = Run(
                crew.calls,
                mix.deck(plan.weights),
                book,
                in_flight=plan.in_flight,
                rate=plan.rate,
                warm_up_s=plan.warm_up_s,
                duration_s=plan.duration_s,
                patience_s=plan.timeout_s + _SPARE_S,
                on_second=on_second,
            )
            _stop_on_signals(run)
            # What lives as long as the run need not be looked at again and again.
            gc.freeze()
            started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            cpu, began = time.process_time(), clock()
            await run.go()
            client_cpu = (time.process_time() - cpu) / (clock() - began)
        return report_of(plan, run, book, seconds, started=started, reconnects=crew.reconnects, client_cpu=client_cpu)
    finally:
        left = await crew.close()
        if left:
            console.print(left, style="yellow", soft_wrap=True, highlight=False, markup=False)


def _stop_on_signals(run: Run) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        run.stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # The second one ends the process.
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise TooManyFiles(f"{wanted} files and sockets are needed, and the system allows {hard} (ulimit -Hn)")
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
