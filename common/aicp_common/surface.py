"""The surface: what a service serves to MCP clients and to other services, as typed functions."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from aicp_common import __version__
from aicp_common.announcement import AnnouncedPrompt, AnnouncedResource, AnnouncedTool, Announcement
from aicp_common.bus import TASK
from aicp_common.calls import Answer, Answering
from aicp_common.envelope import Envelope, Principal, decode_json, encode_json
from aicp_common.errors import Forbidden, InvalidArgument
from aicp_common.mcptask import CreatedTask, McpTask
from aicp_common.tool import Arguments, Result, Tool, encode_result, parse_arguments

ResultT = TypeVar("ResultT", bound=Result)
ArgumentsT = TypeVar("ArgumentsT", bound=Arguments)
Method = Callable[[Envelope, Any], Awaitable[Any]]
PromptFunction = Callable[[Envelope, dict[str, str]], Awaitable[dict[str, Any]]]
RawToolFunction = Callable[[Envelope, dict[str, Any]], Awaitable[dict[str, Any] | CreatedTask]]


@dataclass(frozen=True)
class Raw:
    """A reply that is sent as it is."""

    body: bytes


@dataclass(frozen=True)
class Delivery(Generic[ResultT]):
    """A tool result that hands on what another client began, and that must not get lost on its way."""

    result: ResultT
    origin: str
    """The `traceparent` of what is handed on: the receiving gateway joins that trace."""
    undo: Callable[[], Awaitable[None]]
    """Called when nobody took the reply: the caller has gone, or the bus lost it."""


ToolFunction = Callable[[Envelope, ArgumentsT], Awaitable[ResultT | Delivery[ResultT] | CreatedTask]]

MAX_COMPLETIONS = 100
"""The most that the protocol lets a completion have."""


class PromptArgument(BaseModel):
    """An argument of a prompt."""

    name: str
    description: str
    required: bool = False


class _Lenient(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _GetPrompt(Arguments):
    name: str
    arguments: dict[str, str] = Field(default_factory=dict)


class CompleteRef(_Lenient):
    """What an argument belongs to: a prompt's `name`, or the `uri` of a resource template."""

    type: Literal["ref/prompt", "ref/resource"]
    name: str = ""
    uri: str = ""


class CompleteArgument(_Lenient):
    """The argument and what stands in it so far."""

    name: str
    value: str


class CompleteContext(_Lenient):
    """The other arguments that are known already."""

    arguments: dict[str, str] = Field(default_factory=dict)


class Complete(Arguments):
    """A request for values that could stand in an argument. Source: MCP 2025-11-25, server/utilities/completion."""

    ref: CompleteRef
    argument: CompleteArgument
    context: CompleteContext = CompleteContext()


@dataclass(frozen=True)
class Completions:
    """Some of the values that fit, from somebody who knows whether there are others."""

    values: list[str]
    """The best first."""
    more: bool
    """Whether others fit as well."""
    total: int | None = None
    """How many fit, with these; None: that was not counted."""


def completion_result(found: list[str] | Completions) -> dict[str, Any]:
    """A `CompleteResult`: the first `MAX_COMPLETIONS` of the values that were found.

    Of a longer list it does not say how many there are: whoever made it may have stopped as soon as there were more
    than a client gets. The `total` is optional. Source: MCP 2025-11-25, schema, `CompleteResult`.
    """
    if isinstance(found, list):
        more = len(found) > MAX_COMPLETIONS
        found = Completions(found, more, total=None if more else len(found))
    shown = found.values[:MAX_COMPLETIONS]
    completion: dict[str, Any] = {"values": shown, "hasMore": found.more or len(found.values) > len(shown)}
    if found.total is not None:
        completion["total"] = found.total
    return {"completion": completion}


CompletionFunction = Callable[[Envelope, Complete], Awaitable[list[str] | Completions]]


class _TaskId(Arguments):
    task_id: str = Field(alias="taskId")


class _UpdateTask(_TaskId):
    input_responses: dict[str, Any] = Field(alias="inputResponses")


def _require(principal: Principal, scope: str, what: str) -> None:
    if not principal.may(scope):
        raise Forbidden(f"{what} needs the scope {scope!r}, which {principal.agent!r} lacks")


