"""The protocol revisions that the gateway speaks, and which one a client gets."""

LATEST = "2025-11-25"
REVISIONS = (LATEST, "2025-06-18")
"""Newest first."""


def negotiate(wanted: str | None) -> str:
    """The revision for a client that asks for `wanted`: that one if it is spoken here, else the newest.

    A client that cannot live with the answer disconnects. Source: MCP 2025-11-25, basic/lifecycle, "Version
    Negotiation". A client that names none gets the newest too.
    """
    return wanted if wanted in REVISIONS else LATEST
