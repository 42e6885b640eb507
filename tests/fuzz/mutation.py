"""Mutations that keep what they change JSON: a byte changed at random mostly only breaks a message."""

import base64
import json
from random import Random
from typing import Any

from tests.fuzz.play import SEPARATOR
from tests.fuzz.seeds import heads, keys, plays, texts

_NUMBERS = [0, 1, -1, 2, 42, 0.5, 1e300, 2**31, 2**53, 2**63, 2**64, 10**40]
_PARTS = [part for play in plays() if len(play) < 2000 for part in play.split(SEPARATOR)]
_KEYS = keys()
_TEXTS = texts()
_HEADS = heads()


def mutate(data: bytes, max_size: int, seed: int) -> bytes | None:
    """A play that is a little different; None: it has nothing that could be changed this way.

    Args:
        data: The play.
        max_size: The bytes that the new one may have.
        seed: Decides what is changed.
    """
    random = Random(seed)
    parts = data.split(SEPARATOR)
    place = random.randrange(len(parts))
    match random.randrange(10):
        case 0:
            parts.insert(place, random.choice(_PARTS))
        case 1:
            parts.insert(place, random.choice(parts))
        case 2 if len(parts) > 1:
            del parts[place]
        case 3:
            parts[place] = _head(random) + b"\n" + parts[place]
        case 4:
            other = random.randrange(len(parts))
            parts[place], parts[other] = parts[other], parts[place]
        case _:
            changed = _change_part(parts[place], random)
            if changed is None:
                return None
            parts[place] = changed
    mutated = SEPARATOR.join(parts)
    return mutated if len(mutated) <= max_size else None


def _head(random: Random) -> bytes:
    """A line with a header, or the sign for the right ones."""
    text = random.choice(["eu", "42", "42.0", "true", "b", *_TEXTS])
    encoded = base64.b64encode(text.encode()).decode()
    value = random.choice([text, text, f"=?base64?{encoded}?=", f"=?base64?{encoded}", f"=?base64?{text}?="])
    return random.choice([b"@", f"@{random.choice(_HEADS)}: {value}".encode()])


def _change_part(part: bytes, random: Random) -> bytes | None:
    start = min((place for place in (part.find(b"{"), part.find(b"[")) if place >= 0), default=-1)
    if start < 0:
        return None
    try:
        tree = json.loads(part[start:])
    except (ValueError, RecursionError):
        return None
    for _ in range(random.randint(1, 3)):
        tree = _change(tree, random)
    try:
        return part[:start] + json.dumps(tree, separators=(",", ":"), ensure_ascii=random.random() < 0.5).encode()
    except (ValueError, RecursionError):
        return None


def _change(tree: Any, random: Random) -> Any:
    """Change one place of a tree."""
    places = _places(tree)
    holder, key = random.choice(places)
    if holder is None:
        return _value(random, places)
    match random.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[random.choice(_KEYS)] = holder.pop(key)
        case 2 if isinstance(holder, dict):
            holder[random.choice(_KEYS)] = _value(random, places)
        case 3 if isinstance(holder, list):
            holder.insert(key, _value(random, places))
        case _:
            holder[key] = _value(random, places)
    return tree


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Each place of a tree: what holds it, and under which key; the root is held by None."""
    found: list[tuple[Any, Any]] = [(None, None)]
    waiting = [tree]
    while waiting:
        holder = waiting.pop()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, value in items:
            found.append((holder, key))
            waiting.append(value)
    return found


def _value(random: Random, places: list[tuple[Any, Any]]) -> Any:
    match random.randrange(8):
        case 0:
            return random.choice([None, True, False, {}, [], ""])
        case 1:
            return random.choice(_NUMBERS)
        case 2 | 3 | 4:
            return random.choice(_TEXTS)
        case 5:
            return random.choice(_KEYS)
        case 6:
            return {random.choice(_KEYS): random.choice(_TEXTS)}
    holder, key = random.choice(places)
    # A copy: what holds itself would be no JSON.
    return json.loads(json.dumps(holder[key])) if holder is not None else {}
