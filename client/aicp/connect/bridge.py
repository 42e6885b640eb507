"""Drives a relay: lines of standard input and output on one side, one WebSocket after the other on the other side."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidProxy, InvalidStatus, InvalidURI, WebSocketException
from websockets.protocol import State
from websockets.typing import Subprotocol

from aicp import __version__
from aicp.connect.backoff import Backoff
from aicp.connect.endpoint import Endpoint
from aicp.connect.exceptions import ConnectError, Refused, TokenRefused
from aicp.connect.lines import LineReader, LineWriter, TooLong
from aicp.connect.relay import Relay
from aicp.connect.unawaited import Unawaited

SUBPROTOCOL = Subprotocol("mcp")

_TICK_S = 0.5
_OPEN_TIMEOUT_S = 10.0
_FAREWELL_S = 0.5
"""For each of: the last messages of a client that goes, the closing of the WebSocket, the last lines for the client,
and the first ones of a client that the hub does not let in."""
_MAX_FRAME_BYTES = 64 * 1024 * 1024
_UNREAD_BYTES = 1024 * 1024
"""Unwritten to the client; beyond it the hub is not read."""
_UNREAD_ANSWERS_BYTES = 4 * 1024 * 1024
"""Beyond it the client is not read either. More than above, because a client may first write and then read."""
_UNSENT_MESSAGES = 100
_UNSENT_CHARS = 1024 * 1024
"""While there is a connection, what is not sent yet; beyond it the client is not read."""

_TOKEN_EXPIRED = 4401
"""Close code of a hub when the token of a connection has expired."""
_BROKEN = "the connection broke"

_TRY_LATER = frozenset({408, 425, 429})
"""Among the statuses 4xx, which otherwise say that the request is wrong, those that pass."""


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
                self._note_loss(_reason(error))
            else:
                began = time.monotonic()
                try:
                    await self._talk(connection)
                finally:
                    self._socket = None
                if self._ending:
                    return
                if connection.close_code == _TOKEN_EXPIRED and not self._has_new_token():
                    said = _clean(connection.close_reason) or "it has expired"
                    raise TokenRefused(f"{self._endpoint.shown} refuses the token: {said}")
                delays.lasted(time.monotonic() - began)
                self._note_loss(_farewell(connection))
            # With a client that does not read there is no hurry, and what is to be said to it must not pile up.
            await self._writer.below(_UNREAD_BYTES)
            await asyncio.sleep(delays.next())

    async def _connect(self) -> ClientConnection:
        headers = self._headers()
        self._credential = headers.get("Authorization")
        try:
            return await _Connect(
                self._endpoint.url,
                subprotocols=[SUBPROTOCOL],
                additional_headers=headers,
                user_agent_header=f"aicp/{__version__}",
                compression=None,
                proxy=None if self._endpoint.on_this_machine else True,
                open_timeout=_OPEN_TIMEOUT_S,
                close_timeout=_FAREWELL_S,
                max_size=_MAX_FRAME_BYTES,
                logger=_silence(),
            )
        except InvalidStatus as error:
            self._check_refusal(error)
            raise
        except (InvalidURI, InvalidProxy) as error:
            raise ConnectError(f"no connection to {self._endpoint.shown} is possible: {error}") from error

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

    def _check_refusal(self, error: InvalidStatus) -> None:
        """Raise when the hub would refuse a second time what it refuses now."""
        status = error.response.status_code
        where = self._endpoint.shown
        if 300 <= status < 400:
            # A redirect is not followed: the token was meant for this address.
            place = error.response.headers.get("Location", "another address")
            raise ConnectError(f"{where} has moved to {_clean(place)}: use that address")
        if not 400 <= status < 500 or status in _TRY_LATER:
            return
        reason = _reason(error)
        match status:
            case 401 if self._credential:
                raise TokenRefused(f"{where} refuses the token: {reason}")
            case 401:
                raise TokenRefused(f"{where} wants a token: {reason}")
            case 403:
                raise Refused(f"{where} refuses the connection: {reason}")
            case 404:
                raise ConnectError(f"{where} is a wrong address: {reason}")
            case _:
                raise ConnectError(f"{where} refuses the connection: {reason}")

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


class _Connect(connect):
    """Follows no redirect."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _reason(error: Exception) -> str:
    """Why there is no connection, in a few words."""
    if isinstance(error, InvalidStatus):
        said = _said_by_hub(error.response.body)
        return said or f"HTTP status {error.response.status_code}"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):
        # The text of asyncio names the address, which is named already.
        return os.strerror(error.errno).lower()
    return _clean(str(error)) or _BROKEN


def _said_by_hub(body: bytes | bytearray | None) -> str:
    """What the body of an HTTP answer says: the message of a JSON-RPC error, or a hub's `error` and `hint`."""
    try:
        answer = json.loads(body or b"")
    except (ValueError, RecursionError):
        return ""
    match answer:
        case {"error": {"message": str(message)}}:
            return _clean(message)
        case {"error": str(what), "hint": str(hint)}:
            return _clean(f"{what}; {hint}")
        case _:
            return ""


def _farewell(socket: ClientConnection) -> str:
    """Why a connection ended."""
    code, reason = socket.close_code, socket.close_reason
    if code is None or code == 1006:
        return _BROKEN
    return f"closed with code {code}{f': {_clean(reason)}' if reason else ''}"


def _clean(text: object) -> str:
    """A text of the other side for a terminal: one line, and not endless."""
    return " ".join("".join(char if char.isprintable() else " " for char in str(text)[:300]).split())


def _silence() -> logging.Logger:
    """What the WebSocket library would say on stderr, the bridge says itself."""
    logger = logging.getLogger("aicp.connect.websocket")
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)
    return logger
