"""One conversation with a client, sans I/O: messages in, actions out, in whichever era the client speaks.

A driver feeds `receive` and carries out what it returns. When a call has its reply, the call's exchange makes what
follows of it: a message for the client, or questions to it.
"""

from collections.abc import Mapping

import msgspec

from aicp_common.envelope import Principal
from aicp_common.errors import Busy
from aicp_gateway.catalogue import Catalogue
from aicp_gateway.protocol import params as wire
from aicp_gateway.protocol.actions import Action, Answered, Batch, Call, Cancel, Listen, Send
from aicp_gateway.protocol.exchange import Exchange
from aicp_gateway.protocol.handshake import NOTHING_AGREED, Agreed, Handshake
from aicp_gateway.protocol.headers import VERSION
from aicp_gateway.protocol.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    Fault,
    Notification,
    Request,
    Response,
    check_encoding,
    is_batch,
    is_id,
    parse,
    split_batch,
)
from aicp_gateway.protocol.requeststate import StateSealer
from aicp_gateway.protocol.revisions import BATCHES, HANDSHAKE, STATELESS
from aicp_gateway.protocol.stateless import OWN_METHODS, Stateless

MAX_BATCH = 100
"""Messages in one batch."""


class _Cancelled(msgspec.Struct):
    request_id: msgspec.Raw = msgspec.field(name="requestId")


_decode_cancelled = msgspec.json.Decoder(_Cancelled).decode


class Conversation:
    """What the gateway and one client say to each other.

    Args:
        principal: Who the client is.
        catalogue: What there is to call.
        sealer: Seals request states.
        max_in_flight: Requests that the client may have under way at once.
        agreed: Of a conversation that is resumed: what was agreed on in the handshake.
    """

    def __init__(
        self,
        principal: Principal,
        catalogue: Catalogue,
        sealer: StateSealer,
        *,
        max_in_flight: int,
        agreed: Agreed | None = None,
    ) -> None:
        self.principal = principal
        self._catalogue = catalogue
        self._sealer = sealer
        self._max_in_flight = max_in_flight
        self._handshake = Handshake(principal, catalogue, agreed or NOTHING_AGREED)
        self._in_flight: dict[bytes, Call | Listen] = {}

    @property
    def agreed(self) -> Agreed:
        """What was agreed on in the handshake."""
        return self._handshake.agreed

    def receive(self, data: bytes, max_bytes: int, headers: Mapping[str, str] | None = None) -> list[Action]:
        """Take in what the client sent. Never raises: a message that is wrong is answered.

        Args:
            data: One message, or a batch where the revision has them.
            max_bytes: The longest that is worked on; the transport may let a longer one through so that it can be
                answered.
            headers: Of the HTTP request that brought it, names in lower case; None on other transports.
        """
        try:
            if len(data) > max_bytes:
                return [self._refuse_length(data, max_bytes)]
            check_encoding(data)
            if data[:1] != b"{" and is_batch(data):
                return [self._batch(data, headers)]
        except Fault as fault:
            return [_refusal(fault)]
        return self._take(data, headers)

    def finish(self, request: Call | Listen) -> bool:
        """The request's answer has been given to the client: its id is free, and one more may be in flight.

        Not before, or the answers for a client that does not read would pile up without bound.

        Returns:
            Whether the request was still under way; False when the client has cancelled it meanwhile.
        """
        if self._in_flight.get(request.id) is not request:
            return False
        del self._in_flight[request.id]
        return True

    def _take(self, data: bytes, headers: Mapping[str, str] | None) -> list[Action]:
        try:
            message = parse(data)
            if isinstance(message, Request):
                return self._request(message, headers)
            if isinstance(message, Notification):
                return self._notification(message)
            return _response(message)
        except Fault as fault:
            return [_refusal(fault)]

    def _request(self, request: Request, headers: Mapping[str, str] | None) -> list[Action]:
        exchange: Exchange = self._handshake
        if is_stateless(request, headers, greeted=bool(self.agreed.revision)):
            exchange = Stateless(self.principal, self._catalogue, self._sealer, headers)
        try:
            actions = exchange.request(request)
        except RecursionError:
            raise Fault(INVALID_PARAMS, "the message is nested too deeply", request.id) from None
        for action in actions:
            if isinstance(action, Call | Listen):
                self._begin(action)
        return actions

    def _notification(self, notification: Notification) -> list[Action]:
        if notification.method != "notifications/cancelled":
            # `notifications/initialized` needs nothing, and unknown notifications are to be ignored.
            return []
        try:
            id = bytes(_decode_cancelled(notification.params).request_id)
        except (msgspec.MsgspecError, RecursionError):
            return []
        if not is_id(id):
            return []
        self._in_flight.pop(id, None)
        return [Cancel(id)]

    def _batch(self, data: bytes, headers: Mapping[str, str] | None) -> Action:
        revision = self._handshake.agreed.revision
        if revision != BATCHES:
            known = f"{revision} has" if revision else "before initialize there are"
            raise Fault(INVALID_REQUEST, f"{known} no batches; send one message at a time")
        messages = split_batch(data)
        if not messages:
            raise Fault(INVALID_REQUEST, "the batch is empty")
        if len(messages) > MAX_BATCH:
            raise Fault(INVALID_REQUEST, f"the batch has {len(messages)} messages; at most {MAX_BATCH} are allowed")
        actions: list[Action] = []
        for message in messages:
            actions += self._take_of_batch(message, headers)
        return Batch(actions, sum(isinstance(action, Send | Call) for action in actions))

    def _take_of_batch(self, message: bytes, headers: Mapping[str, str] | None) -> list[Action]:
        if is_batch(message):
            return [_refusal(Fault(INVALID_REQUEST, "a batch cannot hold a batch"))]
        try:
            parsed = parse(message)
        except Fault as fault:
            return [_refusal(fault)]
        if isinstance(parsed, Request) and (
            parsed.method == "initialize" or is_stateless(parsed, headers, greeted=False)
        ):
            reason = f"{parsed.method[:80]} cannot be part of a batch here"
            return [_refusal(Fault(INVALID_REQUEST, reason, parsed.id))]
        return self._take(message, headers)

    def _refuse_length(self, data: bytes, max_bytes: int) -> Action:
        reason = f"the message has {len(data)} bytes; at most {max_bytes} are allowed"
        try:
            message = parse(data)
        except Fault as fault:
            return _refusal(Fault(INVALID_REQUEST, reason, fault.id))
        if isinstance(message, Request):
            return _refusal(Fault(INVALID_REQUEST, reason, message.id))
        return _refusal(Fault(INVALID_REQUEST, reason))

    def _begin(self, action: Call | Listen) -> None:
        if action.id in self._in_flight:
            raise Fault(INVALID_REQUEST, f"a request with the id {action.id.decode()} is still under way", action.id)
        if len(self._in_flight) >= self._max_in_flight:
            error = Busy(
                f"{self._max_in_flight} requests are in flight", hint="no more are taken before one has its answer"
            )
            raise Fault(error.jsonrpc_code, str(error), action.id, error.as_dict())
        self._in_flight[action.id] = action


