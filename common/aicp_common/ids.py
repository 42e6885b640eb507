"""Identifiers: what may become a subject token or a part of a Redis key, and how new ones are made."""

import hashlib
import re
import secrets
import time

from aicp_common.errors import InvalidArgument

ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""Tenants, agents, tasks, sessions: everything that stands in a NATS subject."""

RESERVED_AGENTS = frozenset({"gateway", "router", "orchestrator", "statehub", "aicp", "system"})
"""Names under which the hub itself acts. No client may have one."""

_is_id = re.compile(ID_PATTERN).fullmatch
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"


def is_id(text: str) -> bool:
    """Whether `text` may stand in a subject."""
    return _is_id(text) is not None


def require_id(text: str, what: str) -> str:
    """Return `text` unchanged.

    Raises:
        InvalidArgument: it is not an id; the message names `what`, the value and the rule.
    """
    if _is_id(text) is None:
        raise InvalidArgument(
            f"{what} {text[:80]!r} is not a valid name",
            expected="1 to 64 characters: a-z, 0-9, '_' and '-', the first a letter or a digit",
        )
    return text


def new_id(prefix: str) -> str:
    """A new id that sorts by the time it was made: prefix, 9 characters of milliseconds, 10 random ones (50 bits)."""
    stamp = time.time_ns() // 1_000_000
    value = (stamp << 50) | secrets.randbits(50)
    characters = [_BASE32[(value >> shift) & 31] for shift in range(90, -1, -5)]
    return f"{prefix}-{''.join(characters)}"


def id_from_text(text: str) -> str:
    """An id for any text, for people's names, mail addresses and subjects of tokens.

    A text that is an id stays as it is; any other gets a readable stem and a digest of the whole, so that two
    different texts never meet in one id.
    """
    if _is_id(text) is not None:
        return text
    stem = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40]
    return f"{stem or 'id'}-{digest(text)[:12]}"


def digest(text: str) -> str:
    """A 128-bit digest of any text as 32 hexadecimal characters, for subjects and keys. Not a secret."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
