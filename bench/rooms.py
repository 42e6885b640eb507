"""A room with many members who all listen: how long a message takes to each of them, and what it costs the hub."""

import asyncio
import os
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.clients import WebSocketClient
from bench.rounds import grid, rows
from bench.servers import INITIALIZE, allow_open_files, gateway_of
from bench.sessions import tool
from tests.support.processes import Backend, Process, ServiceProcess

RATE = 20
"""Messages a second."""

SECONDS = 15

LEAVE = 10
"""One member in so many loses its connection in the middle, and comes back at the end."""

INVITED_AT_ONCE = 100
AT_ONCE = 50
"""Members that come in at the same time."""

SPARE_FILES = 256
PATIENCE_S = 30.0

PAGE = 100

_UPDATED = b'{"jsonrpc":"2.0","method":"notifications/resources/updated"'
_ITEM = re.compile(rb'"number":(\d+),"kind":"message"(?:[^{}]*?)"text":"(\d+)"')
_NUMBER = re.compile(rb'"number":(\d+)')


class _Message(msgspec.Struct):
    number: int
    text: str = ""


class _Read(msgspec.Struct):
    messages: list[_Message]
    last: int


class _Member(WebSocketClient):
    """One member of the room, made by `_connect`. It does not parse what it is told: 10,000 a second come."""

    __slots__ = ("agent", "heard", "numbers", "odd")

    def __init__(self, on_notification: Callable[[str], None] | None) -> None:
        super().__init__(on_notification)
        self.agent = ""
        self.heard: list[tuple[int, float]] = []
        """Which message, and when."""
        self.numbers: list[int] = []
        """Of everything in the room that it was told of, in the order in which it was told."""
        self.odd = 0
        """Notifications without what is new."""

    def _take(self, data: bytes) -> None:
        if not data.startswith(_UPDATED):
            super()._take(data)
            return
        heard_at = time.perf_counter()
        numbers = _NUMBER.findall(data)
        if not numbers:
            self.odd += 1
        self.numbers += map(int, numbers)
        self.heard += [(int(text), heard_at) for _, text in _ITEM.findall(data)]


@dataclass
class _Found:
    """What came of one round."""

    latencies_ms: list[float] = field(default_factory=list)
    posted_ms: list[float] = field(default_factory=list)
    messages: int = 0
    cpu: dict[str, float] = field(default_factory=dict)
    """Of a core, by process."""
    read_later: int = 0
    """Messages that those who came back have read."""


async def measure(backend: Backend, rounds: int, members: int) -> str:
    """`members` members over WebSocket in one room of a whole hub, `RATE` messages a second for `SECONDS` seconds."""
    allow_open_files(2 * members + SPARE_FILES)
    services = [ServiceProcess(name, backend) for name in ("statehub", "router", "orchestrator")]
    with gateway_of(backend, *services) as gateway:
        pids = {"bench": os.getpid(), "nats-server": _pid(backend.nats), "redis-server": _pid(backend.redis)}
        pids |= {service.name: _pid(service.process) for service in (gateway, *services)}
        found = [await _round(gateway.ws_url, f"launch-{number}", members, pids) for number in range(rounds)]
    return _report(found)


