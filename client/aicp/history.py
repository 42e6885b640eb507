"""`aicp history`: what happened to a task, a context or around an agent, from a hub's archive."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aicp.connect.endpoint import Endpoint
from aicp.connect.exceptions import ConnectError
from aicp.toolcall import NoSuchTool, ToolError, tool_caller

TOOL = "get_history"
PAGE = 100
"""The most that a hub returns at once."""
_SHOWN_VALUE_CHARACTERS = 200
_PLAIN_WIDTH = 1000
"""Where the table goes into a file or another program: lines are not to be cut or broken."""

Entry = dict[str, Any]


@dataclass(frozen=True)
class HistoryOptions:
    """The command line of `aicp history`."""

    question: Literal["task_id", "context_key", "agent"]
    name: str
    url: str
    agent: str = ""
    token: str = ""
    token_file: Path | None = None
    as_json: bool = False
    limit: int = 50
    version: int | None = None
    with_values: bool = False


def run_history(options: HistoryOptions) -> int:
    """Print a history; returns the exit status of the command: 1 when there is none to be had."""
    try:
        history = asyncio.run(_read(options, os.environ))
    except NoSuchTool:
        return _complain(
            "this hub has no archive for you: its operator switches one on with POSTGRES_URL (docs/archive.md), and a"
            " token needs the scope history:read"
        )
    except ToolError as error:
        return _complain(str(error))
    except ConnectError as error:
        _complain(str(error))
        return error.exit_status
    if options.as_json:
        print(json.dumps(history, indent=2))
    elif not history["entries"]:
        version = f"version {options.version} of " if options.version is not None else ""
        print(f"nothing of {version}{options.name!r} is archived that you may read")
    else:
        _print_table(history["entries"], options)
        if "next_cursor" in history:
            print(f"There are older ones; --limit {options.limit * 2} shows more.")
    return 0


async def _read(options: HistoryOptions, environment: Mapping[str, str]) -> dict[str, Any]:
    if options.token and options.token_file:
        raise ConnectError("--token and --token-file are both given; one is enough")
    token = options.token or ("" if options.token_file else environment.get("AICP_TOKEN", ""))
    endpoint = Endpoint.of(options.url, agent=options.agent, token=token, token_file=options.token_file)
    if endpoint.exposes_token:
        _complain(f"the token travels unencrypted to {endpoint.shown}; use wss:// if the hub has it")
    arguments: dict[str, Any] = {options.question: options.name}
    if options.version is not None:
        arguments["version"] = options.version
    if options.with_values:
        arguments["with_values"] = True
    entries: list[Entry] = []
    async with tool_caller(endpoint) as caller:
        while True:
            page = await caller.call(TOOL, {**arguments, "limit": min(PAGE, options.limit - len(entries))})
            entries += page["entries"]
            if "next_cursor" not in page:
                return {"entries": entries}
            if len(entries) >= options.limit:
                return {"entries": entries, "next_cursor": page["next_cursor"]}
            arguments["cursor"] = page["next_cursor"]


def _print_table(entries: Sequence[Entry], options: HistoryOptions) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    rows = [_cells(entry) for entry in entries]
    # A column in which nothing stands tells nothing, and what was asked for is known.
    columns = [name for name in rows[0] if name != _OWN[options.question] and any(row[name] for row in rows)]
    for column in columns:
        table.add_column(column, no_wrap=column == "time")
    for row in rows:
        table.add_row(*(Text(_printable(row[column])) for column in columns))
    console.print(table)
    if options.version is not None:
        for entry in entries:
            if "value" in entry:
                text = json.dumps(entry["value"], ensure_ascii=False, indent=2)
                print("\n".join(_printable(line) for line in text.split("\n")))


_OWN = {"task_id": "task", "context_key": "context", "agent": ""}


def _cells(entry: Entry) -> dict[str, str]:
    """What stands in the columns of the table, by their heads."""
    state = entry.get("state", "")
    if "attempt" in entry:
        state += f" (attempt {entry['attempt']})"
    return {
        "time": entry["at"],
        "what": f"{entry['entity']} {entry['what']}",
        "task": entry.get("task_id", ""),
        "context": entry.get("context_key", ""),
        "other": entry.get("id", ""),
        "version": str(entry.get("version", "")),
        "agent": entry.get("agent", ""),
        "requester": entry.get("requester", ""),
        "state": state.strip(),
        "readers": ", ".join(entry.get("readers", ())),
        "details": _details(entry),
        "value": _shortened(entry["value"]) if "value" in entry else "",
    }


def _details(entry: Entry) -> str:
    details = [f"{name}={_shortened(value)}" for name, value in entry.get("details", {}).items()]
    return " ".join((["earlier values forgotten"] if entry.get("forgotten") else []) + details)


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_VALUE_CHARACTERS else text[:_SHOWN_VALUE_CHARACTERS] + "…"


def _printable(text: str) -> str:
    """What others wrote may hold what a terminal takes for orders."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _complain(line: str) -> int:
    print(f"aicp history: {line}", file=sys.stderr)
    return 1
