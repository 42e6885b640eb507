"""`aicp connect`: from options and environment to a running bridge."""

import asyncio
import contextlib
import os
import select
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aicp.connect.bridge import Bridge
from aicp.connect.endpoint import Endpoint
from aicp.connect.exceptions import ConnectError
from aicp.connect.relay import Relay

_STDIN, _STDOUT = 0, 1


@dataclass(frozen=True)
class ConnectOptions:
    """The command line of `aicp connect`."""

    url: str
    agent: str = ""
    token: str = ""
    token_file: Path | None = None
    channel: bool | None = None


def run_connect(options: ConnectOptions) -> int:
    """Be the bridge until the client goes; returns the exit status of the command: 0 when the client went or a signal
    came, otherwise that of the `ConnectError`."""
    try:
        asyncio.run(_run(options, os.environ))
    except ConnectError as error:
        _say(str(error))
        return error.exit_status
    except KeyboardInterrupt:  # where the event loop has no handlers of signals
        return 0
    return 0


async def _run(options: ConnectOptions, environment: Mapping[str, str]) -> None:
    if options.token and options.token_file:
        raise ConnectError("--token and --token-file are both given; one is enough")
    token = options.token or ("" if options.token_file else environment.get("AICP_TOKEN", ""))
    endpoint = Endpoint.of(options.url, agent=options.agent, token=token, token_file=options.token_file)
    if endpoint.exposes_token:
        _say(f"the token travels unencrypted to {endpoint.shown}; use wss:// if the hub has it")
    if os.isatty(_STDIN):
        _say("this speaks MCP on standard input and output: a client starts it, see docs/connect.md")
    relay = Relay(channel=options.channel)
    await Bridge(endpoint, relay, source=_STDIN, sink=_STDOUT, say=_say).run()


def _say(line: str) -> None:
    # Some clients never read what their servers say here; nothing may wait for that.
    with contextlib.suppress(OSError, ValueError):
        if os.name != "posix" or select.select([], [sys.stderr], [], 0)[1]:
            print(f"aicp connect: {line}", file=sys.stderr, flush=True)
