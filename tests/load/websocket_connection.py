"""One WebSocket: drives the sans-I/O client of `websockets` on a socket. It follows no redirect and uses no proxy."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.typing import BytesLike, Subprotocol
from websockets.uri import parse_uri

from tests.load.failure import CallFailed, ConnectFailed
from tests.load.message import refusal_of

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_CLOSE_S = 1.0
"""How long the other side may take to end the connection after a close frame."""


class WebSocketConnection(asyncio.Protocol):
    """A connection; `open` makes one.

    Args:
        url: `ws://` or `wss://`.
        headers: Beside those of the handshake.
        on_message: Called with each text message.
        on_lost: Called once with the reason when an open connection ends.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        on_message: "Callable[[WebSocketConnection, BytesLike], None]",
        on_lost: "Callable[[WebSocketConnection, str], None]",
    ) -> None:
        self._websocket = ClientProtocol(parse_uri(url), subprotocols=[Subprotocol("mcp")], max_size=MAX_MESSAGE_BYTES)
        self._headers = headers
        self._on_message = on_message
        self._on_lost = on_lost
        self._alive = False
        self._parts: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, tls: ssl.SSLContext | None) -> None:
        """Connect and say hello.

        Raises:
            RpcError: the other side refuses with a JSON-RPC error.
            HttpFailed: it answers, but not with a WebSocket.
            ConnectFailed: it speaks something else, or ended the connection.
            OSError: it cannot be reached.
        """
        uri = self._websocket.uri
        await asyncio.get_running_loop().create_connection(lambda: self, uri.host, uri.port, ssl=tls)
        try:
            await self._opened
        except BaseException:
            self.abort()
            raise

    @property
    def alive(self) -> bool:
        """From the handshake until either side ends it."""
        return self._alive

    def send(self, text: bytes) -> None:
        """Send a text message, which gets lost when the connection is no more `alive`."""
        if self._websocket.state is OPEN:
            self._websocket.send_text(text)
            self._flush()

    async def close(self, patience_s: float) -> None:
        """End the connection in the orderly way, within `patience_s`."""
        if self._alive:
            self._alive = False
            self._websocket.send_close(1000)
            self._flush()
        if self._transport is not None:
            await asyncio.wait((self._ended,), timeout=patience_s)
        self.abort()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From asyncio."""
        # uvloop's transports are of no class of asyncio.
        self._transport = cast("asyncio.Transport", transport)
        request = self._websocket.connect()
        for name, value in self._headers.items():
            request.headers[name] = value
        self._websocket.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """From asyncio."""
        websocket = self._websocket
        websocket.receive_data(data)
        for event in websocket.events_received():
            if isinstance(event, Frame):
                self._take(event)
            elif isinstance(event, Response):
                self._greeted()
        self._flush()
        if websocket.close_expected():
            # Nothing can be sent any more, though the other side may take its time to end the connection.
            self._lose(None)
            asyncio.get_running_loop().call_later(_CLOSE_S, self.abort)

    def eof_received(self) -> None:
        """From asyncio, which closes the connection afterwards."""
        self._websocket.receive_eof()
        for event in self._websocket.events_received():
            if isinstance(event, Response):
                # A refusal whose body went on until the end.
                self._greeted()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        """From asyncio."""
        self._transport = None
        if not self._ended.done():
            self._ended.set_result(None)
        if not self._opened.done():
            self._refuse(ConnectFailed(self._reason(error)))
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if self._alive:
            self._alive = False
            self._on_lost(self, self._reason(error))

    def _greeted(self) -> None:
        failure = self._websocket.handshake_exc
        if self._opened.done():
            return
        if failure is None:
            self._alive = True
            self._opened.set_result(None)
        elif isinstance(failure, InvalidStatus):
            response = failure.response
            self._refuse(refusal_of(response.status_code, bytes(response.body or response.reason_phrase.encode())))
        else:
            self._refuse(ConnectFailed(str(failure)))

    def _refuse(self, failure: CallFailed) -> None:
        self._opened.set_exception(failure)
        # Whoever waited may have given up, also while the socket was still connecting: then nobody ever looks.
        self._opened.exception()

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT and frame.fin:
            self._on_message(self, frame.data)
        elif frame.opcode is Opcode.TEXT:
            self._parts = [bytes(frame.data)]
        elif frame.opcode is Opcode.CONT:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                self._on_message(self, b"".join(self._parts))

    def _flush(self) -> None:
        transport = self._transport
        for data in self._websocket.data_to_send():
            if transport is None or transport.is_closing():
                continue
            if data:
                transport.write(data)
            elif transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()

    def _reason(self, error: Exception | None) -> str:
        close = self._websocket.close_rcvd
        if close is not None:
            return f"the hub closed the WebSocket: {int(close.code)} {close.reason}".rstrip()
        failure = self._websocket.parser_exc or self._websocket.handshake_exc or error
        return f"the connection ended: {failure}" if failure else "the connection ended"
