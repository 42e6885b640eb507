"""The exact type that each message of the server has to have: by revision, kind and method.

The types are the ones of `mcp-types`, which are generated from the official schemas of 2025-11-25 and 2026-07-28; older
revisions have the ones of 2025-11-25, less what `narrowing` takes away. They are laxer than the schemas by themselves:
here they are applied strictly (no text where a number belongs), by the names on the wire only, and a field that may be
left out may not be null instead.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

# The public tables of `mcp_types.methods` lead to most of these; the rest is in the generated packages only.
import mcp_types._v2025_11_25 as v2025
import mcp_types._v2026_07_28 as v2026
from mcp_types.methods import SERVER_NOTIFICATIONS, SERVER_REQUESTS, SERVER_RESULTS
from pydantic import BaseModel, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from tests.support.checked import extension
from tests.support.checked.revisions import STATELESS

MAX_FAULTS = 4
"""Of one message; more of them say nothing new."""

URL_ELICITATION_REQUIRED: Final = -32042

_TASKS_2025: Mapping[str, type[BaseModel]] = {
    "tasks/get": v2025.GetTaskResult,
    "tasks/result": v2025.GetTaskPayloadResult,
    "tasks/list": v2025.ListTasksResult,
    "tasks/cancel": v2025.CancelTaskResult,
}

_COMPLETE: Mapping[str, type[BaseModel]] = {
    "tools/call": v2026.CallToolResult,
    "prompts/get": v2026.GetPromptResult,
    "resources/read": v2026.ReadResourceResult,
}
"""Methods of 2026-07-28 that may also ask back."""

_ERRORS: Mapping[tuple[str, int], type[BaseModel]] = {
    ("2025-11-25", URL_ELICITATION_REQUIRED): v2025.URLElicitationRequiredError,
    (STATELESS, -32020): v2026.HeaderMismatchError,
    (STATELESS, -32021): v2026.MissingRequiredClientCapabilityError,
    (STATELESS, -32022): v2026.UnsupportedProtocolVersionError,
}


@dataclass(frozen=True, slots=True)
class Definition:
    """One type of the schema."""

    name: str
    adapter: TypeAdapter[Any]

    def faults(self, message: bytes) -> list[str]:
        """What is wrong with `message`, one text a fault; nothing if it is valid.

        Args:
            message: JSON.
        """
        try:
            value = self.adapter.validate_json(message, strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            return _first(f"{self.name}: {fault}" for fault in _sentences(error))
        if b"null" not in message:
            return []
        return _first(f"{self.name}: {path} is null; it may be left out" for path in _nulls(value, ""))


@cache
def request(revision: str, method: str) -> Definition | None:
    """Of a request that the server sends; None when the revision has no such request."""
    model = SERVER_REQUESTS.get((method, revision))
    return _definition(model) if model else None


@cache
def notification(revision: str, method: str) -> Definition | None:
    """Of a notification that the server sends; None when the revision has no such notification."""
    if (revision, method) == ("2025-11-25", "notifications/tasks/status"):
        return _definition(v2025.TaskStatusNotification)
    if (revision, method) == (STATELESS, "notifications/tasks"):
        return _definition(extension.TaskStatusNotification)
    model = SERVER_NOTIFICATIONS.get((method, revision))
    return _definition(model) if model else None


@cache
def result(revision: str, method: str, kind: str) -> Definition | None:
    """Of the response with a result; None when the revision has no such request, or no such kind of result for it.

    Args:
        revision: In force for the request.
        method: Of the request.
        kind: In 2026-07-28 the `resultType`; before it `task` where the request asked for a task, otherwise
            `complete`.
    """
    model: Any
    if revision == STATELESS:
        model = _result_2026(method, kind)
    elif revision == "2025-11-25" and method in _TASKS_2025:
        model = _TASKS_2025[method]
    elif kind == "task":
        model = v2025.CreateTaskResult if (revision, method) == ("2025-11-25", "tools/call") else None
    else:
        model = SERVER_RESULTS.get((method, revision))
    if model is None:
        return None
    envelope = create_model("Response", __base__=v2025.JSONRPCResultResponse, result=(model, ...))
    return Definition(f"result of {method}", TypeAdapter(envelope))


@cache
def any_result() -> Definition:
    """Of a response with a result, whatever was asked."""
    return _definition(v2025.JSONRPCResultResponse)


def _result_2026(method: str, kind: str) -> Any:
    if kind == "input_required":
        return v2026.InputRequiredResult if method in _COMPLETE else None
    if kind == "task":
        return extension.Task if method == "tools/call" else None
    if kind != "complete":
        return None
    return extension.RESULTS.get(method) or _COMPLETE.get(method) or SERVER_RESULTS.get((method, STATELESS))


@cache
def error(revision: str, code: int) -> Definition:
    """Of an error response with this code."""
    plain = v2026.JSONRPCErrorResponse if revision == STATELESS else v2025.JSONRPCErrorResponse
    return _definition(_ERRORS.get((revision, code), plain))


def _definition(model: type[BaseModel]) -> Definition:
    return Definition(model.__name__, TypeAdapter(model))


def _first(faults: Iterator[str]) -> list[str]:
    return [fault for fault, _ in zip(faults, range(MAX_FAULTS), strict=False)]


def _sentences(error: ValidationError) -> Iterator[str]:
    """The errors of the branch of a union that was meant, where its `type` or the like tells which one that is."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    others = {each["loc"][:-1] for each in errors if each["type"] == "literal_error"}
    meant = [each for each in errors if not any(each["loc"][: len(other)] == other for other in others)]
    for each in meant or errors:
        yield f"{'.'.join(map(str, each['loc'])) or 'the message'}: {each['msg'].lower()}"


def _nulls(value: object, path: str) -> Iterator[str]:
    """The paths of fields that are null and may only be left out."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            if name not in value.model_fields_set:
                continue
            inner = getattr(value, name)
            below = f"{path}.{field.alias or name}".removeprefix(".")
            if inner is None and not _may_be_null(field):
                yield below
            yield from _nulls(inner, below)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _nulls(inner, f"{path}.{index}")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _nulls(inner, f"{path}.{key}")


def _may_be_null(field: FieldInfo) -> bool:
    # The generator writes an optional field as `X | None = None`, and one that may be null without that default.
    if field.is_required():
        return True
    kinds = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else (field.annotation,)
    return any(kind is Any or kind is v2026.JSONValue for kind in kinds)
