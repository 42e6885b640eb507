"""Runs the measurements and prints the report; `--write` puts it into docs/benchmarks.md, in place of what was there of
the same parts."""

import argparse
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import collaborations, context, envelope, fan_out, hand_over, idle, many_keys, relay, rooms, tool_call
from bench.report import renewed, section, whole
from tests.support.processes import Backend

REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Part:
    """One measurement."""

    title: str
    text: str
    """What was done, for the report."""
    measure: Callable[[Backend, int, int], Awaitable[str]]
    """Called with rounds and size; gives a Markdown table."""
    size: int
    """Operations a round, sessions or subscribers."""
    rounds: int | None = None
    """Where a round takes so long that fewer must do."""


PARTS = {
    "envelope": Part(
        "What the envelope costs",
        """
Request and reply with another process over NATS, 64 in flight. The envelope carries tenant, agent, user, scopes,
deadline, trace and request id.
""",
        envelope.measure,
        8000,
    ),
    "tool_call": Part(
        "A tool call through the gateway",
        """
20 clients with 4 calls in flight each, all on the same machine. The gateway checks each client's token, counts, times
and traces (unsampled), and the service checks the arguments against the tool's model, as users run it. The official
Python SDK's server has a one-line tool in its own process, no authentication and no bus behind it, and runs on
uvicorn with uvloop and httptools, of which the gateway has all but the HTTP connections.
""",
        tool_call.measure,
        4000,
    ),
    "hand_over": Part(
        "The whole loop",
        """
64 requesters and 64 workers over WebSocket through one gateway, one router, one state hub and a Redis with
`appendfsync always`, on the same cores: `route_to_agent`, `receive_tasks`, `submit_result`, and the requester has the
result. Once with a Redis that was empty before, once with one that holds a million finished tasks. Each message is new.
""",
        hand_over.measure,
        2_000,
    ),
    "collaborations": Part(
        "What coordination costs",
        """
A whole hub on the same cores: gateway, orchestrator, router, state hub and a Redis with `appendfsync always`; eight
workers over WebSocket that answer at once. Alone, in turn: the whole loop of one task (`route_to_agent`), and a
pipeline of ten steps; "loops" is what the pipeline takes beyond 50 ms, in whole loops. Then 500 collaborations of four
steps (a; b and c after a; d after both) of ten requesters, all at the same time; the processor time is that of all
processes, clients included. Once with a Redis that was empty before, once with one that holds 200,000 finished
collaborations.
""",
        collaborations.measure,
        500,
    ),
    "context": Part(
        "Sharing and reading contexts",
        """
20 clients with 4 calls in flight each, through one gateway, which checks their tokens, and one state hub, with a Redis
with `appendfsync always`. 1,000 contexts in turn, with some 100 bytes of JSON each. Beside it a tool of another service
that says what it was told, and so costs what the gateway and the bus cost. A write is on the disk when it is answered,
is kept as a version, and its event is brought to the log and to those who listen in the same time.
""",
        context.measure,
        4000,
    ),
    "many_keys": Part(
        "Many contexts",
        """
Two hubs side by side, each with a Redis of its own with `appendfsync always`: one with 1,000 contexts, one with
1,000,000 (`CONTEXT_MAX_KEYS` raised). Keys from all over. Then snapshots (`aicp://shared-state`) are read one after the
other, while a process of its own sends PINGs to Redis. The longest command is from Redis' slow log, with everything
above 0.1 ms logged. The measurement fails where Redis has seen a command that looks at all keys, such as KEYS or SCAN,
or a tenth of the PINGs took more than 100 ms.
""",
        many_keys.measure,
        1_000_000,
        rounds=3,
    ),
    "relay": Part(
        "From a change to those who listen",
        """
25 clients change 50 contexts through the gateway at a steady rate of 500 changes a second, whether or not the ones
before were answered. Each is heard of by a subscriber of the event log on NATS, and by an MCP client that watches
this one context over WebSocket. A change is certain somewhere between the script in Redis, whose clock is read in whole
milliseconds and so up to one too early, and the moment when its writer has the answer: both are given. Below zero: the
listener knew before the writer.
""",
        relay.measure,
        5_000,
        rounds=3,
    ),
    "rooms": Part(
        "A room that many listen to",
        """
500 members of one room over WebSocket, of a whole hub on the same cores: gateway, orchestrator, router, state hub and a
Redis with `appendfsync always`. Members in turn post 20 messages a second for 15 s, whether or not the ones before were
answered, and each message is pushed to every member: 10,000 notifications a second. In the middle every tenth member
loses its connection; at the end it comes back and reads from its last number on. The measurement fails where somebody
was told something twice, in another order, or not at all. The clients are one process.
""",
        rooms.measure,
        500,
        rounds=3,
    ),
    "fan_out": Part(
        "One change, many listeners",
        """
2,000 WebSocket clients of one gateway are subscribed to one resource, and a tool call changes it. The clients are one
process on the same machine.
""",
        fan_out.measure,
        2000,
    ),
    "idle": Part(
        "Idle sessions",
        """
10,000 WebSocket sessions on one gateway, each of an agent and with a token of its own. Memory is what the process of
the gateway has more than before, resident, divided by the sessions; the buffers of the sockets are the system's.
""",
        idle.measure,
        10_000,
        rounds=1,
    ),
}


async def run(names: list[str], rounds: int) -> dict[str, str]:
    """The sections of the report, by their titles."""
    sections = {}
    for name in names:
        part = PARTS[name]
        with tempfile.TemporaryDirectory() as folder:
            backend = Backend(Path(folder))
            backend.start()
            try:
                found = await part.measure(backend, min(rounds, part.rounds or rounds), part.size)
            finally:
                backend.stop()
        sections[part.title] = section(part.title, part.text, found)
        print(sections[part.title], end="\n\n", flush=True)
    return sections


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["parts:", *(f"  {name:<11} {part.title}" for name, part in PARTS.items())]),
    )
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="part", help="which; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"put what was measured into {REPORT.name}")
    options = parser.parse_args()
    sections = uvloop.run(run(options.parts or list(PARTS), options.rounds))
    if not options.write:
        return
    if options.parts:
        command = " ".join(["python -m bench", *options.parts, f"--rounds {options.rounds}"])
        titles = [part.title for part in PARTS.values()]
        report = renewed(REPORT.read_text(encoding="utf-8"), sections, titles, command)
    else:
        report = whole(list(sections.values()), options.rounds)
    REPORT.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
