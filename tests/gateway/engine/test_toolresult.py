"""A tool's result: whether it tells of an error; and one more text, which comes last, while all else stays."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_common.errors import Conflict, tool_result_of
from aicp_common.tool import Result, encode_result
from aicp_gateway.protocol.toolresult import is_error, with_text

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


@given(
    rest=st.dictionaries(st.text() | st.just("isError"), JSON, max_size=3),
    says=st.booleans(),
    indent=st.sampled_from([None, 2]),
    first=st.booleans(),
)
def test_whether_a_tool_failed_is_what_its_result_says_and_nothing_within_it(
    rest: dict[str, Any], says: bool, indent: int | None, first: bool
) -> None:
    inner = {"content": [], "structuredContent": rest}
    result = {"isError": says, **inner} if first else {**inner, "isError": says}
    separators = (",", ":") if indent is None else None
    assert is_error(json.dumps(result, indent=indent, separators=separators).encode()) == says
    assert not is_error(json.dumps(inner, indent=indent, separators=separators).encode())


def test_errors_and_results_of_the_hub_are_told_apart() -> None:
    class Said(Result):
        isError: bool  # noqa: N815 - the word itself, where it means nothing

    assert is_error(tool_result_of(Conflict("no")))
    assert not is_error(encode_result(Said(isError=True)))


@pytest.mark.parametrize(
    "result", [b"", b"[]", b'{"isError":1}', b'"isError"', b'{"isError":true', b'{"isError":"\xff"}']
)
def test_what_cannot_be_read_tells_of_no_error(result: bytes) -> None:
    assert not is_error(result)
