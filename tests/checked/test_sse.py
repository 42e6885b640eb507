"""Events come out of a stream whole, however it is cut."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.checked.sse import Event, EventReader

STREAM = (
    b": open\n\nevent: message\ndata: {}\n\nid: 7\ndata:\n\nretry: 5\n\n"
    b'data: {"a":\r\ndata: 1}\r\n\r\nevent: song\rdata: la\r\revent: lost\n\ndata: end\n\n'
)
EVENTS = [
    Event("message", b"{}"),
    Event("message", b""),
    Event("message", b'{"a":\n1}'),
    Event("song", b"la"),
    Event("message", b"end"),
]


@settings(deadline=None)
@given(st.lists(st.integers(0, len(STREAM))).map(sorted))
def test_events_come_out_whole_however_a_stream_is_cut(cuts: list[int]) -> None:
    reader = EventReader()
    chunks = [STREAM[start:end] for start, end in zip([0, *cuts], [*cuts, len(STREAM)], strict=True)]
    assert [event for chunk in chunks for event in reader.read(chunk)] == EVENTS
    assert not reader.inside


def test_a_stream_that_ends_within_an_event_is_inside_it() -> None:
    for part in (b"data", b"data: x\n", b"data: x"):
        reader = EventReader()
        assert list(reader.read(part)) == []
        assert reader.inside
    reader = EventReader()
    assert list(reader.read(b"data: x\r\n\r")) == []
    assert list(reader.read(b"\n")) == [Event("message", b"x")]
    assert not reader.inside
