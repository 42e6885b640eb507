"""The resources of rooms, what completes their names, and the news that gateways tell those who watch a room."""

from typing import Any

from pydantic import Field

from aicp_common import subjects
from aicp_common.envelope import Envelope, Principal, encode_json
from aicp_common.errors import Forbidden, NotFound
from aicp_common.ids import is_id
from aicp_common.service import Raw, Service
from aicp_common.surface import Complete
from aicp_common.tool import Arguments
from aicp_orchestrator.rooms import lists, reading
from aicp_orchestrator.rooms.arguments import all_shown, iso_time, listed
from aicp_orchestrator.rooms.house import READ_SCOPE, House
from aicp_orchestrator.rooms.posting import no_such_room
from aicp_orchestrator.rooms.state import MAX_NUMBER
from aicp_orchestrator.settings import OrchestratorSettings

ROOMS = "aicp://rooms"
ROOM = f"{ROOMS}/"
ROOM_TEMPLATE = ROOM + "{id}"

SHOWN_MESSAGES = 50
"""Of a room that is read as a resource."""

NEWS_METHOD = "room_news"

GATEWAY = "gateway"
"""The reserved agent that asks for news."""


class UriArguments(Arguments):
    """For `resource_read` and `resource_watch`."""

    uri: str = Field(max_length=1000)


class NewsArguments(UriArguments):
    """For `room_news`."""

    after: int = Field(ge=0, le=MAX_NUMBER)


def declare_resources(service: Service[OrchestratorSettings], house: House) -> None:
    """Announce the resources and serve them."""
    service.resource(
        uri=ROOMS,
        name="rooms",
        title="Your rooms",
        description="The rooms that you are in, with how much there is to read, and those to which you are invited. A "
        "subscriber is told when it comes into a room or out of one, and when it is invited.",
        scope=READ_SCOPE,
    )
    service.resource_template(
        uri_template=ROOM_TEMPLATE,
        name="room",
        title="Room",
        description=f"A room that you are in: its topic, who is in it, and the last {SHOWN_MESSAGES} messages. A "
        "subscriber is told of each message, with the message.",
        scope=READ_SCOPE,
    )

    @service.method(UriArguments)
    async def resource_read(envelope: Envelope, asked: UriArguments) -> Raw:
        """A `ReadResourceResult`."""
        who = _reader(envelope)
        if asked.uri == ROOMS:
            mine = listed(*await lists.rooms_of(house.redis, who.tenant, who.agent))
            body: dict[str, Any] = mine.model_dump(exclude_none=True)
        else:
            body = await _room(house, envelope, room_in(asked.uri))
        contents = [{"uri": asked.uri, "mimeType": "application/json", "text": encode_json(body).decode()}]
        return Raw(encode_json({"contents": contents}))

    @service.method(UriArguments)
    async def resource_watch(envelope: Envelope, asked: UriArguments) -> dict[str, Any]:
        """The NATS subject whose messages say that a resource has changed; of a room also who says what is new."""
        who = _reader(envelope)
        if asked.uri == ROOMS:
            return {"subject": subjects.rooms_of(who.tenant, who.agent)}
        room = room_in(asked.uri)
        last = await reading.last(house.redis, who.tenant, room, agent=who.agent)
        return {"subject": subjects.room(who.tenant, room), "news": {"method": NEWS_METHOD, "after": last}}

    @service.method(NewsArguments, NEWS_METHOD)
    async def room_news(envelope: Envelope, asked: NewsArguments) -> dict[str, Any]:
        """What is new in a room since a number, and which agents may hear of it now."""
        who = envelope.principal
        if who.agent != GATEWAY:
            raise Forbidden(f"{NEWS_METHOD} is for gateways")
        found = await reading.news(house.redis, who.tenant, room_in(asked.uri), after=asked.after)
        shown = all_shown(found.messages, short=True)
        return {
            "after": found.after,
            "for": found.members,
            "news": [message.model_dump(exclude_none=True) for message in shown],
            "more": found.more,
        }


async def complete_rooms(house: House, envelope: Envelope, wanted: Complete) -> list[str]:
    """The caller's rooms that begin with what is typed."""
    who = envelope.principal
    if wanted.ref.uri != ROOM_TEMPLATE or not who.may(READ_SCOPE):
        return []
    typed = wanted.argument.value.strip().lower()
    return [name for name in await lists.names_of(house.redis, who.tenant, who.agent) if name.startswith(typed)]


def room_in(uri: str) -> str:
    """The room that a URI names.

    Raises:
        NotFound: it is none of a room.
    """
    room = uri.removeprefix(ROOM)
    if room == uri:
        raise NotFound(f"uri: there is no resource {uri[:200]!r}", expected=f"{ROOMS} or {ROOM_TEMPLATE}")
    if not is_id(room):
        raise no_such_room(room)
    return room


def _reader(envelope: Envelope) -> Principal:
    who = envelope.principal
    if not who.may(READ_SCOPE):
        raise Forbidden(f"this resource needs the scope {READ_SCOPE!r}, which {who.agent!r} lacks")
    return who


async def _room(house: House, envelope: Envelope, room: str) -> dict[str, Any]:
    who = envelope.principal
    found = await reading.ending(house.redis, who.tenant, room, agent=who.agent, count=SHOWN_MESSAGES)
    about = found.about
    members = await house.shown_members(envelope, found.members)
    return {
        "room": room,
        "topic": about.topic,
        "state": about.state,
        "opener": about.opener,
        "who_may_invite": about.who_may_invite,
        "opened": iso_time(about.opened_ms),
        "last": about.last,
        "first": about.first,
        "members": [member.model_dump(exclude_none=True) for member in members],
        "messages": [message.model_dump(exclude_none=True) for message in all_shown(found.messages, short=True)],
        "how_to_read_on": f"read_room with after {about.last} and wait_s; earlier ones with a lower after",
    }
