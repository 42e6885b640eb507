"""Messages are understood without being changed."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aicp.connect.message import Message, NotAMessage, encode, key_of, read

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
ids = st.integers(-(10**30), 10**30) | st.text(max_size=40)


def one(text: str) -> Message:
    (message,) = read(text)
    assert isinstance(message, Message), message
    return message


@given(st.text())
def test_any_text_is_read_without_an_exception(text: str) -> None:
    for message in read(text):
        assert isinstance(message, Message | NotAMessage)
        if isinstance(message, NotAMessage):
            json.loads(message.answer())


@given(ids, ids, st.dictionaries(st.text(), values, max_size=4), st.sampled_from([None, 2]), st.booleans())
def test_another_id_is_all_that_changes(
    old: int | str, new: int | str, more: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    body = {**more, "jsonrpc": "2.0", "id": old, "method": "x"}
    text = json.dumps(body, indent=indent, ensure_ascii=ascii_only)
    message = one(text)
    assert "\n" not in message.text
    assert json.loads(message.text) == body
    assert json.loads(message.raw_id) == old
    changed = one(message.with_raw_id(json.dumps(new)))
    assert changed.body == {**body, "id": new}
    assert changed.with_raw_id(message.raw_id) == message.text


def test_an_id_inside_of_params_or_of_a_text_is_left_alone() -> None:
    text = '{"a":{"id":1},"b":"\\"id\\":1","jsonrpc":"2.0","id":1,"method":"x","c":[{"id":1}]}'
    assert one(text).with_raw_id('"z"') == text.replace('"2.0","id":1', '"2.0","id":"z"')


@given(st.lists(st.one_of(values, st.just({"jsonrpc": "2.0", "id": 1, "method": "x"})), min_size=1, max_size=5))
def test_a_batch_is_its_messages(items: list[Any]) -> None:
    texts = [json.dumps(item) for item in items]
    apart = [message for text in texts for message in (read(text) if not text.startswith("[") else [None])]
    together = read(" [ " + " , ".join(texts) + " ] ")
    assert len(apart) == len(together)
    for single, item in zip(apart, together, strict=True):
        if isinstance(single, Message):
            assert isinstance(item, Message)
            assert item.text == single.text
        else:
            assert isinstance(item, NotAMessage)


@given(ids, ids)
def test_two_ids_have_one_key_only_when_they_are_the_same(one_id: int | str, other: int | str) -> None:
    assert (key_of(one_id) == key_of(other)) == (one_id == other and type(one_id) is type(other))


def test_what_json_can_hold_can_be_written() -> None:
    text = encode({"method": "x", "params": {"text": json.loads('"\\ud800\\u2028\\n"')}})
    assert text.isascii()
    assert "\n" not in text
    text.encode()


def test_an_integer_without_end_is_no_message() -> None:
    (message,) = read('{"jsonrpc":"2.0","id":' + "9" * 5000 + ',"method":"x"}')
    assert isinstance(message, NotAMessage)
