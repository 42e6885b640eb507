"""Relays the outboxes of one shard of tenants: read, append to the event log, wait for its word, remove."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from aicp_common.cancellation import end
from aicp_common.errors import TooLarge, Unavailable
from aicp_common.store import Store
from aicp_statehub.outage import Outage
from aicp_statehub.relay import metrics
from aicp_statehub.relay.event import UnusableEntry, at_ms, event_of
from aicp_statehub.relay.event_log import Appending, EventLog
from aicp_statehub.relay.leases import Leases
from aicp_statehub.relay.outbox import Entry
from aicp_statehub.relay.outboxes import IDLE_S, Outboxes, open_outboxes

log = logging.getLogger(__name__)

BATCH = 128
"""Events that are read at once, of all tenants of the shard."""
MAX_BATCHES = 128
"""Batches in flight: sent and not yet acknowledged and removed."""
MAX_BYTES = 16 * 1024**2
"""Of the events in flight, before more are read."""
WINDOW = 1024
"""Events of a batch that are sent; fewer after trouble, until it is over."""
GATHER_S = 0.002
"""What follows on an event comes with the next read: at most so often is there one, or a busy hub would read, send and
remove each event by itself."""
REMOVE_S = 0.1
"""What was acknowledged is removed together with what follows so soon: each removal is a sync of Redis' disk, for which
those who change something then wait."""
ACK_WAIT_S = 0.05
"""How long waiting for a change may keep trouble with what is in flight from being noticed."""
ACK_TIMEOUT_S = 5.0
STOP_PATIENCE_S = 1.0
MIN_BACK_OFF_S = 0.05
MAX_BACK_OFF_S = 1.0


@dataclass(slots=True)
class Surroundings:
    """What the shards of one worker share."""

    store: Store
    leases: Leases
    event_log: Callable[[], Awaitable[EventLog]]
    """An open connection to the event log; waits until there is one."""
    refusal: Outage
    """The event log can be reached and takes no events."""


@dataclass(slots=True)
class _Batch:
    event_log: EventLog
    sent: list[Entry] = field(default_factory=list)
    appending: Appending = field(default_factory=Appending)
    """What becomes of those that were sent."""
    relayed: list[tuple[str, str]] = field(default_factory=list)
    dead: list[tuple[Entry, str]] = field(default_factory=list)
    bytes: int = 0
    why: str = ""
    """Why not everything could be relayed."""


class Shard:
    """One shard, for as long as this worker holds its lease.

    Positions in the outboxes are only kept while events are in flight. After any trouble, and whenever nothing is in
    flight, it reads from the beginning: whatever was not removed comes again, and the event log drops what it knows.
    """

    def __init__(self, number: int, around: Surroundings) -> None:
        self.number = number
        self._around = around
        self._tenants: Sequence[str] = ()
        self._outboxes: Outboxes | None = None
        self._changed = asyncio.Event()
        self._stopping = False
        self._unremoved: set[tuple[str, str]] = set()
        self._due: list[tuple[str, str]] = []
        """What the next removal takes."""
        self._removal: asyncio.Task[None] | None = None
        self._bytes = 0
        """Of the events in flight."""
        self._window = WINDOW
        self._back_off_s = MIN_BACK_OFF_S
        self._trouble = False
        self._sent_over: EventLog | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to relay."""
        self._task = asyncio.create_task(self._run(), name=f"relay-shard-{self.number}")

    async def stop(self) -> None:
        """End after the round that is under way."""
        self._stopping = True
        self._changed.set()
        if self._outboxes is not None:
            self._outboxes.close()
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=STOP_PATIENCE_S)
        await end([self._task])

    def watch(self, tenants: Sequence[str]) -> None:
        """Relay these from now on."""
        self._tenants = tenants
        self._changed.set()
        if self._outboxes is not None:
            self._outboxes.watch(tenants)

    async def _run(self) -> None:
        while not self._stopping:
            self._changed.clear()
            tenants = self._tenants
            if not tenants:
                await self._changed.wait()
                continue
            try:
                self._outboxes = await open_outboxes(self._around.store, tenants)
                # They may have changed meanwhile.
                self._outboxes.watch(self._tenants)
                await self._relay(self._outboxes)
            except Unavailable:
                # The renewal of the leases logs it, once for all shards.
                metrics.FAILURES.labels("redis").inc()
                await self._pause()
            except Exception:
                # Whatever it is, it must not end the relay of this shard's tenants.
                metrics.FAILURES.labels("relay").inc()
                log.exception("the relay of shard %s failed and goes on", self.number)
                await self._pause()
            finally:
                if self._outboxes is not None:
                    self._outboxes.close()
                    self._outboxes = None

    async def _relay(self, outboxes: Outboxes) -> None:
        sent_until: dict[str, str] = {}
        settling: set[asyncio.Task[None]] = set()
        try:
            while not self._stopping and outboxes.stands:
                if not settling:
                    sent_until.clear()
                entries = await outboxes.read(sent_until, BATCH, ACK_WAIT_S if settling else IDLE_S)
                if entries and not self._trouble:
                    sent, kept = entries[: self._window], entries[self._window :]
                    outboxes.look_again({entry.tenant for entry in kept})
                    await self._send(outboxes, sent, sent_until, settling)
                    if len(entries) < BATCH:
                        await asyncio.sleep(GATHER_S)
                # Without trouble the next ones are sent before these are acknowledged.
                while settling and (
                    self._trouble or self._window < WINDOW or len(settling) >= MAX_BATCHES or self._bytes > MAX_BYTES
                ):
                    await asyncio.wait(settling, return_when=asyncio.FIRST_COMPLETED)
                if self._trouble:
                    await self._recover()
                    outboxes.look_again(self._tenants)
        except asyncio.CancelledError:
            await end(settling)
            raise
        finally:
            await asyncio.gather(*settling, return_exceptions=True)

    async def _send(
        self,
        outboxes: Outboxes,
        entries: Sequence[Entry],
        sent_until: dict[str, str],
        settling: set[asyncio.Task[None]],
    ) -> None:
        event_log = await self._around.event_log()
        if self._trouble or (settling and event_log is not self._sent_over):
            # The connection over which the events before these went is gone, and they may be lost: they come first.
            self._trouble = True
            return
        self._sent_over = event_log
        batch = _Batch(event_log)
        for entry in entries:
            if not self._around.leases.holds(self.number):
                # Another worker may have this shard by now; the next renewal says.
                self._trouble = True
                break
            try:
                if (entry.tenant, entry.id) in self._unremoved:
                    batch.relayed.append((entry.tenant, entry.id))
                else:
                    event_log.append(event_of(entry.tenant, entry.id, entry.fields), batch.appending)
                    batch.sent.append(entry)
            except (UnusableEntry, TooLarge) as error:
                batch.dead.append((entry, str(error)))
            except Unavailable as error:
                batch.why = error.message
                break
            sent_until[entry.tenant] = entry.id
        batch.bytes = sum(len(entry.fields.get(b"data", b"")) for entry in batch.sent)
        self._bytes += batch.bytes
        task = asyncio.create_task(self._settle(outboxes, batch))
        settling.add(task)
        task.add_done_callback(settling.discard)

    async def _settle(self, outboxes: Outboxes, batch: "_Batch") -> None:
        """Wait until the log has the events, and take them out of the outboxes."""
        await batch.appending.settled(ACK_TIMEOUT_S)
        self._bytes -= batch.bytes
        now_ms = time.time() * 1000
        for entry, outcome in zip(batch.sent, batch.appending.outcomes, strict=True):
            match outcome:
                case bool():
                    batch.relayed.append((entry.tenant, entry.id))
                    metrics.LATENCY_SECONDS.observe(max(now_ms - at_ms(entry.id), 0) / 1000)
                    if outcome:
                        metrics.DUPLICATES.inc()
                case TooLarge():
                    batch.dead.append((entry, str(outcome)))
                case None:
                    batch.why = batch.why or f"no acknowledgement within {ACK_TIMEOUT_S:g} s"
                case _:
                    batch.why = batch.why or str(outcome)
        if batch.why:
            self._trouble = True
            metrics.FAILURES.labels("event_log").inc()
            if batch.event_log.connected:
                self._around.refusal.begin(batch.why)
            # What comes after what failed must not overtake it.
            await batch.event_log.close()
        elif batch.relayed:
            self._around.refusal.end()
            self._window = min(self._window * 2, WINDOW)
            self._back_off_s = MIN_BACK_OFF_S
        await self._remove(outboxes, batch)

    async def _remove(self, outboxes: Outboxes, batch: "_Batch") -> None:
        self._unremoved.update(batch.relayed)
        self._due += batch.relayed
        if self._removal is None:
            self._removal = asyncio.create_task(self._remove_soon(outboxes))
        removal = self._removal
        if batch.dead and await self._removed(outboxes, (), batch.dead):
            for entry, why in batch.dead:
                metrics.DEAD_LETTERS.inc()
                log.error(
                    "an event cannot be relayed and was put aside: %s",
                    why,
                    extra={"entry": entry.id, "stream": "outbox-dead-letters"},
                )
        await removal

    async def _remove_soon(self, outboxes: Outboxes) -> None:
        # After trouble the window grows with each batch that is through: that should not wait.
        if not self._trouble and not self._stopping and self._window == WINDOW:
            await asyncio.sleep(REMOVE_S)
        due, self._due, self._removal = self._due, [], None
        if due and await self._removed(outboxes, due, ()):
            self._unremoved.difference_update(due)
            metrics.RELAYED.inc(len(due))

    async def _removed(
        self, outboxes: Outboxes, relayed: Sequence[tuple[str, str]], dead: Sequence[tuple[Entry, str]]
    ) -> bool:
        try:
            await outboxes.remove(relayed, dead)
        except Unavailable:
            metrics.FAILURES.labels("redis").inc()
            self._trouble = True
            return False
        return True

    async def _recover(self) -> None:
        # One at a time until it works again, from the first that was not removed.
        self._window = 1
        await self._pause()
        self._trouble = False

    async def _pause(self) -> None:
        # Not `asyncio.sleep`: a shard that is told to stop should not be waited for.
        self._changed.clear()
        if not self._stopping:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._back_off_s)
        self._back_off_s = min(self._back_off_s * 2, MAX_BACK_OFF_S)
