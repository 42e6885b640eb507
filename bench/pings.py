"""PINGs to Redis from a process that does nothing else, so that what is late is Redis."""

import asyncio
import multiprocessing
import socket
import time
from concurrent.futures import ProcessPoolExecutor

PAUSE_S = 0.001
"""Between one answer and the next PING."""


async def pings(port: int, seconds: float) -> list[float]:
    """Milliseconds of each, for so many seconds from the moment on when the process is there."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, _again_and_again, port, seconds)


def _again_and_again(port: int, seconds: float) -> list[float]:
    took_ms = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until = time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            connection.sendall(b"PING\r\n")
            if connection.recv(64) != b"+PONG\r\n":
                raise RuntimeError("Redis does not answer a PING")
            took_ms.append((time.perf_counter() - started) * 1000)
            time.sleep(PAUSE_S)
    return took_ms
