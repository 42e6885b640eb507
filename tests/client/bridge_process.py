"""`aicp connect` as a process of a test, with the test as its client; and a hub that does what the test says."""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.support.processes import binary, free_port

PATIENCE_S = 40.0
"""How long a test waits for something that shall happen; far more than it takes."""

_OURS = ("AICP_URL", "AICP_TOKEN")


class Bridge:
    """One `aicp connect`. What it writes to its standard output must be messages, one a line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[str] = []
        """Lines of standard error."""
        self.passed_by: list[dict[str, Any]] = []
        """Notifications and requests that came while something else was waited for."""
        self._answers: dict[Any, dict[str, Any]] = {}
        """Answers that came before they were waited for, by the ids of their requests."""
        self._changed = asyncio.Condition()
        self._next_id = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, *arguments: str, env: dict[str, str] | None = None, **options: Any) -> AsyncIterator[Self]:
        """Start it; at the end it is killed if it still runs."""
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
        process = await asyncio.create_subprocess_exec(
            *(binary("aicp"), "connect", *arguments),
            env={**inherited, **(env or {})},
            limit=64 * 1024 * 1024,
            **{"stdin": -1, "stdout": -1, "stderr": -1, **options},
        )
        bridge = cls(process)
        reader = asyncio.create_task(bridge._read_log())
        try:
            yield bridge
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reader
            if process.stdin is not None:
                process.stdin.close()

    async def _read_log(self) -> None:
        if self.process.stderr is None:
            return
        async for line in self.process.stderr:
            async with self._changed:
                self.log.append(line.decode().rstrip("\n"))
                self._changed.notify_all()

    async def say(self, message: Any) -> None:
        """Write a line: a text as it is, anything else as JSON."""
        assert self.process.stdin is not None
        text = message if isinstance(message, str) else json.dumps(message)
        self.process.stdin.write(text.encode() + b"\n")
        await self.process.stdin.drain()

    async def note(self, method: str, **params: Any) -> None:
        """Send a notification."""
        await self.say({"jsonrpc": "2.0", "method": method, "params": params})

    async def send(self, method: str, **params: Any) -> int:
        """Send a request; its id."""
        self._next_id += 1
        await self.say({"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params})
        return self._next_id

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)
        assert line.endswith(b"\n"), f"the output ended; the bridge said: {self.log}"
        message: dict[str, Any] = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return message

    async def answer_to(self, id: int) -> dict[str, Any]:
        """The answer to a request, also when it came before; what is no answer is put into `passed_by`."""
        while id not in self._answers:
            self._put_by(await self.hear())
        return self._answers.pop(id)

    def _put_by(self, message: dict[str, Any]) -> None:
        if "method" in message or message.get("id") is None:
            self.passed_by.append(message)
        else:
            self._answers[message["id"]] = message

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request; its answer."""
        return await self.answer_to(await self.send(method, **params))

    async def heard(self, method: str) -> dict[str, Any]:
        """The next notification of this method, also among those that have passed by."""
        for message in self.passed_by:
            if message.get("method") == method:
                self.passed_by.remove(message)
                return message
        while (message := await self.hear()).get("method") != method:
            self._put_by(message)
        return message

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; what it returned."""
        answer = await self.ask("tools/call", name=tool, arguments=arguments)
        assert "result" in answer, answer
        assert not answer["result"].get("isError"), answer
        content: dict[str, Any] = answer["result"]["structuredContent"]
        return content

    async def initialize(self, name: str = "test") -> dict[str, Any]:
        """Shake hands; the result."""
        info = {"name": name, "version": "1"}
        answer = await self.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=info)
        await self.note("notifications/initialized")
        result: dict[str, Any] = answer["result"]
        return result

    async def said(self, pattern: str, count: int = 1) -> str:
        """The `count`-th line on standard error that matches; waits for it."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            while True:
                found = [line for line in self.log if re.search(pattern, line)]
                if len(found) >= count:
                    return found[count - 1]
                await self._changed.wait()

    async def end(self) -> int:
        """Close its input; its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.status()

    async def status(self) -> int:
        """Wait until it has ended by itself; its exit status."""
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


class Side:
    """The hub's end of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    @property
    def headers(self) -> Any:
        """Of the request that opened it."""
        assert self.socket.request is not None
        return self.socket.request.headers

    async def came(self) -> dict[str, Any]:
        """The next message."""
        frame = await asyncio.wait_for(self.socket.recv(decode=True), PATIENCE_S)
        message: dict[str, Any] = json.loads(frame)
        return message

    async def tell(self, message: Any) -> None:
        """Send a frame: a text as it is, anything else as JSON."""
        await self.socket.send(message if isinstance(message, str) else json.dumps(message))

    async def answer(self, request: dict[str, Any], result: dict[str, Any] | None = None) -> None:
        await self.tell({"jsonrpc": "2.0", "id": request["id"], "result": result or {}})

    async def inform(self, method: str, **params: Any) -> None:
        await self.tell({"jsonrpc": "2.0", "method": method, "params": params})

    async def close_code(self) -> int | None:
        """Wait until it is closed; the code."""
        await asyncio.wait_for(self.socket.wait_closed(), PATIENCE_S)
        return self.socket.close_code


class HubServer:
    """A WebSocket server on one port that can fall, as when it is killed, and rise again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.refusal: tuple[int, dict[str, str], str] | None = None
        """Status, headers and body that connections are refused with."""
        self.attempts: asyncio.Queue[Request] = asyncio.Queue()
        self._sides: asyncio.Queue[Side] = asyncio.Queue()
        self._open: set[ServerConnection] = set()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/mcp"

    async def rise(self) -> None:
        """Listen."""
        self._server = await serve(
            self._serve,
            *("127.0.0.1", self.port),
            subprotocols=[Subprotocol("mcp")],
            process_request=self._look,
            max_size=None,
            close_timeout=1,
        )

    async def fall(self) -> None:
        """Break all connections without a word, and stop listening."""
        for socket in self._open:
            socket.transport.abort()
        await self._stop()

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def connection(self) -> Side:
        """The next connection."""
        return await asyncio.wait_for(self._sides.get(), PATIENCE_S)

    async def attempt(self) -> Request:
        """The next request for a connection, taken or refused."""
        return await asyncio.wait_for(self.attempts.get(), PATIENCE_S)

    def _look(self, connection: ServerConnection, request: Request) -> Response | None:
        self.attempts.put_nowait(request)
        if self.refusal is None:
            return None
        status, headers, body = self.refusal
        response = connection.respond(HTTPStatus(status), body)
        response.headers.update(headers)
        return response

    async def _serve(self, socket: ServerConnection) -> None:
        self._open.add(socket)
        self._sides.put_nowait(Side(socket))
        await socket.wait_closed()
        self._open.discard(socket)
