"""Refusals: HTTP error answers whose body is a JSON-RPC error, under the id of the request that came with it.

The official Python SDK shows its user nothing of an error without the id.
"""

import asyncio

from aicp_common.errors import AicpError
from aicp_gateway.httpexchange import Exchange, Fields, Gone
from aicp_gateway.protocol.jsonrpc import NULL, encode_error, id_of

PEEK_BYTES = 64 * 1024
"""The longest body that is read of somebody who is refused before it."""
PEEK_S = 2.0


async def peek_id(exchange: Exchange) -> bytes:
    """The id of the request in a body that has not been read yet; `null` where there is none to be had cheaply."""
    declared = exchange.facts.headers.get("content-length", "")
    if not declared.isdecimal() or len(declared) > 9 or not 0 < int(declared) <= PEEK_BYTES:
        return NULL
    body = b""
    try:
        async with asyncio.timeout(PEEK_S):
            more = True
            while more:
                data, more = await exchange.read()
                body += data
    except (TimeoutError, Gone):
        return NULL
    return id_of(body)


async def refuse(exchange: Exchange, error: AicpError, fields: Fields = (), id: bytes = NULL) -> None:
    """Answer with an error.

    Args:
        exchange: What is refused.
        error: Why.
        fields: Headers beside those of the body.
        id: Of the request, raw JSON.
    """
    body = encode_error(id, error.jsonrpc_code, str(error), error.as_dict())
    await exchange.respond(error.http_status, body, fields=fields)
