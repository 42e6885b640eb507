"""The stateless era: each request says for itself which revision it speaks and what its client can do.

Source: MCP 2026-07-28.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from aicp_common.current_call import LEVELS
from aicp_common.envelope import Client, Principal, Resumed
from aicp_common.errors import AicpError
from aicp_gateway.catalogue import Catalogue
from aicp_gateway.protocol import params as wire
from aicp_gateway.protocol.actions import Action, Call, Listen, Send
from aicp_gateway.protocol.capabilities import STATELESS_OFFER, TASKS, as_capabilities, read_capabilities
from aicp_gateway.protocol.exchange import EMPTY, SERVER_INFO, Exchange
from aicp_gateway.protocol.headers import Mismatch, check_params, check_standard, check_version
from aicp_gateway.protocol.jsonrpc import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    Fault,
    Request,
    encode_result,
)
from aicp_gateway.protocol.notifications import SUBSCRIPTION_ID, tagged
from aicp_gateway.protocol.requeststate import BadState, StateSealer, digest_request
from aicp_gateway.protocol.revisions import STATELESS, SUPPORTED

OWN_METHODS = frozenset({"server/discover", "subscriptions/listen", "tasks/get", "tasks/update", "tasks/cancel"})
"""Methods that the handshake era does not have."""

_KINDS: dict[str, type[wire.Params]] = {
    "server/discover": wire.Params,
    "tools/list": wire.Page,
    "tools/call": wire.CallTool,
    "resources/list": wire.Page,
    "resources/templates/list": wire.Page,
    "resources/read": wire.ReadResource,
    "prompts/list": wire.Page,
    "prompts/get": wire.GetPrompt,
    "completion/complete": wire.Complete,
    "subscriptions/listen": wire.Listen,
    "tasks/get": wire.TaskId,
    "tasks/update": wire.UpdateTask,
    "tasks/cancel": wire.TaskId,
}

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_META = b'"_meta":{"io.modelcontextprotocol/serverInfo":%b}' % msgspec.json.encode(SERVER_INFO)
_COMPLETE = b'{"resultType":"complete",'
_GREETING_HINTS = b'"ttlMs":0,"cacheScope":"private",'
"""What waits for an agent now is true for this moment and this agent alone: no cache may keep a greeting."""
MAX_FILTER = 1000
"""Resources and tasks that one subscription may be for."""


class Stateless(Exchange):
    """Speaks 2026-07-28 for one request.

    Args:
        principal: Who the client is.
        catalogue: What there is to call.
        sealer: Seals request states.
        headers: Of the HTTP request, names in lower case; None on other transports.
    """

    revision = STATELESS

    def __init__(
        self, principal: Principal, catalogue: Catalogue, sealer: StateSealer, headers: Mapping[str, str] | None
    ) -> None:
        super().__init__(principal, catalogue, (), "")
        self._sealer = sealer
        self._headers = headers

    def request(self, request: Request) -> list[Action]:
        """See `Exchange.request`."""
        try:
            return [self._take(request)]
        except Mismatch as mismatch:
            raise Fault(HEADER_MISMATCH, f"header mismatch: {mismatch}", request.id, status=400) from None

    def _take(self, request: Request) -> Action:
        kind = _KINDS.get(request.method)
        if kind is None:
            self._read_meta(request, _meta_of(request), None)
            raise Fault(
                METHOD_NOT_FOUND,
                f"there is no method {request.method[:80]!r} in {STATELESS}; there are {', '.join(_KINDS)}",
                request.id,
                status=404,
            )
        try:
            params = wire.decode(request, kind)
        except Fault:
            # What is wrong with the request as a whole comes first.
            self._read_meta(request, _meta_of(request), None)
            raise
        self._read_meta(request, params.meta, _name_of(params))
        return self._carry_out(request, params)

    def _carry_out(self, request: Request, params: wire.Params) -> Action:
        match params:
            case wire.CallTool():
                call, entry = self.call_tool(request, params)
                if entry.mirrored and self._headers is not None:
                    check_params(self._headers, entry.mirrored, call.body)
                return call
            case wire.ReadResource():
                return self.read(request, params)
            case wire.GetPrompt():
                return self.get_prompt(request, params)
            case wire.Complete():
                return self.complete(request, params)
            case wire.Page():
                page, hints = self.list(request, params.cursor)
                return Send(self.encode(request.id, page, hints))
            case wire.Listen():
                return self._listen(request, params)
            case wire.TaskId() | wire.UpdateTask():
                return self._task(request, params)
        return self.greet(request, params)

    def encode(self, id: bytes, result: bytes, hints: bytes = b"") -> bytes:
        """See `Exchange.encode`."""
        if _has_own_fields(result) or not (result == EMPTY or result.startswith(b'{"')):
            return encode_result(id, _merge(result, hints, "complete"))
        rest = b"}" if result == EMPTY else b"," + result[1:]
        return b'{"jsonrpc":"2.0","id":%b,"result":%b%b%b%b}' % (id, _COMPLETE, hints, _META, rest)

    def lacks(self, id: bytes, words: tuple[str, ...], why: str) -> Fault:
        """See `Exchange.lacks`."""
        data = {"requiredCapabilities": as_capabilities(words)}
        return Fault(MISSING_CAPABILITY, f"missing client capability: {why}", id, data, status=400)

    def no_resource(self, request: Request, uri: str) -> Fault:
        """See `Exchange.no_resource`."""
        return Fault(
            INVALID_PARAMS,
            f"no resource {uri[:200]!r}; resources/list and resources/templates/list say what there is",
            request.id,
            {"uri": uri[:2000]},
        )

    def code_of(self, call: Call, error: AicpError) -> int:
        """See `Exchange.code_of`."""
        return error.jsonrpc_code

    def input_required(self, call: Call, requests: dict[str, dict[str, Any]], state: str) -> Send:
        """Let the client come back with the answers."""
        result: dict[str, Any] = {"inputRequests": requests} if requests else {}
        bound_to = digest_request(call.kind, call.label, call.body)
        result["requestState"] = self._sealer.seal(state, self.principal, bound_to)
        return Send(encode_result(call.id, _merge(msgspec.json.encode(result), b"", "input_required")))

    def task_created(self, call: Call, task: bytes) -> bytes:
        """See `Exchange.task_created`."""
        return b'{"jsonrpc":"2.0","id":%b,"result":{"resultType":"task",%b,%b}' % (call.id, _META, task[1:])

    # Subscriptions

    def acknowledge(self, listen: Listen, honoured: set[str]) -> bytes:
        """The first message of a subscription: what it will be told.

        Args:
            listen: What was asked for.
            honoured: Of its watches, those that are in place.
        """
        wanted = listen.wanted
        accepted = wire.Filter(
            tools_list_changed=wanted.tools_list_changed,
            prompts_list_changed=wanted.prompts_list_changed,
            resources_list_changed=wanted.resources_list_changed,
            resource_subscriptions=[uri for uri in wanted.resource_subscriptions if uri in honoured],
            task_ids=[id for id in wanted.task_ids if id in honoured],
        )
        body = b'{"notifications":%b}' % msgspec.json.encode(accepted)
        return tagged("notifications/subscriptions/acknowledged", body, listen.id)

    def conclude_listen(self, listen: Listen) -> bytes:
        """The response that ends a subscription in good order."""
        meta = {SUBSCRIPTION_ID: msgspec.Raw(listen.id), "io.modelcontextprotocol/serverInfo": SERVER_INFO}
        return encode_result(listen.id, msgspec.json.encode({"resultType": "complete", "_meta": meta}))

    def task_changed(self, listen: Listen, task: bytes) -> bytes:
        """The notification that a task has changed, with all that `tasks/get` would say of it."""
        return tagged("notifications/tasks", task, listen.id)

    def get_task(self, listen: Listen, task_id: str) -> Call:
        """The call for `task_changed`."""
        watch = listen.watches[task_id]
        body = msgspec.json.encode({"taskId": task_id})
        return Call(
            id=listen.id,
            service=watch.service,
            method="mcp_task_get",
            body=body,
            kind="task",
            label="tasks/get",
            repeatable=True,
            client=Client(self.can),
            exchange=self,
        )

    def _listen(self, request: Request, params: wire.Listen) -> Listen:
        wanted = params.notifications
        if wanted.task_ids and TASKS not in self.can:
            raise self.lacks(request.id, (TASKS,), "taskIds needs a client with the tasks extension")
        if len(wanted.resource_subscriptions) + len(wanted.task_ids) > MAX_FILTER:
            raise Fault(
                INVALID_PARAMS, f"a subscription may be for {MAX_FILTER} resources and tasks at most", request.id
            )
        watches: dict[str, Call] = {}
        for uri in wanted.resource_subscriptions:
            try:
                watches[uri] = self.watch(request, params, uri)
            except Fault:
                # Left out of the acknowledgement: MCP 2026-07-28, basic/patterns/subscriptions, "Acknowledgment".
                continue
        for task_id in wanted.task_ids:
            service = self.catalogue.task_service(task_id)
            if service is not None:
                watches[task_id] = self._task_call(request, params, service, "mcp_task_watch", task_id, "watch")
        return Listen(id=request.id, wanted=wanted, watches=watches, exchange=self)

    # Tasks

    def _task(self, request: Request, params: wire.TaskId | wire.UpdateTask) -> Call:
        if TASKS not in self.can:
            raise self.lacks(request.id, (TASKS,), f"{request.method} needs a client with the tasks extension")
        service = self.catalogue.task_service(params.task_id)
        if service is None:
            raise Fault(INVALID_PARAMS, f"there is no task {params.task_id[:80]!r}", request.id)
        method = "mcp_" + request.method.replace("tasks/", "task_")
        return self._task_call(request, params, service, method, params.task_id, "task")

    def _task_call(
        self, request: Request, params: wire.Params, service: str, method: str, task_id: str, kind: str
    ) -> Call:
        fields: dict[str, Any] = {"taskId": task_id}
        if isinstance(params, wire.UpdateTask):
            fields["inputResponses"] = params.input_responses
        body = msgspec.json.encode(fields)
        return self._call(
            request,
            params,
            service=service,
            method=method,
            body=body,
            kind=kind,
            label=request.method,
            repeatable=method in ("mcp_task_get", "mcp_task_watch"),
        )

    # The request's own facts

    def _read_meta(self, request: Request, meta: wire.Meta | None, name: str | None) -> None:
        """Take over what the request says of itself, and hold its headers against it."""
        if meta is None or meta.version is None:
            raise _lacking(request, "protocolVersion")
        version = meta.version
        if self._headers is not None:
            check_version(self._headers, version)
        if version != STATELESS:
            raise Fault(
                UNSUPPORTED_VERSION,
                f"unsupported protocol version {version[:40]!r}",
                request.id,
                {"supported": list(SUPPORTED), "requested": version[:200]},
                status=400,
            )
        if not meta.capabilities:
            raise _lacking(request, "clientCapabilities")
        if self._headers is not None:
            check_standard(self._headers, request.method, name)
        try:
            self.can = read_capabilities(bytes(meta.capabilities))
        except ValueError as error:
            raise Fault(INVALID_PARAMS, str(error), request.id, status=400) from None
        if meta.log_level is not None:
            if meta.log_level not in LEVELS:
                raise Fault(
                    INVALID_PARAMS,
                    f"io.modelcontextprotocol/logLevel is {meta.log_level[:40]!r}; expected one of {', '.join(LEVELS)}",
                    request.id,
                )
            self.log_level = meta.log_level

    def resumed(self, call: Call, params: wire.Retriable) -> Resumed | None:
        """See `Exchange.resumed`."""
        if params.request_state is None and params.input_responses is None:
            return None
        answers = params.input_responses or {}
        wrong = next((key for key, answer in answers.items() if not isinstance(answer, dict)), None)
        if wrong is not None:
            raise Fault(INVALID_PARAMS, f"inputResponses.{wrong[:80]} is not an object", call.id)
        if params.request_state is None:
            return Resumed("", answers)
        bound_to = digest_request(call.kind, call.label, call.body)
        try:
            state = self._sealer.open(params.request_state, self.principal, bound_to)
        except BadState as error:
            raise Fault(INVALID_PARAMS, f"the requestState cannot be used: {error}", call.id) from None
        return Resumed(state, answers)

    def greeted(self, id: bytes, waiting: str) -> Send:
        """See `Exchange.greeted`."""
        result = {
            "supportedVersions": SUPPORTED,
            "capabilities": STATELESS_OFFER,
            "instructions": self.catalogue.instructions_for(self.principal, waiting),
        }
        return Send(self.encode(id, msgspec.json.encode(result), _GREETING_HINTS))


def _meta_of(request: Request) -> wire.Meta | None:
    try:
        return wire.decode(request, wire.Params).meta
    except Fault as fault:
        raise Fault(fault.code, fault.message, request.id, status=400) from None


def _lacking(request: Request, field: str) -> Fault:
    return Fault(
        INVALID_PARAMS,
        f"params._meta lacks io.modelcontextprotocol/{field}; each request of {STATELESS} carries protocolVersion and"
        " clientCapabilities there",
        request.id,
        status=400,
    )


def _name_of(params: wire.Params) -> str | None:
    """What stands in the header `Mcp-Name`, for the requests that have it."""
    match params:
        case wire.CallTool() | wire.GetPrompt():
            return params.name
        case wire.ReadResource():
            return params.uri
        case wire.TaskId() | wire.UpdateTask():
            return params.task_id
    return None


def _has_own_fields(result: bytes) -> bool:
    """Whether it may have fields of the protocol already, at whatever depth."""
    return b'"_meta"' in result or b'"resultType"' in result or b'"ttlMs"' in result or b'"cacheScope"' in result


def _merge(result: bytes, hints: bytes, result_type: str) -> bytes:
    """A result that has fields of the protocol already: what it lacks is added, and its own stay, but for its type."""
    fields: dict[str, Any] = _decode_fields(b"{%b}" % hints.rstrip(b",")) | _decode_fields(result)
    fields["resultType"] = result_type
    meta = {"io.modelcontextprotocol/serverInfo": SERVER_INFO}
    own = msgspec.json.decode(fields["_meta"]) if "_meta" in fields else None
    fields["_meta"] = own | meta if isinstance(own, dict) else meta
    return msgspec.json.encode(fields)
