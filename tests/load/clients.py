"""Clients that are cheap enough to measure a hub with: over WebSocket and over Streamable HTTP, in both eras.

Neither sends to anything but its URL: no proxy, no redirect. A connection that has ended is made again for the next
request, and counted.
"""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from tests.load.failure import BadAnswer, CallFailed, ConnectFailed, ConnectionLost, TimedOut
from tests.load.http_connection import HttpConnection, IsAnswer, Reply
from tests.load.message import (
    INITIALIZE,
    INITIALIZED,
    Era,
    Message,
    decode,
    encode_answer,
    encode_request,
    refusal_of,
    request_headers,
    result_of,
)
from tests.load.websocket_connection import WebSocketConnection

CONNECT_S = 10.0
"""How long connecting with the handshake may take."""
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_GOODBYE_S = 1.0
_NOTHING: Mapping[str, Any] = {}


class Client(Protocol):
    """One MCP client."""

    reconnects: int
    """How often a connection, or the session, had to be made again."""

    async def open(self) -> None:
        """Connect and, in the handshake era, initialize; in the stateless era ask the hub what it speaks.

        Raises:
            CallFailed: the hub cannot be reached, or does not let this client in.
        """

    async def request(self, method: str, params: Mapping[str, Any] = _NOTHING) -> bytes:
        """Send a request; the result as JSON bytes.

        Raises:
            CallFailed: there is no result, or it is that of a tool that has failed.
        """

    async def close(self) -> None:
        """End the session and the connections. What is under way fails."""


def client_of(
    url: str,
    *,
    era: Era = Era.HANDSHAKE,
    agent: str = "",
    token: str = "",
    timeout_s: float = 60.0,
    in_flight: int = 1,
) -> Client:
    """A client for the URL, whose scheme chooses the transport: `ws`, `wss`, `http` or `https`.

    Args:
        url: Of the hub's MCP endpoint.
        era: How to speak.
        agent: The name to go by on an open hub; empty for none.
        token: For the header `Authorization`; empty for none.
        timeout_s: How long to wait for an answer.
        in_flight: How many requests there will be at once: over HTTP each takes a connection.
    """
    if url.startswith("ws"):
        return WebSocketClient(url, era=era, agent=agent, token=token, timeout_s=timeout_s)
    return HttpClient(url, era=era, agent=agent, token=token, timeout_s=timeout_s, connections=in_flight)


