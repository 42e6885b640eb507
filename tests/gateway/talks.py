"""The talks of the plug-in: resources that say what is new, and to whom. Kept in Redis, so that they outlive it."""

from typing import Any

from pydantic import Field

from aicp_common.envelope import ALL_SCOPES, Envelope, Principal, encode_json
from aicp_common.errors import Conflict, Forbidden
from aicp_common.service import Raw, Service, Settings
from aicp_common.tool import Arguments, Result
from tests.gateway.notebook import Notebook

URI = "fixture://talks/"

PAGE = 100
"""Items in one answer."""


class Say(Arguments):
    name: str
    text: str
    times: int = 1
    silent: bool = False
    """Nobody is told that there is something new."""


class LetHear(Arguments):
    name: str
    agents: list[str]


class Hold(Arguments):
    name: str
    how: str = ""


class Said(Result):
    last: int


class _Asked(Arguments):
    uri: str
    after: int = Field(ge=0)


def subject(tenant: str, name: str) -> str:
    """Where it is told that there is something new in a talk."""
    return f"aicp.v1.fixture.talk.{tenant}.{name}"


class Talks:
    """What was said, and who may hear of it."""

    def __init__(self, service: Service[Settings], notebook: Notebook) -> None:
        self._service = service
        self._redis = service.redis
        self._notebook = notebook
        self._held: dict[str, str] = {}
        service.resource_template(
            uri_template=f"{URI}{{name}}", name="talk", title="Talk", description="Says what is new.", scope=""
        )
        service.tool(title="Say", scope="", arguments=Say, result=Said)(self.say)
        service.tool(title="Let hear", scope="", arguments=LetHear, result=Said)(self.let_hear)
        service.tool(title="Hold news", scope="", arguments=Hold, result=Said)(self.hold_news)
        service.method(_Asked)(self.talk_news)

    async def say(self, envelope: Envelope, arguments: Say) -> Said:
        """Say something in a talk, a number of times."""
        tenant, name = envelope.principal.tenant, arguments.name
        last = 0
        for _ in range(arguments.times):
            last = await self._redis.rpush(_key(tenant, name), arguments.text)
            if not arguments.silent:
                await self._service.bus.publish(subject(tenant, name))
        return Said(last=last)

    async def let_hear(self, envelope: Envelope, arguments: LetHear) -> Said:
        """These agents, and no others, may hear of what is said in a talk."""
        key = _key(envelope.principal.tenant, arguments.name) + ":hearers"
        await self._redis.delete(key)
        if arguments.agents:
            await self._redis.sadd(key, *arguments.agents)
        return Said(last=0)

    async def hold_news(self, envelope: Envelope, arguments: Hold) -> Said:
        """From now on let those wait who ask for news of a talk, until `go NAME` is in the log; or fail."""
        self._held[arguments.name] = arguments.how
        return Said(last=0)

    async def watch(self, tenant: str, name: str) -> dict[str, Any]:
        """For `resource_watch`."""
        last = await self._redis.llen(_key(tenant, name))
        return {"subject": subject(tenant, name), "news": {"method": "talk_news", "after": last}}

    async def talk_news(self, envelope: Envelope, asked: _Asked) -> Raw:
        """What gateways ask for."""
        tenant, name = envelope.principal.tenant, asked.uri.removeprefix(URI)
        if envelope.principal != Principal(tenant, "gateway", "gateway", (ALL_SCOPES,)):
            raise Forbidden("news are for gateways")
        await self._notebook.write(f"asked {name} {asked.after}")
        how = self._held.pop(name, None)
        if how == "wait":
            await self._notebook.wait_for(f"go {name}")
        elif how == "fail":
            raise Conflict("not now")
        elif how == "garbage":
            return Raw(b'{"after": "many"}')
        key = _key(tenant, name)
        texts = await self._redis.lrange(key, asked.after, asked.after + PAGE - 1)
        news = [{"number": asked.after + place, "text": text} for place, text in enumerate(texts, 1)]
        hearers = sorted(await self._redis.smembers(f"{key}:hearers"))
        reached = asked.after + len(news)
        more = reached < await self._redis.llen(key)
        return Raw(encode_json({"after": reached, "for": hearers, "news": news, "more": more}))


def _key(tenant: str, name: str) -> str:
    return f"fixture:{{{tenant}}}:talk:{name}"
