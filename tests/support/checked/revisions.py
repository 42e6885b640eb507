"""The revisions of the protocol and the two eras that they fall into."""

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS as HANDSHAKE
from mcp_types.version import LATEST_HANDSHAKE_VERSION as LATEST_HANDSHAKE

STATELESS = "2026-07-28"
"""The revision of the stateless era."""

BATCHES = "2025-03-26"
"""The only revision with batches."""

__all__ = ["BATCHES", "HANDSHAKE", "LATEST_HANDSHAKE", "STATELESS"]
