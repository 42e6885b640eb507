"""Rooms as they should be: a model in plain Python, beside which the scripts are held."""

from dataclasses import dataclass, field

from aicp_orchestrator.rooms.state import Kind

Said = tuple[Kind, str, str, tuple[str, ...], str]
"""Kind, author, text, whom it is about, who is opener from then on."""


class Refusal(Exception):
    """The name of the error that the scripts should raise."""


@dataclass
class Room:
    """One room that is there."""

    topic: str
    opener: str
    invites: str
    is_open: bool = True
    members: list[str] = field(default_factory=list)
    """In the order in which they joined."""
    invited: list[str] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    """All that was ever said: message N stands at N - 1."""
    read: dict[str, int] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)

    @property
    def last(self) -> int:
        return len(self.said)

    def say(self, kind: Kind, author: str, text: str = "", about: tuple[str, ...] = (), opener: str = "") -> int:
        self.said.append((kind, author, text, about, opener))
        if author in self.members and self.read.get(author, 0) == self.last - 1:
            self.read[author] = self.last
        return self.last


@dataclass
class Model:
    """The rooms of one tenant."""

    members: int
    messages: int
    opened: int
    rooms: dict[str, Room] = field(default_factory=dict)

    def open(self, name: str, agent: str, topic: str, invites: str, names: list[str]) -> tuple[bool, list[str]]:
        room = self.rooms.get(name)
        is_new = room is None
        if room is None:
            if sum(one.is_open and one.opener == agent for one in self.rooms.values()) >= self.opened:
                raise Refusal("Busy")
            room = Room(topic, agent, invites or "opener")
        elif room.opener != agent or not room.is_open or room.topic != topic or invites not in ("", room.invites):
            raise Refusal("Conflict")
        asked = self._strangers(room, agent, names)
        if len(room.members) + len(room.invited) + len(asked) + is_new > self.members:
            raise Refusal("Busy")
        if is_new:
            self.rooms[name] = room
            room.members.append(agent)
            room.say("joined", agent)
        self._invite(room, agent, asked)
        return is_new, asked

    def invite(self, name: str, agent: str, names: list[str]) -> list[str]:
        room = self._of_member(name, agent)
        if not room.is_open:
            raise Refusal("Conflict")
        if room.invites == "opener" and room.opener != agent:
            raise Refusal("Forbidden")
        asked = self._strangers(room, agent, names)
        if len(room.members) + len(room.invited) + len(asked) > self.members and asked:
            raise Refusal("Busy")
        self._invite(room, agent, asked)
        return asked

    def join(self, name: str, agent: str) -> bool:
        room = self.rooms.get(name)
        if room is not None and agent in room.members:
            return False
        if room is None or agent not in room.invited:
            raise Refusal("NotFound")
        room.invited.remove(agent)
        room.members.append(agent)
        room.read.pop(agent, None)
        room.say("joined", agent)
        # It has not read what was there before.
        return True

    def leave(self, name: str, who: str, agent: str) -> tuple[str, str, list[str]]:
        """What happens, who is opener then, and who is invited no more."""
        room = self._of_member(name, who)
        if agent != who and room.opener != who:
            raise Refusal("Forbidden")
        if agent in room.invited:
            room.invited.remove(agent)
            return "withdrawn", "", [agent]
        if agent not in room.members:
            raise Refusal("NotFound")
        if len(room.members) == 1:
            del self.rooms[name]
            return "closed", "", sorted(room.invited)
        room.members.remove(agent)
        room.read.pop(agent, None)
        opener = ""
        if room.opener == agent:
            opener = room.opener = room.members[0]
        room.say("left", who, about=() if agent == who else (agent,), opener=opener)
        return "left", opener, []

    def close(self, name: str, agent: str) -> tuple[int, list[str]]:
        """The number of the last message, and who is invited no more."""
        room = self._of_member(name, agent)
        if room.opener != agent:
            raise Refusal("Forbidden")
        uninvited = sorted(room.invited)
        if room.is_open:
            room.is_open, room.invited = False, []
            room.say("closed", agent)
        return room.last, uninvited

    def post(
        self, name: str, agent: str, text: str, key: str, reply_to: int | None, mentions: list[str], named: list[str]
    ) -> tuple[int, list[str]]:
        """The number of the message, and who is mentioned in it if it is a new one."""
        room = self._of_speaker(name, agent)
        meant = repr((text, reply_to, mentions))
        if key and (agent, key) in room.keys:
            number, before = room.keys[agent, key]
            if before != meant:
                raise Refusal("Conflict")
            return number, []
        if not room.is_open:
            raise Refusal("Conflict")
        if (reply_to or 0) > room.last or any(name not in room.members for name in mentions):
            raise Refusal("InvalidArgument")
        number = room.say("message", agent, text)
        if key:
            room.keys[agent, key] = number, meant
        return number, [*mentions, *(one for one in named if one in room.members and one not in mentions)]

    def read(self, name: str, agent: str, after: int | None, limit: int) -> tuple[int, list[int]]:
        """From where on, and the numbers that come."""
        room = self._of_speaker(name, agent)
        read = room.read.get(agent, 0)
        start = read if after is None else after
        numbers = list(range(max(start, self.dropped(room)) + 1, room.last + 1))[:limit]
        reached = max([start if start <= room.last else 0, *numbers])
        if reached > read:
            room.read[agent] = reached
        return start, numbers

    def dropped(self, room: Room) -> int:
        """How many messages are no longer kept."""
        return max(0, room.last - self.messages)

    def unread(self, room: Room, agent: str) -> int:
        return room.last - max(room.read.get(agent, 0), self.dropped(room))

    def _of_member(self, name: str, agent: str) -> Room:
        room = self.rooms.get(name)
        if room is None or agent not in room.members:
            raise Refusal("NotFound")
        return room

    def _of_speaker(self, name: str, agent: str) -> Room:
        if name in self.rooms and agent in self.rooms[name].invited:
            raise Refusal("Conflict")
        return self._of_member(name, agent)

    def _strangers(self, room: Room, agent: str, names: list[str]) -> list[str]:
        known = {agent, *room.members, *room.invited}
        return [name for name in dict.fromkeys(names) if name not in known]

    def _invite(self, room: Room, agent: str, asked: list[str]) -> None:
        if asked:
            room.invited += asked
            room.say("invited", agent, about=tuple(asked))
