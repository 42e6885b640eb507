"""An exchange: how one revision of the protocol is spoken with one client. What both eras share is here.

Requests become actions, and replies of services become messages, in the words of the era.
"""

import secrets
from abc import ABC, abstractmethod
from typing import Any

import msgspec

from aicp_common import __version__
from aicp_common.bus import COMPLETE, INPUT_REQUIRED, TASK, Reply
from aicp_common.envelope import Client, Principal, Resumed
from aicp_common.errors import AicpError, Forbidden, Internal, tool_result_of
from aicp_common.tracing import is_traceparent
from aicp_gateway.catalogue import HINT, Catalogue, PromptEntry, ResourceEntry, ToolEntry
from aicp_gateway.protocol import params as wire
from aicp_gateway.protocol.actions import Action, Answers, Ask, Call, Send
from aicp_gateway.protocol.capabilities import needed_for
from aicp_gateway.protocol.jsonrpc import INVALID_PARAMS, Fault, Request, encode_error

EMPTY = b"{}"

SERVER_INFO = {"name": "aicp", "title": "AICP hub", "version": __version__}


class _Progress(msgspec.Struct):
    progress: float


class _InputRequired(msgspec.Struct):
    requests: dict[str, dict[str, Any]] = msgspec.field(name="inputRequests")
    state: str


_decode_progress = msgspec.json.Decoder(_Progress).decode
_decode_input_required = msgspec.json.Decoder(_InputRequired).decode


_ONLY_READ = frozenset({"prompt", "read", "complete", "watch", "greeting"})
"""Kinds of calls that change nothing."""


