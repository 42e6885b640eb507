"""Standard input and output, line by line.

Both are read and written by threads of their own: files, terminals, pipes and the sockets that Node.js gives its
children all work that way, on every system, and nobody else's descriptor is made non-blocking.
"""

import asyncio
import contextlib
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is thrown away; it is not even looked at for an id to answer under."""

_CHUNK_BYTES = 64 * 1024
_CHUNKS_AHEAD = 4


class TooLong:
    """Stands for a line of more than `MAX_LINE_BYTES`."""


class LineSplitter:
    """Cuts bytes into lines. Pure."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes | TooLong]:
        """The lines that end in `data`, without their line ends."""
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            self._add(end)
            lines.append(self._take())
        self._add(rest)
        return lines

    def end(self) -> list[bytes | TooLong]:
        """What came after the last line end, if anything did."""
        return [self._take()] if self._size else []

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max_bytes:
            self._parts.clear()
        elif part:
            self._parts.append(part)

    def _take(self) -> bytes | TooLong:
        line = TooLong() if self._size > self._max_bytes else b"".join(self._parts).removesuffix(b"\r")
        self._parts.clear()
        self._size = 0
        return line


class LineReader:
    """The lines of a descriptor, for one event loop. Reads only a little ahead of who takes them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._room = threading.Semaphore(_CHUNKS_AHEAD)
        self.ended = asyncio.Event()
        """Set at the end of the input, though its last lines may not be taken yet."""

    async def lines(self) -> AsyncIterator[bytes | TooLong]:
        """Until the end of the input."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="stdin", daemon=True).start()
        splitter = LineSplitter()
        while chunk := await self._chunks.get():
            for line in splitter.feed(chunk):
                yield line
            self._room.release()
            # Many short lines at once shall not keep everything else waiting.
            await asyncio.sleep(0)
        for line in splitter.end():
            yield line

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(OSError, AttributeError):  # Windows has it since Python 3.12
            os.set_blocking(self._descriptor, True)
        chunk = b"?"
        while chunk:
            self._room.acquire()
            try:
                chunk = os.read(self._descriptor, _CHUNK_BYTES)
            except OSError:
                chunk = b""
            _call(loop, self._chunks.put_nowait, chunk)
        _call(loop, self.ended.set)


class LineWriter:
    """Writes lines to a descriptor without making the event loop wait."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._unwritten = 0
        self._changed = asyncio.Event()
        self.closed = asyncio.Event()
        """Set when nobody reads any more."""
        self._guard = threading.Condition()
        """Of the two below, which the loop and the thread share."""
        self._queue: list[bytes] = []
        self._written = 0
        """Bytes that the loop has not heard of yet."""
        threading.Thread(target=self._write, name="stdout", daemon=True).start()
        self._watch()

    def write(self, lines: list[str]) -> None:
        """Write them, in this order, after all that came before."""
        if not lines or self.closed.is_set():
            return
        data = "".join(f"{line}\n" for line in lines).encode()
        self._unwritten += len(data)
        with self._guard:
            self._queue.append(data)
            self._guard.notify()

    async def below(self, size: int) -> None:
        """Wait until at most `size` bytes are unwritten, or nobody reads any more."""
        while self._unwritten > size and not self.closed.is_set():
            self._changed.clear()
            await self._changed.wait()

    def _write(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # Windows has it since Python 3.12
            os.set_blocking(self._descriptor, True)
        try:
            while True:
                data = memoryview(self._next())
                while data:
                    written = os.write(self._descriptor, data[:_CHUNK_BYTES])
                    data = data[written:]
                    self._tell(written)
        except OSError:
            _call(self._loop, self._note_closed)

    def _next(self) -> bytes:
        with self._guard:
            self._guard.wait_for(lambda: self._queue)
            data = b"".join(self._queue)
            self._queue.clear()
            return data

    def _tell(self, written: int) -> None:
        with self._guard:
            # The loop is called once for all that happens until it listens. It must not be called more often: each call
            # puts a byte into a socket, and when that is full, signals do not come through any more.
            unheard = self._written > 0
            self._written += written
        if not unheard:
            _call(self._loop, self._note_written)

    def _note_written(self) -> None:
        with self._guard:
            self._unwritten -= self._written
            self._written = 0
        self._changed.set()

    def _note_closed(self) -> None:
        self.closed.set()
        self._changed.set()

    def _watch(self) -> None:
        """Notice a reader that goes while there is nothing to write: the end of a pipe becomes readable then."""
        with contextlib.suppress(OSError, NotImplementedError):
            if stat.S_ISFIFO(os.fstat(self._descriptor).st_mode):
                self._loop.add_reader(self._descriptor, self._reader_went)

    def _reader_went(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._note_closed()


def _call(loop: asyncio.AbstractEventLoop, what: Callable[..., None], *arguments: bytes) -> None:
    """From a thread. When the loop has ended, so has everything else."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(what, *arguments)
