"""What the tool for the history takes and gives."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from aicp_common.ids import ID_PATTERN
from aicp_common.tool import Arguments
from aicp_statehub.archive.query import place_of
from aicp_statehub.contexts.arguments import MAX_PAGE, Key
from aicp_statehub.contexts.json_text import AnyJson, TextResult
from aicp_statehub.contexts.state import MAX_VERSION


def _cursor(text: str) -> str:
    try:
        place_of(text)
    except (ValueError, OverflowError) as error:
        raise PydanticCustomError("cursor", "should be the next_cursor of the page before") from error
    return text


class GetHistory(Arguments):
    """Arguments of `get_history`."""

    task_id: str | None = Field(None, pattern=ID_PATTERN, description="What happened to this task.")
    context_key: Key | None = Field(None, description="Every change of this shared context.")
    agent: str | None = Field(
        None, pattern=ID_PATTERN, description="What this agent did, asked for, and was given to do."
    )
    version: int | None = Field(
        None, ge=1, le=MAX_VERSION, description="With context_key: only this version, with its value."
    )
    with_values: bool = Field(
        False, description="Return the values of contexts too. A page then ends at 256 KiB of values."
    )
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="Events on a page.")
    cursor: Annotated[str, AfterValidator(_cursor)] | None = Field(
        None, max_length=40, description="next_cursor of the page before."
    )


class HistoryEntry(TextResult):
    """One event."""

    event_id: str = Field(description="Its id; no other event ever has the same.")
    at: str = Field(description="When it happened (UTC).")
    entity: str = Field(description="What it happened to: task, context, agent.")
    what: str = Field(description="What happened: created, claimed, completed, changed, deleted and so on.")
    task_id: str | None = Field(None, description="Of a task: its id.")
    context_key: str | None = Field(None, description="Of a context: its name.")
    id: str | None = Field(None, description="Of anything else: its id.")
    agent: str | None = Field(None, description="The agent concerned: a task's worker, a context's author.")
    requester: str | None = Field(None, description="Who asked for the task.")
    state: str | None = Field(None, description="The state of the task from then on.")
    attempt: int | None = Field(None, description="Which attempt of the task it was.")
    version: int | None = Field(None, description="The version that the context got.")
    readers: list[str] | None = Field(None, description="The only agents that may read this version.")
    forgotten: bool | None = Field(None, description="True: the values of earlier versions went with this deletion.")
    value: AnyJson = Field(
        None, description="The value of this version, if asked for; missing if it was forgotten or never archived."
    )
    details: AnyJson = Field(None, description="What else the event says.")


class GetHistoryResult(TextResult):
    """What `get_history` returns."""

    status: Literal["listed", "nothing"] = Field(
        description="listed: see entries; nothing: the archive has nothing of that name that you may read."
    )
    entries: list[HistoryEntry] = Field(description="The events of this page, the newest first.")
    next_cursor: str | None = Field(None, description="There are older ones: call again with this as cursor.")
