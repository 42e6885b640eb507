"""The parameters of the requests that clients send, and how they are read."""

from typing import Any, TypeVar

import msgspec

from aicp_gateway.protocol.jsonrpc import INVALID_PARAMS, Fault, Request

EMPTY = b"{}"


class Meta(msgspec.Struct):
    """`_meta` of a request: of both eras together."""

    traceparent: str | None = None
    progress_token: str | int | None = msgspec.field(default=None, name="progressToken")
    version: str | None = msgspec.field(default=None, name="io.modelcontextprotocol/protocolVersion")
    capabilities: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="io.modelcontextprotocol/clientCapabilities")
    """Empty when there are none."""
    log_level: str | None = msgspec.field(default=None, name="io.modelcontextprotocol/logLevel")


class Params(msgspec.Struct):
    """What every request may have."""

    meta: Meta | None = msgspec.field(default=None, name="_meta")


class ClientInfo(msgspec.Struct, frozen=True):
    """Who a client says it is."""

    name: str = ""
    version: str = ""


class Initialize(Params):
    """Of `initialize`."""

    protocol_version: str | None = msgspec.field(default=None, name="protocolVersion")
    capabilities: msgspec.Raw = msgspec.Raw(EMPTY)
    client_info: ClientInfo = msgspec.field(default=ClientInfo(), name="clientInfo")


class Page(Params):
    """Of the lists."""

    cursor: str | None = None


class Retriable(Params):
    """Of requests that a client may have to send again, with what the server asked it for."""

    input_responses: dict[str, Any] | None = msgspec.field(default=None, name="inputResponses")
    request_state: str | None = msgspec.field(default=None, name="requestState")


class CallTool(Retriable, kw_only=True):
    """Of `tools/call`."""

    name: str
    arguments: msgspec.Raw = msgspec.Raw(EMPTY)


class GetPrompt(Retriable, kw_only=True):
    """Of `prompts/get`."""

    name: str
    arguments: dict[str, str] = msgspec.field(default_factory=dict)


class ReadResource(Retriable, kw_only=True):
    """Of `resources/read`."""

    uri: str


class Uri(Params, kw_only=True):
    """Of `resources/subscribe` and `resources/unsubscribe`."""

    uri: str


class Reference(msgspec.Struct):
    """What an argument that is to be completed belongs to."""

    type: str
    name: str = ""
    uri: str = ""


class Argument(msgspec.Struct):
    """The argument that is to be completed."""

    name: str
    value: str


class Context(msgspec.Struct):
    """The arguments that are known already."""

    arguments: dict[str, str] = msgspec.field(default_factory=dict)


class Complete(Params, kw_only=True):
    """Of `completion/complete`."""

    ref: Reference
    argument: Argument
    context: Context = msgspec.field(default_factory=Context)


class SetLevel(Params, kw_only=True):
    """Of `logging/setLevel`."""

    level: str


class Filter(msgspec.Struct, rename="camel", omit_defaults=True):
    """What a subscription is to be told."""

    tools_list_changed: bool = False
    prompts_list_changed: bool = False
    resources_list_changed: bool = False
    resource_subscriptions: list[str] = msgspec.field(default_factory=list)
    task_ids: list[str] = msgspec.field(default_factory=list)


class Listen(Params, kw_only=True):
    """Of `subscriptions/listen`."""

    notifications: Filter


class TaskId(Params, kw_only=True):
    """Of `tasks/get` and `tasks/cancel`."""

    task_id: str = msgspec.field(name="taskId")


class UpdateTask(Params, kw_only=True):
    """Of `tasks/update`."""

    task_id: str = msgspec.field(name="taskId")
    input_responses: dict[str, Any] = msgspec.field(name="inputResponses")


ParamsT = TypeVar("ParamsT", bound=Params)

_decoders: dict[type[Params], msgspec.json.Decoder[Any]] = {}


def decode(request: Request, kind: type[ParamsT]) -> ParamsT:
    """The parameters of a request.

    Raises:
        Fault: they are not of this kind. Names the field.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        params: ParamsT = decoder.decode(request.params)
        return params
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = str(error).replace("$.", "params.").replace("Object ", "params ")
        raise Fault(INVALID_PARAMS, f"{request.method}: {reason}", request.id) from None
    except RecursionError:
        raise Fault(INVALID_PARAMS, f"{request.method}: params is nested too deeply", request.id) from None
