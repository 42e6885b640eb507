"""Sharing and reading contexts through the gateway, beside a tool call that does nothing."""

import itertools

from bench.rounds import Contestant, table, take_turns
from bench.servers import ECHO, bearer, plugin_and_gateway
from bench.sessions import open_session, tool, works
from tests.support.processes import Backend, ServiceProcess

CONNECTIONS = 20
IN_FLIGHT = 4

KEYS = 1_000

VALUE = {"phase": "design", "open": ["budget", "staff"], "owner": "alice", "note": "to be decided on Monday"}


async def measure(backend: Backend, rounds: int, operations: int) -> str:
    """`CONNECTIONS` clients with `IN_FLIGHT` calls each, on `KEYS` keys in turn."""
    with plugin_and_gateway(backend, ServiceProcess("statehub", backend)) as (_, gateway):
        clients = [await open_session(gateway.ws_url, bearer(f"bench-{number}")) for number in range(CONNECTIONS)]
        names = [f"projects/p{number // 10}/item-{number % 10}" for number in range(KEYS)]
        for name in names:
            await clients[0].request("tools/call", tool("share_context", context_key=name, context_value=VALUE))
        written, read, numbers = itertools.cycle(names), itertools.cycle(names), itertools.count()

        def share() -> dict[str, object]:
            value = {**VALUE, "number": next(numbers)}
            return tool("share_context", context_key=next(written), context_value=value)

        contestants = [
            Contestant("a tool that says what it was told", works(clients, IN_FLIGHT, lambda: ECHO)),
            Contestant("`share_context`", works(clients, IN_FLIGHT, share)),
            Contestant("`get_context`", works(clients, IN_FLIGHT, lambda: tool("get_context", context_key=next(read)))),
        ]
        await take_turns(contestants, rounds, operations)
        for client in clients:
            client.close()
    return table(contestants)
