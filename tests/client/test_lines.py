"""Standard input and output, line by line."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp.connect.lines import LineReader, LineSplitter, LineWriter, TooLong

MAX_BYTES = 8


@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"a", b"\n").replace(b"b", b"\r"))))
def test_lines_are_the_same_however_the_bytes_come(chunks: list[bytes]) -> None:
    splitter = LineSplitter(MAX_BYTES)
    seen = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.end()
    *ended, rest = b"".join(chunks).split(b"\n")
    expected = [*ended, *([rest] if rest else [])]
    assert len(seen) == len(expected)
    for line, whole in zip(seen, expected, strict=True):
        if len(whole) > MAX_BYTES:
            assert isinstance(line, TooLong)
        else:
            assert line == whole.removesuffix(b"\r")


def test_a_line_that_is_too_long_is_not_kept() -> None:
    splitter = LineSplitter(MAX_BYTES)
    for _ in range(1000):
        assert splitter.feed(b"x" * 1000) == []
    assert not splitter._parts
    (line, after) = splitter.feed(b"\nnext\n")
    assert isinstance(line, TooLong)
    assert after == b"next"


@pytest.fixture
async def pipe() -> AsyncIterator[tuple[int, int]]:
    """A pipe; what the test closes is its own affair."""
    read, write = os.pipe()
    yield read, write
    for descriptor in (read, write):
        try:
            os.close(descriptor)
        except OSError:
            continue


async def test_lines_are_read_until_the_end(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.write(write, b"one\ntwo\nthr")
    os.close(write)
    reader = LineReader(read)
    async with asyncio.timeout(10):
        assert [line async for line in reader.lines()] == [b"one", b"two", b"thr"]
        await reader.ended.wait()


async def test_what_is_read_ahead_is_bounded(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.set_blocking(write, False)
    reader = LineReader(read)
    lines = reader.lines()
    os.write(write, b"first\n")
    assert await anext(lines) == b"first"
    writer = await _fill(write)
    assert writer < 2 * 1024 * 1024
    os.set_blocking(read, True)


async def _fill(write: int) -> int:
    """Write until nobody takes more; how much went in."""
    loop = asyncio.get_running_loop()
    written = 0
    while True:
        writable = asyncio.Event()
        loop.add_writer(write, writable.set)
        try:
            await asyncio.wait_for(writable.wait(), 1)
            written += os.write(write, b"x\n" * 1000)
        except TimeoutError:
            return written
        finally:
            loop.remove_writer(write)


async def test_lines_are_written_in_order_and_waited_for(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write)
    lines = [f"{number} {'x' * 1000}" for number in range(1000)]
    for line in lines:
        writer.write([line])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(writer.below(100_000), 0.2)
    with os.fdopen(os.dup(read), "rb") as output:
        for line in lines:
            assert await asyncio.to_thread(output.readline) == line.encode() + b"\n"
    await asyncio.wait_for(writer.below(0), 10)


async def test_a_signal_comes_through_however_much_was_written_meanwhile(pipe: tuple[int, int]) -> None:
    read, write = pipe
    came = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, came.set)
    writer = LineWriter(write)
    with os.fdopen(os.dup(read), "rb") as output:
        # The loop does not get a turn here, while its thread writes line after line.
        for number in range(2000):
            writer.write([str(number)])
            assert output.readline() == f"{number}\n".encode()
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(came.wait(), 10)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
    await asyncio.wait_for(writer.below(0), 10)


async def test_a_reader_that_goes_is_noticed_without_a_write(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write)
    os.close(read)
    await asyncio.wait_for(writer.closed.wait(), 10)
    writer.write(["nobody reads this"])
    await asyncio.wait_for(writer.below(0), 10)
