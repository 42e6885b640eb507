"""The command `aicp`. Each command imports what it needs when it runs, so that `aicp --help` answers at once."""

from pathlib import Path
from typing import Annotated

import typer

from aicp import __version__

app = typer.Typer(
    name="aicp",
    help="A network of user + LLM pairs: hand work to other agents, be handed work, share context.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aicp {__version__}")
        raise typer.Exit


@app.callback()
def _aicp(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def hub(
    port: Annotated[int, typer.Option(envvar="PORT", help="Port for WebSocket clients; 0 takes a free one.")] = 8765,
    http_port: Annotated[
        int, typer.Option(envvar="HTTP_PORT", help="Port for Streamable HTTP clients; 0 takes a free one.")
    ] = 8080,
    host: Annotated[str, typer.Option(envvar="HOST", help="Address that clients connect to.")] = "127.0.0.1",
    data_dir: Annotated[Path, typer.Option(help="Where all data of the hub lies.")] = Path(".aicp"),
    gateways: Annotated[int, typer.Option(help="Number of gateway processes; they share the two ports.")] = 1,
    routers: Annotated[int, typer.Option(help="Number of router processes.")] = 1,
    orchestrators: Annotated[int, typer.Option(help="Number of orchestrator processes.")] = 1,
    statehubs: Annotated[int, typer.Option(help="Number of state hub processes.")] = 1,
    nats_url: Annotated[
        str, typer.Option(envvar="NATS_URL", show_envvar=True, help="Use this NATS; none is started.")
    ] = "",
    redis_url: Annotated[
        str, typer.Option(envvar="REDIS_URL", show_envvar=True, help="Use this Redis; none is started.")
    ] = "",
) -> None:
    """Run a whole hub on this machine: NATS, Redis and the four services, until Ctrl-C."""
    from aicp.hub.command import HubOptions, run_hub

    options = HubOptions(
        host=host,
        port=port,
        http_port=http_port,
        data_dir=data_dir,
        gateways=gateways,
        routers=routers,
        orchestrators=orchestrators,
        statehubs=statehubs,
        nats_url=nats_url,
        redis_url=redis_url,
    )
    raise typer.Exit(run_hub(options))


@app.command()
def connect(
    url: Annotated[
        str, typer.Option(envvar="AICP_URL", show_envvar=True, help="The hub: ws, wss, http or https.")
    ] = "ws://127.0.0.1:8765/mcp",
    token: Annotated[
        str, typer.Option(help="Bearer token. Better AICP_TOKEN or a file: others can see a command line.")
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="File that holds the token; read anew for each connection.")
    ] = None,
    agent: Annotated[str, typer.Option(help="Your name on a hub that asks for no token.")] = "",
    channel: Annotated[
        bool | None,
        typer.Option(
            "--channel/--no-channel",
            help="Show the session of Claude Code the tasks that wait for it. Default: when the client is a Claude.",
        ),
    ] = None,
) -> None:
    """Be the local MCP server of a client (stdio), and pass everything on to a hub."""
    from aicp.connect.command import ConnectOptions, run_connect

    raise typer.Exit(run_connect(ConnectOptions(url, agent, token, token_file, channel)))


@app.command()
def token(
    sub: Annotated[str, typer.Option(help="Whose token it is: a person.")],
    tenant: Annotated[str, typer.Option(help="Tenant; without it `default`.")] = "",
    agent: Annotated[str, typer.Option(help="Agent name; without it the person's.")] = "",
    scope: Annotated[
        str | None,
        typer.Option(
            help="What it allows, separated by spaces: agents:read, agents:write, tasks:request, tasks:work,"
            " tasks:read, context:read, context:write, rooms:read, rooms:write, history:read, or what a plug-in asks"
            " for. Without it everything in the tenant."
        ),
    ] = None,
    expires_in: Annotated[str, typer.Option(help="How long it is valid: a number and s, m, h, d or w.")] = "30d",
    secret_file: Annotated[
        Path | None, typer.Option(help="File with the hub's secret; without it JWT_SECRET or JWT_SECRET_FILE.")
    ] = None,
) -> None:
    """Print a token for a hub that wants one (JWT_REQUIRED=true), signed with the hub's JWT_SECRET."""
    from aicp.token import TokenOptions, run_token

    raise typer.Exit(run_token(TokenOptions(sub, tenant, agent, scope, expires_in, secret_file)))


history = typer.Typer(help="Read what happened from the archive of a hub.", no_args_is_help=True)
app.add_typer(history, name="history")

_Url = Annotated[str, typer.Option(envvar="AICP_URL", show_envvar=True, help="The hub: ws, wss, http or https.")]
_Token = Annotated[str, typer.Option(help="Bearer token. Better AICP_TOKEN or a file: others can see a command line.")]
_TokenFile = Annotated[Path | None, typer.Option(help="File that holds the token.")]
_Name = Annotated[str, typer.Option("--agent", help="Your name on a hub that asks for no token.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_Limit = Annotated[int, typer.Option(min=1, max=100_000, help="How many events, the newest first.")]
_Values = Annotated[bool, typer.Option("--values", help="Show the values of contexts too.")]

_HUB = "ws://127.0.0.1:8765/mcp"


@history.command("task")
def history_of_task(
    task_id: Annotated[str, typer.Argument(metavar="ID")],
    url: _Url = _HUB,
    token: _Token = "",
    token_file: _TokenFile = None,
    name: _Name = "",
    as_json: _Json = False,
    limit: _Limit = 50,
) -> None:
    """The way of a task: who asked for it, who had it, and when."""
    from aicp.history import HistoryOptions, run_history

    raise typer.Exit(run_history(HistoryOptions("task_id", task_id, url, name, token, token_file, as_json, limit)))


@history.command("context")
def history_of_context(
    key: Annotated[str, typer.Argument(metavar="KEY")],
    version: Annotated[int | None, typer.Option(min=1, help="Only this version, with its value.")] = None,
    with_values: _Values = False,
    url: _Url = _HUB,
    token: _Token = "",
    token_file: _TokenFile = None,
    name: _Name = "",
    as_json: _Json = False,
    limit: _Limit = 50,
) -> None:
    """The versions of a shared context: who wrote each, and when."""
    from aicp.history import HistoryOptions, run_history

    options = HistoryOptions("context_key", key, url, name, token, token_file, as_json, limit, version, with_values)
    raise typer.Exit(run_history(options))


@history.command("agent")
def history_of_agent(
    agent: Annotated[str, typer.Argument(metavar="NAME")],
    with_values: _Values = False,
    url: _Url = _HUB,
    token: _Token = "",
    token_file: _TokenFile = None,
    name: _Name = "",
    as_json: _Json = False,
    limit: _Limit = 50,
) -> None:
    """What an agent did, asked for, and was given to do."""
    from aicp.history import HistoryOptions, run_history

    options = HistoryOptions("agent", agent, url, name, token, token_file, as_json, limit, None, with_values)
    raise typer.Exit(run_history(options))


def main() -> None:
    """Entry point of the console script `aicp`."""
    app()


if __name__ == "__main__":
    main()
