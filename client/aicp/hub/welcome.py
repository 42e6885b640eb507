"""What a user reads when the hub is ready: where it is, how to connect, how to stop it."""

import json
import shlex
from pathlib import Path

_LOCAL = {"127.0.0.1", "localhost", "::1", "0.0.0.0", "::", ""}  # noqa: S104 - compared with, not bound
"""Bound to one of these, the hub is reached as `localhost` from this machine."""
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def url_host(host: str) -> str:
    """How a client on this machine names the address that the hub is bound to."""
    if host in _LOCAL:
        return "localhost"
    return f"[{host}]" if ":" in host else host


def client_urls(host: str, port: int, http_port: int) -> dict[str, str]:
    """The two endpoints: `websocket` and `http`."""
    name = url_host(host)
    return {"websocket": f"ws://{name}:{port}/mcp", "http": f"http://{name}:{http_port}/mcp"}


def claude_code_snippet(http_url: str, *, with_token: bool) -> str:
    """A shell command."""
    if with_token:
        return f'claude mcp add --transport http aicp "{http_url}" --header "Authorization: Bearer $AICP_TOKEN"'
    return f'claude mcp add --transport http aicp "{http_url}?agent=alice"'


def vs_code_snippet(http_url: str, *, with_token: bool) -> str:
    """The file .vscode/mcp.json. VS Code asks for the token once and keeps it."""
    if not with_token:
        return _json({"servers": {"aicp": {"type": "http", "url": f"{http_url}?agent=bob"}}})
    return _json(
        {
            "inputs": [{"id": "aicp_token", "type": "promptString", "description": "AICP token", "password": True}],
            "servers": {
                "aicp": {
                    "type": "http",
                    "url": http_url,
                    "headers": {"Authorization": "Bearer ${input:aicp_token}"},
                }
            },
        }
    )


def claude_desktop_snippet(websocket_url: str, python: str, *, with_token: bool) -> str:
    """The file claude_desktop_config.json, in which no variables are expanded.

    Claude Desktop starts local stdio servers only, and its connectors need a public https URL; so `aicp connect`
    stands between.

    Args:
        websocket_url: the WebSocket endpoint.
        python: the interpreter that has this package.
        with_token: a token has to be put in.
    """
    args = ["-m", "aicp", "connect", "--url", websocket_url]
    if with_token:
        return _json(
            {"mcpServers": {"aicp": {"command": python, "args": args, "env": {"AICP_TOKEN": "PASTE THE TOKEN HERE"}}}}
        )
    return _json({"mcpServers": {"aicp": {"command": python, "args": [*args, "--agent", "carol"]}}})


def script_snippet(http_url: str, python: str, *, with_token: bool) -> str:
    """A shell command that runs a Python script with the official MCP client.

    Args:
        http_url: the Streamable HTTP endpoint.
        python: the interpreter that has the `mcp` package, quoted for a shell.
        with_token: send $AICP_TOKEN.
    """
    if with_token:
        return f"""\
{python} - <<'END'
import asyncio, os, httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

async def main():
    headers = {{"Authorization": "Bearer " + os.environ["AICP_TOKEN"]}}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        async with Client(streamable_http_client("{http_url}", http_client=http)) as aicp:
            print((await aicp.call_tool("list_agents", {{}})).structured_content)

asyncio.run(main())
END"""
    return f"""\
{python} - <<'END'
import asyncio
from mcp import Client

async def main():
    async with Client("{http_url}?agent=dave") as aicp:
        print((await aicp.call_tool("list_agents", {{}})).structured_content)

asyncio.run(main())
END"""


def welcome_text(
    *,
    version: str,
    urls: dict[str, str],
    host: str,
    data_dir: Path,
    python: str,
    with_token: bool,
    bold: bool,
) -> str:
    """The whole text, with nothing around the snippets, so that they can be copied.

    Args:
        version: of AICP.
        urls: as from `client_urls`.
        host: the address that the hub is bound to.
        data_dir: absolute path.
        python: an interpreter for the script.
        with_token: clients must send a token.
        bold: highlight the titles, for a terminal.
    """

    def title(text: str) -> str:
        return f"\033[1m{text}\033[0m" if bold else text

    http_url = urls["http"]
    who = (
        "Each client sends a token, made with: aicp token --sub NAME.\n"
        "Put yours into the variable AICP_TOKEN first, or in its place below."
        if with_token
        else "Each client is one agent; choose its name in ?agent=NAME or --agent NAME."
    )
    warning = (
        f"\nWarning: bound to {host} without JWT_REQUIRED=true, anybody who reaches these ports can act as any agent.\n"
        "Only requests for this machine's own names are taken; name others that it is reached by in ALLOWED_HOSTS.\n"
        if host not in _LOOPBACK and not with_token
        else ""
    )
    return f"""
{title(f"AICP {version} is ready")}

  WebSocket        {urls["websocket"]}
  Streamable HTTP  {http_url}
  Data             {data_dir}
  Stop             Ctrl-C
{warning}
{who}

{title("Claude Code")}

{claude_code_snippet(http_url, with_token=with_token)}

{title("VS Code: file .vscode/mcp.json")}

{vs_code_snippet(http_url, with_token=with_token)}

{title("Claude Desktop: Settings > Developer > Edit Config")}

{claude_desktop_snippet(urls["websocket"], python, with_token=with_token)}

{title("A script")}

{script_snippet(http_url, shlex.quote(python), with_token=with_token)}
"""


def _json(value: object) -> str:
    return json.dumps(value, indent=2)
