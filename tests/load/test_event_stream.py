"""Server-sent events, however the network cuts them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.event_stream import EventStream
from tests.load.failure import BadAnswer

STREAM = (
    b"\xef\xbb\xbf: a comment\r\n"
    b'id: 1\r\ndata: {"a":\r\ndata: 1}\r\n\r\n'
    b"event: message\rdata:two\r\r"
    b"id: 3\ndata:\n\n"
    b"retry: 10\n\n"
    b"data:  three \nother: x\ndata\n\n"
    b"data: never ended"
)
EVENTS = [b'{"a":\n1}', b"two", b" three \n"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_do_not_depend_on_how_the_stream_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    stream = EventStream(1000)
    parts = [STREAM[begin:end] for begin, end in itertools.pairwise(places)]
    assert [event for part in parts for event in stream.feed(part)] == EVENTS


def test_one_byte_after_the_other() -> None:
    stream = EventStream(1000)
    assert [event for number in range(len(STREAM)) for event in stream.feed(STREAM[number : number + 1])] == EVENTS


@pytest.mark.parametrize("data", [b"data: " + b"x" * 200, b"data: xxxxxxxxxx\n" * 20])
def test_an_event_without_end_is_refused(data: bytes) -> None:
    with pytest.raises(BadAnswer, match="longer than 100 bytes"):
        EventStream(100).feed(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_stream(data: bytes) -> None:
    for event in EventStream(1000).feed(data):
        assert event
