"""Jobs: tasks that run in this process, served to clients that know MCP's tasks extension.

They live in memory: the fixture is one worker, and a job lives as long as its `ttlMs` says.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aicp_common import subjects
from aicp_common.cancellation import end
from aicp_common.envelope import Envelope, decode_json
from aicp_common.errors import AicpError, Internal, NotFound, tool_result_of
from aicp_common.mcptask import CreatedTask, McpTask, Status
from aicp_common.service import Service, Settings

PREFIX = "job-"
TTL_S = 120.0
POLL_S = 0.1

Work = Callable[["Job"], Awaitable[dict[str, Any]]]


class Job:
    """One job, as its work sees it."""

    def __init__(self, owner: tuple[str, str], told: Callable[[], Awaitable[None]]) -> None:
        self.id = f"{PREFIX}{secrets.token_hex(8)}"
        self.owner = owner
        """Tenant and agent."""
        self.running: asyncio.Task[None] | None = None
        self.questions: dict[str, Any] = {}
        """Those that are not answered."""
        self._told = told
        self._answers: dict[str, Any] = {}
        self._answered = asyncio.Condition()
        self._status: Status = "working"
        self._created = self._updated = time.time()
        self._result: dict[str, Any] | None = None
        self._error: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self._status in ("completed", "failed", "cancelled")

    @property
    def task(self) -> McpTask:
        """As clients see it."""
        return McpTask(
            task_id=self.id,
            status=self._status,
            created_at=self._created,
            updated_at=self._updated,
            ttl_ms=int(TTL_S * 1000),
            poll_interval_ms=int(POLL_S * 1000),
            input_requests=dict(self.questions) if self._status == "input_required" else None,
            result=self._result,
            error=self._error,
        )

    async def ask(self, questions: Mapping[str, Any]) -> dict[str, Any]:
        """The client's answers by the keys of the questions, once all are there."""
        self.questions = dict(questions)
        await self.become("input_required")
        async with self._answered:
            await self._answered.wait_for(lambda: not self.questions)
        return {key: self._answers[key] for key in questions}

    async def answer(self, answers: Mapping[str, Any]) -> None:
        """Take answers in; those to questions that nobody asked are left out."""
        known = {key: value for key, value in answers.items() if key in self.questions}
        if not known:
            return
        async with self._answered:
            self._answers |= known
            for key in known:
                del self.questions[key]
            self._answered.notify_all()
        await self.become("input_required" if self.questions else "working")

    async def become(
        self, status: Status, *, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None
    ) -> None:
        """Change its status, unless it has ended."""
        if self.ended:
            return
        self._status, self._result, self._error = status, result, error
        await self._changed()

    async def _changed(self) -> None:
        self._updated = time.time()
        await self._told()


class Jobs:
    """The jobs of this worker."""

    def __init__(self, service: Service[Settings]) -> None:
        self._service = service
        self._jobs: dict[str, Job] = {}
        service.tasks(PREFIX, get=self._get, update=self._update, cancel=self._cancel, watch=self._watch)
        service.at_stop(self._stop)

    def start(self, envelope: Envelope, work: Work) -> CreatedTask:
        """Begin with `work` in the name of the caller."""
        tenant = envelope.principal.tenant

        async def told() -> None:
            await self._service.bus.publish(subjects.task(tenant, job.id), b"{}")

        job = Job((tenant, envelope.principal.agent), told)
        self._jobs[job.id] = job
        created = CreatedTask(job.task)
        job.running = asyncio.create_task(self._run(job, work))
        asyncio.get_running_loop().call_later(TTL_S, self._jobs.pop, job.id, None)
        return created

    async def _run(self, job: Job, work: Work) -> None:
        try:
            result = await work(job)
        except AicpError as error:
            # What a tool says was wrong is a result; only what the protocol cannot do is a failed task.
            await job.become("completed", result=decode_json(tool_result_of(error)))
        except Exception as error:
            failure = {"code": Internal.jsonrpc_code, "message": f"{type(error).__name__}: {error}"}
            await job.become("failed", error=failure)
        else:
            await job.become("completed", result=result)

    def _find(self, envelope: Envelope, task_id: str) -> Job:
        job = self._jobs.get(task_id)
        if job is None or job.owner != (envelope.principal.tenant, envelope.principal.agent):
            raise NotFound(f"there is no task {task_id!r}")
        return job

    async def _get(self, envelope: Envelope, task_id: str) -> McpTask:
        return self._find(envelope, task_id).task

    async def _update(self, envelope: Envelope, task_id: str, answers: dict[str, Any]) -> None:
        await self._find(envelope, task_id).answer(answers)

    async def _cancel(self, envelope: Envelope, task_id: str) -> None:
        job = self._find(envelope, task_id)
        await job.become("cancelled")
        if job.running is not None:
            job.running.cancel()

    async def _watch(self, envelope: Envelope, task_id: str) -> str:
        job = self._find(envelope, task_id)
        return subjects.task(envelope.principal.tenant, job.id)

    async def _stop(self) -> None:
        await end([job.running for job in self._jobs.values() if job.running is not None])
