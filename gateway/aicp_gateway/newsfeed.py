"""A feed of news: what is new on one resource, asked for once for all clients of this gateway that watch it.

The service numbers the items of a resource 1, 2, 3 …; the feed knows up to which number it has told. A signal that gets
lost, a service or a bus that is away are a delay: the next answer begins where the last one ended.
"""

import asyncio
import logging
import time

import msgspec
from nats.aio.msg import Msg

from aicp_common.bus import Bus
from aicp_common.cancellation import end
from aicp_common.envelope import ALL_SCOPES, Envelope, Principal, encode_json
from aicp_common.errors import AicpError
from aicp_common.ids import new_id
from aicp_common.tracing import new_traceparent
from aicp_gateway.notices import MAX_ITEMS, Items, Notices
from aicp_gateway.source import Source

log = logging.getLogger(__name__)

ASKER = "gateway"
"""The agent in whose name it is asked: one of `RESERVED_AGENTS`, so no client can be it."""

DEADLINE_S = 10.0

RETRY_S = 1.0
"""After a question that was not answered the next one comes so much later."""

GAP_S = 0.02
"""At least between two questions: what comes faster is told together."""

REASK_S = 20.0
"""A feed that has heard nothing for so long asks all the same, in case that a signal got lost."""

AT_ONCE = 100
"""So many clients are told before others of this gateway have their turn."""


class _Answer(msgspec.Struct):
    """What the method answers; see `aicp_common.announcement.AnnouncedResource`."""

    after: int
    hearers: set[str] = msgspec.field(name="for")
    news: list[msgspec.Raw]
    more: bool | None = None


class _Item(msgspec.Struct):
    number: int


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_item = msgspec.json.Decoder(_Item).decode


class _Listener:
    """One client, or one of its subscriptions."""

    __slots__ = ("agent", "anew", "told")

    def __init__(self, agent: str, told: int, *, anew: bool) -> None:
        self.agent = agent
        self.told = told
        """It has been told of everything up to this number, or knew it before."""
        self.anew = anew
        """What it may have been told is not known: of what is new by now it is told without the items."""


class NewsFeed:
    """What is new on one resource.

    Args:
        bus: Where the service is.
        uri: Of the resource.
        source: Of the first who listens.
    """

    def __init__(self, bus: Bus, uri: str, source: Source) -> None:
        self._bus = bus
        self._service, self._method = source.service, source.method
        self._asker = Principal(source.tenant, ASKER, ASKER, (ALL_SCOPES,))
        self._uri = uri
        self._after = source.after
        self.listeners: dict[tuple[Notices, str], _Listener] = {}
        """Who is told, and by which name the client calls the resource."""
        self._behind: set[_Listener] = set()
        """Those that have not been told what others have."""
        self._due = False
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = 0.0
        self._failing = False

    def join(self, notices: Notices, uri: str, source: Source, *, anew: bool) -> None:
        """Tell `notices` what is newer than `source.after`, from the next answer on.

        Args:
            notices: Of the client.
            uri: What the client calls the resource.
            source: Says whose client it is.
            anew: It may have been told some of it before, and looks for itself.
        """
        listener = _Listener(source.agent, source.after, anew=anew or self._after - source.after > MAX_ITEMS)
        self.listeners[notices, uri] = listener
        if listener.anew or listener.told < self._after:
            self._behind.add(listener)

    def leave(self, notices: Notices, uri: str) -> None:
        """Tell it nothing more."""
        listener = self.listeners.pop((notices, uri), None)
        if listener is not None:
            self._behind.discard(listener)

    async def on_message(self, message: Msg) -> None:
        """What is told on the subject: that there is something new."""
        self.ask()

    def ask_for_newcomers(self) -> None:
        """As `ask`, if somebody has joined whom no signal would bring what is new."""
        if self._behind or not self._asked_at:
            self.ask()

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            await end([self._asking])

    def ask(self) -> None:
        """There may be something new. A question that is under way may have come too early: another follows it."""
        self._due = True
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_while_due())

    def ask_if_quiet(self, now: float) -> None:
        """As `ask`, if the last question was long ago. `now` is the loop's time."""
        if now - self._asked_at > REASK_S:
            self.ask()

    async def _ask_while_due(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._due and self.listeners:
                rest_s = self._asked_at + GAP_S - loop.time()
                if rest_s > 0:
                    await asyncio.sleep(rest_s)
                self._due = False
                self._asked_at = loop.time()
                try:
                    asked = self._asked_from()
                    answer = await self._question(asked)
                    self._due = await self._tell(asked, answer) or self._due
                    self._failing = False
                except (AicpError, ValueError) as error:
                    # Once: it is tried again every second.
                    level = logging.DEBUG if self._failing else logging.WARNING
                    log.log(level, "what is new is told later: %s", error, extra={"service": self._service})
                    self._failing = self._due = True
                    await asyncio.sleep(RETRY_S)
        finally:
            self._asking = None

    def _asked_from(self) -> int:
        return min((listener.told for listener in self._behind if not listener.anew), default=self._after)

    async def _question(self, after: int) -> _Answer:
        envelope = Envelope(self._asker, int((time.time() + DEADLINE_S) * 1000), new_traceparent(), new_id("q"))
        body = encode_json({"uri": self._uri, "after": after})
        reply = await self._bus.call(self._service, self._method, envelope, body, repeatable=True)
        return _decode_answer(reply.body)

    async def _tell(self, asked: int, answer: _Answer) -> bool:
        """Tell everybody; whether to ask again at once."""
        numbered = [(_decode_item(raw).number, bytes(raw)) for raw in answer.news]
        pieces: dict[int, Items | None] = {}
        restarted = answer.after < asked
        if restarted:
            log.info("a resource numbers its news anew", extra={"service": self._service})
        self._after = answer.after if restarted else max(self._after, answer.after)
        # Where there is nothing to be had for those who are behind, they are as far as everybody.
        reached = self._after if answer.after <= asked else answer.after
        for count, (key, listener) in enumerate(list(self.listeners.items()), 1):
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)
            if self.listeners.get(key) is not listener:
                continue
            notices, uri = key
            told = listener.told
            if told < asked and not (listener.anew or restarted):
                # It came while the question was under way.
                continue
            listener.told = self._after if restarted or listener.anew else max(told, reached)
            if listener.told >= self._after:
                self._behind.discard(listener)
            if listener.agent not in answer.hearers:
                continue
            if restarted or (listener.anew and self._after > told):
                notices.changed(uri)
            elif answer.after > told:
                if told not in pieces:
                    pieces[told] = _joined([body for number, body in numbered if number > told])
                items = pieces[told]
                if items is not None:
                    notices.news(uri, items)
            listener.anew = False
        if self._behind:
            return True
        if answer.after <= asked:
            return False
        return bool(numbered) if answer.more is None else answer.more


def _joined(bodies: list[bytes]) -> Items | None:
    return Items(b",".join(bodies), len(bodies)) if bodies else None
