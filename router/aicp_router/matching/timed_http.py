"""Timed HTTP: requests with one time for all of it, from connecting to the last byte of the answer.

The timeout of `urllib` and `http.client` is one for each read of a socket: a service that sends its answer byte by byte
is never late for it.
"""

import http.client
import io
import socket
import time
import urllib.request
from typing import Any, cast


class TooLong(Exception):
    """The answer is longer than is taken."""


class _Incoming(io.RawIOBase):
    """What comes on a socket, until a moment of the monotonic clock."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock, self._until = sock, until
        # It keeps the socket open after the connection has let go of it.
        self._bytes = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left_s(self._until))
        return self._bytes.readinto(buffer)

    def close(self) -> None:
        self._bytes.close()
        super().close()


class _Readable:
    """The part of a socket that an `HTTPResponse` uses."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock, self._until = sock, until

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._sock, self._until))


class _Connection(http.client.HTTPConnection):
    """One whose `timeout` is for all that is done with it."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._until = time.monotonic() + cast("float", self.timeout)
        self.response_class = self._response  # type: ignore[assignment]  # it is called like a class

    def connect(self) -> None:
        # Each address gets the timeout, and so does the handshake of TLS. Only the resolver takes its own time.
        ways = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        self.timeout = _left_s(self._until) / (len(ways) + 1)
        super().connect()

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(_left_s(self._until))
        super().send(data)

    def _response(self, sock: socket.socket, **more: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(cast("socket.socket", _Readable(sock, self._until)), **more)


class _TlsConnection(_Connection, http.client.HTTPSConnection):
    """The same over TLS."""


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _TlsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, req)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take what the request holds to wherever it points."""

    def redirect_request(self, *_: object) -> None:
        return None


_opener = urllib.request.build_opener(_Handler, _TlsHandler, _NoRedirect)


def fetch(request: urllib.request.Request, *, timeout_s: float, most_bytes: int) -> bytes:
    """The body of the answer to `request`, an HTTP or HTTPS one. Redirects are not followed.

    Args:
        request: What to ask.
        timeout_s: How long all of it may take.
        most_bytes: How long the body may be.

    Raises:
        urllib.error.HTTPError: the answer is an error or a redirect.
        OSError: there is no answer; a `TimeoutError` or, while it connects, a `URLError` for one, when it is late.
        http.client.HTTPException: the answer is no HTTP.
        TooLong: the body is longer.
    """
    with _opener.open(request, timeout=timeout_s) as response:
        body = cast("bytes", response.read(most_bytes + 1))
    if len(body) > most_bytes:
        raise TooLong(f"the answer has more than {most_bytes} bytes")
    return body


def _left_s(until: float) -> float:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s
