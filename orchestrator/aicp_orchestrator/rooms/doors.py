"""The doors of rooms: the tools that open, fill, leave and close them."""

from aicp_common.envelope import Envelope
from aicp_orchestrator.rooms import membership
from aicp_orchestrator.rooms.arguments import (
    CloseRoom,
    CloseRoomResult,
    InviteToRoom,
    InviteToRoomResult,
    JoinRoom,
    JoinRoomResult,
    LeaveRoom,
    LeaveRoomResult,
    OpenRoom,
    OpenRoomResult,
)
from aicp_orchestrator.rooms.house import WRITE_SCOPE, House


class Doors:
    """The handlers. `declare` announces them."""

    def __init__(self, house: House) -> None:
        self._house = house

    def declare(self) -> None:
        """Declare the tools."""
        service = self._house.service
        service.tool(
            title="Open a room",
            scope=WRITE_SCOPE,
            arguments=OpenRoom,
            result=OpenRoomResult,
            idempotent=True,
        )(self.open_room)
        service.tool(
            title="Invite to a room",
            scope=WRITE_SCOPE,
            arguments=InviteToRoom,
            result=InviteToRoomResult,
            idempotent=True,
        )(self.invite_to_room)
        service.tool(
            title="Join a room",
            scope=WRITE_SCOPE,
            arguments=JoinRoom,
            result=JoinRoomResult,
            idempotent=True,
        )(self.join_room)
        service.tool(
            title="Leave a room",
            scope=WRITE_SCOPE,
            arguments=LeaveRoom,
            result=LeaveRoomResult,
            destructive=True,
        )(self.leave_room)
        service.tool(
            title="Close a room",
            scope=WRITE_SCOPE,
            arguments=CloseRoom,
            result=CloseRoomResult,
            idempotent=True,
            destructive=True,
        )(self.close_room)

    async def open_room(self, envelope: Envelope, given: OpenRoom) -> OpenRoomResult:
        """Open a room where several users and their LLMs talk with each other, all reading the same numbered messages,
        and invite them. Use it when more than two are to work something out together over some time; for one question
        to one agent use route_to_agent. You are in at once, the others come in with join_room. Safe to repeat: the same
        room with the same topic is opened once. Example: {"room": "launch", "topic": "Plan the launch of Apollo",
        "members": ["bob", "carol"]}.
        """
        house, me = self._house, envelope.principal
        await house.service.tenants.remember(me.tenant)
        opened = await membership.open_room(
            house.redis,
            me.tenant,
            given.room,
            agent=me.agent,
            topic=given.topic,
            invites=given.who_may_invite,
            names=given.members,
            bounds=house.bounds,
            traceparent=envelope.traceparent,
        )
        if opened.is_new or opened.invited:
            house.say_changed(me.tenant, given.room)
        if opened.is_new:
            house.say_moved(me.tenant, [me.agent])
        house.say_invited(envelope, given.room, opened.invited)
        return OpenRoomResult(
            status="opened" if opened.is_new else "exists",
            room=given.room,
            invited=opened.invited,
            unknown=await house.unknown(envelope, opened.invited),
            last=opened.last,
            next="post_message says something; read_room with wait_s waits for what others say",
        )

    async def invite_to_room(self, envelope: Envelope, given: InviteToRoom) -> InviteToRoomResult:
        """Invite agents to a room that you are in. They are told, and come in with join_room; then they can read all
        of its messages, the earlier ones too. Only the opener may, unless the room was opened for members to invite.
        Example: {"room": "launch", "agents": ["dave"]}.
        """
        house, me = self._house, envelope.principal
        await house.service.tenants.remember(me.tenant)
        invited = await membership.invite(
            house.redis,
            me.tenant,
            given.room,
            agent=me.agent,
            names=given.agents,
            bounds=house.bounds,
            traceparent=envelope.traceparent,
        )
        if invited:
            house.say_changed(me.tenant, given.room)
        house.say_invited(envelope, given.room, invited)
        new = set(invited)
        already = [name for name in dict.fromkeys(given.agents) if name not in new]
        unknown = await house.unknown(envelope, invited)
        return InviteToRoomResult(room=given.room, invited=invited, already=already or None, unknown=unknown)

    async def join_room(self, envelope: Envelope, given: JoinRoom) -> JoinRoomResult:
        """Come into a room to which you are invited; list_rooms says where that is. Ask your user first, unless they
        want you to take part. Example: {"room": "launch"}.
        """
        house, me = self._house, envelope.principal
        await house.service.tenants.remember(me.tenant)
        joined = await membership.join(
            house.redis, me.tenant, given.room, agent=me.agent, bounds=house.bounds, traceparent=envelope.traceparent
        )
        if joined.is_new:
            house.say_changed(me.tenant, given.room)
            house.say_moved(me.tenant, [me.agent])
            await house.drop_notes(envelope, given.room)
        return JoinRoomResult(
            status="joined" if joined.is_new else "member",
            room=given.room,
            topic=joined.topic,
            opener=joined.opener,
            last=joined.last,
            next="read_room brings what was said until now; post_message says something",
        )

    async def leave_room(self, envelope: Envelope, given: LeaveRoom) -> LeaveRoomResult:
        """Leave a room for good: to come back, you must be invited again. The opener may name an agent to take that one
        out, or take its invitation back. When the opener leaves, the member that joined first is opener; when the last
        one leaves, the room and all that was said in it is gone. Example: {"room": "launch"}.
        """
        house, me = self._house, envelope.principal
        await house.service.tenants.remember(me.tenant)
        leaving = given.agent or me.agent
        outcome, opener, uninvited = await membership.leave(
            house.redis,
            me.tenant,
            given.room,
            agent=leaving,
            who=me.agent,
            bounds=house.bounds,
            traceparent=envelope.traceparent,
        )
        house.say_changed(me.tenant, given.room)
        house.say_moved(me.tenant, [leaving])
        house.say_withdrawn(envelope, given.room, uninvited)
        removed = outcome == "left" and leaving != me.agent
        if removed:
            house.say_removed(envelope, given.room, leaving)
        return LeaveRoomResult(status="removed" if removed else outcome, room=given.room, opener=opener or None)

    async def close_room(self, envelope: Envelope, given: CloseRoom) -> CloseRoomResult:
        """Close a room that you opened, when what it was for is done. Its members can still read it for a day; nobody
        posts or joins any more. Put what should stay into a context (share_context). Example: {"room": "launch"}.
        """
        house, me = self._house, envelope.principal
        await house.service.tenants.remember(me.tenant)
        last, members, uninvited = await membership.close(
            house.redis, me.tenant, given.room, agent=me.agent, bounds=house.bounds, traceparent=envelope.traceparent
        )
        if members:
            house.say_changed(me.tenant, given.room)
            house.say_moved(me.tenant, members)
            house.say_withdrawn(envelope, given.room, uninvited)
        return CloseRoomResult(room=given.room, last=last)
