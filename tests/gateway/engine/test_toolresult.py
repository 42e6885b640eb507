"""One more text in a tool's result: it comes last, and all else stays."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_gateway.protocol.toolresult import with_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    content=st.lists(JSON, max_size=3),
    rest=st.dictionaries(st.text(), JSON, max_size=3),
    indent=st.sampled_from([None, 2]),
)
def test_the_text_is_the_last_block_and_all_else_stays(
    content: list[Any], rest: dict[str, Any], indent: int | None
) -> None:
    result = {**rest, "content": content, "isError": False}
    written = json.dumps(result, indent=indent).encode()
    told = json.loads(with_text(written, 'inbox: "1" waiting'))
    assert told["content"] == [*content, {"type": "text", "text": 'inbox: "1" waiting'}]
    assert {**told, "content": content} == result
    assert list(told) == list(result)


@pytest.mark.parametrize(
    "result",
    [b"", b"[]", b"{}", b"nonsense", b'{"content":null}', b'{"content":{}}', b'{"a":1,"content":"[]"}', b'{"\xff":1}'],
)
def test_what_has_no_list_of_content_is_passed_on_as_it_is(result: bytes) -> None:
    assert with_text(result, "inbox: 1 waiting") == result
