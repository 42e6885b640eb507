"""JSON merge patch against the examples of its RFC and against the RFC's own algorithm."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_statehub.contexts.json_text import checked
from aicp_statehub.contexts.merge_patch import merge_patch

RFC_7396_APPENDIX_A = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc가"), inner, max_size=3),
    max_leaves=12,
)


def rfc_7396_section_2(target: Any, patch: Any) -> Any:
    """The pseudocode of the RFC."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = rfc_7396_section_2(result.get(name), value)
    return result


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396_APPENDIX_A)
def test_the_examples_of_the_rfc(target: str, patch: str, result: str) -> None:
    assert merge_patch(target.encode(), patch.encode()).decode() == result


@given(values, values)
def test_it_does_what_the_pseudocode_of_the_rfc_does(target: Any, patch: Any) -> None:
    merged = merge_patch(json.dumps(target).encode(), json.dumps(patch).encode())
    assert json.loads(merged) == rfc_7396_section_2(target, patch)


@given(values)
def test_a_patch_applied_twice_is_the_same_as_once(patch: Any) -> None:
    text = json.dumps(patch).encode()
    once = merge_patch(None, text)
    assert merge_patch(once, text) == once


def test_what_the_patch_does_not_name_keeps_its_text() -> None:
    target = b'{"big":123456789012345678901234567890,"e":1.10,"o":{"x":[],"y":{}}}'
    assert merge_patch(target, b'{"o":{"z":2.0}}') == target[:-2] + b',"z":2.0}}'


@given(values)
def test_a_checked_text_is_the_same_value(value: Any) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only, indent=1).encode()
        compact = checked(text, "value")
        assert json.loads(compact) == value
        assert checked(compact, "value") == compact
