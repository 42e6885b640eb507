"""Cancellations that have overtaken the call that they are for.

Calls and cancellations come over different subscriptions, and over HTTP through different gateways, so a worker may
hear that nobody wants a call before it has seen the call. It hears of all calls, also of those that other workers have,
and cannot tell which will still come: so it keeps each in mind for a moment.
"""

from aicp_common.envelope import Envelope

OVERTAKEN_S = 1.0
"""How long a cancellation waits for a call that it has overtaken."""

CALL_LASTS_S = 45.0
"""How long before its deadline a gateway sends a call."""

MAX_NOTES = 10_000


class Overtaken:
    """The cancellations of the last second that were for no call that is here. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self._notes: dict[str, float] = {}
        """When each was heard, by request id; the oldest first."""

    def __len__(self) -> int:
        return len(self._notes)

    def note(self, request_id: str, now: float) -> None:
        """A call of this id is not wanted any more, and is not here."""
        # Anew, so that the oldest stays the first.
        self._notes.pop(request_id, None)
        self._notes[request_id] = now
        for oldest, at in list(self._notes.items())[:2]:
            if now - at > OVERTAKEN_S or len(self._notes) > MAX_NOTES:
                del self._notes[oldest]

    def ends(self, envelope: Envelope, now: float) -> bool:
        """Whether this call, which has just come, is one that a cancellation has overtaken. True once for each.

        The request id alone does not say so. Most cancellations are for calls of other workers, or for calls that have
        ended, and their notes wait for nothing; a client that uses the id again within the second would have its new
        call ended by one. But nobody cancels what is not sent yet: a call that was sent after its id was cancelled is
        another one. When it was sent its deadline says. Rounding to milliseconds makes that a little earlier, never
        later, so no overtaken cancellation is missed; a new call is taken for the old one only if it was sent within a
        millisecond of the moment in which this worker heard, or, on two machines, within what their clocks differ by.
        Deadlines need clocks that agree, too.

        A call between services has the id of the client's call that it is made for, and its deadline says nothing about
        when it was sent. A note never ends one: its caller has been told as well, and what it does all the same may be
        what a cancelled call has to put in order.
        """
        at = self._notes.get(envelope.request_id)
        if at is None or not envelope.session:
            return False
        if now - at > OVERTAKEN_S:
            del self._notes[envelope.request_id]
            return False
        if envelope.deadline_ms / 1000 - CALL_LASTS_S > at:
            # The overtaken one may still come.
            return False
        del self._notes[envelope.request_id]
        return True
