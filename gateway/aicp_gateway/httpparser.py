"""HTTP/1.1 for the gateway: uvicorn's, which must not stumble over clients that offer HTTP/2 in passing."""

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_OFFERS_HTTP2 = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)
_METHODS = (b"POST ", b"GET ", b"DELETE ", b"HEAD ", b"PUT ", b"OPTIONS ")


class HttpProtocol(HttpToolsProtocol):
    """Ignores `Upgrade: h2c`, which Java's HTTP client sends with each first request over plain HTTP.

    A server ignores an upgrade that it does not know (RFC 9110, section 7.8); httptools stops parsing there instead,
    and the body is lost.
    """

    def data_received(self, data: bytes) -> None:
        """Bytes from the socket."""
        if data.startswith(_METHODS):
            head, blank, body = data.partition(b"\r\n\r\n")
            data = _OFFERS_HTTP2.sub(b"", head) + blank + body
        super().data_received(data)
