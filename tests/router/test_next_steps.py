"""`next`: each reader of a task is told what it can do, and nothing that is somebody else's to do."""

import pytest

from aicp_common.envelope import encode_json
from aicp_common.errors import InvalidArgument
from aicp_common.tool import parse_arguments
from aicp_router.surface.agent_tools import RegisterArguments
from aicp_router.surface.request_tools import GetArguments
from tests.router.conftest import Network
from tests.router.test_attempts import silent
from tests.router.test_departure import go, quick, quick_backend

__all__ = ["quick", "quick_backend"]


async def test_who_asked_is_told_of_rating_until_it_has_rated(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    await net.submit("bob", task)
    uri = f"aicp://tasks/{task['task_id']}"
    for seen in (await net.get("alice", task["task_id"]), await net.read("alice", uri)):
        assert seen["next"].startswith("use the result")
        assert seen["next"].count("rate_task") == 1
    await net.tool("alice", "rate_task", task_id=task["task_id"], score=1)
    for seen in (await net.get("alice", task["task_id"]), await net.read("alice", uri)):
        assert seen["next"].startswith("use the result")
        assert "rate_task" not in seen["next"]


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_the_worker_is_not_told_to_use_its_own_result(net: Network, status: str) -> None:
    task = await net.handed_over("alice", "bob")
    await net.submit("bob", task, status=status)
    said = (await net.get("bob", task["task_id"]))["next"]
    assert said == "it has ended, and you have nothing more to do with it; receive_tasks brings the next one"


async def test_the_worker_of_a_cancelled_task_is_told_to_stop(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    await net.tool("alice", "cancel_task", task_id=task["task_id"])
    assert (await net.get("bob", task["task_id"]))["next"].startswith("stop working on it")


async def test_who_waits_for_an_agent_that_has_gone_is_told_what_becomes_of_the_task(quick: Network) -> None:
    await quick.register("bob", "analysis")
    await quick.register("carol", "sewing")
    named = await silent(quick, "alice", "bob", lease_s=60)
    await quick.claim("bob")
    free = await silent(quick, "alice", None, lease_s=60, target_capabilities=["analysis"])
    await quick.claim("bob")
    assert "online" not in (await quick.get("alice", free["task_id"]))["next"]
    await go(quick, "bob")
    what_then = {free["task_id"]: "another agent gets it", named["task_id"]: "the task waits for bob anew"}
    for task_id, then in what_then.items():
        seen = await quick.get("alice", task_id)
        until = seen["lease_until"][11:19]
        assert seen["next"].endswith(f": bob is not online; unless it comes back {then} at {until} UTC")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"capabilities": []}, "capabilities: has no items, at least 1 should be there"),
        ({"capabilities": ["a"] * 33}, "capabilities: has 33 items, at most 32 may be there"),
        ({"capabilities": [""]}, "capabilities.0: is empty"),
        ({"capabilities": ["a" * 65]}, "capabilities.0: has 65 characters, at most 64 fit"),
        ({"languages": ["e"]}, "languages.0: should have at least 2 characters"),
        (
            {"accept_from": ["bob", "carol", "x y"]},
            "accept_from.2: should be 1 to 64 characters a-z 0-9 _ -, with a letter or a digit first, was 'x y'",
        ),
    ],
)
def test_a_wrong_argument_is_told_plainly(arguments: dict[str, list[str]], said: str) -> None:
    whole = {"capabilities": ["work"], "description": "Works.", **arguments}
    with pytest.raises(InvalidArgument) as caught:
        parse_arguments(RegisterArguments, encode_json(whole))
    assert caught.value.message == said


def test_what_is_no_task_id_is_told_by_the_rule_of_one() -> None:
    with pytest.raises(InvalidArgument, match="task_id: should be 1 to 64 characters a-z 0-9 _ -, with a letter"):
        parse_arguments(GetArguments, b'{"task_id": "the first one"}')