class WebSocketClient:
    """One WebSocket with many requests in flight. The arguments are those of `client_of`."""

    def __init__(
        self, url: str, *, era: Era = Era.HANDSHAKE, agent: str = "", token: str = "", timeout_s: float = 60.0
    ) -> None:
        self.reconnects = 0
        self._url = url
        self._era = era
        self._headers = _identity(agent, token)
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context() if url.startswith("wss:") else None
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._connection: WebSocketConnection | None = None
        self._connecting = asyncio.Lock()
        self._connected_before = False
        self._attempts = _Attempts()

    async def open(self) -> None:
        """See `Client`."""
        await self._connect()

    async def request(self, method: str, params: Mapping[str, Any] = _NOTHING) -> bytes:
        """See `Client`."""
        return await self._request(self._connection or await self._connect(), method, params)

    async def close(self) -> None:
        """See `Client`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close(_GOODBYE_S)

    async def _connect(self) -> WebSocketConnection:
        async with self._connecting:
            if self._connection is not None:
                return self._connection
            async with self._attempts.attempt():
                connection = WebSocketConnection(self._url, self._headers, self._on_message, self._on_lost)
                await connection.open(self._tls)
                try:
                    await self._greet(connection)
                except BaseException:
                    connection.abort()
                    raise
                if not connection.alive:
                    raise ConnectionLost("the hub ended the connection at once")
            self.reconnects += self._connected_before
            self._connected_before = True
            self._connection = connection
            return connection

    async def _greet(self, connection: WebSocketConnection) -> None:
        if self._era is Era.STATELESS:
            await self._request(connection, "server/discover", _NOTHING)
        else:
            await self._request(connection, "initialize", INITIALIZE)
            connection.send(INITIALIZED)

    async def _request(self, connection: WebSocketConnection, method: str, params: Mapping[str, Any]) -> bytes:
        id = next(self._ids)
        answered: asyncio.Future[Message] = self._loop.create_future()
        self._waiting[id] = answered
        timer = self._loop.call_later(self._timeout_s, self._time_out, answered)
        try:
            connection.send(encode_request(id, method, params, self._era))
            return result_of(await answered)
        finally:
            timer.cancel()
            del self._waiting[id]

    def _on_message(self, connection: WebSocketConnection, data: bytes | bytearray | memoryview) -> None:
        try:
            message = decode(data)
        except BadAnswer as failure:
            self._fail_all(failure)
            connection.abort()
            return
        if message.method:
            if message.id is not None:
                connection.send(encode_answer(message))
            return
        answered = self._waiting.get(message.id) if isinstance(message.id, int) else None
        if answered is not None and not answered.done():
            answered.set_result(message)

    def _on_lost(self, connection: WebSocketConnection, reason: str) -> None:
        if self._connection in (None, connection):
            self._connection = None
            self._fail_all(ConnectionLost(reason))

    def _fail_all(self, failure: CallFailed) -> None:
        for answered in self._waiting.values():
            if not answered.done():
                answered.set_exception(failure)

    def _time_out(self, answered: asyncio.Future[Message]) -> None:
        if not answered.done():
            answered.set_exception(TimedOut(self._timeout_s))


class HttpClient:
    """A pool of HTTP connections with one request at a time on each, and one session in the handshake era.

    Args:
        url: `http://` or `https://`.
        era: How to speak.
        agent: The name to go by on an open hub; empty for none.
        token: For the header `Authorization`; empty for none.
        timeout_s: How long to wait for an answer.
        connections: Size of the pool. A request beyond it waits for a free one.
    """

    def __init__(
        self,
        url: str,
        *,
        era: Era = Era.HANDSHAKE,
        agent: str = "",
        token: str = "",
        timeout_s: float = 60.0,
        connections: int = 1,
    ) -> None:
        self.reconnects = 0
        self._era = era
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        split = urlsplit(url)
        self._head = _head(split, _identity(agent, token))
        self._session = ""
        """The header lines of the session."""
        self._greeted = False
        self._greeted_before = False
        self._greeting = asyncio.Lock()
        self._greetings = _Attempts()
        self._tls = ssl.create_default_context() if split.scheme == "https" else None
        self._host, self._port = split.hostname or "", split.port or (443 if self._tls else 80)
        self._attempts = _Attempts()
        self._size = connections
        self._opened = 0
        self._connections: set[HttpConnection] = set()
        self._free: asyncio.Queue[HttpConnection | None] = asyncio.Queue()
        """None stands for a connection that is still to be made."""
        for _ in range(connections):
            self._free.put_nowait(None)

    async def open(self) -> None:
        """See `Client`."""
        await self._greet()
        for _ in range(self._size):
            self._free.put_nowait(await self._alive(await self._free.get()))

    async def request(self, method: str, params: Mapping[str, Any] = _NOTHING) -> bytes:
        """See `Client`."""
        if not self._greeted:
            await self._greet()
        return await self._request(method, params)

    async def close(self) -> None:
        """See `Client`."""
        if "Mcp-Session-Id" in self._session and not self._free.empty():
            with contextlib.suppress(CallFailed, TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self._exchange(f"DELETE {self._head}{self._session}\r\n".encode(), bool)
        for connection in self._connections:
            connection.abort()

    async def _greet(self) -> None:
        async with self._greeting:
            if self._greeted:
                return
            async with self._greetings.attempt():
                self._session = ""
                if self._era is Era.STATELESS:
                    await self._request("server/discover", _NOTHING)
                else:
                    await self._initialize()
            self.reconnects += self._greeted_before
            self._greeted = self._greeted_before = True

    async def _initialize(self) -> None:
        """Begin a session. Source: MCP 2025-11-25, basic/transports, "Session Management"."""
        message, reply = await self._post("initialize", INITIALIZE)
        result_of(message)
        session = f"Mcp-Session-Id: {reply.session}\r\n" if reply.session else ""
        self._session = f"{session}MCP-Protocol-Version: {Era.HANDSHAKE.revision}\r\n"
        accepted = await self._exchange(_post(f"{self._head}{self._session}", INITIALIZED), bool)
        if not 200 <= accepted.status < 300:
            raise refusal_of(accepted.status, accepted.body)

    async def _request(self, method: str, params: Mapping[str, Any]) -> bytes:
        message, reply = await self._post(method, params)
        if reply.status == 404 and self._session:
            # The session has ended; the next request begins another one.
            self._greeted = False
        return result_of(message)

    async def _post(self, method: str, params: Mapping[str, Any]) -> tuple[Message, Reply]:
        id = next(self._ids)
        headers = request_headers(method, params) if self._era is Era.STATELESS else self._session
        request = _post(f"{self._head}{headers}", encode_request(id, method, params, self._era))

        def is_answer(event: bytes) -> bool:
            message = decode(event)
            return not message.method and message.id == id

        reply = await self._exchange(request, is_answer)
        message = _message_of(reply)
        if message.error is None and message.id != id:
            raise BadAnswer(f"the answer is for {message.id!r}, not for {id}")
        return message, reply

    async def _exchange(self, request: bytes, is_answer: IsAnswer) -> Reply:
        connection = await self._free.get()
        try:
            connection = await self._alive(connection)
            timer = self._loop.call_later(self._timeout_s, connection.fail, TimedOut(self._timeout_s))
            try:
                return await connection.exchange(request, is_answer)
            finally:
                timer.cancel()
        finally:
            self._free.put_nowait(connection)

    async def _alive(self, connection: HttpConnection | None) -> HttpConnection:
        """This connection, or when it has ended another one."""
        if connection is not None:
            if connection.alive:
                return connection
            self._connections.discard(connection)
        async with self._attempts.attempt():
            made = await HttpConnection.open(self._host, self._port, self._tls)
        self._connections.add(made)
        self._opened += 1
        self.reconnects += self._opened > self._size
        return made


class _Attempts:
    """Keeps a client from knocking all the time at a hub that is away: failures are followed by a pause."""

    def __init__(self) -> None:
        self._pause_s = 0.0

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """One attempt to connect, within `CONNECT_S`.

        Raises:
            ConnectFailed: there is nobody, or too late.
            CallFailed: what the hub answered instead of letting the client in.
        """
        if self._pause_s:
            await asyncio.sleep(self._pause_s)
        try:
            async with asyncio.timeout(CONNECT_S):
                yield
        except (OSError, CallFailed) as error:
            self._pause_s = min(max(_FIRST_PAUSE_S, 2 * self._pause_s), _LONGEST_PAUSE_S)
            if isinstance(error, TimeoutError):
                raise ConnectFailed(f"no connection within {CONNECT_S:g} s") from error
            if isinstance(error, OSError):
                raise ConnectFailed(str(error) or type(error).__name__) from error
            raise
        self._pause_s = 0.0


def _identity(agent: str, token: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return {**headers, "X-AICP-Agent": agent} if agent else headers


def _head(split: SplitResult, headers: Mapping[str, str]) -> str:
    """What every request begins with, after the method."""
    query = f"?{split.query}" if split.query else ""
    host = split.netloc.rpartition("@")[2]
    lines = [
        f"{split.path or '/'}{query} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "".join(f"{line}\r\n" for line in lines)


def _post(head: str, body: bytes) -> bytes:
    return f"POST {head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _message_of(reply: Reply) -> Message:
    if 200 <= reply.status < 300:
        return decode(reply.body)
    with contextlib.suppress(BadAnswer):
        message = decode(reply.body)
        if message.error is not None:
            return message
    raise refusal_of(reply.status, reply.body)
