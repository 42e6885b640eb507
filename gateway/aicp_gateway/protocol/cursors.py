"""Cursors: where a client is in a list that has several pages.

A cursor holds the name that the page before ended with, so it stays right when the list changes meanwhile. Clients
must not look into it. Source: MCP 2025-11-25, server/utilities/pagination.
"""

import base64
import binascii


def encode_cursor(method: str, last: str) -> str:
    """The cursor after the entry `last` of the list that `method` gives."""
    return base64.urlsafe_b64encode(f"{method}\0{last}".encode()).decode().rstrip("=")


def decode_cursor(method: str, cursor: str) -> str:
    """The entry that the page before ended with.

    Raises:
        ValueError: the cursor was not given out, or for another list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        given, separator, last = base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition("\0")
    except (binascii.Error, UnicodeError):
        raise ValueError("it was not given out here") from None
    if not separator or given != method:
        raise ValueError("it was not given out for this list")
    return last
