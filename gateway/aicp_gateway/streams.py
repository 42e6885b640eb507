"""Event streams that a client may come back to: the messages of a POST's answer, kept in Redis for any gateway.

Source: MCP 2025-11-25, basic/transports, "Resumability and Redelivery".
"""

from typing import Any, cast

from redis.asyncio import Redis

from aicp_common.store import redis_errors

TTL_S = 300
"""How long a stream can be come back to after its answer."""
UNFINISHED_TTL_S = 60
"""How long one without an answer lasts unless its gateway says that it still works on it."""
MAX_EVENTS = 200
"""Messages of one stream that are kept; the oldest are dropped first."""

_FINAL, _MESSAGE = "f", "m"

_Entries = list[tuple[str, dict[str, str]]]


class Streams:
    """The streams of all gateways. An event is named `<stream>-<number>`, numbers begin with 1."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def append(self, session: str, stream: str, number: int, message: bytes, *, final: bool) -> None:
        """Keep event `number`; an empty message for the one that only says that the stream is there."""
        key = _key(session, stream)
        fields: dict[Any, Any] = {_FINAL if final else _MESSAGE: message}
        async with redis_errors():
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.xadd(key, fields, id=f"0-{number}", maxlen=MAX_EVENTS, approximate=False)
            pipeline.expire(key, TTL_S if final else UNFINISHED_TTL_S)
            await pipeline.execute()

    async def keep(self, session: str, stream: str) -> None:
        """Somebody still works on the answer of this stream."""
        async with redis_errors():
            await self._redis.expire(_key(session, stream), UNFINISHED_TTL_S)

    async def after(self, session: str, stream: str, number: int) -> tuple[list[tuple[int, bytes]], bool] | None:
        """The events after `number`, and whether the last of them ends the stream.

        Returns:
            None: there is no such stream, or no more.
        """
        key = _key(session, stream)
        async with redis_errors():
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.xrange(key, min=f"(0-{number}")
            pipeline.xrevrange(key, count=1)
            entries, newest = cast("tuple[_Entries, _Entries]", await pipeline.execute())
        if not newest:
            return None
        events = [(int(id.partition("-")[2]), next(iter(fields.values())).encode()) for id, fields in entries]
        return events, _FINAL in newest[0][1]


def event_id(stream: str, number: int) -> str:
    """The `id` of an event."""
    return f"{stream}-{number}"


def parse_event_id(text: str) -> tuple[str, int] | None:
    """The stream and the number in the `id` of an event; None: it is not one of ours."""
    stream, separator, number = text.rpartition("-")
    if not separator or not number.isdecimal() or len(number) > 9:
        return None
    return stream, int(number)


def _key(session: str, stream: str) -> str:
    return f"aicp:session:{{{session}}}:stream:{stream}"
