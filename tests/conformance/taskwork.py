"""Tools that take long: tasks for clients that know the tasks extension; most answer the others all the same."""

import asyncio
from typing import Any

from aicp_common.asking import InputRequired
from aicp_common.current_call import current_call
from aicp_common.envelope import Envelope
from aicp_common.mcptask import CreatedTask
from aicp_common.service import Service, Settings
from tests.conformance.definition import definition, given, said
from tests.conformance.jobs import Job, Jobs
from tests.conformance.questions import NAME, entered, form


def yes_or_no(message: str) -> dict[str, Any]:
    """A question to the person."""
    return form(message, confirm={"type": "boolean"})


def confirmed(answer: Any) -> bool:
    """Whether the person said yes."""
    content = answer.get("content") if isinstance(answer, dict) and answer.get("action") == "accept" else None
    return isinstance(content, dict) and content.get("confirm") is True


def declare(service: Service[Settings]) -> None:
    """Declare the tools."""
    jobs = Jobs(service)

    @service.raw_tool(
        definition("slow_compute", "Takes its time.", seconds={"type": "number"}, label={"type": "string"})
    )
    async def slow_compute(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any] | CreatedTask:
        async def work(_: Job | None = None) -> dict[str, Any]:
            await asyncio.sleep(given(arguments, "seconds"))
            return said(f"{given(arguments, 'label')}: computed for {given(arguments, 'seconds')} s")

        return jobs.start(envelope, work) if current_call().can("tasks") else await work()

    @service.raw_tool(definition("failing_job", "Fails after a while, always as a task."), requires=("tasks",))
    async def failing_job(envelope: Envelope, arguments: dict[str, Any]) -> CreatedTask:
        async def work(_: Job) -> dict[str, Any]:
            await asyncio.sleep(1)
            return {**said("The job failed as it was meant to"), "isError": True}

        return jobs.start(envelope, work)

    @service.raw_tool(definition("protocol_error_job", "Crashes, always as a task."), requires=("tasks",))
    async def protocol_error_job(envelope: Envelope, arguments: dict[str, Any]) -> CreatedTask:
        async def work(_: Job) -> dict[str, Any]:
            raise RuntimeError("the job crashed as it was meant to")

        return jobs.start(envelope, work)

    @service.raw_tool(
        definition("confirm_delete", "Asks before it would delete.", filename={"type": "string"}),
        requires=("elicitation",),
    )
    async def confirm_delete(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any] | CreatedTask:
        name = given(arguments, "filename")
        question = yes_or_no(f"Delete {name}?")

        def outcome(answer: Any) -> dict[str, Any]:
            return said(f"{name} is deleted" if confirmed(answer) else f"{name} stays")

        async def work(job: Job) -> dict[str, Any]:
            return outcome((await job.ask({"confirm": question}))["confirm"])

        if current_call().can("tasks"):
            return jobs.start(envelope, work)
        return outcome(current_call().ask("confirm", question))

    @service.raw_tool(definition("multi_input", "Asks two questions at once."), requires=("elicitation",))
    async def multi_input(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any] | CreatedTask:
        questions = {
            "first": yes_or_no("The first?"),
            "second": yes_or_no("The second?"),
        }

        def outcome(answers: dict[str, Any]) -> dict[str, Any]:
            return said(*(f"{key}: {'yes' if confirmed(answers[key]) else 'no'}" for key in questions))

        async def work(job: Job) -> dict[str, Any]:
            return outcome(await job.ask(questions))

        call = current_call()
        if call.can("tasks"):
            return jobs.start(envelope, work)
        still_open = {key: question for key, question in questions.items() if key not in call.answers}
        if still_open:
            raise InputRequired(still_open)
        return outcome(call.answers)

    @service.raw_tool(definition("test_tool_with_task", "Asks for a name, then takes its time."), requires=("tasks",))
    async def test_tool_with_task(envelope: Envelope, arguments: dict[str, Any]) -> CreatedTask:
        name = entered("user_name", NAME, "name", str)

        async def work(_: Job) -> dict[str, Any]:
            await asyncio.sleep(0.1)
            return said(f"Hello, {name}!")

        return jobs.start(envelope, work)
