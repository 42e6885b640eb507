"""What a room hears of a collaboration that one of its members has started there."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from aicp_common.envelope import encode_json
from aicp_common.errors import AicpError, Conflict, NotFound
from aicp_orchestrator.collaborations.handover import Progress
from aicp_orchestrator.collaborations.plan import Plan, StepStatus
from aicp_orchestrator.router_client import PASSING

log = logging.getLogger(__name__)

RETRY_S = 0.5

MAX_STEP_BYTES = 1_500
"""Of a step's result, while the others still work."""
MAX_ANSWER_BYTES = 24_000
"""Of the answer, or of all parts together."""
CUT = " … (the requester has the whole)"
MAX_TEXT_BYTES = 30_000
"""Of one message; a room takes a little more."""

_SAYS: dict[StepStatus, str] = {"completed": "has done", "failed": "could not do", "cancelled": "stopped with"}


class Post(Protocol):
    """How a message gets into a room."""

    async def __call__(
        self, tenant: str, room: str, *, opened_ms: int, author: str, text: str, data: Mapping[str, Any], key: str
    ) -> None:
        """Post once for each key, in the room that was opened at `opened_ms`.

        Raises:
            NotFound, Conflict: the room is gone or closed, or the author has left it.
            Unavailable, Busy: later it may work.
        """


class RoomNews:
    """Tells the room of a collaboration, once each: that it runs, what became of each step, and what came of it all.

    Args:
        post: Into rooms.
        tenant: Whose.
        task_id: Of the collaboration.
        requester: Who has started it, a member of the room.
        plan: Of the collaboration.
    """

    def __init__(self, post: Post, tenant: str, task_id: str, requester: str, plan: Plan) -> None:
        self._post = post
        self._tenant = tenant
        self._task_id = task_id
        self._requester = requester
        self._room = plan.room
        self._opened_ms = plan.room_opened_ms
        self._task = plan.task
        self._order = asyncio.Lock()
        self.unheard = ""
        """Why the room does not hear it any more, in a sentence for the requester."""

    async def began(self, plan: Plan) -> None:
        """It runs, by this plan."""
        agents = list(dict.fromkeys(step.agent for step in plan.all_steps if step.agent))
        count = len(plan.all_steps)
        text = f"{self._requester} has started a collaboration ({plan.pattern}, {count} step{'s' * (count != 1)}"
        text += f", with {', '.join(agents[:10])}" if agents else ""
        await self._say(f"{text}): {_cut(self._task, 1_000)}", "began", {"status": "running"})

    async def step_ended(self, id: str, state: Progress) -> None:
        """A step is over. One that never began is told with the end."""
        if state.status not in _SAYS:
            return
        text = f"{state.agent or 'nobody'} {_SAYS[state.status]} {id}: "
        text += _cut(_words(state.result), MAX_STEP_BYTES) if state.status == "completed" else _cut(state.error, 500)
        data: dict[str, Any] = {"status": state.status, "step": id, "agent": state.agent, "step_task_id": state.task_id}
        data |= {"shortened": True} if CUT in text else {}
        await self._say(text, f"step/{id}", {name: value for name, value in data.items() if value})

    async def ended(self, status: str, result: Mapping[str, Any]) -> None:
        """The whole is over.

        Args:
            status: How it ended.
            result: What its requester gets.
        """
        vote = result.get("vote")
        lines = [f"The collaboration has {'been ' * (status == 'cancelled')}{status}: {_cut(self._task, 300)}"]
        if "answer" in result:
            lines.append(_cut(_words(result["answer"]), MAX_ANSWER_BYTES))
        elif status == "completed":
            parts = [part for part in result.get("parts", ()) if part["status"] == "completed"]
            each = MAX_ANSWER_BYTES // max(1, len(parts))
            lines += [f"{part['step']} ({part.get('agent')}): {_cut(_words(part['result']), each)}" for part in parts]
        if vote:
            lines.append("; ".join(f"{choice}: {', '.join(names)}" for choice, names in vote["votes"].items()))
        if result.get("reason"):
            lines.append(_cut(result["reason"], 2_000))
        text = _cut("\n\n".join(filter(None, lines)), MAX_TEXT_BYTES)
        cut = {"shortened": True} if CUT in text else {}
        await self._say(text, "ended", {"status": status} | cut)

    async def _say(self, text: str, what: str, data: Mapping[str, Any]) -> None:
        # In the order in which it happened.
        async with self._order:
            while True:
                try:
                    await self._post(
                        self._tenant,
                        self._room,
                        opened_ms=self._opened_ms,
                        author=self._requester,
                        text=text,
                        data={"task_id": self._task_id, **data},
                        key=f"{self._task_id}/{what}",
                    )
                    return
                except PASSING as error:
                    log.info("a room is told later: %s", error, extra={"task": self._task_id})
                    await asyncio.sleep(RETRY_S)
                except (NotFound, Conflict) as error:
                    # The room has closed, or the requester has left: the collaboration goes on without it.
                    self.unheard = f"the room {self._room} did not hear all of it: it is closed, or you are not in it"
                    log.info("a room is not told any more: %s", error, extra={"task": self._task_id})
                    return
                except AicpError:
                    log.exception("a room could not be told", extra={"task": self._task_id})
                    return


def _words(value: Any) -> str:
    return value if isinstance(value, str) else encode_json(value).decode()


def _cut(text: str, max_bytes: int) -> str:
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= max_bytes else encoded[: max_bytes - len(CUT)].decode("utf-8", "ignore") + CUT
