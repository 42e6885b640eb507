"""Inboxes: which agents may have work that they were not told of, and what they are told.

An agent whose LLM never looks into its inbox learns of waiting work all the same: by a line at the end of a tool's
result, and by the last line of the server instructions. Whether there is anything to say, and whether it has been said
before, the service decides that serves the inbox; here it is only known when there is no need to ask.
"""

import logging
import time
from collections.abc import Callable, Mapping

import msgspec

from aicp_common.bus import Bus
from aicp_common.envelope import Envelope, Principal
from aicp_common.errors import AicpError
from aicp_common.tracing import new_traceparent
from aicp_gateway.catalogue import HINT, Catalogue
from aicp_gateway.protocol.actions import Call

log = logging.getLogger(__name__)

RECEIVES = "receive_tasks"
"""The tool whose result says what is left in the inbox."""
TELL_THEMSELVES = frozenset({RECEIVES, "submit_result"})
"""Tools whose results say what waits, so that no line has to be added."""

PATIENCE_S = 0.3
"""How long a client waits for a line that is a courtesy."""

REST_S = 5.0
"""After a question that was not answered nobody is held up by another one for so long."""

MAX_AGENTS = 50_000
"""Agents that are remembered; the one that was noted first is forgotten, which costs one question more."""


class _Told(msgspec.Struct):
    text: str


_decode_told = msgspec.json.Decoder(_Told).decode


class Inboxes:
    """What this gateway knows of the inboxes of all agents.

    Args:
        bus: Where the service is asked.
        catalogue: Knows which service that is.
        max_agents: How many are remembered.
        clock: Seconds, ever growing.
    """

    def __init__(
        self,
        bus: Bus,
        catalogue: Catalogue,
        max_agents: int = MAX_AGENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._catalogue = catalogue
        self._max_agents = max_agents
        self._clock = clock
        # Whether something may wait. Of an agent that is not here nothing is known, as after a start: it may.
        self._may_wait: dict[tuple[str, str], bool] = {}
        self._rests_until = 0.0

    def on_signal(self, subject: str, reply: str, said: bytes, headers: Mapping[str, str] | None) -> None:
        """Something has come for an agent: see `subjects.ANY_AGENT`."""
        _, _, _, tenant, agent = subject.split(".")
        self._note((tenant, agent), may_wait=True)

    def may_tell(self, call: Call) -> bool:
        """Whether the client of this call, which has its result now, may have to be told something."""
        principal = call.exchange.principal
        return (
            self._may_wait.get((principal.tenant, principal.agent), True)
            and call.label not in TELL_THEMSELVES
            and self._catalogue.inbox_service(principal) is not None
        )

    def looks(self, principal: Principal) -> None:
        """The agent is looking into its inbox now: what is there, it sees."""
        self._note((principal.tenant, principal.agent), may_wait=False)

    async def hint(self, principal: Principal, traceparent: str, request_id: str) -> str:
        """The line for an agent that has news; empty when it knows all, or when that cannot be found out at once."""
        service = self._catalogue.inbox_service(principal)
        return "" if service is None else await self._ask(principal, service, b"{}", traceparent, request_id)

    async def greeting(self, call: Call, traceparent: str, request_id: str) -> str:
        """What waits for an agent that connects with this call, whether it knows or not; empty as for `hint`."""
        trace = traceparent or new_traceparent()
        return await self._ask(call.exchange.principal, call.service, call.body, trace, request_id)

    async def _ask(self, principal: Principal, service: str, body: bytes, traceparent: str, request_id: str) -> str:
        if not self._bus.connected or self._clock() < self._rests_until:
            return ""
        agent = (principal.tenant, principal.agent)
        # Before the question: what comes from here on is news again.
        self._note(agent, may_wait=False)
        envelope = Envelope(principal, int((time.time() + PATIENCE_S) * 1000), traceparent, request_id)
        try:
            reply = await self._bus.call(service, HINT, envelope, body)
            return _decode_told(reply.body).text
        except (AicpError, msgspec.MsgspecError) as error:
            self._rests_until = self._clock() + REST_S
            self._note(agent, may_wait=True)
            log.debug("what waits for an agent is told later: %s", error)
            return ""

    def _note(self, agent: tuple[str, str], *, may_wait: bool) -> None:
        if agent not in self._may_wait and len(self._may_wait) >= self._max_agents:
            del self._may_wait[next(iter(self._may_wait))]
        self._may_wait[agent] = may_wait
