"""Checks of arguments that several tools share."""

from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, Field, StringConstraints, field_validator

from aicp_common.context_keys import KEY_RULE, is_key
from aicp_common.envelope import encode_json
from aicp_common.errors import InvalidArgument, TooLarge
from aicp_common.ids import ID_PATTERN
from aicp_common.tool import MAX_WAIT_S, Arguments
from aicp_router.tasks.delivery import MAX_KEYS
from aicp_router.tasks.record import Priority

MAX_MESSAGE_BYTES = 64 * 1024
MAX_CONTEXT_BYTES = 64 * 1024
MAX_RESULT_BYTES = 256 * 1024
MAX_ANSWER_BYTES = 64 * 1024
MAX_RESULT_LEVELS = 100
"""Of lists and objects within each other: a result is handed on within other JSON."""
MAX_LEVELS = 150
"""Of all other JSON. What takes it apart gives up at 200, with what the hub puts around it."""
MAX_DEADLINE_S = 7 * 86_400
DAY_S = 86_400

_CONTEXT_URI = "aicp://context/"


def lowered(name: Any) -> Any:
    """An agent's name as the gateway writes names; what is no text is left for the check that follows."""
    return name.strip().lower() if isinstance(name, str) else name


Capability = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
AgentName = Annotated[str, BeforeValidator(lowered), StringConstraints(pattern=ID_PATTERN)]
TaskId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
WaitS = Annotated[float, Field(ge=0, le=MAX_WAIT_S)]


class OrderArguments(Arguments):
    """What every message that is to become a task has."""

    message: str = Field(
        min_length=1,
        description="What is to be done, with all that the other agent needs to know: it sees nothing of your "
        "conversation. aicp://context/KEY in it brings that key of the shared context along.",
    )
    target_capabilities: list[Capability] | None = Field(
        None,
        max_length=32,
        description='What the agent should be able to do, as a list: ["analysis"] or ["data analysis", "번역"]. '
        "Best fit wins.",
    )
    context: str | list[str] | dict[str, Any] | None = Field(
        None,
        description='What the worker gets with the task: a JSON object that is sent along, {"rows": [1, 2]}, not as '
        'text; or a key of the shared context, "project/plan", or a list of keys, ["project/plan", "notes"], which '
        "are read when the task is delivered.",
    )
    priority: Priority = Field(
        "normal", description='"interactive": somebody waits. "normal". "batch": whenever there is time.'
    )
    deadline_s: float = Field(
        DAY_S,
        ge=1,
        le=MAX_DEADLINE_S,
        description="The task fails when it is not done in this many seconds, e.g. 3600. Default: a day.",
    )
    idempotency_key: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="The same key again answers with the same task: for safe retries.",
    )

    @field_validator("message")
    @classmethod
    def _fits(cls, message: str) -> str:
        size = len(message.encode("utf-8", "surrogatepass"))
        if size > MAX_MESSAGE_BYTES:
            raise ValueError(f"has {size} bytes, at most {MAX_MESSAGE_BYTES} fit; share long texts with share_context")
        if not message.strip():
            raise ValueError("should say something")
        return message


def context_of(context: str | list[str] | dict[str, Any] | None) -> tuple[str, list[str]]:
    """The argument `context` as inline JSON and as keys; one of the two is empty.

    Raises:
        TooLarge: the object is too big.
        InvalidArgument: there are too many keys, or one that is none.
    """
    match context:
        case None:
            return "", []
        case str():
            return "", [_key(context)]
        case list():
            if len(context) > MAX_KEYS:
                raise InvalidArgument(f"context: {len(context)} keys", expected=f"at most {MAX_KEYS}")
            return "", list(dict.fromkeys(map(_key, context)))
        case dict():
            return bounded_json("context", context, MAX_CONTEXT_BYTES), []


def _key(text: str) -> str:
    if is_key(text):
        return text
    try:
        meant = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        meant = None
    was = repr(text if len(text) <= 60 else text[:60] + "…")
    if isinstance(meant, dict | list):
        what = "the object" if isinstance(meant, dict) else "the list of keys"
        raise InvalidArgument(f"context: send {what} itself, not as text; was {was}", expected="an object or keys")
    if text.startswith(_CONTEXT_URI):
        raise InvalidArgument(f"context: {was} is a URI", expected=f"the key alone, what follows {_CONTEXT_URI}")
    raise InvalidArgument(f"context: {was} is no key of the shared context", expected=f"a key: {KEY_RULE}")


def bounded_json(field: str, value: Any, max_bytes: int, max_levels: int = MAX_LEVELS) -> str:
    """`value` as JSON.

    Raises:
        TooLarge: it has more than `max_bytes`, or lists and objects within each other on more than `max_levels`.
    """
    text = encode_json(value)
    # Counting what opens is quick, and nearly always enough.
    if text.count(b"[") + text.count(b"{") > max_levels and _nested_beyond(value, max_levels):
        raise TooLarge(
            f"{field}: has lists and objects within each other on more than {max_levels} levels",
            expected=f"at most {max_levels}",
            hint="flatten it, or send it as text",
        )
    if len(text) > max_bytes:
        raise TooLarge(
            f"{field}: has {len(text)} bytes as JSON",
            expected=f"at most {max_bytes}",
            hint="put long texts into the shared context (share_context) and name their keys",
        )
    return text.decode()


def _nested_beyond(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    if not levels:
        return True
    return any(_nested_beyond(inner, levels - 1) for inner in (value.values() if isinstance(value, dict) else value))