class Exchange(ABC):
    """Speaks one revision with one client.

    Args:
        principal: Who the client is.
        catalogue: What there is to call.
        can: What the client can do, in the words of `Client.can`.
        log_level: The least severe level of log messages that it wants; empty: none.
    """

    revision: str
    """The one that is spoken."""

    def __init__(self, principal: Principal, catalogue: Catalogue, can: tuple[str, ...], log_level: str) -> None:
        self.principal = principal
        self.catalogue = catalogue
        self.can = can
        self.log_level = log_level

    # What differs between the eras

    @abstractmethod
    def request(self, request: Request) -> list[Action]:
        """Take in a request.

        Raises:
            Fault: it is not one that can be carried out.
        """

    @abstractmethod
    def encode(self, id: bytes, result: bytes, hints: bytes = b"") -> bytes:
        """The response with this result.

        Args:
            id: Of the request.
            result: A JSON object, as a service or the catalogue made it.
            hints: For caches; see `Call.hints`.
        """

    @abstractmethod
    def lacks(self, id: bytes, words: tuple[str, ...], why: str) -> Fault | AicpError:
        """What to answer when the client cannot do what is needed."""

    @abstractmethod
    def no_resource(self, request: Request, uri: str) -> Fault:
        """What to answer when there is no such resource."""

    @abstractmethod
    def input_required(self, call: Call, requests: dict[str, dict[str, Any]], state: str) -> Send | Ask:
        """What to do when a service wants something of the client."""

    @abstractmethod
    def code_of(self, call: Call, error: AicpError) -> int:
        """The JSON-RPC error code."""

    @abstractmethod
    def greeted(self, id: bytes, waiting: str) -> Send:
        """The answer to the request with which a client connects.

        Args:
            id: Of the request.
            waiting: What waits for the client, for the end of the instructions; empty when nothing is to be said.
        """

    # Messages to the client

    def conclude(self, call: Call, reply: Reply) -> Send | Ask:
        """What follows from a service's reply."""
        # Whoever writes a service may get its reply wrong: the client has an answer all the same.
        try:
            if reply.kind == COMPLETE and reply.body[:1] == b"{":
                return Send(self.encode(call.id, EMPTY if call.kind == "watch" else reply.body, call.hints))
            if reply.kind == INPUT_REQUIRED and call.kind in ("tool", "prompt", "read"):
                return self._ask(call, _decode_input_required(reply.body))
            if reply.kind == TASK and call.kind == "tool" and "tasks" in self.can and reply.body[:2] == b'{"':
                return Send(self.task_created(call, reply.body))
        except (ValueError, RecursionError):
            pass
        return self.fail(call, Internal(f"the service answered {call.label} with what does not fit"))

    def _ask(self, call: Call, asked: _InputRequired) -> Send | Ask:
        needed = {_needed(request) for request in asked.requests.values()}
        missing = tuple(sorted(needed.difference(self.can)))
        if not missing:
            return self.input_required(call, asked.requests, asked.state)
        error = self.lacks(call.id, missing, f"{call.label} needs a client with {' and '.join(missing)}")
        return Send(error.encode(), error.status) if isinstance(error, Fault) else self.fail(call, error)

    def task_created(self, call: Call, task: bytes) -> bytes:
        """The response with a task's handle, for clients that can take one."""
        raise NotImplementedError  # pragma: no cover  # only the stateless era declares `tasks`

    def fail(self, call: Call, error: AicpError) -> Send:
        """The message for a call that has failed."""
        if call.kind == "tool":
            return Send(self.encode(call.id, tool_result_of(error)))
        return Send(encode_error(call.id, self.code_of(call, error), str(error), error.as_dict()))

    def resume(self, ask: Ask, answers: Answers) -> Call:
        """The call that follows when the client has answered everything.

        Raises:
            NotImplementedError: the era does not ask.
        """
        raise NotImplementedError

    def progress(self, call: Call, body: bytes) -> bytes | None:
        """The notification for what a service says of its progress; None: the client is not to have it."""
        if call.progress_token is None:
            return None
        try:
            progress = _decode_progress(body).progress
        except msgspec.MsgspecError:
            return None
        if progress <= call.progress:
            return None
        call.progress = progress
        token = msgspec.json.encode(call.progress_token)
        return b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%b,%b}' % (
            token,
            body[1:],
        )

    def log(self, body: bytes) -> bytes | None:
        """The notification for a log message of a service; None: the client did not ask for any."""
        if not self.log_level:
            return None
        return b'{"jsonrpc":"2.0","method":"notifications/message","params":%b}' % body

    # Requests of both eras

    def list(self, request: Request, cursor: str | None) -> tuple[bytes, bytes]:
        """One page of a list, and its cache hints."""
        try:
            return self.catalogue.view(self.principal).page(request.method, cursor)
        except ValueError as error:
            raise Fault(INVALID_PARAMS, f"the cursor cannot be used: {error}", request.id) from None

    def call_tool(self, request: Request, params: wire.CallTool) -> tuple[Call, ToolEntry]:
        """A call of a tool.

        Raises:
            Fault: there is none of this name, or it is not this client's to call.
        """
        entry = self.catalogue.tool(params.name)
        if entry is None:
            names = ", ".join(self.catalogue.tool_names(self.principal))
            raise Fault(
                INVALID_PARAMS, f"unknown tool {params.name[:80]!r}; the tools are: {names or 'none now'}", request.id
            )
        self._require(request, entry.scope, f"the tool {params.name!r}")
        arguments = bytes(params.arguments)
        if arguments == b"null":
            arguments = EMPTY
        if arguments[:1] != b"{":
            raise Fault(INVALID_PARAMS, "arguments is not an object", request.id)
        missing = tuple(word for word in entry.requires if word not in self.can) if entry.requires else ()
        if missing:
            error = self.lacks(request.id, missing, f"{params.name} needs a client with {' and '.join(missing)}")
            if isinstance(error, Fault):
                raise error
            raise Fault(INVALID_PARAMS, str(error), request.id)
        call = self._call(
            request,
            params,
            service=entry.service,
            method=entry.method,
            body=arguments,
            kind="tool",
            label=params.name,
            repeatable=entry.repeatable,
        )
        return call, entry

    def read(self, request: Request, params: wire.ReadResource) -> Call:
        """A call that reads a resource.

        Raises:
            Fault: there is none with this URI.
        """
        entry = self._resource(request, params.uri)
        body = msgspec.json.encode({"uri": params.uri})
        call = self._call(
            request,
            params,
            service=entry.service,
            method="resource_read",
            body=body,
            kind="read",
            label=request.method,
            uri=params.uri,
        )
        call.hints = entry.hints
        return call

    def watch(self, request: Request, params: wire.Params, uri: str) -> Call:
        """A call that says where changes of a resource are told.

        Raises:
            Fault: there is none with this URI, or it cannot be subscribed to.
        """
        entry = self._resource(request, uri)
        if not entry.watchable:
            raise Fault(INVALID_PARAMS, f"{uri[:200]} cannot be subscribed to", request.id)
        body = msgspec.json.encode({"uri": uri})
        return self._call(
            request,
            params,
            service=entry.service,
            method="resource_watch",
            body=body,
            kind="watch",
            label=request.method,
            uri=uri,
        )

    def get_prompt(self, request: Request, params: wire.GetPrompt) -> Call:
        """A call that makes a prompt.

        Raises:
            Fault: there is none of this name, or it is not this client's.
        """
        entry = self.catalogue.prompt(params.name)
        if entry is None:
            names = ", ".join(self.catalogue.prompt_names(self.principal))
            raise Fault(
                INVALID_PARAMS,
                f"unknown prompt {params.name[:80]!r}; the prompts are: {names or 'none now'}",
                request.id,
            )
        self._require(request, entry.scope, f"the prompt {params.name!r}")
        body = msgspec.json.encode({"name": params.name, "arguments": params.arguments})
        return self._call(
            request,
            params,
            service=entry.service,
            method="prompt_get",
            body=body,
            kind="prompt",
            label=request.method,
        )

    def complete(self, request: Request, params: wire.Complete) -> Call | Send:
        """A call for what could stand in an argument; the answer at once where nobody completes it.

        Raises:
            Fault: there is no such prompt or template.
        """
        ref = params.ref
        known: PromptEntry | ResourceEntry | None
        if ref.type == "ref/prompt":
            known, what = self.catalogue.prompt(ref.name), f"prompt {ref.name[:80]!r}"
        elif ref.type == "ref/resource":
            known, what = self.catalogue.template(ref.uri), f"resource template {ref.uri[:200]!r}"
        else:
            raise Fault(
                INVALID_PARAMS, f"ref.type is {ref.type[:40]!r}; expected ref/prompt or ref/resource", request.id
            )
        if known is None or not self.principal.may(known.scope):
            raise Fault(INVALID_PARAMS, f"there is no {what}", request.id)
        if not self.catalogue.completes(known.service):
            return Send(self.encode(request.id, b'{"completion":{"values":[],"total":0,"hasMore":false}}'))
        body = msgspec.json.encode({"ref": params.ref, "argument": params.argument, "context": params.context})
        return self._call(
            request,
            params,
            service=known.service,
            method="complete",
            body=body,
            kind="complete",
            label=request.method,
        )

    def greet(self, request: Request, params: wire.Params) -> Call | Send:
        """A call for what waits for a client that connects; its greeting at once where nobody knows that."""
        service = self.catalogue.inbox_service(self.principal)
        if service is None:
            return self.greeted(request.id, "")
        return self._call(
            request,
            params,
            service=service,
            method=HINT,
            body=b'{"greeting":true}',
            kind="greeting",
            label=request.method,
        )

    def _call(self, request: Request, params: wire.Params, **fields: Any) -> Call:
        meta = params.meta
        token = meta.progress_token if meta is not None else None
        traceparent = meta.traceparent if meta is not None else None
        client = None
        if self.can or self.log_level or token is not None:
            client = Client(self.can, token is not None, self.log_level)
        fields.setdefault("repeatable", fields["kind"] in _ONLY_READ)
        call = Call(
            id=request.id,
            exchange=self,
            client=client,
            progress_token=token,
            traceparent=traceparent if traceparent is not None and is_traceparent(traceparent) else "",
            **fields,
        )
        if isinstance(params, wire.Retriable):
            call.resumed = self.resumed(call, params)
        return call

    def resumed(self, call: Call, params: wire.Retriable) -> Resumed | None:
        """What a request that the client sends again brings along.

        Raises:
            Fault: it brings something that it was not given.
        """
        return None

    def _resource(self, request: Request, uri: str) -> ResourceEntry:
        entry = self.catalogue.resource(uri)
        if entry is None or not self.principal.may(entry.scope):
            raise self.no_resource(request, uri)
        return entry

    def _require(self, request: Request, scope: str, what: str) -> None:
        if not self.principal.may(scope):
            error = Forbidden(f"{what} needs the scope {scope!r}, which the token does not have")
            raise Fault(error.jsonrpc_code, str(error), request.id, error.as_dict())


def _needed(asked: dict[str, Any]) -> str:
    params = asked.get("params") or {}
    needed = needed_for(asked.get("method"), params) if isinstance(params, dict) else None
    if needed is None:
        raise ValueError("no client can be asked this")
    return needed


def new_request_id() -> str:
    """The id of a request of the server: nobody who was not asked can guess it."""
    return f"aicp-{secrets.token_hex(12)}"
