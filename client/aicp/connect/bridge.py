"""Drives a relay: lines of standard input and output on one side, one WebSocket after the other on the other side."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.protocol import State

from aicp.connect.backoff import Backoff
from aicp.connect.endpoint import Endpoint
from aicp.connect.exceptions import ConnectError, TokenRefused
from aicp.connect.lines import LineReader, LineWriter, TooLong
from aicp.connect.opening import BROKEN, clean, open_socket, reason
from aicp.connect.relay import Relay
from aicp.connect.unawaited import Unawaited

_TICK_S = 0.5
_FAREWELL_S = 0.5
"""For each of: the last messages of a client that goes, the closing of the WebSocket, the last lines for the client,
and the first ones of a client that the hub does not let in."""
_UNREAD_BYTES = 1024 * 1024
"""Unwritten to the client; beyond it the hub is not read."""
_UNREAD_ANSWERS_BYTES = 4 * 1024 * 1024
"""Beyond it the client is not read either. More than above, because a client may first write and then read."""
_UNSENT_MESSAGES = 100
_UNSENT_CHARS = 1024 * 1024
"""While there is a connection, what is not sent yet; beyond it the client is not read."""

_TOKEN_EXPIRED = 4401
"""Close code of a hub when the token of a connection has expired."""


class Bridge:
    """One client and its hub, until the client goes.

    Args:
        endpoint: Where the hub is.
        relay: What becomes of each message.
        source: Descriptor that the client writes to.
        sink: Descriptor that it reads from.
        say: Takes a line for people.
    """

    def __init__(self, endpoint: Endpoint, relay: Relay, *, source: int, sink: int, say: Callable[[str], None]) -> None:
        self._endpoint = endpoint
        self._relay = relay
        self._reader = LineReader(source)
        self._writer = LineWriter(sink)
        self._say = say
        self._socket: ClientConnection | None = None
        self._changed = asyncio.Event()
        """The relay may have something to send."""
        self._sent = asyncio.Event()
        """Something has been sent, or the connection has changed."""
        self._ending = False
        self._away = False
        self._credential: str | None = None
        """The header with the token of the last attempt to connect."""

    async def run(self) -> None:
        """Until the client closes its end, or a signal comes.

        Raises:
            ConnectError: the hub refuses this client, or the conversation cannot go on.
        """
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(Unawaited())
        for number in (signal.SIGTERM, signal.SIGINT):
            # Where the loop cannot do that, the default handlers end the process.
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, stopped.set)
        client = asyncio.create_task(self._serve_client())
        other_ways_to_end: list[Coroutine[Any, Any, Any]] = [
            self._wait_for_end_of_input(),
            self._serve_hub(),
            self._tick_for_ever(),
            self._writer.closed.wait(),
            stopped.wait(),
        ]
        tasks = [client, *(asyncio.create_task(way) for way in other_ways_to_end)]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        except ConnectError as error:
            self._relay.give_up(str(error), error.code)
            self._flush()
            self._sent.set()
            # A client that has just started this is about to send its first request: it is to hear the reason too, and
            # not only find that this has ended.
            await asyncio.wait((client,), timeout=_FAREWELL_S)
            raise
        finally:
            client.cancel()
            await self._say_farewell()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _say_farewell(self) -> None:
        self._ending = True
        socket = self._socket
        if socket is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    while self._relay.waiting and self._socket is socket:
                        self._sent.clear()
                        await self._sent.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await socket.close()
        self._flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await self._writer.below(0)

    # ------------------------------------------------------------------------------------------------------- the client

    async def _serve_client(self) -> None:
        async for line in self._reader.lines():
            if isinstance(line, TooLong):
                self._relay.line_too_long()
            else:
                self._relay.line(line, time.monotonic())
            self._flush()
            await self._writer.below(_UNREAD_ANSWERS_BYTES)
            while self._connected() and self._is_behind():
                self._sent.clear()
                await self._sent.wait()

    async def _wait_for_end_of_input(self) -> None:
        """A client that has closed its end is not waited for long, even when it has left much unread and unsent."""
        await self._reader.ended.wait()
        await asyncio.sleep(_FAREWELL_S)

    def _is_behind(self) -> bool:
        return self._relay.waiting > _UNSENT_MESSAGES or self._relay.waiting_chars > _UNSENT_CHARS

    def _flush(self) -> None:
        """Hand on what the relay has decided."""
        self._writer.write(self._relay.take_lines())
        self._changed.set()

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._relay.tick(time.monotonic())
            self._flush()

    # ---------------------------------------------------------------------------------------------------------- the hub

    async def _serve_hub(self) -> None:
        """One connection after the other.

        Raises:
            ConnectError: there is no use in another one.
        """
        delays = Backoff()
        while True:
            try:
                connection = await self._connect()
            except (OSError, EOFError, WebSocketException, _NotNow) as error:
                self._note_loss(reason(error))
            else:
                began = time.monotonic()
                try:
                    await self._talk(connection)
                finally:
                    self._socket = None
                if self._ending:
                    return
                if connection.close_code == _TOKEN_EXPIRED and not self._has_new_token():
                    said = clean(connection.close_reason) or "it has expired"
                    raise TokenRefused(f"{self._endpoint.shown} refuses the token: {said}")
                delays.lasted(time.monotonic() - began)
                self._note_loss(_farewell(connection))
            # With a client that does not read there is no hurry, and what is to be said to it must not pile up.
            await self._writer.below(_UNREAD_BYTES)
            await asyncio.sleep(delays.next())

    async def _connect(self) -> ClientConnection:
        headers = self._headers()
        self._credential = headers.get("Authorization")
        return await open_socket(self._endpoint, headers)

    def _headers(self) -> dict[str, str]:
        try:
            return self._endpoint.headers()
        except ConnectError as error:
            # It could be read when the bridge began, so somebody is just writing it.
            raise _NotNow(str(error)) from error

    def _has_new_token(self) -> bool:
        """Whether another attempt would bring another token than the last one."""
        try:
            return self._headers().get("Authorization") != self._credential
        except _NotNow:
            return True

    async def _talk(self, socket: ClientConnection) -> None:
        """Until the connection ends."""
        self._socket = socket
        if self._away:
            self._say(f"connected again to {self._endpoint.shown}")
        self._away = False
        self._relay.connection_opened()
        sender = asyncio.create_task(self._send(socket))
        try:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    frame = await socket.recv()
                    if isinstance(frame, str):  # MCP has no binary frames
                        self._relay.frame(frame, time.monotonic())
                        self._flush()
                    if self._relay.failure is not None:
                        raise ConnectError(self._relay.failure)
                    await self._writer.below(_UNREAD_BYTES)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                # What is taken from the relay counts as sent: so nothing is taken for a socket that is closing.
                while socket.state is State.OPEN and (frame := self._relay.next_frame(time.monotonic())) is not None:
                    await socket.send(frame)
                    self._sent.set()
                self._changed.clear()
                self._sent.set()
                await self._changed.wait()

    def _connected(self) -> bool:
        return self._socket is not None and self._socket.state is State.OPEN

    def _note_loss(self, why: str) -> None:
        self._relay.connection_lost(time.monotonic(), why)
        self._flush()
        self._sent.set()
        if not self._away:
            self._say(f"no connection to {self._endpoint.shown} ({why}); trying again until there is one")
        self._away = True


class _NotNow(Exception):
    """There is no connection, and it is not the hub's doing."""


def _farewell(socket: ClientConnection) -> str:
    """Why a connection ended."""
    code, reason = socket.close_code, socket.close_reason
    if code is None or code == 1006:
        return BROKEN
    return f"closed with code {code}{f': {clean(reason)}' if reason else ''}"
