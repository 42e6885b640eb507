"""Tools: typed functions whose arguments and results are pydantic models, announced with their JSON Schemas."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError

from aicp_common.announcement import AnnouncedTool
from aicp_common.envelope import Envelope
from aicp_common.errors import InvalidArgument

MAX_WAIT_S = 40.0
"""The longest `wait_s`. Common clients give up on a call at 60 s, and no call may block longer than 45 s."""


class Arguments(BaseModel):
    """Base of every tool's arguments: what is not declared is refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Result(BaseModel):
    """Base of every tool's result. Fields that are None are left out."""

    model_config = ConfigDict(extra="forbid")


Handler = Callable[[Envelope, Any], Awaitable[BaseModel]]


@dataclass(frozen=True)
class Tool:
    """A tool as a service declares it."""

    name: str
    title: str
    description: str
    scope: str
    arguments: type[Arguments]
    result: type[Result]
    handler: Handler
    read_only: bool
    idempotent: bool
    destructive: bool

    def announce(self) -> AnnouncedTool:
        """What clients get to see of it."""
        return AnnouncedTool(
            method=self.name,
            scope=self.scope,
            tool={
                "name": self.name,
                "title": self.title,
                "description": self.description,
                "inputSchema": schema_of(self.arguments),
                "outputSchema": schema_of(self.result),
                "annotations": {
                    "title": self.title,
                    "readOnlyHint": self.read_only,
                    "idempotentHint": self.idempotent,
                    "destructiveHint": self.destructive,
                    "openWorldHint": False,
                },
            },
        )

    def parse(self, body: bytes) -> Any:
        """The arguments of a call.

        Raises:
            InvalidArgument: names each wrong field, what it was and what was expected.
        """
        return parse_arguments(self.arguments, body)


def parse_arguments(kind: type[Arguments], body: bytes) -> Any:
    """The arguments in `body`, a JSON object.

    Raises:
        InvalidArgument: names each wrong field, what it was and what was expected.
    """
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        problems = error.errors(include_url=False)
        known = ", ".join(kind.model_fields)
        raise InvalidArgument(
            "; ".join(_explain(problem) for problem in problems[:8]), expected=f"the arguments are: {known}"
        ) from error


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "arguments"
    match problem["type"]:
        case "missing":
            return f"{where}: missing"
        case "extra_forbidden":
            return f"{where}: no such argument"
        case _:
            was = repr(problem.get("input"))
            if len(was) > 60:
                was = was[:60] + "…"
            return f"{where}: {problem['msg']}, was {was}"


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a model, without the titles that pydantic makes from field names: an LLM reads this."""
    schema = model.model_json_schema()
    _drop_titles(schema)
    schema.pop("description", None)
    return schema


def _drop_titles(schema: Any) -> None:
    if isinstance(schema, dict):
        if isinstance(schema.get("title"), str):
            del schema["title"]
        for key, value in schema.items():
            if key in ("properties", "$defs") and isinstance(value, dict):
                for inner in value.values():
                    _drop_titles(inner)
            else:
                _drop_titles(value)
    elif isinstance(schema, list):
        for inner in schema:
            _drop_titles(inner)


def encode_result(result: BaseModel) -> bytes:
    """A `CallToolResult`: the result as `structuredContent` and the same as text."""
    structured = result.model_dump_json(exclude_none=True)
    text = msgspec.json.encode(structured)
    return b'{"content":[{"type":"text","text":%b}],"structuredContent":%b,"isError":false}' % (
        text,
        structured.encode(),
    )
