"""The command `python tests/load_test.py`."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import msgspec
import typer
from rich.console import Console

from tests.load.calls import KINDS
from tests.load.failure import CallFailed
from tests.load.measure import TooManyFiles, measure
from tests.load.message import Era
from tests.load.options import arguments_of, check_two_agents, json_file_of, token_of, url_of, weights_of, workers_of
from tests.load.plan import Plan
from tests.load.report import Report
from tests.load.table import print_report

ERRORS, WRONG_OPTIONS, NO_HUB, KILLED = 1, 2, 3, 130
_WIDTH = 120
"""Of the table where there is no terminal."""
_IN_FLIGHT = 4
_IN_FLIGHT_AT_RATE = 16

_CALLS = "\n\n".join(f"  [bold]{kind.name}[/bold]: {kind.what}" for kind in KINDS.values())
_EPILOG = f"""Calls of a mix:\n\n{_CALLS}\n\n
Exit status: 0 no errors; 1 some calls failed; 2 wrong options; 3 the hub cannot be reached or lets nobody in.
Ctrl-C ends early, with the table of what was measured until then."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

T = TypeVar("T")


@app.command(epilog=_EPILOG)
def load_test(
    url: Annotated[
        str,
        typer.Option(
            help="MCP endpoint of the hub: ws:// or wss:// for WebSocket, http:// or https:// for HTTP.",
            rich_help_panel="Hub",
        ),
    ] = "ws://127.0.0.1:8765/mcp",
    era: Annotated[
        Era,
        typer.Option(
            help="How to speak: revision 2025-11-25 with a handshake, or 2026-07-28, which has none.",
            rich_help_panel="Hub",
        ),
    ] = Era.HANDSHAKE,
    token: Annotated[
        str | None,
        typer.Option(
            help="Bearer token. Others on this machine can see it: better a file, or the variable AICP_TOKEN.",
            rich_help_panel="Hub",
        ),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token.", rich_help_panel="Hub")] = None,
    worker_token_file: Annotated[
        Path | None,
        typer.Option(
            help="With a token: file with the one of another agent, which the workers of 'route' are. "
            "Or the variable AICP_WORKER_TOKEN.",
            rich_help_panel="Hub",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=600, help="Seconds to wait for an answer.", rich_help_panel="Hub")
    ] = 60.0,
    connections: Annotated[
        int,
        typer.Option(
            "--connections",
            "-c",
            min=1,
            max=10_000,
            help="Clients, each with an agent name of its own.",
            rich_help_panel="Load",
        ),
    ] = 10,
    in_flight: Annotated[
        int | None,
        typer.Option(
            "--in-flight",
            "-m",
            min=1,
            max=1_000,
            show_default="4, with --rate 16",
            help="Calls that each client has under way. A call begins when one has ended; with --rate it is "
            "the most there can be. Over HTTP each takes a connection.",
            rich_help_panel="Load",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            "-r",
            min=0.01,
            max=1_000_000,
            help="Calls that begin in a second, of all clients together, however fast the hub answers. "
            "Latency counts from when a call should have begun, so that a hub that stands still shows.",
            rich_help_panel="Load",
        ),
    ] = None,
    duration: Annotated[
        float, typer.Option("--duration", "-d", min=0.1, max=3600, help="Seconds to measure.", rich_help_panel="Load")
    ] = 10.0,
    warm_up: Annotated[
        float,
        typer.Option(min=0, max=600, help="Seconds of load before, which are not measured.", rich_help_panel="Load"),
    ] = 1.0,
    calls: Annotated[
        str | None,
        typer.Option(
            "--mix",
            metavar="CALL=WEIGHT,...",
            show_default="what agents of a hub do most",
            help="What is called, and how often each, such as get_context=3,list_tools=1. See below.",
            rich_help_panel="Calls",
        ),
    ] = None,
    tool: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="A tool, of any MCP server: the call 'tool' in a mix.", rich_help_panel="Calls"
        ),
    ] = "",
    arguments: Annotated[
        str | None, typer.Option(metavar="JSON", help="The tool's arguments, a JSON object.", rich_help_panel="Calls")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000,
            show_default="one a connection, 16 at most",
            help="Agents that do what 'route' hands over, each four tasks at once.",
            rich_help_panel="Calls",
        ),
    ] = None,
    payload_bytes: Annotated[
        int, typer.Option(min=32, max=65_536, help="Length of the texts that are sent along.", rich_help_panel="Calls")
    ] = 200,
    json: Annotated[
        str | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Write the report as JSON; '-' for standard output.",
            rich_help_panel="Output",
        ),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live/--no-live", help="Show what happens, on a terminal.", rich_help_panel="Output")
    ] = True,
) -> None:
    """Put load on a running AICP hub, or on any MCP server, and measure how fast it answers.

    [bold]python tests/load_test.py[/bold]   10 clients with 4 calls each, over WebSocket

    [bold]python tests/load_test.py --url http://127.0.0.1:8080/mcp --rate 500 --duration 60[/bold]

    [bold]python tests/load_test.py --tool my_tool --arguments '{"text": "hello"}' --json result.json[/bold]
    """
    hub = _named("--url", url_of, url)
    mine = _named("--token", token_of, token, token_file, "AICP_TOKEN")
    theirs = _named("--worker-token-file", token_of, None, worker_token_file, "AICP_WORKER_TOKEN")
    weights = _named("--mix", lambda: weights_of(calls, era, tool, can_route=not mine or bool(theirs)))
    if mine and "route" in weights:
        _named("--worker-token-file", check_two_agents, mine, theirs)
    plan = Plan(
        url=hub,
        era=era,
        token=mine,
        worker_token=theirs,
        connections=connections,
        in_flight=in_flight or (_IN_FLIGHT if rate is None else _IN_FLIGHT_AT_RATE),
        rate=rate,
        duration_s=duration,
        warm_up_s=warm_up,
        timeout_s=timeout,
        weights=weights,
        workers=workers_of(workers, weights, connections),
        payload_bytes=payload_bytes,
        tool=tool,
        arguments=_named("--arguments", arguments_of, arguments, tool),
    )
    file = _named("--json", json_file_of, json)
    if mine and not theirs and calls is None and not tool:
        _console(stderr=True).print("without --worker-token-file nothing is handed over: the mix has no 'route'")
    report = _run(plan, live=live)
    encoded = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    if file is not None:
        file.write_bytes(encoded)
    if json == "-":
        sys.stdout.buffer.write(encoded)
        sys.stdout.flush()
    print_report(_console(stderr=json == "-"), report)
    raise typer.Exit(0 if report.ok else ERRORS)


def _named(option: str, check: Callable[..., T], *values: object) -> T:
    """The checked value; what is wrong with it is said of this option."""
    try:
        return check(*values)
    except typer.BadParameter as error:
        error.param_hint = option
        raise


def _run(plan: Plan, *, live: bool) -> Report:
    console = _console(stderr=True)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(measure(plan, console, live=live))
    except CallFailed as failure:
        _end(console, f"{plan.url} cannot be used: {failure.message} ({failure.code})", NO_HUB)
    except TooManyFiles as error:
        _end(console, str(error), WRONG_OPTIONS)
    except KeyboardInterrupt:
        _end(console, "ended", KILLED)


def _end(console: Console, message: str, status: int) -> NoReturn:
    console.print(f"load test: {message}", style="red", soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(status)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_WIDTH)
