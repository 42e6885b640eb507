"""An agent's inbox as it is told of it: the line at the end of a tool's result, and the one that greets it."""

from collections.abc import Sequence

from pydantic import BaseModel

from aicp_common.envelope import Envelope, Principal
from aicp_common.ids import RESERVED_AGENTS
from aicp_common.service import Service
from aicp_common.tool import Arguments
from aicp_router import inbox_scripts
from aicp_router.dispatch import Dispatch
from aicp_router.settings import RouterSettings
from aicp_router.tasks import Record

SCOPE = "tasks:work"
"""What an agent needs to have an inbox."""

_NAMES = 3
"""Requesters that are named; the others are others."""


class HintArguments(Arguments):
    """For `inbox_hint`."""

    greeting: bool = False
    """The agent connects: it is told what waits, whether it was told before or not."""


class Hint(BaseModel):
    """Of `inbox_hint`."""

    text: str
    """Empty when there is nothing to say."""


def hint(count: int, requesters: Sequence[str]) -> str:
    """One line for an agent that has just called some other tool."""
    return f"inbox: {count} waiting (from {_named(requesters)}; receive_tasks brings {_them(count)})"


def greeting(count: int, requesters: Sequence[str]) -> str:
    """A sentence for an agent that connects."""
    wait = "task waits" if count == 1 else "tasks wait"
    return f"{count} {wait} for you (from {_named(requesters)}): receive_tasks brings {_them(count)}."


def still_waiting(count: int) -> str:
    """What an agent can do that has handed in a result, while `count` tasks wait for it."""
    then = "receive_tasks brings the next one"
    return f"{then}: {count} {'waits' if count == 1 else 'wait'}" if count else then


async def has_reached(dispatch: Dispatch, who: Principal, record: Record) -> bool:
    """Whether a task's agent is here, or was since the task was put into its queue; see `Record.delivery`."""
    if not record.waits_for_agent:
        return False
    return await inbox_scripts.reached(
        dispatch.redis,
        who.tenant,
        record.agent,
        queued_ms=record.queued_ms,
        online_ms=int(dispatch.settings.online_s * 1000),
    )


def declare(service: Service[RouterSettings], dispatch: Dispatch) -> None:
    """Declare what gateways ask."""

    @service.method(HintArguments)
    async def inbox_hint(envelope: Envelope, asked: HintArguments) -> Hint:
        """What the caller is to be told of its inbox."""
        who = envelope.principal
        if who.agent in RESERVED_AGENTS or not who.may(SCOPE):
            return Hint(text="")
        found = await inbox_scripts.tell(dispatch.redis, who.tenant, who.agent, anyway=asked.greeting)
        if not found.count:
            return Hint(text="")
        return Hint(text=(greeting if asked.greeting else hint)(found.count, found.requesters))


def _named(requesters: Sequence[str]) -> str:
    # Names are ids, so none of them can look like a part of the sentence.
    return ", ".join(requesters[:_NAMES]) + (" and others" if len(requesters) > _NAMES else "")


def _them(count: int) -> str:
    return "it" if count == 1 else "them"
