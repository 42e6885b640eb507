"""The judge lets good plays pass, and notices an engine that does wrong."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from aicp_gateway.protocol.actions import Action, Send
from aicp_gateway.protocol.engine import Conversation
from aicp_gateway.protocol.jsonrpc import encode_result
from aicp_gateway.protocol.stateless import Stateless
from tests.fuzz.engine import again
from tests.fuzz.judge import judge
from tests.fuzz.play import MAX_STEPS, SEPARATOR, Open, Reply, Say, Serve, read
from tests.fuzz.seeds import plays, words

CALL = b'=2025-11-25\n%\n{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}'
PING = b'=2025-11-25\n%\n{"jsonrpc":"2.0","id":1,"method":"ping"}'

Receive = Callable[[Conversation, bytes, int, Mapping[str, str] | None], list[Action]]


def test_every_play_to_begin_with_goes_well() -> None:
    for play in plays():
        judge(play)


def test_any_bytes_are_a_play() -> None:
    assert read(b"") == [Say(b"")]
    assert read(SEPARATOR) == [Say(b""), Say(b"")]
    assert len(read(SEPARATOR * 1000)) == MAX_STEPS
    assert read(b"=x\n%\n<complete {}\n%\n>{}\n%\n@\n@A: b \n@c\n{}") == [
        Open("x"),
        Serve("complete", b"{}"),
        Reply(b"{}"),
        Say(b"{}", {"a": "b"}, right_headers=True),
    ]


def test_words_are_told_apart() -> None:
    assert len(set(words())) == len(words())


def test_plays_can_be_played_again_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(PING)
    (tmp_path / "b").write_bytes(b"\xff")
    paths = sorted(tmp_path.iterdir())
    assert again(paths)
    break_receive(monkeypatch, lambda *_: [])
    assert not again(paths)


def break_receive(monkeypatch: pytest.MonkeyPatch, receive: Receive) -> None:
    """Let the engine take messages in another way, once the client has said `initialize`."""
    right = Conversation.receive

    def broken(self: Conversation, data: bytes, limit: int, headers: Mapping[str, str] | None = None) -> list[Action]:
        return receive(self, data, limit, headers) if self.agreed.revision else right(self, data, limit, headers)

    monkeypatch.setattr(Conversation, "receive", broken)


@pytest.mark.parametrize(
    "actions",
    [
        [],
        [Send(b'{"jsonrpc":"2.0","id":1,"result":{}}')] * 2,
        [Send(b'{"jsonrpc":"2.0","id":2,"result":{}}')],
        [Send(b'{"jsonrpc":"2.0","result":{}}')],
        [Send(b'{"jsonrpc":"2.0","id":1,"result":[]}')],
        [Send(b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"m"}}')],
        [Send(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"m"}}')],
        [Send(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"m"}}', 200)],
        [Send(b'{"jsonrpc":"2.0","id":1,"result":{}}', 404)],
        [Send(b'{"id":1,"result":{}}')],
        [Send(b'{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}')],
        [Send(b'{"jsonrpc":"2.0","id":1,"result":{"a":NaN}}')],
        [Send(b'{"jsonrpc":"2.0","id":1,"result":{}}\n')],
        [Send(b'{"jsonrpc":"2.0","id":1,"result":{"a":"\xff"}}')],
        [Send(b"[]")],
    ],
)
def test_a_wrong_answer_is_noticed(monkeypatch: pytest.MonkeyPatch, actions: list[Action]) -> None:
    judge(PING)
    break_receive(monkeypatch, lambda *_: actions)
    with pytest.raises((AssertionError, ValueError, KeyError)):
        judge(PING)


def test_an_exception_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> list[Action]:
        raise LookupError

    break_receive(monkeypatch, fail)
    with pytest.raises(LookupError):
        judge(PING)


def test_a_request_that_stays_in_flight_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    judge(CALL)
    monkeypatch.setattr(Conversation, "finish", lambda *_: None)
    with pytest.raises(AssertionError):
        judge(CALL)


def test_a_result_that_says_less_than_its_era_wants_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    [play] = [play for play in plays() if b"<task " in play]
    judge(play)
    monkeypatch.setattr(Stateless, "encode", lambda _, id, result, hints=b"": encode_result(id, result))
    with pytest.raises((AssertionError, KeyError)):
        judge(play)


def play_that_is(counted: bool) -> bytes:
    """A play whose memory is counted, or whose time is taken."""
    return next(
        play
        for play in (PING[:-1] + b',"params":{"n":%d}}' % number for number in range(100))
        if (crc32(play) % 8 == 0) == counted
    )


def test_an_answer_that_takes_too_long_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def dawdle(*_: Any) -> list[Action]:
        sum(range(30_000_000))
        return [Send(b'{"jsonrpc":"2.0","id":1,"result":{}}')]

    break_receive(monkeypatch, dawdle)
    with pytest.raises(AssertionError, match=" s for "):
        judge(play_that_is(counted=False))


def test_an_answer_that_takes_too_much_memory_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def hoard(*_: Any) -> list[Action]:
        assert len(bytearray(1024 * 1024))
        return [Send(b'{"jsonrpc":"2.0","id":1,"result":{}}')]

    break_receive(monkeypatch, hoard)
    with pytest.raises(AssertionError, match="bytes of memory"):
        judge(play_that_is(counted=True))
