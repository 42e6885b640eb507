"""A plug-in for tests of the gateway: a service that nobody built into it, with tools that do as they are told."""

import asyncio
import contextlib
import json
from typing import Any

from aicp_common import subjects
from aicp_common.envelope import Envelope
from aicp_common.errors import NotFound
from aicp_common.service import Delivery, Service, Settings, serve
from aicp_common.tool import Arguments, Result
from aicp_common.tracing import new_traceparent

NAME = "fixture"


class EchoArguments(Arguments):
    text: str
    times: int = 1


class EchoResult(Result):
    text: str
    agent: str
    tenant: str


class SleepArguments(Arguments):
    seconds: float
    mark: str = ""


class HandOverArguments(SleepArguments):
    deaf: bool = False


class SleepResult(Result):
    slept: bool


class Nothing(Arguments):
    pass


class Log(Result):
    entries: list[str]


class Entry(Arguments):
    entry: str


class Change(Arguments):
    name: str


class Uri(Arguments):
    uri: str


def build(service: Service[Settings]) -> None:
    """Declare the tools."""
    log: list[str] = []
    logged = asyncio.Condition()

    async def write(entry: str) -> None:
        async with logged:
            log.append(entry)
            logged.notify_all()

    @service.tool(title="Echo", scope="fixture:echo", arguments=EchoArguments, result=EchoResult, read_only=True)
    async def echo(envelope: Envelope, arguments: EchoArguments) -> EchoResult:
        """Say it again."""
        principal = envelope.principal
        return EchoResult(text=arguments.text * arguments.times, agent=principal.agent, tenant=principal.tenant)

    @service.tool(title="Sleep", scope="fixture:sleep", arguments=SleepArguments, result=SleepResult)
    async def sleep(envelope: Envelope, arguments: SleepArguments) -> SleepResult:
        """Answer late."""
        await write(f"began {arguments.mark}")
        try:
            await asyncio.sleep(arguments.seconds)
        except asyncio.CancelledError:
            await write(f"cancelled {arguments.mark}")
            raise
        return SleepResult(slept=True)

    @service.tool(title="Hand over", scope="fixture:sleep", arguments=HandOverArguments, result=SleepResult)
    async def hand_over(envelope: Envelope, arguments: HandOverArguments) -> Delivery[SleepResult]:
        """Answer with something that must not get lost."""
        await write(f"began {arguments.mark}")
        working = asyncio.create_task(asyncio.sleep(arguments.seconds))
        with contextlib.suppress(asyncio.CancelledError):
            # Deaf to being cancelled: as when the cancellation got lost.
            await (asyncio.shield(working) if arguments.deaf else working)
        await working
        return Delivery(SleepResult(slept=True), new_traceparent(), lambda: write(f"undone {arguments.mark}"))

    @service.tool(title="Crash", scope="", arguments=Nothing, result=Log)
    async def crash(envelope: Envelope, arguments: Nothing) -> Log:
        """Fail in a way that nobody thought of."""
        raise ZeroDivisionError("the secret reason")

    @service.tool(title="Read log", scope="", arguments=Nothing, result=Log)
    async def read_log(envelope: Envelope, arguments: Nothing) -> Log:
        """What happened to `sleep`."""
        return Log(entries=list(log))

    @service.tool(title="Wait for log", scope="", arguments=Entry, result=Log)
    async def wait_for_log(envelope: Envelope, arguments: Entry) -> Log:
        """Answer once this entry is in the log."""
        async with logged:
            await logged.wait_for(lambda: arguments.entry in log)
        return Log(entries=list(log))

    @service.tool(title="Change", scope="", arguments=Change, result=Log)
    async def change(envelope: Envelope, arguments: Change) -> Log:
        """Change a thing, for those who watch it."""
        await service.bus.publish(_thing(envelope, arguments.name), b"{}")
        return Log(entries=[])

    service.resource_template(
        uri_template="fixture://things/{name}", name="thing", title="Thing", description="A thing.", scope=""
    )
    service.resource(
        uri="fixture://still", name="still", title="Still", description="Never changes.", scope="", watchable=False
    )

    @service.method(Uri)
    async def resource_read(envelope: Envelope, arguments: Uri) -> dict[str, Any]:
        name = arguments.uri.rpartition("/")[2]
        if name == "missing":
            raise NotFound(f"no thing {name!r}")
        text = json.dumps({"name": name})
        return {"contents": [{"uri": arguments.uri, "mimeType": "application/json", "text": text}]}

    @service.method(Uri)
    async def resource_watch(envelope: Envelope, arguments: Uri) -> dict[str, str]:
        name = arguments.uri.rpartition("/")[2]
        if name == "missing":
            raise NotFound(f"no thing {name!r}")
        return {"subject": _thing(envelope, name)}


def _thing(envelope: Envelope, name: str) -> str:
    return subjects.event(envelope.principal.tenant, "thing", name, "changed")


if __name__ == "__main__":
    serve(NAME, Settings, build, instructions="The fixture echoes.")
