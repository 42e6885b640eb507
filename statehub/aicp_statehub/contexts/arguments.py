"""What the tools take and give."""

import datetime
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from aicp_common.context_keys import KEY_PATTERN, KEY_RULE, MAX_KEY_CHARACTERS, is_key
from aicp_common.errors import InvalidArgument
from aicp_common.ids import is_id
from aicp_common.tool import MAX_WAIT_S, Arguments
from aicp_statehub.contexts.json_text import AnyJson, TextResult, checked
from aicp_statehub.contexts.keys import PREFIX_RULE, is_prefix
from aicp_statehub.contexts.scripts import EVERYBODY
from aicp_statehub.contexts.state import MAX_VERSION

MAX_PAGE = 100
MAX_TTL_S = 10 * 365 * 86_400
MAX_READERS = 100


def _key(text: str) -> str:
    if not is_key(text):
        hint = "; to list a folder use prefix" if text[-1:] in ("/", "*") else ""
        raise PydanticCustomError("context_key", "{rule}", {"rule": f"should be {KEY_RULE}{hint}"})
    return text


def _prefix(text: str) -> str:
    if not is_prefix(text):
        raise PydanticCustomError("prefix", "{rule}", {"rule": f"should be {PREFIX_RULE}"})
    return text


def _reader(text: str) -> str:
    if text != EVERYBODY and not is_id(text):
        raise PydanticCustomError("reader", "should be the name of an agent")
    return text


Key = Annotated[
    str,
    AfterValidator(_key),
    WithJsonSchema({"type": "string", "pattern": KEY_PATTERN, "minLength": 1, "maxLength": MAX_KEY_CHARACTERS}),
]
Prefix = Annotated[str, AfterValidator(_prefix), WithJsonSchema({"type": "string", "maxLength": MAX_KEY_CHARACTERS})]

Reader = Annotated[str, AfterValidator(_reader), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 64})]

ExpectedVersion = Annotated[
    int | None,
    Field(
        ge=0,
        le=MAX_VERSION,
        description="Change it only if this is still its version, so that nobody's change is lost; "
        "0: only if it does not exist.",
    ),
]


