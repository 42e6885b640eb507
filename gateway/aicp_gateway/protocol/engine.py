"""One conversation of a client in the handshake era, sans I/O: messages in, answers and actions out.

A driver feeds `receive` and carries out what it returns; when a call has its reply, `answer` or `fail` makes the
message for the client. Source: MCP 2025-11-25 and 2025-06-18, basic/lifecycle, server/tools, server/resources.
"""

from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar

import msgspec

from aicp_common import __version__
from aicp_common.envelope import Principal
from aicp_common.errors import AicpError, Busy, Forbidden, NotFound, tool_result_of
from aicp_common.tracing import is_traceparent
from aicp_gateway.catalogue import Catalogue, ResourceEntry
from aicp_gateway.protocol.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    Fault,
    Notification,
    Request,
    Response,
    encode_error,
    encode_result,
    parse,
)
from aicp_gateway.protocol.revisions import negotiate

EMPTY = b"{}"


@dataclass(frozen=True, slots=True)
class Send:
    """Give these bytes to the client."""

    message: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Call a service and hand its reply to `Conversation.answer`, or the error to `Conversation.fail`."""

    id: bytes
    service: str
    method: str
    body: bytes
    kind: Literal["tool", "read", "watch"]
    label: str
    """What is called, for metrics and spans: from a bounded set."""
    traceparent: str = ""
    uri: str = ""
    """Of the resource, when `kind` is `read` or `watch`."""


@dataclass(frozen=True, slots=True)
class Unwatch:
    """Stop telling the client about this resource."""

    uri: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """The client no longer wants the answer of the call with this id; none is to be sent.

    The call may be under way in another conversation of the same session, or have ended already.
    """

    id: bytes


Action = Send | Call | Unwatch | Cancel


class _ClientInfo(msgspec.Struct, frozen=True):
    name: str = ""
    version: str = ""


class _Initialize(msgspec.Struct, rename="camel"):
    protocol_version: str | None = None
    capabilities: dict[str, Any] = {}
    client_info: _ClientInfo = _ClientInfo()


class _Meta(msgspec.Struct):
    traceparent: str | None = None


class _CallTool(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(EMPTY)
    meta: _Meta | None = msgspec.field(default=None, name="_meta")


class _Uri(msgspec.Struct):
    uri: str
    meta: _Meta | None = msgspec.field(default=None, name="_meta")


class _Page(msgspec.Struct):
    cursor: str | None = None


class _Cancelled(msgspec.Struct):
    request_id: msgspec.Raw = msgspec.field(name="requestId")


ParamsT = TypeVar("ParamsT", bound=msgspec.Struct)

_decoders: dict[type[msgspec.Struct], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (_Initialize, _CallTool, _Uri, _Page, _Cancelled)
}


class Conversation:
    """What the gateway and one client have said to each other.

    Args:
        principal: Who the client is.
        catalogue: What there is to call.
        max_in_flight: Calls that the client may have under way at once.
        revision: Of a conversation that is resumed: the revision that was negotiated.
    """

    def __init__(
        self,
        principal: Principal,
        catalogue: Catalogue,
        *,
        max_in_flight: int,
        revision: str | None = None,
    ) -> None:
        self.principal = principal
        self.revision = revision
        """The negotiated revision; None before `initialize`."""
        self.client_name = ""
        self.client_version = ""
        self._catalogue = catalogue
        self._max_in_flight = max_in_flight
        self._in_flight: dict[bytes, Call] = {}

    def receive(self, data: bytes, max_bytes: int) -> list[Action]:
        """Take in one message. Never raises: a message that is wrong is answered.

        Args:
            data: The message.
            max_bytes: The longest message that is worked on; the transport may let a longer one through so that it
                can be answered.
        """
        try:
            if len(data) > max_bytes:
                self._refuse_length(data, max_bytes)
            message = parse(data)
            if isinstance(message, Request):
                return self._request(message)
            if isinstance(message, Notification):
                return self._notification(message)
            return self._response(message)
        except Fault as fault:
            return [Send(fault.encode())]

    def answer(self, call: Call, reply: bytes) -> bytes:
        """The message for a call that a service has answered with `reply`. See `finish`."""
        if call.kind == "watch":
            return encode_result(call.id, EMPTY)
        return encode_result(call.id, reply)

    def fail(self, call: Call, error: AicpError) -> bytes:
        """The message for a call that has failed. See `finish`."""
        if call.kind == "tool":
            return encode_result(call.id, tool_result_of(error))
        code = RESOURCE_NOT_FOUND if isinstance(error, NotFound) else error.jsonrpc_code
        return encode_error(call.id, code, str(error), error.as_dict())

    def finish(self, call: Call) -> None:
        """The call's answer has been given to the client: its id is free, and one more may be in flight.

        Not before, or the answers for a client that does not read would pile up without bound.
        """
        if self._in_flight.get(call.id) is call:
            del self._in_flight[call.id]

    def _refuse_length(self, data: bytes, max_bytes: int) -> NoReturn:
        reason = f"the message has {len(data)} bytes; at most {max_bytes} are allowed"
        try:
            message = parse(data)
        except Fault as fault:
            raise Fault(INVALID_REQUEST, reason, fault.id) from None
        raise Fault(INVALID_REQUEST, reason, message.id if isinstance(message, Request) else b"null")

    def _request(self, request: Request) -> list[Action]:
        method = request.method
        if method == "initialize":
            return [Send(self._initialize(request))]
        if method == "ping":
            return [Send(encode_result(request.id, EMPTY))]
        if self.revision is None:
            raise Fault(INVALID_REQUEST, f"{method} came before initialize; send initialize first", request.id)
        match method:
            case "tools/call":
                return [self._begin(self._call_tool(request))]
            case "tools/list" | "resources/list" | "resources/templates/list":
                return [Send(self._list(request))]
            case "resources/read":
                return [self._begin(self._call_resource(request, "resource_read"))]
            case "resources/subscribe":
                return [self._begin(self._call_resource(request, "resource_watch"))]
            case "resources/unsubscribe":
                return [Unwatch(_decode(request, _Uri).uri), Send(encode_result(request.id, EMPTY))]
        raise Fault(
            METHOD_NOT_FOUND,
            f"there is no method {method[:80]!r} here; there are initialize, ping, tools/list, tools/call,"
            " resources/list, resources/templates/list, resources/read, resources/subscribe, resources/unsubscribe",
            request.id,
        )

    def _notification(self, notification: Notification) -> list[Action]:
        if notification.method != "notifications/cancelled":
            # `notifications/initialized` needs nothing, and unknown notifications are to be ignored.
            return []
        try:
            cancelled = msgspec.json.decode(notification.params, type=_Cancelled)
        except msgspec.MsgspecError:
            return []
        id = bytes(cancelled.request_id)
        self._in_flight.pop(id, None)
        return [Cancel(id)]

    def _response(self, response: Response) -> list[Action]:
        # The server has asked nothing, so this answers nothing; a notification of that would help nobody.
        return []

    def _initialize(self, request: Request) -> bytes:
        params = _decode(request, _Initialize)
        self.revision = negotiate(params.protocol_version)
        self.client_name = params.client_info.name[:200]
        self.client_version = params.client_info.version[:100]
        result = {
            "protocolVersion": self.revision,
            "capabilities": {
                "tools": {"listChanged": True},
                "resources": {"subscribe": True, "listChanged": True},
            },
            "serverInfo": {"name": "aicp", "title": "AICP hub", "version": __version__},
            "instructions": f"You are the agent {self.principal.agent!r}. {self._catalogue.instructions}",
        }
        return encode_result(request.id, msgspec.json.encode(result))

    def _list(self, request: Request) -> bytes:
        if _decode(request, _Page).cursor is not None:
            raise Fault(
                INVALID_PARAMS, "cursor is not one that was given out; the lists here have one page", request.id
            )
        view = self._catalogue.view(self.principal)
        lists = {
            "tools/list": view.tools,
            "resources/list": view.resources,
            "resources/templates/list": view.templates,
        }
        return encode_result(request.id, lists[request.method])

    def _call_tool(self, request: Request) -> Call:
        params = _decode(request, _CallTool)
        entry = self._catalogue.tool(params.name)
        if entry is not None and not self.principal.may(entry.scope):
            raise Fault(
                Forbidden.jsonrpc_code,
                f"the tool {params.name!r} needs the scope {entry.scope!r}, which the token does not have",
                request.id,
            )
        if entry is None:
            names = ", ".join(self._catalogue.tool_names(self.principal))
            raise Fault(
                INVALID_PARAMS,
                f"unknown tool {params.name[:80]!r}; the tools are: {names or 'none now'}",
                request.id,
            )
        arguments = bytes(params.arguments)
        if arguments == b"null":
            arguments = EMPTY
        if arguments[:1] != b"{":
            raise Fault(INVALID_PARAMS, "arguments is not an object", request.id)
        return Call(
            request.id, entry.service, entry.method, arguments, "tool", params.name, traceparent=_trace(params.meta)
        )

    def _call_resource(self, request: Request, method: Literal["resource_read", "resource_watch"]) -> Call:
        params = _decode(request, _Uri)
        entry = self._entry(request, params.uri)
        watch = method == "resource_watch"
        if watch and not entry.watchable:
            raise Fault(INVALID_PARAMS, f"{params.uri[:200]} cannot be subscribed to", request.id)
        return Call(
            request.id,
            entry.service,
            method,
            msgspec.json.encode({"uri": params.uri}),
            "watch" if watch else "read",
            request.method,
            traceparent=_trace(params.meta),
            uri=params.uri,
        )

    def _entry(self, request: Request, uri: str) -> ResourceEntry:
        entry = self._catalogue.resource(uri)
        if entry is None or not self.principal.may(entry.scope):
            raise Fault(
                RESOURCE_NOT_FOUND,
                f"no resource {uri[:200]!r}; resources/list and resources/templates/list say what there is",
                request.id,
                {"uri": uri[:2000]},
            )
        return entry

    def _begin(self, call: Call) -> Call:
        if call.id in self._in_flight:
            raise Fault(INVALID_REQUEST, f"a request with the id {call.id.decode()} is still under way", call.id)
        if len(self._in_flight) >= self._max_in_flight:
            raise Fault(
                Busy.jsonrpc_code,
                f"{self._max_in_flight} requests are in flight, no more are taken before one has its answer",
                call.id,
            )
        self._in_flight[call.id] = call
        return call


def _decode(request: Request, kind: type[ParamsT]) -> ParamsT:
    try:
        params: ParamsT = _decoders[kind].decode(request.params)
        return params
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = str(error).replace("$.", "params.").replace("Object ", "params ")
        raise Fault(INVALID_PARAMS, f"{request.method}: {reason}", request.id) from None
    except RecursionError:
        raise Fault(INVALID_PARAMS, f"{request.method}: params is nested too deeply", request.id) from None


def _trace(meta: _Meta | None) -> str:
    """The caller's trace context. Source: MCP 2026-07-28, basic, "Trace Context"."""
    if meta is None or meta.traceparent is None or not is_traceparent(meta.traceparent):
        return ""
    return meta.traceparent
