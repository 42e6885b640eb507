"""Who is named in a text: `@bob`. Pure functions."""

import re

_NAMED = re.compile(r"(?<![\w.@/-])@([a-z0-9][a-z0-9_-]{0,63})(?![\w@/-]|\.\w)", re.IGNORECASE | re.ASCII)


def named_in(text: str, most: int) -> tuple[str, ...]:
    """The names after `@` in a text, each once and in its order, at most `most`.

    Not those in addresses, such as `bob@carol.example` or `@carol.example`.
    """
    return tuple(dict.fromkeys(name.lower() for name in _NAMED.findall(text)))[: max(0, most)]