def is_stateless(request: Request, headers: Mapping[str, str] | None, *, greeted: bool) -> bool:
    """Whether a request is of the stateless era.

    A request that names its revision or its client's capabilities in `_meta` is, and so is one whose header only that
    era has, or whose method where nothing was agreed on: what it lacks of `_meta` is answered then.
    Source: MCP 2026-07-28, basic/versioning, "Backward Compatibility with Initialization-Based Versions".

    Args:
        request: Which.
        headers: Of the HTTP request that brought it.
        greeted: The client has sent `initialize` before: methods that the handshake era does not have are unknown.
    """
    if request.method in OWN_METHODS and not greeted:
        return True
    named = headers.get(VERSION) if headers is not None else None
    if named == STATELESS and request.method != "initialize":
        return True
    # The keys may be written with escapes, but few have reason to escape these letters: most requests are told here.
    params = request.params
    if b"protocolVersion" in params or b"clientCapabilities" in params or b"\\u" in params:
        try:
            meta = wire.decode(request, wire.Params).meta
        except Fault:
            # It is read again by the era's own rules, and answered by them.
            return b"io.modelcontextprotocol" in params
        if meta is not None and (meta.version is not None or meta.capabilities):
            return True
    return named is not None and named not in HANDSHAKE and request.method != "initialize"


def _refusal(fault: Fault) -> Send:
    return Send(fault.encode(), fault.status)


def _response(response: Response) -> list[Action]:
    try:
        id = msgspec.json.decode(response.id, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # The requests of the server have texts as ids: this answers nothing.
        return []
    return [Answered(id, response.result, response.error)]
