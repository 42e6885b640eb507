"""The protocol revisions that the gateway speaks, of both eras."""

STATELESS = "2026-07-28"
"""Each request says for itself what it is: MCP 2026-07-28, basic/versioning, "Terminology" (there: modern)."""
HANDSHAKE = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""A conversation begins with `initialize`. Newest first."""
SUPPORTED = (STATELESS, *HANDSHAKE)
BATCHES = "2025-03-26"
"""The one revision that has JSON-RPC batches."""


def negotiate(wanted: str | None) -> str:
    """The revision for a client that says `initialize` and asks for `wanted`: that one, else the newest that has it.

    A client that cannot live with the answer disconnects. Source: MCP 2025-11-25, basic/lifecycle, "Version
    Negotiation". A client that names none gets the newest too.
    """
    return wanted if wanted in HANDSHAKE else HANDSHAKE[0]


def primes_streams(revision: str) -> bool:
    """Whether event streams begin with an event without data, so that a client can come back from the start.

    Source: MCP 2025-11-25, basic/transports, "Sending Messages to the Server"; older clients take it for a fault.
    """
    return revision >= "2025-11-25"


def resumes_streams(revision: str) -> bool:
    """Whether a client may come back to an event stream with `Last-Event-ID`."""
    return "2025-03-26" <= revision < STATELESS
