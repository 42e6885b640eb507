"""The handshake era: a conversation begins with `initialize` and keeps what was agreed then.

Source: MCP 2024-11-05 to 2025-11-25.
"""

from typing import Any

import msgspec

from aicp_common.current_call import LEVELS
from aicp_common.envelope import Principal, Resumed
from aicp_common.errors import AicpError, InvalidArgument, NotFound
from aicp_gateway.catalogue import Catalogue
from aicp_gateway.protocol import params as wire
from aicp_gateway.protocol.actions import Action, Answers, Ask, Call, Send, Unwatch
from aicp_gateway.protocol.capabilities import HANDSHAKE_OFFER, in_handshake, read_capabilities
from aicp_gateway.protocol.exchange import EMPTY, SERVER_INFO, Exchange, new_request_id
from aicp_gateway.protocol.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    Fault,
    Request,
    encode_result,
)
from aicp_gateway.protocol.revisions import negotiate

METHODS = (
    "initialize, ping, tools/list, tools/call, resources/list, resources/templates/list, resources/read,"
    " resources/subscribe, resources/unsubscribe, prompts/list, prompts/get, completion/complete, logging/setLevel"
)


class Agreed(msgspec.Struct, frozen=True, array_like=True):
    """What a client and the gateway have agreed on: all that a conversation has to keep."""

    revision: str = ""
    """Empty before `initialize`."""
    can: tuple[str, ...] = ()
    log_level: str = "info"
    client_name: str = ""
    client_version: str = ""


NOTHING_AGREED = Agreed()


class Handshake(Exchange):
    """Speaks the handshake revisions."""

    def __init__(self, principal: Principal, catalogue: Catalogue, agreed: Agreed) -> None:
        super().__init__(principal, catalogue, agreed.can, agreed.log_level)
        self.agreed = agreed

    @property
    def revision(self) -> str:  # type: ignore[override]
        """The negotiated one; empty before `initialize`."""
        return self.agreed.revision

    def request(self, request: Request) -> list[Action]:
        """See `Exchange.request`."""
        method = request.method
        if method == "initialize":
            return [self._initialize(request)]
        if method == "ping":
            return [Send(encode_result(request.id, EMPTY))]
        if not self.agreed.revision:
            reason = (
                f"{method[:80]} came before initialize; send initialize first, or put the revision into params._meta"
                " as 2026-07-28 has it"
            )
            raise Fault(INVALID_REQUEST, reason, request.id, status=400)
        match method:
            case "tools/call":
                return [self.call_tool(request, wire.decode(request, wire.CallTool))[0]]
            case "tools/list" | "resources/list" | "resources/templates/list" | "prompts/list":
                page, _ = self.list(request, wire.decode(request, wire.Page).cursor)
                return [Send(encode_result(request.id, page))]
            case "resources/read":
                return [self.read(request, wire.decode(request, wire.ReadResource))]
            case "resources/subscribe":
                params = wire.decode(request, wire.Uri)
                return [self.watch(request, params, params.uri)]
            case "resources/unsubscribe":
                return [Unwatch(wire.decode(request, wire.Uri).uri), Send(encode_result(request.id, EMPTY))]
            case "prompts/get":
                return [self.get_prompt(request, wire.decode(request, wire.GetPrompt))]
            case "completion/complete":
                return [self.complete(request, wire.decode(request, wire.Complete))]
            case "logging/setLevel":
                return [self._set_level(request)]
        raise Fault(METHOD_NOT_FOUND, f"there is no method {method[:80]!r} here; there are {METHODS}", request.id)

    def encode(self, id: bytes, result: bytes, hints: bytes = b"") -> bytes:
        """See `Exchange.encode`. There are no cache hints in this era."""
        return encode_result(id, result)

    def lacks(self, id: bytes, words: tuple[str, ...], why: str) -> AicpError:
        """See `Exchange.lacks`."""
        return InvalidArgument(f"{why}; this client did not declare it in initialize")

    def no_resource(self, request: Request, uri: str) -> Fault:
        """See `Exchange.no_resource`."""
        return Fault(
            RESOURCE_NOT_FOUND,
            f"no resource {uri[:200]!r}; resources/list and resources/templates/list say what there is",
            request.id,
            {"uri": uri[:2000]},
        )

    def code_of(self, call: Call, error: AicpError) -> int:
        """See `Exchange.code_of`."""
        if isinstance(error, NotFound) and call.kind in ("read", "watch"):
            return RESOURCE_NOT_FOUND
        return error.jsonrpc_code

    def input_required(self, call: Call, requests: dict[str, dict[str, Any]], state: str) -> Ask:
        """Ask the client with server requests."""
        keys = {new_request_id(): key for key in requests}
        messages = {id: self._server_request(id, requests[key]) for id, key in keys.items()}
        return Ask(call, messages, keys, state)

    def resume(self, ask: Ask, answers: Answers) -> Call:
        """See `Exchange.resume`."""
        call = ask.call
        results = {ask.keys[id]: result for id, result in answers.results.items()}
        call.resumed = Resumed(ask.state, results)
        return call

    def _server_request(self, id: str, asked: dict[str, Any]) -> bytes:
        params = dict(asked.get("params") or {})
        if self.agreed.revision < "2025-11-25" and params.get("mode") == "form":
            del params["mode"]
        message = {"jsonrpc": "2.0", "id": id, "method": asked["method"], "params": params}
        return msgspec.json.encode(message)

    def _initialize(self, request: Request) -> Call | Send:
        params = wire.decode(request, wire.Initialize)
        try:
            can = read_capabilities(bytes(params.capabilities))
        except ValueError as error:
            raise Fault(INVALID_PARAMS, str(error), request.id) from None
        revision = negotiate(params.protocol_version)
        self.agreed = Agreed(
            revision=revision,
            can=in_handshake(can, revision),
            client_name=params.client_info.name[:200],
            client_version=params.client_info.version[:100],
        )
        self.can, self.log_level = self.agreed.can, self.agreed.log_level
        return self.greet(request, params)

    def greeted(self, id: bytes, waiting: str) -> Send:
        """See `Exchange.greeted`."""
        result = {
            "protocolVersion": self.agreed.revision,
            "capabilities": HANDSHAKE_OFFER,
            "serverInfo": SERVER_INFO,
            "instructions": self.catalogue.instructions_for(self.principal, waiting),
        }
        return Send(encode_result(id, msgspec.json.encode(result)))

    def _set_level(self, request: Request) -> Send:
        level = wire.decode(request, wire.SetLevel).level
        if level not in LEVELS:
            raise Fault(INVALID_PARAMS, f"level is {level[:40]!r}; expected one of {', '.join(LEVELS)}", request.id)
        self.agreed = msgspec.structs.replace(self.agreed, log_level=level)
        self.log_level = level
        return Send(encode_result(request.id, EMPTY))
