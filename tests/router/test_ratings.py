"""Ratings, and the outcomes that routing learns from."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from aicp_common.store import connect_redis, key
from aicp_router.agents import outcomes
from aicp_router.matching.learning import Outcome
from aicp_router.tasks.task_scripts import OUTCOMES_A_MINUTE
from tests.router.conftest import Network, refused
from tests.support.processes import Backend


@pytest.fixture
async def redis(backend: Backend) -> AsyncIterator[Redis]:
    client = connect_redis(backend.redis_url)
    yield client
    await client.aclose()


async def of(redis: Redis, net: Network) -> list[Outcome]:
    return [outcome for _, outcome in await outcomes.read(redis, net.tenant, after="0-0", count=100)]


async def test_each_end_of_an_attempt_is_an_outcome(net: Network, redis: Redis) -> None:
    await net.register("bob", "analysis")
    await net.register("carol", "analysis")
    routed = await net.route("alice", "find the trend", target_capabilities=["analysis"])
    first = routed["agent"]
    second = "carol" if first == "bob" else "bob"
    await net.submit(first, await net.claim(first), "not mine", "declined")
    await net.submit(second, await net.claim(second), "it rises")
    declined, completed = await of(redis, net)
    assert (declined.agent, declined.reward, declined.message) == (first, -1.0, "find the trend")
    assert (completed.agent, completed.reward) == (second, 1.0)
    assert completed.duration_s is not None
    assert 0 <= completed.duration_s < 10
    assert declined.at <= completed.at
    (first_id, _), (second_id, _) = await outcomes.read(redis, net.tenant, after="0-0", count=100)
    assert await outcomes.read(redis, net.tenant, after=first_id, count=100) == [(second_id, completed)]


async def test_an_outcome_tells_whose_work_it_was_and_whether_its_agent_was_named(net: Network, redis: Redis) -> None:
    await net.register("bob", "analysis")
    await net.route("alice", "find the trend", agent="bob")
    await net.submit("bob", await net.claim("bob"))
    await net.route("alice", "find the trend", target_capabilities=["analysis"])
    task = await net.claim("bob")
    await net.submit("bob", task)
    await net.tool("alice", "rate_task", task_id=task["task_id"], score=1)
    assert [(one.user, one.named) for one in await of(redis, net)] == [
        ("alice", True),
        ("alice", False),
        ("alice", False),
    ]


async def test_an_outcome_that_an_older_router_wrote_is_read(net: Network, redis: Redis) -> None:
    fields: dict[Any, Any] = {"agent": "bob", "message": "find it", "what": "completed", "ms": "20", "score": ""}
    await redis.xadd(key(net.tenant, "outcomes"), fields)
    [outcome] = await of(redis, net)
    assert (outcome.agent, outcome.duration_s, outcome.user, outcome.named) == ("bob", 0.02, "", False)


async def test_three_instant_tasks_for_a_friend_do_not_get_it_the_messages_of_others(net: Network) -> None:
    await net.register("cleo", "cooking", description="recipes for cakes, bread and soups")
    await net.register("mate", "errands", description="does errands")
    for kind in ("chocolate", "cheese", "carrot"):
        await net.route("mallory", f"bake a {kind} cake for the party", agent="mate")
        await net.submit("mate", await net.claim("mate"))

    async def learned() -> float:
        listed = await net.tool("alice", "list_agents", query="bake a strawberry cake for a birthday party")
        found: dict[str, float] = {one["agent"]: one["match"]["parts"]["learned"] for one in listed["agents"]}
        return found["mate"]

    # What came of it reaches the index with a picture, and each of these calls takes one.
    while await learned() <= 0.5:
        pass
    assert (await net.route("alice", "bake a strawberry cake for a birthday party"))["agent"] == "cleo"


async def test_a_long_message_is_kept_as_it_begins(net: Network, redis: Redis) -> None:
    task = await net.handed_over("alice", "bob", "분석 " * 1000)
    await net.submit("bob", task, "done")
    [outcome] = await of(redis, net)
    assert "분석 분석".startswith(outcome.message[:5])
    assert 900 <= len(outcome.message.encode()) <= 1000


async def test_of_an_agent_that_ends_many_tasks_some_tell_enough(net: Network, redis: Redis) -> None:
    await net.register("bob", "analysis", max_concurrency=100)
    for number in range(OUTCOMES_A_MINUTE + 5):
        await net.route("alice", f"{number}", agent="bob")
        await net.submit("bob", await net.claim("bob"))
    assert len(await of(redis, net)) == OUTCOMES_A_MINUTE
    assert await redis.pttl(key(net.tenant, "learned", "bob")) > 0
    task = await net.handed_over("alice", "carol", "analyse it")
    await net.submit("carol", task)
    assert (await of(redis, net))[-1].agent == "carol"


async def test_its_requester_rates_a_task(net: Network, redis: Redis) -> None:
    task = await net.handed_over("alice", "bob", "translate this")
    error = await refused(net.tool("alice", "rate_task", task_id=task["task_id"], score=1))
    assert (error.code, "there is no result to rate" in error.message) == ("conflict", True)
    await net.submit("bob", task, "done")
    rated = await net.tool("alice", "rate_task", task_id=task["task_id"], score=-0.5, comment="clumsy")
    assert (rated["agent"], rated["score"]) == ("bob", -0.5)
    seen = await net.get("bob", task["task_id"])
    assert (seen["rating"], seen["rating_comment"]) == (-0.5, "clumsy")
    # The same again changes nothing, another score counts beside the first.
    await net.tool("alice", "rate_task", task_id=task["task_id"], score=-0.5, comment="clumsy")
    await net.tool("alice", "rate_task", task_id=task["task_id"], score=0.25)
    assert [(one.reward, one.duration_s is None) for one in await of(redis, net)] == [
        (1.0, False),
        (-0.5, True),
        (0.25, True),
    ]


async def test_nobody_else_rates_it(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    await net.submit("bob", task, "done")
    assert (await refused(net.tool("bob", "rate_task", task_id=task["task_id"], score=1))).code == "forbidden"
    assert (await refused(net.tool("mallory", "rate_task", task_id=task["task_id"], score=1))).code == "not_found"
    assert (await refused(net.tool("alice", "rate_task", task_id="t-none", score=1))).code == "not_found"


@pytest.mark.parametrize("score", [1.5, -2, "good"])
async def test_a_score_lies_between_minus_one_and_one(net: Network, score: object) -> None:
    error = await refused(net.tool("alice", "rate_task", task_id="t-none", score=score))
    assert (error.code, "score" in error.message) == ("invalid_argument", True)


async def test_who_never_had_a_task_is_not_rated_for_it_and_of_many_ratings_the_first_count(
    net: Network, redis: Redis
) -> None:
    await net.register("bob", "analysis")
    task_id = (await net.route("alice", agent="bob", deadline_s=1))["task_id"]
    await net.until("alice", task_id, lambda task: task["state"] == "failed")
    error = await refused(net.tool("alice", "rate_task", task_id=task_id, score=-1))
    assert error.code == "conflict"
    task = await net.handed_over("alice", "bob")
    await net.submit("bob", task)
    for score in (0.1, 0.2, 0.3, 0.4, 0.5):
        await net.tool("alice", "rate_task", task_id=task["task_id"], score=score)
    assert (await net.get("alice", task["task_id"]))["rating"] == 0.5
    assert [one.reward for one in await of(redis, net) if one.duration_s is None] == [0.1, 0.2, 0.3]
