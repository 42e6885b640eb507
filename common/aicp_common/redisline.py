"""One connection to Redis on which calls do not wait for each other's replies.

redis-py takes a connection out of a pool for each command and waits there for the reply: 0.24 ms of a worker's time for
one script. Here all calls of a process share one connection, what they send in one turn of the loop leaves in one
write, and the replies are handed out in the order of the calls: 0.08 ms alone, 0.03 ms with sixteen at once.
Connecting, with passwords, TLS and Sentinel, stays redis-py's.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

ANSWER_S = 10.0
"""A Redis that owes a reply and says nothing for so long is given up."""

Argument = str | bytes | int | float
Push = list[Any] | None
"""What Redis says without being asked (RESP3); None: the connection is gone."""


class RedisLine:
    """Calls of one process. Connects at the first one, and again after the connection broke.

    Args:
        pool: Makes the connection.
        texts: Whether replies are texts, read as UTF-8; otherwise they are bytes.
        on_push: Is told of pushes, and of the end of a connection. Without it there must be no pushes.
    """

    def __init__(
        self, pool: ConnectionPool, *, texts: bool = True, on_push: Callable[[Push], None] | None = None
    ) -> None:
        self._pool = pool
        self._texts = texts
        self._on_push = on_push
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[_Wire] | None = None

    async def call(self, *command: Argument) -> Any:
        """The reply to a command.

        Raises:
            ResponseError: Redis refuses it. A server that says READONLY was a master and is none any more: the
                connection to it is closed, and the next call looks for the master anew.
            redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError: there is no connection, or it
                broke: whether the command was carried out is not known then.
        """
        wire = self._wire
        if wire is None or wire.closed:
            wire = await self._connected()
        reply = await wire.send(hiredis.pack_command(command))  # type: ignore[arg-type]
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def calls(self, commands: Iterable[tuple[Argument, ...]]) -> list[Any]:
        """The replies to commands that are sent together.

        Raises:
            As `call`; the others may have been carried out.
        """
        wire = self._wire
        if wire is None or wire.closed:
            wire = await self._connected()
        sent = [wire.send(hiredis.pack_command(command)) for command in commands]  # type: ignore[arg-type]
        replies = await asyncio.gather(*sent)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    @property
    def stands(self) -> bool:
        """Whether the connection of the last call is still the one of the next."""
        return self._wire is not None and not self._wire.closed

    async def close(self) -> None:
        """Leave. What is under way fails."""
        self.abort()

    def abort(self) -> None:
        """Break the connection; the next call makes another."""
        if self._wire is not None:
            self._wire.close()

    async def _connected(self) -> "_Wire":
        # All who come meanwhile share one attempt and its outcome, and none of them ends it.
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())
            # Everybody who waited may have gone.
            self._connecting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> "_Wire":
        connection = cast("AbstractConnection", self._pool.make_connection())  # type: ignore[no-untyped-call]
        await connection.connect()  # type: ignore[no-untyped-call]
        if connection._writer is None or connection._writer.transport.is_closing():
            # It broke in this very moment, and nobody would tell the wire.
            raise RedisConnectionError("the connection broke")
        self._wire = _Wire(connection, texts=self._texts, on_push=self._on_push)
        return self._wire


class _Wire(asyncio.Protocol):
    """One connection, from the moment on when redis-py has greeted Redis."""

    def __init__(self, connection: AbstractConnection, *, texts: bool, on_push: Callable[[Push], None] | None) -> None:
        writer = connection._writer
        assert writer is not None
        # It would close its connection when it is forgotten.
        self._connection = connection
        self._transport = cast("asyncio.Transport", writer.transport)
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            replyError=ResponseError, encoding="utf-8" if texts else None, errors="surrogateescape" if texts else None
        )
        self._on_push = on_push
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._unsent: list[bytes] = []
        self._heard_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self.closed = False
        self._transport.set_protocol(self)

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """Send a command, before the next turn of the loop; done when the reply is here."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(command)
        if not self._waiting:
            self._heard_at = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(ANSWER_S, self._look)
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(reply)
        return reply

    def close(self) -> None:
        """End the connection."""
        self.closed = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes from Redis."""
        self._heard_at = self._loop.time()
        self._reader.feed(data)
        demoted = False
        try:
            while (reply := self._reader.gets()) is not False:
                if self._on_push is not None and isinstance(reply, hiredis.PushNotification):
                    self._on_push(reply)
                    continue
                waiting = self._waiting.popleft()
                # Whoever has been cancelled meanwhile does not want it any more.
                if not waiting.done():
                    waiting.set_result(reply)
                if isinstance(reply, ResponseError) and "READONLY" in str(reply):
                    demoted = True
        except (hiredis.ProtocolError, IndexError):
            # Not the protocol, or a reply that nobody has asked for.
            self.close()
        if demoted:
            # It stays connected and would refuse every change: the master is somewhere else.
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.closed = True
        if self._watch is not None:
            self._watch.cancel()
        error: Exception
        if self._heard_at and self._loop.time() - self._heard_at >= ANSWER_S:
            error = RedisTimeoutError(f"no reply within {ANSWER_S:.0f} s")
        else:
            error = RedisConnectionError("the connection broke")
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(error)
        self._waiting.clear()
        if self._on_push is not None:
            self._on_push(None)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self.closed:
            self._transport.write(b"".join(unsent))

    def _look(self) -> None:
        self._watch = None
        if not self._waiting:
            return
        silent_s = self._loop.time() - self._heard_at
        if silent_s >= ANSWER_S:
            self.close()
        else:
            self._watch = self._loop.call_later(ANSWER_S - silent_s, self._look)
