"""The official TypeScript SDKs, old and new, in both eras of the protocol: the main job, and everything beside it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.hub import conformance_hub
from tests.support.processes import GatewayProcess
from tests.typescript import node

WAYS = [
    ("sdk1", "http"),
    ("sdk1", "websocket"),
    ("sdk2", "handshake"),
    ("sdk2", "stateless"),
]
"""The SDK, and how it connects."""

AGREED = {"handshake": ("legacy", "2025-11-25"), "stateless": ("modern", "2026-07-28")}


def check_parting(seen: dict[str, Any], sdk: str, how: str) -> None:
    """Nothing went wrong on the way, and they parted in good order."""
    assert seen["errors"] == []
    assert seen["server"]["name"] == "aicp"
    assert "AICP" in seen["instructions"]
    for parting in seen["closed"]:
        if sdk == "sdk1":
            assert parting["session"] == (404 if how == "http" else None)
        else:
            assert set(parting["subscriptions"]) <= {"local"}
    if sdk == "sdk2":
        assert (seen["era"], seen["revision"]) == AGREED[how]


@pytest.mark.parametrize(("sdk", "how"), WAYS)
def test_alice_shares_a_context_with_bob_and_hands_him_work(hub: GatewayProcess, sdk: str, how: str) -> None:
    seen = node.seen_by("play.mjs", "network", sdk, how, hub.ws_url if how == "websocket" else hub.http_url)
    check_parting(seen, sdk, how)
    assert {"route_to_agent", "share_context", "get_context", "orchestrate_collaboration"} <= set(seen["tools"])
    assert seen["version"] == 1
    assert seen["updated"] == seen["uri"]
    assert seen["value"] == seen["read"] == {"progress": 75}
    assert seen["message"] == "데이터를 분석해 주세요"
    assert (seen["status"], seen["result"]) == ("completed", {"trend": "up"})
    assert seen["mistake"]["isError"]
    assert "message" in seen["mistake"]["text"]
    if how == "stateless":
        assert seen["honored"] == [{"resourceSubscriptions": [seen["uri"]]}]


def test_sdk_2_finds_out_that_the_hub_speaks_the_stateless_era(hub: GatewayProcess) -> None:
    seen = node.seen_by("play.mjs", "network", "sdk2", "negotiated", hub.http_url)
    assert (seen["era"], seen["revision"]) == AGREED["stateless"]


@pytest.fixture(scope="module")
def fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with the fixture of the conformance suite behind it."""
    with conformance_hub(tmp_path_factory.mktemp("fixture")) as gateway:
        yield gateway


@pytest.mark.parametrize(("sdk", "how"), WAYS)
def test_a_service_tells_how_far_it_is_and_asks_back(fixture: GatewayProcess, sdk: str, how: str) -> None:
    seen = node.seen_by("play.mjs", "dialogue", sdk, how, fixture.ws_url if how == "websocket" else fixture.http_url)
    check_parting(seen, sdk, how)
    assert "test_simple_prompt" in seen["prompts"]
    assert seen["prompt"] == "Prompt with arguments: arg1='one', arg2='two'"
    assert seen["completed"] == ["paris", "park", "party"]
    assert seen["progress"] == [0, 50, 100]
    assert seen["logs"] == ["Tool execution started", "Tool processing data", "Tool execution completed"]
    assert seen["sampled"] == ["LLM response: evil"]
    assert seen["entered"] == ['User response: action=accept, content={"username": "my username", "email": "my email"}']
    assert seen["roots"] == ["Root: file:///work", "That is all"]
    assert seen["rounds"] == ["my name likes my color"]
    assert seen["together"] == ["my name, gniteerg a etareneG, 1 folders"]
    assert seen["changed"] == "tools"
