"""The names of shared contexts: the state hub keeps what stands under them, other services take them as arguments."""

import re

MAX_KEY_CHARACTERS = 256
KEY_PATTERN = r"^[A-Za-z0-9._~:@-]+(/[A-Za-z0-9._~:@-]+)*$"
KEY_RULE = (
    f'1 to {MAX_KEY_CHARACTERS} characters: segments of A-Z a-z 0-9 . _ ~ : @ - separated by "/", none empty, '
    'none "." or ".."'
)

_has_pattern = re.compile(KEY_PATTERN).fullmatch


def is_key(text: str) -> bool:
    """Whether `text` may name a context."""
    if len(text) > MAX_KEY_CHARACTERS or _has_pattern(text) is None:
        return False
    framed = f"/{text}/"
    return "/./" not in framed and "/../" not in framed
