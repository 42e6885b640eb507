"""A transport that writes once a turn of the event loop."""

import asyncio
from typing import Any


class Corked:
    """Joins what is written in one turn of the loop.

    Each write is a system call and a packet, and wakes the client; the answers to several messages of one client often
    come in the same turn.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] | None = None

    def write(self, data: bytes) -> None:
        """Write before the next turn of the loop."""
        if self._held is None:
            self._held = []
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        """Close once everything is written."""
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        """See asyncio."""
        self._flush()
        self._transport.write_eof()

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(b"".join(held))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