async def _round(url: str, room: str, count: int, pids: Mapping[str, int]) -> _Found:
    found = _Found()
    members = [await _connect(url, f"m{number}") for number in range(count)]
    await _fill(members, room)
    staying = [member for number, member in enumerate(members) if number % LEAVE]
    leaving = [member for number, member in enumerate(members) if not number % LEAVE]
    total = RATE * SECONDS
    started: dict[int, float] = {}
    before, began = _cpu_s(pids), time.perf_counter()
    for half in (range(total // 2), range(total // 2, total)):
        await _post(staying, room, half, began, started, found)
        if half.start == 0:
            await _all_heard(leaving, 1)
            for member in leaving:
                member.close()
    await _all_heard(staying, total)
    took_s = time.perf_counter() - began
    found.cpu = {name: (used - before[name]) / took_s for name, used in _cpu_s(pids).items()}
    for member in members:
        _check(member, range(total) if member in staying else None)
        found.messages += len(member.numbers)
        found.latencies_ms += [(at - started[which]) * 1000 for which, at in member.heard]
    back = [await _come_back(url, room, member, total) for member in leaving]
    found.read_later = sum(back)
    for member in staying:
        member.close()
    return found


async def _connect(url: str, agent: str) -> _Member:
    member = await _Member.connect(f"{url}?agent={agent}", {})
    member.agent = agent
    await member.request("initialize", INITIALIZE)
    member.notify("notifications/initialized")
    return member


async def _fill(members: Sequence[_Member], room: str) -> None:
    """Everybody comes in, and listens."""
    opener = members[0]
    await opener.request("tools/call", tool("open_room", room=room, topic="Bench"))
    names = [member.agent for member in members[1:]]
    for first in range(0, len(names), INVITED_AT_ONCE):
        invited = names[first : first + INVITED_AT_ONCE]
        await opener.request("tools/call", tool("invite_to_room", room=room, agents=invited))
    for first in range(0, len(members), AT_ONCE):
        some = members[first : first + AT_ONCE]
        if first == 0:
            some = some[1:]
        await asyncio.gather(*(each.request("tools/call", tool("join_room", room=room)) for each in some))
    for first in range(0, len(members), AT_ONCE):
        watch = {"uri": f"aicp://rooms/{room}"}
        await asyncio.gather(*(each.request("resources/subscribe", watch) for each in members[first : first + AT_ONCE]))


async def _post(
    members: Sequence[_Member], room: str, which: range, began: float, started: dict[int, float], found: _Found
) -> None:
    """Members in turn say a number each, `RATE` a second, whether or not the ones before were answered."""

    async def post(number: int) -> None:
        member = members[number % len(members)]
        started[number] = time.perf_counter()
        await member.request("tools/call", tool("post_message", room=room, text=str(number)))
        found.posted_ms.append((time.perf_counter() - started[number]) * 1000)

    async with asyncio.TaskGroup() as group:
        for number in which:
            early_s = began + number / RATE - time.perf_counter()
            if early_s > 0:
                await asyncio.sleep(early_s)
            group.create_task(post(number))


async def _all_heard(members: Sequence[_Member], count: int) -> None:
    """Wait until each of them was told of `count` messages.

    Raises:
        RuntimeError: some were not after `PATIENCE_S`.
    """
    until = time.monotonic() + PATIENCE_S
    while behind := sum(len(member.heard) < count for member in members):
        if time.monotonic() > until:
            raise RuntimeError(f"{behind} of {len(members)} members were not told of all {count} messages")
        await asyncio.sleep(0.02)


def _check(member: _Member, said: range | None) -> None:
    """It was told of everything once and in order, and with what is new each time.

    Args:
        member: Which.
        said: What it must have been told of; None: of a part, from the first on.

    Raises:
        RuntimeError: it was not.
    """
    first = member.numbers[0] if member.numbers else 0
    if member.numbers != list(range(first, first + len(member.numbers))):
        raise RuntimeError(f"{member.agent} was told of {member.numbers}")
    if member.odd:
        raise RuntimeError(f"{member.agent} was told {member.odd} times that there is something, and not what")
    if said is not None and sorted(which for which, _ in member.heard) != list(said):
        raise RuntimeError(f"{member.agent} was told {len(member.heard)} messages, {len(said)} were said")


async def _come_back(url: str, room: str, gone: _Member, count: int) -> int:
    """Connect again and read from the last number on that was told; how many messages that were.

    Raises:
        RuntimeError: it was not what it had missed.
    """
    member = await _connect(url, gone.agent)
    after, texts = gone.numbers[-1], [str(which) for which, _ in gone.heard]
    missed = 0
    while True:
        call = tool("read_room", room=room, after=after, limit=PAGE)
        answer = await member.request("tools/call", call)
        assert answer is not None
        page = msgspec.json.decode(answer.structured_content, type=_Read)
        if [message.number for message in page.messages] != list(range(after + 1, after + 1 + len(page.messages))):
            raise RuntimeError(f"{member.agent} has read {page.messages} after {after}")
        texts += [message.text for message in page.messages]
        missed += len(page.messages)
        after += len(page.messages)
        if after == page.last:
            break
    member.close()
    if sorted(map(int, texts)) != list(range(count)):
        raise RuntimeError(f"{member.agent} was told or has read {len(texts)} messages, {count} were said")
    return missed


def _report(found: Sequence[_Found]) -> str:
    def percentiles(figures: Sequence[Sequence[float]]) -> list[str]:
        cuts = [statistics.quantiles(each, n=100) for each in figures]
        p50, p99 = (statistics.median(cut[at] for cut in cuts) for at in (49, 98))
        return [f"{p50:.1f}", f"{p99:.1f}", f"{statistics.median(max(each) for each in figures):.1f}"]

    told = percentiles([each.latencies_ms for each in found])
    posted = percentiles([each.posted_ms for each in found])
    times = grid(
        ["", "p50 ms", "p99 ms", "longest ms"],
        [["from the call to each member's notification", *told], ["from the call to its answer", *posted]],
    )
    counts = rows(
        {
            "messages that members were told of, each once and in order": f"{found[-1].messages:,}",
            "messages that members read who had lost their connection": f"{found[-1].read_later:,}",
        }
    )
    cpu = {name: statistics.median(each.cpu[name] for each in found) for name in found[0].cpu}
    used = rows({name: f"{100 * share:.0f} %" for name, share in sorted(cpu.items(), key=lambda item: -item[1])})
    return "\n\n".join([times, counts, "Processor time, of one core (bench: all the clients):", used])


def _pid(process: Process) -> int:
    assert process.popen is not None
    return process.popen.pid


def _cpu_s(pids: Mapping[str, int]) -> dict[str, float]:
    """Processor time that each process has used so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    used = {}
    for name, pid in pids.items():
        # After the name, which may hold spaces, in parentheses. Source: proc_pid_stat(5).
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        used[name] = (int(fields[11]) + int(fields[12])) / ticks
    return used
