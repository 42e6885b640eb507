"""What a client is told when it connects: who it is, what there is, and last what waits for it."""

from typing import Any

import pytest

from aicp_common.announcement import Announcement
from aicp_gateway.catalogue import Catalogue
from aicp_gateway.protocol.actions import Call, Send
from aicp_gateway.protocol.revisions import HANDSHAKE, STATELESS
from tests.gateway.engine import announced
from tests.gateway.engine.announced import SCOPE, resource
from tests.gateway.engine.oracle import check_message
from tests.gateway.engine.peer import Peer, request

WAITING = "2 tasks wait for you (from bob, carol): receive_tasks brings them."


def with_inbox() -> Catalogue:
    """What the tests' services announce, and a service that knows what waits."""
    catalogue = announced.catalogue()
    post = Announcement("post", "1", instructions="Letters come here.", resources=(resource("aicp://inbox", SCOPE),))
    catalogue.hear(post, now=0.0)
    return catalogue


def connecting(revision: str, **options: Any) -> tuple[Peer, list[Any]]:
    """A client, and what is to be done when it connects."""
    peer = Peer(revision, initialized=False, **{"catalogue": with_inbox(), **options})
    if revision == STATELESS:
        return peer, peer.receive(peer.message("server/discover"))
    return peer, peer.receive(request("initialize", {"protocolVersion": revision}))


def result_of(send: Send) -> dict[str, Any]:
    result: dict[str, Any] = check_message(send.message)["result"]
    return result


@pytest.mark.parametrize("revision", [STATELESS, *HANDSHAKE])
def test_what_waits_is_asked_and_said_at_the_end_of_the_instructions(revision: str) -> None:
    _, [call] = connecting(revision)
    assert isinstance(call, Call)
    assert (call.kind, call.service, call.method) == ("greeting", "post", "inbox_hint")
    instructions = result_of(call.exchange.greeted(call.id, WAITING))["instructions"]
    assert instructions.startswith("You are the agent 'alice'.")
    assert instructions.endswith(f"\n{WAITING}")
    assert "Letters come here." in instructions


@pytest.mark.parametrize("revision", [STATELESS, *HANDSHAKE])
def test_when_nothing_waits_nothing_is_said_of_it(revision: str) -> None:
    _, [call] = connecting(revision)
    said = result_of(call.exchange.greeted(call.id, ""))
    assert not said["instructions"].endswith("\n")
    _, [send] = connecting(revision, catalogue=announced.catalogue())
    assert said.keys() == result_of(send).keys()


@pytest.mark.parametrize("revision", [STATELESS, *HANDSHAKE])
def test_nobody_is_asked_where_nobody_knows_or_the_client_may_not_know(revision: str) -> None:
    for options in ({"catalogue": announced.catalogue()}, {"scopes": ("other:scope",)}):
        _, [send] = connecting(revision, **options)
        assert isinstance(send, Send)


def test_no_cache_may_keep_what_waited() -> None:
    """Source: MCP 2026-07-28, server/utilities/caching: with `ttlMs` 0 a result is stale at once."""
    _, [call] = connecting(STATELESS)
    said = result_of(call.exchange.greeted(call.id, WAITING))
    assert (said["ttlMs"], said["cacheScope"]) == (0, "private")


def test_a_client_may_go_on_while_what_waits_is_asked() -> None:
    peer, [call] = connecting("2025-11-25")
    assert peer.conversation.agreed.revision == "2025-11-25"
    assert peer.told(request("ping", id=7))["result"] == {}
    assert peer.conversation.finish(call)
