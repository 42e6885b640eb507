"""A plug-in for tests of the gateway: a service that nobody built into it, with tools that do as they are told."""

import asyncio
import contextlib
import json
from typing import Any

from aicp_common.current_call import current_call
from aicp_common.envelope import Envelope
from aicp_common.errors import NotFound
from aicp_common.service import Delivery, Service, Settings, serve
from aicp_common.surface import Complete, PromptArgument
from aicp_common.tool import Arguments, Result
from aicp_common.tracing import new_traceparent
from tests.gateway import jobs, script, talks
from tests.gateway.notebook import Notebook

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
    end_stream: bool = False
    wait: str = ""


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


class ChangeOften(Change):
    times: int


class Uri(Arguments):
    uri: str


def build(service: Service[Settings]) -> None:
    """Declare the tools."""
    notebook = Notebook()
    write = notebook.write
    script.declare(service, notebook)
    jobs.declare(service, "job")
    said = talks.Talks(service, notebook)

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

    @service.tool(title="Sleep safely", scope="", arguments=SleepArguments, result=SleepResult, idempotent=True)
    async def sleep_safely(envelope: Envelope, arguments: SleepArguments) -> SleepResult:
        """Answer late; it may be asked twice."""
        return await sleep(envelope, arguments)  # type: ignore[return-value]

    @service.tool(title="Hand over", scope="fixture:sleep", arguments=HandOverArguments, result=SleepResult)
    async def hand_over(envelope: Envelope, arguments: HandOverArguments) -> Delivery[SleepResult]:
        """Answer with something that must not get lost."""
        if arguments.end_stream:
            await current_call().end_stream()
        await write(f"began {arguments.mark}")
        if arguments.wait:
            await notebook.wait_for(arguments.wait)
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
        """What the other tools did."""
        return Log(entries=list(notebook.entries))

    @service.tool(title="Wait for log", scope="", arguments=Entry, result=Log)
    async def wait_for_log(envelope: Envelope, arguments: Entry) -> Log:
        """Answer once this entry is in the log."""
        await notebook.wait_for(arguments.entry)
        return Log(entries=list(notebook.entries))

    @service.tool(title="Write", scope="", arguments=Entry, result=Log)
    async def write_log(envelope: Envelope, arguments: Entry) -> Log:
        """Add an entry to the log, for tools that wait for it."""
        await write(arguments.entry)
        return Log(entries=[])

    @service.tool(title="Change", scope="", arguments=Change, result=Log)
    async def change(envelope: Envelope, arguments: Change) -> Log:
        """Change a thing, for those who watch it."""
        await service.bus.publish(_thing(envelope, arguments.name), b"{}")
        return Log(entries=[])

    @service.tool(title="Change often", scope="", arguments=ChangeOften, result=Log)
    async def change_often(envelope: Envelope, arguments: ChangeOften) -> Log:
        """Change a thing several times."""
        for _ in range(arguments.times):
            await service.bus.publish(_thing(envelope, arguments.name), b"{}")
        return Log(entries=[])

    @service.tool(title="Visitor", scope="", arguments=Nothing, result=Log)
    async def visitor(envelope: Envelope, arguments: Nothing) -> Log:
        """Come and go."""
        return Log(entries=[])

    @service.prompt(name="visit", title="Visit", description="Comes and goes.")
    async def visit(envelope: Envelope, arguments: dict[str, str]) -> dict[str, Any]:
        return {"messages": []}

    gone: set[str] = set()

    @service.tool(title="Come or go", scope="", arguments=Change, result=Log)
    async def come_or_go(envelope: Envelope, arguments: Change) -> Log:
        """Withdraw the tool `visitor` or the prompt `visit`, or take it in again."""
        if arguments.name in gone:
            gone.discard(arguments.name)
            service.restore(arguments.name)
        else:
            gone.add(arguments.name)
            service.withdraw(arguments.name)
        await service.announce()
        return Log(entries=sorted(gone))

    greeted = PromptArgument(name="name", description="Who is greeted.", required=True)

    @service.prompt(name="greet", title="Greet", description="Greets.", scope="fixture:greet", arguments=(greeted,))
    async def greet(envelope: Envelope, arguments: dict[str, str]) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": {"type": "text", "text": f"Hello, {arguments['name']}"}}]}

    @service.completion
    async def names(envelope: Envelope, wanted: Complete) -> list[str]:
        return [name for name in ("alice", "alan", "bob") if name.startswith(wanted.argument.value)]

    service.resource(
        uri="fixture://vault", name="vault", title="Vault", description="Not for everybody.", scope="fixture:vault"
    )
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
    async def resource_watch(envelope: Envelope, arguments: Uri) -> dict[str, Any]:
        name = arguments.uri.rpartition("/")[2]
        if arguments.uri.startswith(talks.URI):
            return await said.watch(envelope.principal.tenant, name)
        if name == "missing":
            raise NotFound(f"no thing {name!r}")
        return {"subject": _thing(envelope, name)}


def _thing(envelope: Envelope, name: str) -> str:
    return thing_subject(envelope.principal.tenant, name)


def thing_subject(tenant: str, name: str) -> str:
    """Where changes of a thing are told: nobody but a gateway with watchers listens there."""
    return f"aicp.v1.fixture.thing.{tenant}.{name}"


if __name__ == "__main__":
    serve(NAME, Settings, build, instructions="The fixture echoes.")
