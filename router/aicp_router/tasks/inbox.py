"""An agent's inbox as it is told of it: the line at the end of a tool's result, and the one that greets it."""

from pydantic import BaseModel

from aicp_common.envelope import Envelope, Principal
from aicp_common.ids import RESERVED_AGENTS
from aicp_common.service import Service
from aicp_common.tool import Arguments
from aicp_router.clock import now_ms
from aicp_router.settings import RouterSettings
from aicp_router.tasks import holding, inbox_scripts, notes
from aicp_router.tasks.dispatch import Dispatch
from aicp_router.tasks.holding import Desk
from aicp_router.tasks.inbox_scripts import Waiting
from aicp_router.tasks.record import Record

SCOPE = "tasks:work"
"""What an agent needs to have an inbox."""

_NAMES = 3
"""Requesters that are named; the others are others."""


class HintArguments(Arguments):
    """For `inbox_hint`."""

    greeting: bool = False
    """The agent connects: it is told what waits, whether it was told before or not, and what it holds."""


class Hint(BaseModel):
    """Of `inbox_hint`."""

    text: str
    """Empty when there is nothing to say."""


def hint(found: Waiting) -> str:
    """One line for an agent that has just called some other tool; empty when nothing waits."""
    if not found.count:
        return ""
    return f"inbox: {found.count} waiting ({_named(found)}; {_way(found)})"


def greeting(found: Waiting, held: Desk) -> str:
    """What an agent is told that connects: what waits, and what it has claimed before. Empty when there is neither."""
    said = []
    if held.count:
        said.append(
            f"You still hold {holding.named(held.held, held.count)}: get_task shows what is asked, submit_result hands "
            "it in."
        )
    if found.count:
        wait = "task waits" if found.count == 1 else "tasks wait"
        said.append(f"{found.count} {wait} for you ({_named(found)}): {_way(found)}.")
    return " ".join(said)


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


async def is_here(dispatch: Dispatch, who: Principal, agent: str) -> bool:
    """Whether an agent of the caller's tenant is online now. The hub's own always are."""
    if agent in RESERVED_AGENTS:
        return True
    online_ms = int(dispatch.settings.online_s * 1000)
    return await inbox_scripts.reached(dispatch.redis, who.tenant, agent, queued_ms=now_ms(), online_ms=online_ms)


def declare(service: Service[RouterSettings], dispatch: Dispatch) -> None:
    """Declare what gateways ask."""

    notes.declare(service)

    @service.method(HintArguments)
    async def inbox_hint(envelope: Envelope, asked: HintArguments) -> Hint:
        """What the caller is to be told of its inbox, and of rooms."""
        who = envelope.principal
        if who.agent in RESERVED_AGENTS or not who.may(SCOPE):
            return Hint(text="")
        found = await inbox_scripts.tell(dispatch.redis, who.tenant, who.agent, anyway=asked.greeting)
        noted = await notes.take(dispatch.redis, who.tenant, who.agent) if who.may(notes.SCOPE) else []
        if (found.count or noted) and envelope.remaining_s() <= 0:
            # Nobody waits for it any more; it is asked for again.
            await inbox_scripts.untell(dispatch.redis, who.tenant, who.agent, found)
            await notes.put_back(dispatch.redis, who.tenant, who.agent, noted)
            return Hint(text="")
        if not asked.greeting:
            return Hint(text="\n".join(filter(None, (hint(found), notes.line(noted)))))
        held = await holding.desk(dispatch.redis, who.tenant, who.agent)
        return Hint(text=" ".join(filter(None, (greeting(found, held), notes.greeting(noted)))))


def _named(found: Waiting) -> str:
    """Who asked. Behind a long queue's first tasks may stand others."""
    # Names are ids, so none of them can look like a part of the sentence.
    names = ", ".join(found.requesters[:_NAMES]) + (" and others" if len(found.requesters) > _NAMES else "")
    looked_at = len(found.task_ids)
    if looked_at == found.count:
        return f"from {names}"
    return f"the first {looked_at} from {names}" if looked_at else "from others"


def _way(found: Waiting) -> str:
    """How what waits is had, as things stand on the agent's desk."""
    if found.ready == found.count:
        return f"receive_tasks brings {'it' if found.count == 1 else 'them'}"
    if found.ready:
        return f"receive_tasks brings {found.ready} of them"
    return "you hold as many as you take at once: submit_result for one of those first"