class Surface:
    """Collects what a service declares: the functions that answer its methods, and what it announces of them."""

    def __init__(self, name: str, instructions: str) -> None:
        self.name = name
        self.instructions = instructions
        self.methods: dict[str, Answering] = {}
        """By the name of the method."""
        self._tools: list[AnnouncedTool] = []
        self._resources: list[AnnouncedResource] = []
        self._templates: list[AnnouncedResource] = []
        self._prompts: dict[str, tuple[AnnouncedPrompt, PromptFunction]] = {}
        self._completes = False
        self._task_prefix = ""
        self._withdrawn: set[str] = set()

    @property
    def tools(self) -> set[str]:
        """The methods that are tools."""
        return {tool.method for tool in self._tools}

    @property
    def announcement(self) -> Announcement | None:
        """Everything that clients get to see; None when that is nothing."""
        if not (self._tools or self._resources or self._templates or self._prompts):
            return None
        return Announcement(
            service=self.name,
            version=__version__,
            instructions=self.instructions,
            tools=tuple(tool for tool in self._tools if tool.method not in self._withdrawn),
            resources=tuple(self._resources),
            resource_templates=tuple(self._templates),
            prompts=tuple(announced for name, (announced, _) in self._prompts.items() if name not in self._withdrawn),
            completes=self._completes,
            task_prefix=self._task_prefix,
        )

    def withdraw(self, name: str) -> None:
        """Leave the tool or prompt of this name out of the next announcements."""
        self._withdrawn.add(name)

    def restore(self, name: str) -> None:
        """Take it in again."""
        self._withdrawn.discard(name)

    def tool(
        self,
        *,
        title: str,
        scope: str,
        arguments: type[ArgumentsT],
        result: type[ResultT],
        read_only: bool = False,
        idempotent: bool = False,
        destructive: bool = False,
    ) -> Callable[[ToolFunction[ArgumentsT, ResultT]], ToolFunction[ArgumentsT, ResultT]]:
        """Declare a tool. Its name is the function's, its description for LLMs the function's docstring.

        Errors of the hierarchy that the function raises become tool results with `isError`.
        """

        def declare(function: ToolFunction[ArgumentsT, ResultT]) -> ToolFunction[ArgumentsT, ResultT]:
            tool = Tool(
                name=function.__name__,
                title=title,
                description=" ".join((function.__doc__ or "").split()),
                scope=scope,
                arguments=arguments,
                result=result,
                handler=function,
                read_only=read_only,
                idempotent=idempotent,
                destructive=destructive,
            )
            self._tools.append(tool.announce())

            async def answer(envelope: Envelope, body: bytes) -> Answer:
                _require(envelope.principal, scope, tool.name)
                returned = await tool.handler(envelope, tool.parse(body))
                if isinstance(returned, Delivery):
                    return Answer(encode_result(returned.result), returned.origin, returned.undo)
                if isinstance(returned, CreatedTask):
                    return Answer(returned.task.encode(), kind=TASK)
                return Answer(encode_result(returned))

            self.methods[tool.name] = answer
            return function

        return declare

    def raw_tool(
        self, definition: dict[str, Any], *, scope: str = "", requires: tuple[str, ...] = ()
    ) -> Callable[[RawToolFunction], RawToolFunction]:
        """Declare a tool by its MCP `Tool` object. The function gets the arguments unchecked and returns the result.

        Args:
            definition: `name`, `inputSchema` and whatever else a `Tool` has.
            scope: That a caller needs.
            requires: What the client must be able to do, see `AnnouncedTool.requires`.
        """

        def declare(function: RawToolFunction) -> RawToolFunction:
            name = definition["name"]
            self._tools.append(AnnouncedTool(name, definition, scope, requires))

            async def answer(envelope: Envelope, body: bytes) -> Answer:
                _require(envelope.principal, scope, name)
                returned = await function(envelope, decode_json(body))
                if isinstance(returned, CreatedTask):
                    return Answer(returned.task.encode(), kind=TASK)
                return Answer(encode_json(returned))

            self.methods[name] = answer
            return function

        return declare

    def prompt(
        self,
        *,
        name: str,
        title: str,
        description: str,
        scope: str = "",
        arguments: tuple[PromptArgument, ...] = (),
    ) -> Callable[[PromptFunction], PromptFunction]:
        """Declare a prompt. The function gets the arguments, of which the required ones are there, and returns a
        `GetPromptResult`.
        """

        def declare(function: PromptFunction) -> PromptFunction:
            fields: dict[str, Any] = {"name": name, "title": title, "description": description}
            if arguments:
                fields["arguments"] = [argument.model_dump() for argument in arguments]
            self._prompts[name] = AnnouncedPrompt(fields, scope), function
            self.methods["prompt_get"] = self._get_prompt
            return function

        return declare

    async def _get_prompt(self, envelope: Envelope, body: bytes) -> Answer:
        wanted = parse_arguments(_GetPrompt, body)
        if wanted.name not in self._prompts:
            raise InvalidArgument(f"there is no prompt {wanted.name!r}")
        announced, function = self._prompts[wanted.name]
        _require(envelope.principal, announced.scope, wanted.name)
        declared = announced.prompt.get("arguments", [])
        missing = [each["name"] for each in declared if each["required"] and each["name"] not in wanted.arguments]
        if missing:
            raise InvalidArgument(f"the prompt {wanted.name!r} needs the argument {missing[0]!r}")
        return Answer(encode_json(await function(envelope, wanted.arguments)))

    def completion(self, function: CompletionFunction) -> None:
        """Declare what completes arguments of this service's prompts and resource templates.

        It returns the values that fit, the best first; clients get the first `MAX_COMPLETIONS`. A plain list has either
        all of them, or more than clients get; whoever has fewer and knows of others returns `Completions`.
        """

        async def answer(envelope: Envelope, body: bytes) -> Answer:
            return Answer(encode_json(completion_result(await function(envelope, parse_arguments(Complete, body)))))

        self.methods["complete"] = answer
        self._completes = True

    def tasks(
        self,
        prefix: str,
        *,
        get: Callable[[Envelope, str], Awaitable[McpTask]],
        update: Callable[[Envelope, str, dict[str, Any]], Awaitable[None]],
        cancel: Callable[[Envelope, str], Awaitable[None]],
        watch: Callable[[Envelope, str], Awaitable[str]],
    ) -> None:
        """Serve tasks to clients that know MCP's tasks extension; see `aicp_common.mcptask`.

        Args:
            prefix: What the ids of this service's tasks begin with.
            get: The task of this id. Raises `NotFound`.
            update: Takes the client's answers to the task's input requests, by their keys.
            cancel: The client wants the task to end.
            watch: The NATS subject on which changes of the task are told. Raises `NotFound`.
        """
        self._task_prefix = prefix

        async def answer_get(envelope: Envelope, body: bytes) -> Answer:
            return Answer((await get(envelope, parse_arguments(_TaskId, body).task_id)).encode())

        async def answer_update(envelope: Envelope, body: bytes) -> Answer:
            wanted = parse_arguments(_UpdateTask, body)
            await update(envelope, wanted.task_id, wanted.input_responses)
            return Answer(b"{}")

        async def answer_cancel(envelope: Envelope, body: bytes) -> Answer:
            await cancel(envelope, parse_arguments(_TaskId, body).task_id)
            return Answer(b"{}")

        async def answer_watch(envelope: Envelope, body: bytes) -> Answer:
            return Answer(encode_json({"subject": await watch(envelope, parse_arguments(_TaskId, body).task_id)}))

        self.methods |= {
            "mcp_task_get": answer_get,
            "mcp_task_update": answer_update,
            "mcp_task_cancel": answer_cancel,
            "mcp_task_watch": answer_watch,
        }

    def method(self, arguments: type[ArgumentsT], name: str = "") -> Callable[[Method], Method]:
        """Declare a method that other services or the gateway call; it is no tool and clients cannot reach it.

        The function returns a pydantic model, plain data, `Raw`, or a `Delivery` of a model. Errors go back as error
        replies.
        """

        def declare(function: Method) -> Method:
            async def answer(envelope: Envelope, body: bytes) -> Answer:
                returned = await function(envelope, parse_arguments(arguments, body))
                if isinstance(returned, Delivery):
                    json = returned.result.model_dump_json(exclude_none=True)
                    return Answer(json.encode(), returned.origin, returned.undo)
                if isinstance(returned, Raw):
                    return Answer(returned.body)
                if isinstance(returned, BaseModel):
                    return Answer(returned.model_dump_json(exclude_none=True).encode())
                return Answer(encode_json(returned))

            self.methods[name or function.__name__] = answer
            return function

        return declare

    def resource(
        self,
        *,
        uri: str,
        name: str,
        title: str,
        description: str,
        scope: str,
        watchable: bool = True,
        mime_type: str = "application/json",
    ) -> None:
        """Announce a resource. See `AnnouncedResource` for the methods that the service must then have."""
        fields = {"uri": uri, "name": name, "title": title, "description": description, "mimeType": mime_type}
        self._resources.append(AnnouncedResource(fields, scope, watchable))

    def resource_template(
        self,
        *,
        uri_template: str,
        name: str,
        title: str,
        description: str,
        scope: str,
        watchable: bool = True,
        mime_type: str = "application/json",
    ) -> None:
        """Announce a resource template."""
        fields = {
            "uriTemplate": uri_template,
            "name": name,
            "title": title,
            "description": description,
            "mimeType": mime_type,
        }
        self._templates.append(AnnouncedResource(fields, scope, watchable))