class ShareContext(Arguments):
    """Arguments of `share_context`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    context_key: Key = Field(
        description=f'Name of the context, such as "project_status" or "projects/apollo/plan": {KEY_RULE}.'
    )
    context_value: Annotated[msgspec.Raw, WithJsonSchema({})] = Field(
        description="Any JSON value, up to 256 KiB: objects and arrays as themselves, not as text. Replaces the "
        "current one, unless merge is true."
    )
    expected_version: ExpectedVersion = None
    ttl_s: float | None = Field(
        None,
        gt=0,
        le=MAX_TTL_S,
        description="Seconds after which it is deleted by itself. Without it the value stays; a merge keeps the "
        "lifetime that it had.",
    )
    merge: bool = Field(
        False,
        description="True: context_value is an object, a JSON merge patch (RFC 7396) onto the current value: members "
        "named in it are set, those that are null are removed, all others stay.",
    )
    readable_by: list[Reader] | None = Field(
        None,
        min_length=1,
        max_length=MAX_READERS,
        description="Names of the agents that may read and change it from now on, beside you; for all others it is not "
        'there. ["*"]: everybody. Without it the readers stay; a new context is for everybody.',
    )

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """As pydantic's, with the exact text of `context_value` kept.

        Raises:
            InvalidArgument: the value is not JSON that can be kept.
            ValidationError: another argument is wrong.
        """
        try:
            given: dict[str, Any] = msgspec.json.decode(json_data, type=dict[str, msgspec.Raw])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArgument(f"arguments: cannot be read: {error}", expected="a JSON object") from error
        value = given.pop("context_value", None)
        arguments = {name: _plain(name, text) for name, text in given.items()}
        if value is not None:
            arguments["context_value"] = msgspec.Raw(checked(bytes(value), "context_value"))
        return cls.model_validate(arguments)

    def readers(self, author: str) -> list[str]:
        """Whom `readable_by` names, the author among them, each once; `EVERYBODY` alone; nobody where it is missing.

        Raises:
            InvalidArgument: it names everybody and others.
        """
        if self.readable_by is None:
            return []
        if EVERYBODY in self.readable_by:
            if len(self.readable_by) > 1:
                raise InvalidArgument('readable_by: "*" stands alone', expected='["*"], or names of agents')
            return [EVERYBODY]
        return list(dict.fromkeys([author, *self.readable_by]))


def _plain(name: str, text: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"{name[:80]}: cannot be read: {error}", expected="a JSON value") from error


class GetContext(Arguments):
    """Arguments of `get_context`."""

    context_key: Key | None = Field(None, description="Name of the one context to read.")
    prefix: Prefix | None = Field(
        None,
        description="Instead of context_key: list the contexts whose names begin with this, such as projects/. "
        "With neither, all are listed.",
    )
    newer_than: int | None = Field(
        None,
        ge=0,
        le=MAX_VERSION,
        description="With context_key: return the value only if its version is higher than this one, the last that "
        "you have seen, or if the context was made anew since.",
    )
    version: int | None = Field(
        None, ge=1, le=MAX_VERSION, description="With context_key: read this old version, not the current one."
    )
    versions: bool = Field(
        False, description="With context_key: list the versions that are kept, newest first: who changed it, and when."
    )
    changed_since: int | None = Field(
        None,
        ge=0,
        le=MAX_VERSION,
        description="Instead of context_key: list what was changed or deleted after this revision, each context once. "
        "Take it from the revision of an earlier list; with prefix, only what begins with it.",
    )
    wait_s: float = Field(
        0,
        ge=0,
        le=MAX_WAIT_S,
        description="With context_key: wait up to so many seconds for a version that is higher than newer_than, or, "
        "without newer_than, until there is a value. With changed_since: until something has changed.",
    )
    with_values: bool = Field(
        False,
        description="When listing: return the values too. A page then ends at 256 KiB of values; of versions only the "
        "newest have theirs, up to this size.",
    )
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="When listing: contexts, changes or versions on a page.")
    cursor: Key | None = Field(None, description="When listing: next_cursor of the page before.")


class DeleteContext(Arguments):
    """Arguments of `delete_context`."""

    context_key: Key = Field(description="Name of the context.")
    expected_version: ExpectedVersion = None
    with_history: bool = Field(
        False,
        description="True: its old versions go too, for instance when a secret was shared by mistake. Otherwise they "
        "can still be read for some days.",
    )


class ShareContextResult(TextResult):
    """What `share_context` returns."""

    status: Literal["stored", "conflict"] = Field(
        description="stored; or conflict: the version was not the expected one and nothing was changed. The other "
        "fields then tell the current state, to merge with and to try again."
    )
    key: str = Field(description="Name of the context.")
    version: int = Field(description="Its version now: one more for each change, deletions included; 0: never existed.")
    value: AnyJson = Field(None, description="On conflict: the current value; missing if there is none.")
    author: str | None = Field(None, description="On conflict: the agent that shared the current value.")
    updated_at: str | None = Field(None, description="On conflict: when that was (UTC).")
    expires_at: str | None = Field(None, description="When the value expires (UTC); missing if it stays.")
    readable_by: list[str] | None = Field(None, description="Who may read it; missing: everybody.")
    note: str | None = Field(None, description="Something about the stored value that may not be what you meant.")


class ContextEntry(TextResult):
    """One context of a list."""

    key: str = Field(description="Name of the context.")
    version: int = Field(description="Its version.")
    deleted: Literal[True] | None = Field(None, description="This version is its deletion.")
    author: str = Field(description="The agent that shared or deleted it.")
    updated_at: str = Field(description="When that was (UTC).")
    readable_by: list[str] | None = Field(None, description="Who may read it; missing: everybody.")
    expires_at: str | None = Field(None, description="When it expires (UTC); missing if it stays.")
    value: AnyJson = Field(None, description="Its value, if asked for.")


class GetContextResult(TextResult):
    """What `get_context` returns."""

    status: Literal["found", "not_found", "unchanged", "listed"] = Field(
        description="found: here it is; not_found: there is no such context now, or no such version; unchanged: its "
        "version is not higher than newer_than, or nothing has changed since; listed: see entries."
    )
    key: str | None = Field(None, description="Name of the context.")
    version: int | None = Field(
        None, description="Its version, for newer_than; of a deleted one that of the deletion; 0: never existed."
    )
    value: AnyJson = Field(None, description="Its value.")
    author: str | None = Field(None, description="The agent that shared it.")
    updated_at: str | None = Field(None, description="When that was (UTC).")
    expires_at: str | None = Field(None, description="When it expires (UTC); missing if it stays.")
    readable_by: list[str] | None = Field(None, description="Who may read it; missing: everybody.")
    entries: list[ContextEntry] | None = Field(
        None,
        description="The contexts of this page, in the order of names; with changed_since in the order of their last "
        "changes; with versions the versions, newest first.",
    )
    next_cursor: str | None = Field(None, description="There are more: call again with this as cursor.")
    revision: int | None = Field(
        None,
        description="Up to where this list knows all changes: ask later with it as changed_since. Of several pages "
        "take that of the first.",
    )
    more: bool | None = Field(
        None,
        description="There is more: with changed_since ask again at once; with versions raise limit, or read older "
        "ones by version.",
    )
    note: str | None = Field(None, description="What else there is to know, such as which versions are kept.")


class DeleteContextResult(TextResult):
    """What `delete_context` returns."""

    status: Literal["deleted", "not_found", "conflict"] = Field(
        description="deleted; not_found: there was none; conflict: not the expected version, nothing changed."
    )
    key: str = Field(description="Name of the context.")
    version: int = Field(description="Its version now; a deletion is a version of its own.")
    value: AnyJson = Field(None, description="On conflict: the current value; missing if there is none.")
    author: str | None = Field(None, description="On conflict: the agent that shared the current value.")
    updated_at: str | None = Field(None, description="On conflict: when that was (UTC).")
    note: str | None = Field(None, description="What was done all the same.")


def iso_time(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339, in UTC."""
    at = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
