"""JSON merge patch, on texts: what the patch does not name keeps its exact text.

Source: RFC 7396, section 2.
"""

import msgspec

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def merge_patch(target: bytes | None, patch: bytes) -> bytes:
    """The text of `target` as `patch` changes it.

    Args:
        target: A JSON value; None where there is none yet.
        patch: A JSON value. An object changes the members that it names, and null removes one; anything else
            replaces the whole.
    """
    if not _is_object(patch):
        return patch
    members = _decode(target) if target is not None and _is_object(target) else {}
    for name, change in _decode(patch).items():
        text = bytes(change)
        if text.strip() == b"null":
            members.pop(name, None)
        else:
            old = members.get(name)
            members[name] = msgspec.Raw(merge_patch(None if old is None else bytes(old), text))
    return _encode(members)


def _is_object(text: bytes) -> bool:
    return text.lstrip()[:1] == b"{"
