"""Completion of keys in the template of contexts."""

import json

import pytest

from aicp_common.bus import Bus
from aicp_common.envelope import encode_json
from tests.conftest import envelope
from tests.statehub.agent import Agent, Json

TEMPLATE = "aicp://context/{key}"


async def completion(agent: Agent, typed: str, uri: str = TEMPLATE) -> Json:
    """What could stand in the key."""
    body = {"ref": {"type": "ref/resource", "uri": uri}, "argument": {"name": "key", "value": typed}}
    call = envelope(agent.tenant, agent.name, scopes=agent.scopes)
    reply = await agent.bus.call("statehub", "complete", call, encode_json(body))
    found: Json = json.loads(reply.body)["completion"]
    return found


async def test_keys_complete_by_their_beginning_in_their_order(alice: Agent) -> None:
    for key in ("team/plan", "team/people", "notes", "Team/plan"):
        await alice.share(key, 1)
    assert await completion(alice, "team/p") == {"values": ["team/people", "team/plan"], "total": 2, "hasMore": False}
    assert (await completion(alice, ""))["values"] == ["Team/plan", "notes", "team/people", "team/plan"]


@pytest.mark.parametrize("typed", ["x", "a b", "한", "[", "a" * 300, "*"])
async def test_what_no_key_begins_with_completes_to_nothing(alice: Agent, typed: str) -> None:
    await alice.share("notes", 1)
    assert (await completion(alice, typed))["values"] == []


async def test_deleted_contexts_and_those_of_other_tenants_are_not_offered(bus: Bus, alice: Agent) -> None:
    await alice.share("notes", 1)
    await alice.share("gone", 1)
    await alice.delete("gone")
    assert (await completion(alice, ""))["values"] == ["notes"]
    assert (await completion(Agent(bus, alice.tenant + "x"), ""))["values"] == []
    assert (await completion(Agent(bus, alice.tenant, "eve", ("tasks:read",)), ""))["values"] == []
    assert (await completion(alice, "", uri="aicp://tasks/{id}"))["values"] == []


async def test_of_many_keys_a_hundred_are_offered_and_it_says_that_there_are_more(alice: Agent) -> None:
    for number in range(105):
        await alice.share(f"k{number:03}", number)
    found = await completion(alice, "k")
    assert found["values"] == [f"k{number:03}" for number in range(100)]
    assert found["hasMore"] is True
