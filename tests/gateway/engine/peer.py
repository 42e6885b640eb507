"""A client of the engine, without a network: says things in the form of one revision, and looks at what comes back."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from aicp_common.bus import COMPLETE, Reply
from aicp_common.envelope import Principal
from aicp_gateway.catalogue import Catalogue
from aicp_gateway.protocol.actions import Action, Ask, Call, Listen, Send
from aicp_gateway.protocol.engine import Conversation
from aicp_gateway.protocol.requeststate import StateSealer
from aicp_gateway.protocol.revisions import STATELESS
from tests.gateway.engine import announced
from tests.gateway.engine.oracle import check_ask, check_message, check_result_of_stateless

LIMIT = 1024 * 1024
KEY = b"a key of these tests that is long enough"

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL_KEY = "io.modelcontextprotocol/logLevel"
SERVER_INFO_KEY = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"

TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
EVERYTHING: dict[str, Any] = {
    "elicitation": {"form": {}, "url": {}},
    "sampling": {"tools": {}},
    "roots": {"listChanged": True},
    **TASKS,
}
"""The capabilities of a client that can do everything."""


def sealer(clock: Callable[[], float] = lambda: 1000.0, key: bytes = KEY) -> StateSealer:
    """Seals request states with the key of these tests, at a time of the test's choice."""
    return StateSealer(key, clock)


class Peer:
    """One client in one conversation.

    Args:
        revision: What it speaks. A handshake revision is initialized at once.
        scopes: Of its principal.
        capabilities: What it can do.
        http: Whether its requests are HTTP requests, with the headers that they should have.
        catalogue: What there is to call; by default what `announced` has.
        max_in_flight: See `Conversation`.
        agent: Of its principal.
        clock: Of the sealer.
        initialized: Whether it has said `initialize`, if its revision has that.
    """

    def __init__(
        self,
        revision: str = STATELESS,
        *,
        scopes: tuple[str, ...] = (announced.SCOPE,),
        capabilities: Mapping[str, Any] | None = None,
        http: bool = False,
        catalogue: Catalogue | None = None,
        max_in_flight: int = 3,
        agent: str = "alice",
        clock: Callable[[], float] = lambda: 1000.0,
        initialized: bool = True,
    ) -> None:
        self.revision = revision
        self.capabilities: Mapping[str, Any] = capabilities or {}
        self.http = http
        self.conversation = Conversation(
            Principal("default", agent, agent, scopes),
            catalogue or announced.catalogue(),
            sealer(clock),
            max_in_flight=max_in_flight,
        )
        if initialized and revision != STATELESS:
            params = {"protocolVersion": revision, "capabilities": self.capabilities}
            assert "result" in self.told({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})

    @property
    def stateless(self) -> bool:
        """Whether it speaks the stateless revision."""
        return self.revision == STATELESS

    def message(self, method: str, params: Mapping[str, Any] | None = None, id: Any = 1) -> dict[str, Any]:
        """A request in the form of its revision. What `params` says of `_meta` is added to what has to be there."""
        if not self.stateless:
            return request(method, params, id)
        own = dict(params or {})
        meta = {VERSION_KEY: STATELESS, CAPABILITIES_KEY: self.capabilities} | own.pop("_meta", {})
        return request(method, {**own, "_meta": meta}, id)

    def receive(self, message: Any, headers: Mapping[str, str] | None = None) -> list[Action]:
        """What the engine does with a message: bytes as they are, anything else as JSON."""
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        if headers is None and self.http:
            headers = headers_of(message)
        return self.conversation.receive(data, LIMIT, headers)

    def sent(self, message: Any, headers: Mapping[str, str] | None = None) -> Send:
        """What the engine sends back at once, and nothing else."""
        [action] = self.receive(message, headers)
        assert isinstance(action, Send), action
        return action

    def told(self, message: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The message that the engine sends back at once."""
        return check_message(self.sent(message, headers).message)

    def answer(self, method: str, params: Mapping[str, Any] | None = None, id: Any = 1) -> dict[str, Any]:
        """The answer to a request that needs no service."""
        answer = self.told(self.message(method, params, id))
        assert answer["id"] == id
        if self.stateless and "result" in answer:
            check_result_of_stateless(answer)
        return answer

    def result(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The result of a request that needs no service."""
        answer = self.answer(method, params)
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def error(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The error of a request."""
        error: dict[str, Any] = self.answer(method, params)["error"]
        return error

    def call(self, method: str, params: Mapping[str, Any] | None = None, id: Any = 1) -> Call:
        """The call of a service that a request leads to."""
        [action] = self.receive(self.message(method, params, id))
        assert isinstance(action, Call), action
        return action

    def listen(self, notifications: Mapping[str, Any], id: Any = 1) -> Listen:
        """The subscription that a request leads to."""
        [action] = self.receive(self.message("subscriptions/listen", {"notifications": notifications}, id))
        assert isinstance(action, Listen), action
        return action

    def concluded(self, call: Call, body: Any, kind: str = COMPLETE) -> dict[str, Any]:
        """The message that follows of a service's reply, which ends the request."""
        outcome = call.exchange.conclude(call, reply(body, kind))
        assert isinstance(outcome, Send), outcome
        self.conversation.finish(call)
        decoded = check_message(outcome.message)
        if self.stateless and "result" in decoded:
            check_result_of_stateless(decoded)
        return decoded

    def asked(self, call: Call, requests: Mapping[str, Any], state: str = "kept") -> Ask:
        """The questions that follow of a service's reply."""
        outcome = call.exchange.conclude(call, reply({"inputRequests": requests, "state": state}, "input_required"))
        assert isinstance(outcome, Ask), outcome
        check_ask(outcome)
        return outcome


def request(method: str, params: Mapping[str, Any] | None = None, id: Any = 1) -> dict[str, Any]:
    """A JSON-RPC request, just as it is given."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": id, "method": method}
    return message if params is None else {**message, "params": params}


def notification(method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A JSON-RPC notification."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    return message if params is None else {**message, "params": params}


def reply(body: Any, kind: str = COMPLETE) -> Reply:
    """A service's reply: bytes as they are, anything else as compact JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    return Reply(data, kind=kind)


def header_value(value: Any) -> str:
    """How a client writes a value into a header. Source: MCP 2026-07-28, streamable-http, "Value Encoding"."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    plain = all(" " <= character <= "~" for character in text) and text == text.strip()
    if plain and not (text.startswith("=?base64?") and text.endswith("?=")):
        return text
    return sentinel(text)


def sentinel(text: str) -> str:
    """The text in the Base64 form of a header value."""
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def headers_of(message: Any) -> dict[str, str]:
    """The headers that a client of the stateless revision sends with a request."""
    params = message.get("params", {})
    headers = {"mcp-method": message["method"]}
    version = params.get("_meta", {}).get(VERSION_KEY)
    if version is not None:
        headers["mcp-protocol-version"] = version
    named_by = {
        "tools/call": "name",
        "prompts/get": "name",
        "resources/read": "uri",
        "tasks/get": "taskId",
        "tasks/update": "taskId",
        "tasks/cancel": "taskId",
    }
    key = named_by.get(message["method"])
    if key in params:
        headers["mcp-name"] = header_value(params[key])
    for name, path in announced.MIRRORED_PATHS.items():
        value: Any = params.get("arguments")
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None and params.get("name") == "mirror":
            headers[name] = header_value(value)
    return headers
