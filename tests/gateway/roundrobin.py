"""A proxy for HTTP that sends each request to the next gateway, as a load balancer without sticky sessions does."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import cast

Address = tuple[str, int]
CHUNK_BYTES = 64 * 1024


class RoundRobin:
    """Passes requests on, one a connection, and streams the answers. A gateway that does not accept is left out.

    Args:
        gateways: Their addresses.
    """

    def __init__(self, gateways: Sequence[Address]) -> None:
        self._gateways = list(gateways)
        self._turn = itertools.count()
        self.served: list[Address] = []
        """Who answered, request by request."""
        self.port = 0
        self._serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection."""
        self._serving.add(cast("asyncio.Task[None]", asyncio.current_task()))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length(head))
            upstream, onward = await self._connect()
            onward.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + body)
            answering = asyncio.create_task(_pour(upstream, writer))
            leaving = asyncio.create_task(reader.read(1))
            # Whoever goes first takes the other along: a client that hangs up is to be noticed by the gateway.
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)
            onward.transport.abort()
        writer.close()

    async def close(self) -> None:
        """Let the connections that are left end."""
        await asyncio.wait_for(asyncio.gather(*self._serving), 10)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in self._gateways:
            gateway = self._gateways[next(self._turn) % len(self._gateways)]
            with contextlib.suppress(OSError):
                streams = await asyncio.open_connection(*gateway)
                self.served.append(gateway)
                return streams
        raise ConnectionError("no gateway accepts")


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _pour(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(CHUNK_BYTES):
            target.write(chunk)
            await target.drain()


@contextlib.asynccontextmanager
async def round_robin(*ports: int) -> AsyncIterator[RoundRobin]:
    """A proxy before the gateways on these ports of this machine."""
    proxy = RoundRobin([("127.0.0.1", port) for port in ports])
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
