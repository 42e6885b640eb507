"""Refusals: HTTP error answers whose body is a JSON-RPC error, under the id of the request that came with it.

The official Python SDK shows its user nothing of an error without the id.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aicp_common.admin import respond
from aicp_common.errors import AicpError
from aicp_gateway.protocol.jsonrpc import NULL, encode_error, id_of

JSON = "application/json"

PEEK_BYTES = 64 * 1024
"""The longest body that is read of somebody who is refused before it."""
PEEK_S = 2.0

AsgiSend = Callable[[dict[str, Any]], Awaitable[None]]
AsgiReceive = Callable[[], Awaitable[dict[str, Any]]]


async def peek_id(headers: Mapping[str, str], receive: AsgiReceive) -> bytes:
    """The id of the request in a body that has not been read yet; `null` where there is none to be had cheaply."""
    declared = headers.get("content-length", "")
    if not declared.isdecimal() or len(declared) > 9 or not 0 < int(declared) <= PEEK_BYTES:
        return NULL
    chunks = []
    try:
        async with asyncio.timeout(PEEK_S):
            more = True
            while more:
                event = await receive()
                if event["type"] != "http.request":
                    return NULL
                chunks.append(event.get("body", b""))
                more = event.get("more_body", False)
    except TimeoutError:
        return NULL
    return id_of(b"".join(chunks))


async def refuse(
    send: AsgiSend, error: AicpError, headers: list[tuple[bytes, bytes]] | None = None, id: bytes = NULL
) -> None:
    """Answer with an error.

    Args:
        send: ASGI.
        error: Why.
        headers: Beside those of the body.
        id: Of the request, raw JSON.
    """
    body = encode_error(id, error.jsonrpc_code, str(error), error.as_dict())
    await respond(send, error.http_status, body, JSON, headers)
