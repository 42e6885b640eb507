"""Redis behind Sentinel: connections to whichever server is the master now, and none that stays at a former one.

redis-py can ask sentinels too, but does not hear when there is another master. After a planned fail-over the former one
takes changes for some ten seconds more before Sentinel makes a replica of it, and loses them then.

Source: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

import asyncio
import logging
import weakref
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from aicp_common.cancellation import end

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""A sentinel that has told of nothing for so long is asked."""
RETRY_S = 0.2

Address = tuple[str, int]


class Masters:
    """Knows the master, from the first connection on until `aclose`.

    Sentinels learn of a fail-over one after the other, up to some seconds apart. So all of them are asked and listened
    to, and the newest configuration counts.

    Args:
        sentinels: Clients of the sentinels. They must not repeat commands.
        service: The name under which sentinels know the master.
    """

    def __init__(self, sentinels: Sequence[Redis], service: str) -> None:
        self._sentinels = sentinels
        self._service = service
        self._connections: weakref.WeakSet[MasterConnection] = weakref.WeakSet()
        self._asking: asyncio.Task[Address] | None = None
        self._following: list[asyncio.Task[None]] = []
        self._epoch = -1
        self.address: Address | None = None
        """As far as is known."""

    def enrol(self, connection: "MasterConnection") -> None:
        """Break `connection` when its server is not the master any more."""
        self._connections.add(connection)

    async def ask(self) -> Address:
        """Where the master is.

        Raises:
            redis.exceptions.ConnectionError: no sentinel answers and knows it.
        """
        if not self._following:
            self._following = [asyncio.create_task(self._follow(sentinel)) for sentinel in self._sentinels]
        # After a fail-over everything connects at once; all of them share one question.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._asking)

    async def aclose(self) -> None:
        """Leave the sentinels."""
        await end([*self._following, *([self._asking] if self._asking else [])])
        self._following = []
        await asyncio.gather(*(sentinel.aclose() for sentinel in self._sentinels))

    async def _ask(self) -> Address:
        answers = await asyncio.gather(*map(self._answer, self._sentinels), return_exceptions=True)
        known = [answer for answer in answers if not isinstance(answer, BaseException)]
        if not known:
            said = "; ".join(sorted({str(answer) for answer in answers}))
            raise RedisConnectionError(f"no sentinel says where the master is: {said}")
        epoch, address = max(known)
        if self.address is None or epoch >= self._epoch:
            self._epoch = epoch
            self._is_at(address)
        assert self.address is not None
        return self.address

    async def _answer(self, sentinel: Redis) -> tuple[int, Address]:
        try:
            said: Any = await sentinel.execute_command("SENTINEL", "MASTER", self._service)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            if "No such master" in str(error):
                raise RedisConnectionError(f"they know no master {self._service!r}") from error
            raise
        about = said if isinstance(said, dict) else dict(zip(said[::2], said[1::2], strict=True))
        return int(about["config-epoch"]), (about["ip"], int(about["port"]))

    async def _follow(self, sentinel: Redis) -> None:
        while True:
            try:
                async with sentinel.pubsub() as told:
                    await told.subscribe("+switch-master")
                    while True:
                        await told.get_message(ignore_subscribe_messages=True, timeout=LOOK_S)
                        await self._ask()
            except (RedisError, OSError) as error:
                log.debug("a sentinel cannot be followed: %s", error)
            await asyncio.sleep(RETRY_S)

    def _is_at(self, address: Address) -> None:
        if address == self.address:
            return
        if self.address is not None:
            log.warning("Redis has another master: %s:%s", *address)
        self.address = address
        for connection in list(self._connections):
            if (connection.host, connection.port) != address:
                connection.abort()


class MasterConnection(Connection):
    """A connection to the master.

    Args:
        masters: Says where it is.
        options: Those of redis-py's connections.
    """

    def __init__(self, *, masters: Masters, **options: Any) -> None:
        super().__init__(**options)
        self._masters = masters
        masters.enrol(self)

    async def _connect(self) -> None:
        self.host, self.port = await self._masters.ask()
        await super()._connect()  # type: ignore[no-untyped-call]

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Greet the server, and make sure that it is what the sentinel says."""
        await super().on_connect_check_health(check_health)
        await self.send_command("ROLE", check_health=False)
        role: Any = await self.read_response()
        if role[0] not in ("master", b"master") or self._masters.address != (self.host, self.port):
            raise RedisConnectionError(f"{self.host}:{self.port} is not the master any more")

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """As every connection; one that is told READONLY looks for the master anew."""
        try:
            return await super().read_response(*args, **options)
        except ResponseError as error:
            if "READONLY" in str(error):
                await self.disconnect()
            raise

    def abort(self) -> None:
        """Break it, whoever uses it: what was under way fails."""
        if self._writer is not None:
            self._writer.transport.abort()


class MasterTLSConnection(MasterConnection, SSLConnection):
    """As `MasterConnection`, over TLS."""
