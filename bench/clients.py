"""Clients that cost little, so that what is measured is the server: MCP over WebSocket and over Streamable HTTP."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, Self, cast
from urllib.parse import urlsplit

import msgspec

_NO_MASK = bytes(4)
"""A client must mask its frames (RFC 6455, section 5.3); with this key the bytes stay as they are."""

_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="

_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_FIN = 0x80

PATIENCE_S = 60.0


class Result(msgspec.Struct, rename="camel"):
    """Of a request."""

    is_error: bool = False
    structured_content: msgspec.Raw = msgspec.Raw()
    """JSON of what a tool returned."""


class _Message(msgspec.Struct):
    """What a server sends."""

    id: int | None = None
    method: str = ""
    result: Result | None = None


_decode = msgspec.json.Decoder(_Message).decode
_encode = msgspec.json.Encoder().encode


def _answer(data: bytes) -> _Message:
    """The message in `data`.

    Raises:
        RuntimeError: it is an error, or the result of a tool that failed.
    """
    message = _decode(data)
    if not message.method and (message.result is None or message.result.is_error):
        raise RuntimeError(f"not an answer: {data[:500]!r}")
    return message


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole frame of a client. Source: RFC 6455, section 5.2."""
    length = len(payload)
    if length < 126:
        head = bytes((_FIN | opcode, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((_FIN | opcode, 0xFE)) + length.to_bytes(2, "big")
    else:
        head = bytes((_FIN | opcode, 0xFF)) + length.to_bytes(8, "big")
    return head + _NO_MASK + payload


class Client(Protocol):
    """What sends requests."""

    async def request(self, method: str, params: object) -> Result | None:
        """Send a request and wait for its result, which is looked at only to see that it is one.

        Raises:
            ConnectionError: the connection ended.
            RuntimeError: the answer is an error, or no message.
        """


class WebSocketClient(asyncio.Protocol):
    """One WebSocket with overlapping requests. Made by `connect`."""

    __slots__ = ("_buffer", "_ids", "_on_notification", "_open", "_transport", "_waiting", "closed")

    def __init__(self, on_notification: Callable[[str], None] | None) -> None:
        self._on_notification = on_notification
        self._transport: asyncio.Transport | None = None
        self._open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._ids = 0
        self._waiting: dict[int, asyncio.Future[Result | None]] = {}
        self.closed = False

    @classmethod
    async def connect(
        cls,
        url: str,
        headers: Mapping[str, str],
        *,
        on_notification: Callable[[str], None] | None = None,
        source: str = "127.0.0.1",
    ) -> Self:
        """Connect and wait for the upgrade.

        Args:
            url: `ws://HOST:PORT/PATH`.
            headers: Beside those of the upgrade.
            on_notification: Called with the method of each notification.
            source: Address of this machine to connect from: an address has some 28,000 ports.

        Raises:
            RuntimeError: the server refuses.
        """
        parts = urlsplit(url)
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: cls(on_notification), parts.hostname or "", parts.port or 80, local_addr=(source, 0)
        )
        head = {
            "Host": parts.netloc,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": _KEY,
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": "mcp",
            **headers,
        }
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        client._write(_head("GET", target or "/", head))
        await asyncio.wait_for(client._open, PATIENCE_S)
        return client

    def close(self) -> None:
        """Leave at once."""
        if self._transport is not None:
            self._transport.abort()

    async def request(self, method: str, params: object) -> Result | None:
        """See `Client.request`."""
        self._ids += 1
        answered: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        self._waiting[self._ids] = answered
        message = {"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params}
        self._write(frame(_TEXT, _encode(message)))
        return await answered

    def notify(self, method: str) -> None:
        """Send a notification."""
        self._write(frame(_TEXT, _encode({"jsonrpc": "2.0", "method": method})))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self.closed = True
        self._fail(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Bytes from the server."""
        self._buffer += data
        if not self._open.done() and not self._read_head():
            return
        try:
            while self._read_frame():
                pass
        except Exception as error:
            self._fail(error)
            self.close()

    def _read_head(self) -> bool:
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return False
        if not head.startswith(b"HTTP/1.1 101 "):
            self._open.set_exception(RuntimeError(f"the server refuses the upgrade: {self._buffer[:500]!r}"))
            return False
        self._buffer = rest
        self._open.set_result(None)
        return True

    def _read_frame(self) -> bool:
        """Take in one frame; False when no whole one is here. Servers do not mask, and the ones here do not split."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        length, begin = buffer[1], 2
        if length >= 126:
            begin = 4 if length == 126 else 10
            length = int.from_bytes(buffer[2:begin], "big")
        end = begin + length
        if len(buffer) < max(begin, end):
            return False
        opcode, payload = buffer[0], buffer[begin:end]
        self._buffer = buffer[end:]
        if opcode == _FIN | _TEXT:
            self._take(payload)
        elif opcode == _FIN | _PING:
            self._write(frame(_PONG, payload))
        elif opcode == _FIN | _CLOSE:
            raise ConnectionError(f"the server closed the connection: {payload!r}")
        elif opcode != _FIN | _PONG:
            raise RuntimeError(f"a frame that is not expected: {opcode:#x}")
        return True

    def _take(self, data: bytes) -> None:
        message = _answer(data)
        if message.method:
            if self._on_notification is not None:
                self._on_notification(message.method)
        elif message.id is not None:
            self._waiting.pop(message.id).set_result(message.result)

    def _fail(self, error: Exception) -> None:
        waiting: Iterable[asyncio.Future[Any]] = (self._open, *self._waiting.values())
        for one in waiting:
            if not one.done():
                one.set_exception(error)
        self._waiting.clear()

    def _write(self, data: bytes) -> None:
        if self._transport is None or self.closed:
            raise ConnectionError("the connection has ended")
        self._transport.write(data)


class HttpClient(asyncio.Protocol):
    """One connection that is kept alive, for one POST after the other. Made by `connect`."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        fixed = {"Host": parts.netloc, "Accept": "application/json, text/event-stream", **headers}
        # What every POST begins with; its length and its body follow.
        self._head = _head("POST", parts.path or "/", {**fixed, "Content-Type": "application/json"})[:-2]
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._ids = itertools.count(1)
        self._answered: asyncio.Future[bytes] | None = None
        self._session = b""

    @classmethod
    async def connect(cls, url: str, headers: Mapping[str, str]) -> Self:
        """Connect; `headers` go with every request."""
        parts = urlsplit(url)
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: cls(url, headers), parts.hostname or "", parts.port or 80
        )
        return client

    def close(self) -> None:
        """Leave at once."""
        if self._transport is not None:
            self._transport.abort()

    def keep_session(self) -> None:
        """From now on, send the session that the last answer named."""
        self._head += b"Mcp-Session-Id: %b\r\n" % self._session

    async def request(self, method: str, params: object) -> Result | None:
        """See `Client.request`."""
        id = next(self._ids)
        body = _encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        message = _answer(await self._post(body))
        if message.id != id:
            raise RuntimeError("the answer is for another request")
        return message.result

    async def _post(self, body: bytes) -> bytes:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the connection has ended")
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body))
        return await self._answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Bytes from the server: an answer with a Content-Length."""
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank or self._answered is None:
            return
        length = _field(head, b"content-length")
        if not length or not head.startswith(b"HTTP/1.1 200 "):
            self._answered.set_exception(RuntimeError(f"not an answer: {self._buffer[:500]!r}"))
            self.close()
        elif len(body) == int(length):
            self._buffer = b""
            self._session = self._session or _field(head, b"mcp-session-id")
            self._answered.set_result(body)


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The head of an HTTP request, with the empty line at its end."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode()


def _field(head: bytes, name: bytes) -> bytes:
    """The value of a header; empty when there is none."""
    begin = head.lower().find(b"\r\n" + name + b":")
    if begin < 0:
        return b""
    value, _, _ = head[begin + len(name) + 3 :].partition(b"\r\n")
    return value.strip()
