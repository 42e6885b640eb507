"""The names of contexts: which are allowed, and how they stand in a URI."""

import re
from urllib.parse import quote, unquote_to_bytes

from aicp_common import subjects
from aicp_common.context_keys import KEY_RULE, MAX_KEY_CHARACTERS, is_key
from aicp_common.errors import InvalidArgument, NotFound
from aicp_common.ids import digest

PREFIX_RULE = f"the beginning of a key: at most {MAX_KEY_CHARACTERS} characters of A-Z a-z 0-9 . _ ~ : @ - /"

CONTEXT_URI = "aicp://context/"

_is_prefix = re.compile(r"[A-Za-z0-9._~:@/-]*").fullmatch


def is_prefix(text: str) -> bool:
    """Whether some key could begin with `text`, as far as its characters say."""
    return len(text) <= MAX_KEY_CHARACTERS and _is_prefix(text) is not None


def is_folder(text: str) -> bool:
    """Whether `text` is the beginning of keys up to a slash, that slash included."""
    return text[-1:] == "/" and is_key(text[:-1])


def folders_of(key: str) -> list[str]:
    """The folders in which a key lies, the outermost first: of `a/b/c` these are `a/` and `a/b/`."""
    return [key[: at + 1] for at, character in enumerate(key) if character == "/"]


def signal(tenant: str, key: str) -> str:
    """The subject on which waiting readers learn that a context has changed."""
    return subjects.context(tenant, digest(key))


def any_signal(tenant: str) -> str:
    """The same for any context of the tenant, within a process: no message has this subject."""
    return subjects.context(tenant, "any")


def uri_of(key: str) -> str:
    """The resource URI of a context."""
    return CONTEXT_URI + escaped(key)


def escaped(key: str) -> str:
    """A key as it stands in a URI."""
    return quote(key, safe="/~:@")


def name_of(uri: str) -> str:
    """The key in a resource URI, percent-encoded or plain, or the folder: that ends in a slash.

    Raises:
        NotFound: the URI is none of a context.
        InvalidArgument: what stands in it cannot be a key.
    """
    if not uri.startswith(CONTEXT_URI):
        raise NotFound(
            f"uri: there is no resource {uri[:300]!r}", expected=f"{CONTEXT_URI}{{key}} or aicp://shared-state"
        )
    try:
        key = unquote_to_bytes(uri[len(CONTEXT_URI) :]).decode()
    except UnicodeDecodeError:
        key = ""
    if not is_key(key) and not is_folder(key):
        raise InvalidArgument(f"uri: the key in {uri[:300]!r} is not valid", expected=KEY_RULE)
    return key
