"""Tools: typed functions whose arguments and results are pydantic models, announced with their JSON Schemas."""

import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError

from aicp_common.announcement import AnnouncedTool
from aicp_common.envelope import Envelope
from aicp_common.errors import InvalidArgument
from aicp_common.ids import ID_PATTERN

MAX_WAIT_S = 40.0
"""The longest `wait_s`. Common clients give up on a call at 60 s, and no call may block longer than 45 s."""


class Arguments(BaseModel):
    """Base of every tool's arguments: what is not declared is refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Result(BaseModel):
    """Base of every tool's result. Fields that are None are left out."""

    model_config = ConfigDict(extra="forbid")


Handler = Callable[[Envelope, Any], Awaitable[Any]]


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


_HUGE_EXPONENT = re.compile(rb"[eE]\+?[0-9]{3}").search


def parse_arguments(kind: type[Arguments], body: bytes) -> Any:
    """The arguments in `body`, a JSON object.

    Raises:
        InvalidArgument: names each wrong field, what it was and what was expected.
    """
    if len(body) > _LONG:
        _refuse_many(kind, body)
    try:
        parsed = kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        problems = error.errors(include_url=False)
        misnamed = any(problem["type"] in ("missing", "extra_forbidden") for problem in problems)
        known = f"the arguments are: {', '.join(kind.model_fields)}" if misnamed else None
        raise InvalidArgument("; ".join(_explain(problem) for problem in problems[:8]), expected=known) from error
    if _HUGE_EXPONENT(body) is not None:
        _refuse_infinite(parsed.model_dump(), "arguments")
    return parsed


_LONG = 10_000
"""Bytes of arguments among which there may be very many unknown ones, each of which pydantic would explain."""


def _refuse_many(kind: type[Arguments], body: bytes) -> None:
    try:
        names = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Whoever parses it says what is wrong.
        return
    if len(names) > 2 * len(kind.model_fields) + 8:
        raise InvalidArgument(
            f"arguments: {len(names)} of them", expected=f"the arguments are: {', '.join(kind.model_fields)}"
        )


def _refuse_infinite(value: Any, where: str) -> None:
    """Refuse numbers like 1e999: they are valid JSON, and nothing here could hand them on as they are."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(f"{where}: a number is too large", expected="at most about 1.8e308")
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_infinite(inner, f"{where}.{key}" if where != "arguments" else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _refuse_infinite(inner, f"{where}.{index}")


_WANTED = {
    "string_type": "a text",
    "int_type": "a whole number, not in quotes",
    "int_from_float": "a whole number",
    "float_type": "a number, not in quotes",
    "bool_type": "true or false, not in quotes",
    "list_type": "a list, in [ ]",
    "tuple_type": "a list, in [ ]",
    "dict_type": "an object, in { }",
    "model_type": "an object, in { }",
    "model_attributes_type": "an object, in { }",
}
"""By pydantic's kind of problem: what would have been right, where its own words do not tell an LLM enough."""

_PATTERNS = {ID_PATTERN: "1 to 64 characters a-z 0-9 _ -, with a letter or a digit first"}
"""What a pattern allows, in words."""


def _size(problem: Any) -> str | None:
    """What is wrong with how long a text or how big a list is; None when the problem is another one."""
    about = problem.get("ctx", {})
    match problem["type"]:
        case "too_short":
            return f"has {_counted(about['actual_length'], 'item')}, at least {about['min_length']} should be there"
        case "too_long":
            return f"has {_counted(len(problem['input']), 'item')}, at most {about['max_length']} may be there"
        case "string_too_short" if not problem["input"]:
            return "is empty"
        case "string_too_short":
            return f"should have at least {_counted(about['min_length'], 'character')}"
        case "string_too_long":
            return f"has {len(problem['input'])} characters, at most {about['max_length']} fit"
    return None


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "arguments"
    match problem["type"]:
        case "missing":
            return f"{where}: missing"
        case "extra_forbidden":
            return f"{where}: no such argument"
    was = repr(problem.get("input"))
    if len(was) > 60:
        was = was[:60] + "…"
    if problem["type"] in _WANTED:
        return f"{where}: should be {_WANTED[problem['type']]}, was {was}"
    size = _size(problem)
    if size is not None:
        return f"{where}: {size}"
    said = problem["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("Assertion failed, ")
    if problem["type"] == "string_pattern_mismatch":
        allowed = _PATTERNS.get(problem["ctx"]["pattern"])
        said = f"should be {allowed}" if allowed else said
    return f"{where}: {said}, was {was}"


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
