"""The prompt for a collaboration, and what completes its arguments."""

import pytest

from aicp_common.errors import Forbidden, InvalidArgument
from tests.orchestrator.network import Network
from tests.router.mcp_client import McpClient


@pytest.fixture
def alice(network: Network) -> McpClient:
    """A client of alice."""
    return McpClient(network.bus, network.tenant)


PROMPT = ("collaboration_request", "orchestrator")


async def test_the_prompt_holds_the_task_and_says_who_could_take_part(network: Network, alice: McpClient) -> None:
    await network.join("alice", "bob", capabilities=("tax law", "번역"))
    text = await alice.prompt(*PROMPT, task="Compare {two} offers")
    assert "<task>\nCompare {two} offers\n</task>" in text
    for word in ("orchestrate_collaboration", "get_task", "answer_task", "parallel when", "pipeline when"):
        assert word in text
    assert '- bob (online): ["tax law","번역"]' in text
    assert "- alice" not in text


async def test_the_prompt_takes_over_what_the_user_has_chosen(network: Network, alice: McpClient) -> None:
    await network.join("bob", "carol")
    text = await alice.prompt(*PROMPT, task="t", pattern="Pipeline", agents="Bob, dave")
    assert '1. Agents: ["bob","dave"], as your user wants it. Not in the network now: ["dave"]' in text
    assert "2. Pattern: pipeline. One after the other" in text


async def test_with_nobody_there_the_prompt_says_so(alice: McpClient) -> None:
    assert "Nobody else has registered yet" in await alice.prompt(*PROMPT, task="t")


async def test_a_large_network_is_listed_in_part(network: Network, alice: McpClient) -> None:
    await network.join("alice", *(f"agent-{number:02}" for number in range(23)))
    text = await alice.prompt(*PROMPT, task="t")
    assert text.count("(online)") == 20
    assert "- and 3 more: list_agents finds them" in text


async def test_a_prompt_that_cannot_be_made_is_refused(network: Network, alice: McpClient) -> None:
    with pytest.raises(InvalidArgument, match="task"):
        await alice.prompt(*PROMPT)
    with pytest.raises(InvalidArgument, match="task"):
        await alice.prompt(*PROMPT, task=" ")
    with pytest.raises(InvalidArgument, match="parallel or pipeline or debate or vote or map_reduce"):
        await alice.prompt(*PROMPT, task="t", pattern="swarm")
    with pytest.raises(Forbidden):
        await McpClient(network.bus, network.tenant, scopes=("tasks:read",)).prompt(*PROMPT, task="t")


async def test_pattern_and_agents_complete(network: Network, alice: McpClient) -> None:
    await network.join("alice", "bob", "bernd", "carol")
    about = {"service": "orchestrator", "name": "collaboration_request"}
    assert await alice.complete("pattern", "", **about) == ["parallel", "pipeline", "debate", "vote", "map_reduce"]
    assert await alice.complete("pattern", "Pip", **about) == ["pipeline"]
    assert await alice.complete("agents", "b", **about) == ["bernd", "bob"]
    assert await alice.complete("agents", "bob, ", **about) == ["bob, bernd", "bob, carol"]
    assert await alice.complete("task", "b", **about) == []
    stranger = McpClient(network.bus, network.tenant + "x")
    assert await stranger.complete("agents", "", **about) == []
