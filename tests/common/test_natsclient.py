"""The client of NATS reads what nats-py would read, however the bytes come, and sends in order."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.errors import ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError, ProtocolError
from nats.protocol.parser import Parser

from aicp_common.natsclient import MAX_LINE_BYTES, NatsClient
from tests.support.processes import Backend

_payloads = st.binary(max_size=40) | st.sampled_from([b"", b"\r\n", b"MSG a 1 3\r\nabc\r\n", b"PING\r\n", b"x" * 5000])
_messages = st.builds(
    lambda sid, reply, payload: b"MSG a.b %d %b%d\r\n%b\r\n" % (sid, reply, len(payload), payload),
    st.integers(1, 3),
    st.sampled_from([b"", b"_INBOX.1 "]),
    _payloads,
)
_with_headers = st.builds(
    lambda sid, reply, head, payload: (
        b"HMSG a.b %d %b%d %d\r\n%b%b\r\n" % (sid, reply, len(head), len(head) + len(payload), head, payload)
    ),
    st.integers(1, 3),
    st.sampled_from([b"", b"_INBOX.1 "]),
    st.sampled_from([b"NATS/1.0\r\na: b\r\n\r\n", b"NATS/1.0 503\r\n\r\n"]),
    _payloads,
)
_lines = st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'Slow'\r\n", b'INFO {"server_id":"x"}\r\n'])


class Heard:
    """Takes what a parser hands on."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    async def _process_msg(self, *message: Any) -> None:
        self.said.append((*message[:4], message[4] or b""))

    async def _process_ping(self) -> None:
        self.said.append("ping")

    async def _process_pong(self) -> None:
        self.said.append("pong")

    async def _process_err(self, text: str) -> None:
        self.said.append(text)

    async def _process_info(self, info: Any) -> None:
        self.said.append(info)


@given(st.lists(_messages | _with_headers | _lines, max_size=12), st.lists(st.integers(0, 20_000), max_size=12))
@settings(max_examples=400, deadline=None)
def test_it_hands_on_what_nats_py_hands_on_wherever_the_bytes_are_cut(said: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(said)

    async def both() -> tuple[list[Any], list[Any]]:
        theirs, ours = Heard(), Heard()
        reference, parser = Parser(theirs), NatsClient()._ps
        parser._client = parser.nc = ours  # type: ignore[attr-defined]
        await reference.parse(whole)
        places = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
        for start, end in itertools.pairwise(places):
            await parser.parse(whole[start:end])
        return theirs.said, ours.said

    theirs, ours = asyncio.run(both())
    assert ours == theirs
    assert len(ours) >= len([one for one in said if one.startswith((b"MSG", b"HMSG"))])


@pytest.mark.parametrize("line", [b"\r\n", b"WHAT is this\r\n", b"x" * (MAX_LINE_BYTES + 1)])
async def test_what_no_server_says_ends_the_connection(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        await NatsClient()._ps.parse(line)


async def test_what_is_taken_comes_in_order_and_a_taker_that_fails_hears_on(own_backend: Backend) -> None:
    client, heard, all_there = NatsClient(), list[tuple[str, str, bytes, Any]](), asyncio.Event()

    def take(subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None) -> None:
        heard.append((subject, reply, data, headers))
        if len(heard) == 4:
            all_there.set()
        if data == b"bad":
            raise ValueError("bad")

    await client.connect(own_backend.nats_url, pending_size=10_000)
    await client.take("a.*", take)
    client.send("a.b", b"1", "back")
    client.send("a.c", b"bad")
    client.send("a.d", b"", headers={"x": "no\r\nnew: header"})
    await client.publish("a.e", b"last")
    async with asyncio.timeout(5):
        await all_there.wait()
    assert heard == [
        ("a.b", "back", b"1", None),
        ("a.c", "", b"bad", None),
        ("a.d", "", b"", {"x": "no  new: header"}),
        ("a.e", "", b"last", None),
    ]
    with pytest.raises(MaxPayloadError):
        client.send("a.b", b"x" * (client.max_payload + 1))
    await client.close()
    with pytest.raises(ConnectionClosedError):
        client.send("a.b")


async def test_what_is_sent_while_the_connection_is_away_leaves_when_it_is_back_up_to_a_limit(
    own_backend: Backend,
) -> None:
    client, heard, back, away = NatsClient(), list[bytes](), asyncio.Event(), asyncio.Event()

    async def on_away() -> None:
        away.set()

    def take(subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None) -> None:
        heard.append(data)
        if data == b"later":
            back.set()

    await client.connect(
        own_backend.nats_url,
        pending_size=1_000,
        reconnect_time_wait=0,
        max_reconnect_attempts=-1,
        disconnected_cb=on_away,
    )
    await client.take("a", take)
    own_backend.nats.kill()
    async with asyncio.timeout(10):
        await away.wait()
        client.send("a", b"meanwhile")
        with pytest.raises(OutboundBufferLimitError):
            client.send("a", b"x" * 2_000)
        own_backend.nats.start()
        while not client.is_connected:
            await asyncio.sleep(0.01)
        client.send("a", b"later")
        await back.wait()
    assert heard == [b"meanwhile", b"later"]
    await client.close()
