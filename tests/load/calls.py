"""The calls that a mix is made of. Each is a function that makes, for one agent, what is called again and again."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import msgspec

from tests.load.clients import Client
from tests.load.failure import BadAnswer, CallFailed
from tests.load.message import Era

Call = Callable[[], Awaitable[object]]
"""One call; raises `CallFailed`."""

ROUTE_WAIT_S = 20.0
_ROUTE_DEADLINE_S = 60.0
"""Ends the tasks of a run that was killed."""


@dataclass(frozen=True, slots=True)
class LoadAgent:
    """One MCP client that puts load on the hub."""

    client: Client
    context_key: str
    """A key of the shared context that is its own."""
    context_ttl_s: float
    skill: str
    """A capability that only one worker of this run has."""
    text: str
    """What is sent along where something is."""
    tool: str
    """The tool that the call `tool` is for."""
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of call."""

    name: str
    what: str
    """For the help, in a few words."""
    make: Callable[[LoadAgent], Call]
    era: Era | None = None
    """The only era that has it; None: both."""


class Routed(msgspec.Struct):
    """What is read of the result of `route_to_agent`."""

    status: str
    task_id: str | None = None
    next: str = ""


class _Found(msgspec.Struct):
    status: str


class _ToolResult(msgspec.Struct):
    structured: msgspec.Raw = msgspec.field(name="structuredContent")


_decode_tool_result = msgspec.json.Decoder(_ToolResult).decode
StructT = TypeVar("StructT", bound=msgspec.Struct)


def structured(result: bytes, kind: type[StructT]) -> StructT:
    """The `structuredContent` of a tool's result.

    Raises:
        BadAnswer: there is none, or it is not of that kind.
    """
    try:
        return msgspec.json.decode(_decode_tool_result(result).structured, type=kind)
    except msgspec.MsgspecError as error:
        raise BadAnswer(f"a result of another form: {error}") from None


async def call_tool(client: Client, name: str, arguments: Mapping[str, Any]) -> bytes:
    """Call a tool; its result as JSON bytes.

    Raises:
        CallFailed: see `Client.request`.
    """
    return await client.request("tools/call", {"name": name, "arguments": arguments})


def _tool(agent: LoadAgent, name: str, arguments: Mapping[str, Any]) -> Call:
    return partial(call_tool, agent.client, name, arguments)


def _method(method: str, **params: Any) -> Callable[[LoadAgent], Call]:
    return lambda agent: partial(agent.client.request, method, params)


def _list_agents(agent: LoadAgent) -> Call:
    return _tool(agent, "list_agents", {"limit": 20})


def share_context(agent: LoadAgent) -> Call:
    """Also what must come before `get_context`."""
    arguments = {
        "context_key": agent.context_key,
        "context_value": {"text": agent.text},
        "ttl_s": agent.context_ttl_s,
    }
    return _tool(agent, "share_context", arguments)


def _get_context(agent: LoadAgent) -> Call:
    arguments = {"context_key": agent.context_key}

    async def get_context() -> None:
        found = structured(await call_tool(agent.client, "get_context", arguments), _Found)
        if found.status != "found":
            raise CallFailed(f"context:{found.status}", f"{agent.context_key}, which was shared, is {found.status}")

    return get_context


def _echo(agent: LoadAgent) -> Call:
    return _tool(agent, "echo", {"text": agent.text})


def _named_tool(agent: LoadAgent) -> Call:
    return _tool(agent, agent.tool, agent.arguments)


def _route(agent: LoadAgent) -> Call:
    arguments = {
        "message": agent.text,
        "target_capabilities": [agent.skill],
        "wait_s": ROUTE_WAIT_S,
        "deadline_s": _ROUTE_DEADLINE_S,
    }

    async def route() -> None:
        routed = structured(await call_tool(agent.client, "route_to_agent", arguments), Routed)
        if routed.status != "completed":
            happened = f"the task {routed.task_id} was not completed" if routed.task_id else "there is no task"
            raise CallFailed(f"task:{routed.status}", f"{happened}: {routed.status}; {routed.next}".rstrip("; "))

    return route


KINDS = {
    kind.name: kind
    for kind in (
        Kind("list_agents", "who is there", _list_agents),
        Kind("share_context", "write a value of the shared context", share_context),
        Kind("get_context", "read it", _get_context),
        Kind("route", "hand a task to a worker of this test and get its result", _route),
        Kind("list_tools", "tools/list", _method("tools/list")),
        Kind("list_resources", "resources/list", _method("resources/list")),
        Kind("read_agents", "resources/read of aicp://agents", _method("resources/read", uri="aicp://agents")),
        Kind("ping", "ping, in the handshake era", _method("ping"), Era.HANDSHAKE),
        Kind("discover", "server/discover, in the stateless era", _method("server/discover"), Era.STATELESS),
        Kind("echo", "the tool echo with a text, where a hub has one", _echo),
        Kind("tool", "the tool that --tool names", _named_tool),
    )
}
