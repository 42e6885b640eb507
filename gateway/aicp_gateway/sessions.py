"""Sessions of Streamable HTTP in the handshake era, kept in Redis so that any gateway can serve any request of one."""

import secrets
import time
from typing import cast

import msgspec
from redis.asyncio import Redis

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.envelope import Principal, encode_json
from aicp_common.errors import Busy, NotFound
from aicp_common.ids import is_id
from aicp_common.store import redis_errors
from aicp_gateway.protocol.handshake import Agreed
from aicp_gateway.source import Source, decode_source
from aicp_gateway.watches import MAX_WATCHES

UNUSED_TTL_S = 600
"""How long a session lives that nobody has used after `initialize`."""


class Session(msgspec.Struct, frozen=True):
    """What any gateway needs to know to serve a request of a session."""

    id: str
    principal: Principal
    agreed: Agreed
    created_ms: int


class Control(msgspec.Struct, frozen=True, omit_defaults=True):
    """What gateways tell each other about a session, on its subject."""

    what: str
    """`watch`, `unwatch`, `taken` (another event stream of this session is open now), `event` (a stream has one more
    event), `answer` (the client has answered a server request), `cancelled` (it has cancelled a request) or `ended`."""
    uri: str = ""
    source: str = msgspec.field(default="", name="subject")
    """Encoded; see `Source`. The name that it has on the bus is that of the plain ones."""
    stream: str = ""
    id: str = ""
    result: str | None = None
    error: str | None = None


_decode = msgspec.json.Decoder(Session).decode
decode_control = msgspec.json.Decoder(Control).decode


class Sessions:
    """The sessions of all gateways."""

    def __init__(self, redis: Redis, bus: Bus, ttl_s: int) -> None:
        self._redis = redis
        self._bus = bus
        self._ttl_s = ttl_s

    async def create(self, principal: Principal, agreed: Agreed) -> Session:
        """Begin a session. Its id cannot be guessed: whoever has it may use the session."""
        session = Session(f"s-{secrets.token_hex(16)}", principal, agreed, int(time.time() * 1000))
        async with redis_errors():
            await self._redis.set(_key(session.id), encode_json(session), ex=min(self._ttl_s, UNUSED_TTL_S))
        return session

    async def find(self, session_id: str) -> Session:
        """The session, which lives on for its lifetime from now.

        Raises:
            NotFound: there is none, or no more.
        """
        found = None
        if is_id(session_id):
            async with redis_errors():
                found = await self._redis.getex(_key(session_id), ex=self._ttl_s)
        if found is None:
            raise NotFound("there is no such session, or no more", hint="send initialize without Mcp-Session-Id")
        return _decode(found)

    async def keep(self, session: Session) -> None:
        """Its client listens: the session and what it is subscribed to live on for its lifetime from now."""
        async with redis_errors():
            await self._redis.expire(_key(session.id), self._ttl_s)
            await self._redis.expire(_watches_key(session.id), self._ttl_s)

    async def agree(self, session: Session, agreed: Agreed) -> None:
        """Keep what the client and the gateway have agreed on anew. A session that has ended meanwhile stays so."""
        changed = msgspec.structs.replace(session, agreed=agreed)
        async with redis_errors():
            await self._redis.set(_key(session.id), encode_json(changed), ex=self._ttl_s, xx=True)

    async def end(self, session: Session) -> None:
        """End it and close its event stream, wherever that is."""
        async with redis_errors():
            await self._redis.delete(_key(session.id), _watches_key(session.id))
        await self.tell(session.id, Control("ended"))

    async def watch(self, session: Session, uri: str, source: Source) -> None:
        """Remember that the client is subscribed to `uri`, and wait until the gateway that holds its event stream, if
        there is one, knows: the client may change the resource the moment that it has our answer.

        Raises:
            Busy: the client is subscribed to as much as one may.
        """
        key, encoded = _watches_key(session.id), source.encode()
        async with redis_errors():
            if await self._redis.hlen(key) >= MAX_WATCHES and not await self._redis.hexists(key, uri):
                raise Busy(f"a client may subscribe to {MAX_WATCHES} resources", hint="unsubscribe from some first")
            await self._redis.hset(key, uri, encoded)
            await self._redis.expire(key, self._ttl_s)
        await self._bus.deliver(subjects.session(session.id), encode_json(Control("watch", uri, encoded)))

    async def unwatch(self, session: Session, uri: str) -> None:
        """Forget a subscription."""
        async with redis_errors():
            await self._redis.hdel(_watches_key(session.id), uri)
        await self.tell(session.id, Control("unwatch", uri))

    async def watches(self, session: Session) -> dict[str, Source]:
        """Where changes of each resource are told that the client is subscribed to."""
        async with redis_errors():
            await self._redis.expire(_watches_key(session.id), self._ttl_s)
            found = cast("dict[str, str]", await self._redis.hgetall(_watches_key(session.id)))
        return {uri: decode_source(encoded) for uri, encoded in found.items()}

    async def tell(self, session_id: str, control: Control) -> None:
        """Publish to whichever gateway holds the session's event stream."""
        await self._bus.publish(subjects.session(session_id), encode_json(control))


def _key(session_id: str) -> str:
    return f"aicp:session:{{{session_id}}}"


def _watches_key(session_id: str) -> str:
    return f"aicp:session:{{{session_id}}}:watches"
